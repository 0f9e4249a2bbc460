"""Trains a cross-encoder on the candidates that a trained bi-encoder retrieves (Wu et al. 2020, section 4.2).

    accelerate launch -m hf_blink.training.train_crossencoder recipe.yaml [--key value ...]

The output folder gets the cross-encoder; `EntityLinker(..., cross_encoder=BlinkCrossEncoder.from_pretrained(folder))`
uses it. `--resume true`, with the same settings, goes on from the last checkpoint, with the candidates that were mined
before (`candidates/` of the output folder, see candidate_files); without it a folder with checkpoints in it is refused.
Processes share the mining: each encodes its part of the knowledge base and mines its part of the mentions, and all get the
whole result.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from datasets import Dataset
from transformers import set_seed

from hf_blink.modeling.configuration_blink import saved_model_type
from hf_blink.modeling.encoder_limits import check_fits
from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.modeling_blink_crossencoder import BlinkCrossEncoder
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.candidate_files import FirstStage, kept_candidates, vectors_folder
from hf_blink.training.collators import CrossEncoderCollator
from hf_blink.training.cross_encoder_trainer import CrossEncoderTrainer
from hf_blink.training.data_arguments import DataArguments, RecipeData
from hf_blink.training.dev_recall import check_dev, dev_mentions
from hf_blink.training.dry_run import Plan, Stage, dry_run, with_random_candidates
from hf_blink.training.encoded_blocks import remove_blocks
from hf_blink.training.evaluation import evaluate_linker
from hf_blink.training.process_shares import failing_together
from hf_blink.training.recipe_arguments import (
    given_settings,
    parse_recipe,
    refuse_other_settings,
    run_script,
)
from hf_blink.training.run_folder import keep_run, open_run, train_recorded, write_metrics
from hf_blink.training.score_weights import fit_retrieval_weight, weigh_scores
from hf_blink.training.script_settings import refuse_unused
from hf_blink.training.shared_linker import shared_linker

logger = logging.getLogger(__name__)


@dataclass
class CrossEncoderArguments:
    """The models and the candidates.

    Args:
        bi_encoder: folder of the trained bi-encoder and its processor.
        base_model: encoder to start from, or a saved cross-encoder to train on.
        pooling: cls, mean or pooler; None means the saved model's own, or cls for a new one.
        retrieval_weight: weight of the bi-encoder's score in the cross-encoder's; 0 (BLINK) leaves it out. None starts with
            the saved model's own, or for a new one with what fits the `dev` mentions best (1 without them), and fits the
            weights of both scores on `dev` after training (see `score_weights.py`).
        num_candidates: candidates of each mention, in training and evaluation (BLINK: 64).
        resume: go on with an interrupted run in the same output folder.

    Raises:
        ValueError: fewer than 2 candidates.
    """

    bi_encoder: str = field(metadata={"help": "Folder of the trained bi-encoder."})
    base_model: str | None = field(
        default=None,
        metadata={
            "help": "Encoder to start from, or a saved cross-encoder; the bi-encoder's mention tower if not given."
        },
    )
    pooling: str | None = field(
        default=None,
        metadata={
            "help": "product, cls, mean or pooler; of a new model (product of the bi-encoder's tower, else cls)."
        },
    )
    retrieval_weight: float | None = field(
        default=None,
        metadata={
            "help": "Weight of the bi-encoder's score, 0 leaves it out; not given, it is fitted on dev."
        },
    )
    num_candidates: int = field(default=16, metadata={"help": "Candidates of each mention."})
    resume: bool = field(
        default=False, metadata={"help": "Go on with an interrupted run in the output folder."}
    )

    def __post_init__(self) -> None:
        if self.num_candidates < 2:
            raise ValueError(f"expected num_candidates of at least 2, got {self.num_candidates}")

    def load(
        self, processor: BlinkProcessor, bi_encoder: BlinkBiEncoder, dev: Dataset | None = None
    ) -> BlinkCrossEncoder:
        """The cross-encoder to start from; `dev` are mentions with candidates, for the first weight of a new one.

        Raises:
            ValueError: a setting of new models differs from the saved one's.
        """
        settings = given_settings(self, ("pooling", "retrieval_weight"))
        if self.base_model is not None and saved_model_type(self.base_model) == "blink-crossencoder":
            model = BlinkCrossEncoder.from_pretrained(self.base_model)
            refuse_other_settings(settings, model.config, self.base_model)
            return model
        first = 1.0 if dev is None else fit_retrieval_weight(dev, bi_encoder.config.temperature)
        settings = {"retrieval_weight": first, **settings}
        if self.base_model is None:
            return BlinkCrossEncoder.from_bi_encoder(bi_encoder, **settings)
        vocab_size = len(processor.tokenizer)
        return BlinkCrossEncoder.from_encoder(self.base_model, vocab_size=vocab_size, **settings)


def _plan(settings: CrossEncoderArguments, training: BlinkTrainingArguments, data: RecipeData) -> Plan:
    """What a dry run tries."""
    processor = BlinkProcessor.from_pretrained(settings.bi_encoder)
    bi_encoder = BlinkBiEncoder.from_pretrained(settings.bi_encoder)
    model = settings.load(processor, bi_encoder)
    check_fits(processor, bi_encoder, model)
    collator = CrossEncoderCollator(processor, data.knowledge_base, bi_encoder.config.temperature)
    count = settings.num_candidates

    def trainer(args: BlinkTrainingArguments, mentions: Dataset) -> CrossEncoderTrainer:
        mined = with_random_candidates(mentions, data.knowledge_base, count, args.seed)
        return CrossEncoderTrainer(model, args, collator, mined)

    stage = Stage(
        "cross-encoder", training, trainer, compared=f"{count} candidates, each read with the mention"
    )
    return Plan(processor, bi_encoder, [stage])


def _weigh(dev: Dataset, collator: CrossEncoderCollator, batch_size: int, model: Any) -> dict[str, float]:
    """Puts the weights that fit `dev` best into the model, and says which."""
    weights = weigh_scores(model, dev, collator, batch_size=batch_size)
    return (
        {} if weights is None else {f"{name}_weight": getattr(weights, name) for name in ("own", "retrieval")}
    )


def _measured(
    linker: EntityLinker, evaluation: Dataset, num_candidates: int, training: BlinkTrainingArguments
) -> dict[str, Any]:
    """The metrics, which process 0 has and writes."""
    if training.process_index != 0:
        return {}
    metrics = evaluate_linker(linker, evaluation, rerank_k=num_candidates)
    write_metrics(metrics, training.output_dir)
    return metrics


def _first_stage(
    settings: CrossEncoderArguments, training: BlinkTrainingArguments, knowledge_base: KnowledgeBase
) -> FirstStage:
    """The bi-encoder that mines, which fits the cross-encoder to train; collective."""
    with failing_together("loading the models"):
        processor = BlinkProcessor.from_pretrained(settings.bi_encoder)
        bi_encoder = BlinkBiEncoder.from_pretrained(settings.bi_encoder).to(training.device)
        check_fits(processor, bi_encoder, settings.load(processor, bi_encoder))
    return FirstStage(knowledge_base, processor, bi_encoder, settings.num_candidates)


def _mined(
    stage: FirstStage, train: Dataset, dev: Dataset | None, training: BlinkTrainingArguments
) -> tuple[Callable[[], EntityLinker], Dataset, Dataset | None]:
    """The linker that mines, made where it is needed, and the mentions with candidates; collective."""
    vectors = vectors_folder(training)
    models = stage.knowledge_base, stage.bi_encoder, stage.processor
    linker = cache(partial(shared_linker, *models, folder=vectors))
    train = kept_candidates(stage, train, training, linker)
    dev = None if dev is None else kept_candidates(stage, dev, training, linker)
    remove_blocks(vectors)
    return linker, train, dev


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs a recipe; see the module's text.

    Returns:
        The metrics on the recipe's `evaluation` files; empty without them.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    data, settings, training = parse_recipe(
        (DataArguments, CrossEncoderArguments, BlinkTrainingArguments), arguments
    )
    refuse_unused("train_crossencoder", training)
    check_dev(data.dev, training)
    kept = open_run(training, (data, settings), resume=settings.resume)
    if training.dry_run:
        return dry_run(data, training, partial(_plan, settings, training), print)
    set_seed(training.seed)
    knowledge_base, train, dev, evaluation = data.load(training.seed)
    stage = _first_stage(settings, training, knowledge_base)
    processor, bi_encoder = stage.processor, stage.bi_encoder
    keep_run(training, kept, knowledge_base, train, dev)
    linker, train, dev = _mined(stage, train, dev, training)
    with failing_together("loading the models"):
        model = settings.load(processor, bi_encoder, dev)
    collator = CrossEncoderCollator(processor, knowledge_base, bi_encoder.config.temperature)
    trainer = CrossEncoderTrainer(model, training, collator, train, eval_dataset=dev_mentions(dev, training))
    weigh = None
    if dev is not None and settings.retrieval_weight is None:
        weigh = partial(_weigh, dev, collator, training.per_device_eval_batch_size)
    share = sum(train["gold_retrieved"]) / len(train)
    model = train_recorded(
        trainer, resume=settings.resume, num_mentions=len(train), finish=weigh, gold_retrieved=share
    )
    if training.process_index == 0:
        logger.info(
            "next: hf-blink build ENTITIES --encoder %s --cross-encoder %s --out my-linker",
            settings.bi_encoder, training.output_dir,
        )  # fmt: skip
    if evaluation is None:
        return {}
    whole = linker()
    remove_blocks(vectors_folder(training))
    whole.cross_encoder = model.eval()
    return _measured(whole, evaluation, settings.num_candidates, training)


if __name__ == "__main__":
    run_script(main)
