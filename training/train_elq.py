"""Trains a one-pass linker: in-batch first, then with hard negatives and frozen entity vectors (Li et al. 2020).

    accelerate launch -m hf_blink.training.train_elq recipe.yaml [--key value ...]

Each stage is a folder of the output folder (`round_0` in-batch, `round_1` with hard negatives), written whole; a run that
is started again with `--resume true` and the same settings skips finished stages and goes on from the last checkpoint of
the unfinished one. The last stage's model is saved in the output folder itself, where `from_pretrained` loads it. Then the
joint threshold is fitted on the recipe's `dev` documents and saved with it, and `evaluation` is measured. A finished run
that is resumed may have other `dev` and `evaluation` documents: it trains nothing, fits and measures anew.

Processes encode the entities together, each a share of them, and all get the whole index.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import set_seed

from hf_blink.modeling.configuration_blink import saved_model_type
from hf_blink.modeling.encoder_limits import check_fits
from hf_blink.modeling.entity_index import EntityIndex
from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.modeling_elq import ElqModel
from hf_blink.modeling.processing_elq import ElqProcessor
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.dev_recall import measures
from hf_blink.training.document_arguments import DocumentArguments, DocumentData, as_mentions
from hf_blink.training.document_evaluation import evaluate_documents
from hf_blink.training.elq_trainer import ElqTrainer
from hf_blink.training.joint_threshold import fit_joint_threshold
from hf_blink.training.process_shares import failing_together
from hf_blink.training.recipe_arguments import (
    given_settings,
    parse_recipe,
    refuse_other_settings,
    run_script,
)
from hf_blink.training.run_folder import (
    FINISHED,
    keep_data,
    open_run,
    train_recorded,
    write_metrics,
)
from hf_blink.training.shared_linker import shared_linker
from hf_blink.training.span_collator import ElqCollator
from hf_blink.training.whole_files import written_whole

logger = logging.getLogger(__name__)

_OF_THE_MODEL = (
    *("share_towers", "mention_pooling", "entity_pooling", "similarity", "temperature"),
    *("span_head", "max_mention_tokens"),
)
_OF_THE_PROCESSOR = ("mention_length", "entity_length")
_OF_THE_THRESHOLD = ("dev", "dev_split", "match", "evaluation_split")  # these leave the weights as they are


@dataclass
class ElqArguments:
    """The model and its stages.

    Args:
        base_model: encoder to start from, or a saved bi-encoder, whose towers it takes, or a saved ELQ model to train on.
        share_towers: one tower for texts and entities, or two. This and the next eight: None means the saved model's own,
            or for a new one false, all_avg, mean, cosine, 0.05, linear, 11, 128 and 128.
        mention_pooling: all_avg or first_last.
        entity_pooling: cls or mean.
        similarity: cosine or dot.
        temperature: scores are similarities divided by it.
        span_head: linear or mlp.
        max_mention_tokens: tokens of the longest mention.
        mention_length: tokens of a text window.
        entity_length: tokens of an entity text.
        hard_negative_share: length of the stage with hard negatives as a share of the first one's steps; 0 leaves it out.
        match: weak or strong, whose F1 the threshold is fitted for.
        resume: go on with an interrupted run in the same output folder.

    Raises:
        ValueError: a length of the second stage that makes no sense, or shared towers with it.
    """

    base_model: str = field(metadata={"help": "Encoder to start from, a saved bi-encoder or ELQ model."})
    share_towers: bool | None = field(
        default=None, metadata={"help": "One tower or two; of a new model (false)."}
    )
    mention_pooling: str | None = field(
        default=None, metadata={"help": "all_avg or first_last; of a new model (all_avg)."}
    )
    entity_pooling: str | None = field(default=None, metadata={"help": "cls or mean; of a new model (mean)."})
    similarity: str | None = field(default=None, metadata={"help": "cosine or dot; of a new model (cosine)."})
    temperature: float | None = field(
        default=None, metadata={"help": "Scores are similarities divided by it; of a new model (0.05)."}
    )
    span_head: str | None = field(default=None, metadata={"help": "linear or mlp; of a new model (linear)."})
    max_mention_tokens: int | None = field(
        default=None, metadata={"help": "Tokens of the longest mention; of a new model (11)."}
    )
    mention_length: int | None = field(
        default=None, metadata={"help": "Tokens of a text window; of a new model (128)."}
    )
    entity_length: int | None = field(
        default=None, metadata={"help": "Tokens of an entity text; of a new model (128)."}
    )
    hard_negative_share: float = field(
        default=0.5,
        metadata={"help": "Length of the stage with hard negatives, of the first one's; 0 for none."},
    )
    match: str = field(
        default="weak", metadata={"help": "Whose F1 the threshold is for.", "choices": ["weak", "strong"]}
    )
    resume: bool = field(
        default=False, metadata={"help": "Go on with an interrupted run in the output folder."}
    )

    def __post_init__(self) -> None:
        if self.hard_negative_share < 0:
            raise ValueError(f"expected hard_negative_share of at least 0, got {self.hard_negative_share}")
        if self.share_towers and self.hard_negative_share:
            raise ValueError(
                "expected share_towers: false where the entity tower is frozen for hard negatives, got true; set "
                "hard_negative_share: 0 to train in-batch alone"
            )

    def load(self) -> tuple[ElqModel, ElqProcessor]:
        """The model and processor to start from.

        Raises:
            ValueError: a setting of new models differs from the saved one's.
        """
        settings, lengths = given_settings(self, _OF_THE_MODEL), given_settings(self, _OF_THE_PROCESSOR)
        kind = saved_model_type(self.base_model)
        if kind == "elq":
            model = ElqModel.from_pretrained(self.base_model)
            saved: ElqProcessor = ElqProcessor.from_pretrained(self.base_model)
            refuse_other_settings(settings, model.config, self.base_model)
            refuse_other_settings(lengths, saved, self.base_model)
            if model.config.share_towers and self.hard_negative_share:
                raise ValueError(
                    f"expected two towers where the entities' is frozen for hard negatives, got one in {self.base_model}; set "
                    "hard_negative_share: 0 to train in-batch alone"
                )
            return model, saved
        if kind == "blink-biencoder":
            return self._from_bi_encoder(settings, lengths)
        processor = ElqProcessor.from_base(self.base_model, **lengths)
        vocab_size = len(processor.tokenizer)
        return ElqModel.from_encoder(self.base_model, vocab_size=vocab_size, **settings), processor

    def _from_bi_encoder(
        self, settings: dict[str, Any], lengths: dict[str, Any]
    ) -> tuple[ElqModel, ElqProcessor]:
        bi_encoder = BlinkBiEncoder.from_pretrained(self.base_model)
        model = ElqModel.from_bi_encoder(bi_encoder, **settings)
        processor = ElqProcessor.from_pretrained(self.base_model)
        for name, value in lengths.items():
            setattr(processor, name, value)
        return model, processor


def train_stage(
    number: int,
    model: ElqModel,
    collator: ElqCollator,
    dataset: Dataset,
    arguments: BlinkTrainingArguments,
    settings: ElqArguments,
) -> tuple[ElqModel, EntityIndex | None]:
    """One stage: encodes the entities (in the second), trains and saves; a finished stage is loaded instead. Collective.

    Returns:
        The trained model, on the device of the arguments, and the index of its entity vectors where the stage made one.
    """
    folder = Path(str(arguments.output_dir)) / f"round_{number}"
    if settings.resume and (folder / FINISHED).is_file():
        logger.info("stage %d is finished, loading it", number)
        return ElqModel.from_pretrained(folder).to(arguments.device), None
    index = None
    if number:
        model.to(arguments.device)  # type: ignore[arg-type]
        index = shared_linker(collator.knowledge_base, model, collator.processor).index
    stage_arguments = _stage_arguments(folder, arguments, settings.hard_negative_share if number else 1.0)
    trainer = ElqTrainer(model, stage_arguments, collator, dataset, index=index)
    num_mentions = sum(len(mentions) for mentions in dataset["mentions"])
    return train_recorded(trainer, resume=settings.resume, num_mentions=num_mentions), index


def _stage_arguments(folder: Path, arguments: BlinkTrainingArguments, share: float) -> BlinkTrainingArguments:
    """The arguments of a stage that is a share of the whole training long."""
    steps = max(1, round(arguments.max_steps * share)) if arguments.max_steps > 0 else arguments.max_steps
    epochs = arguments.num_train_epochs * share
    return replace_fields(arguments, output_dir=str(folder), num_train_epochs=epochs, max_steps=steps)


def _refuse_what_is_of_mentions(training: BlinkTrainingArguments) -> None:
    """Refuses settings that need labelled mentions to measure or try with, which this script does not have."""
    given = [
        name for name in ("dry_run", "early_stopping_patience", "mine_every_steps") if getattr(training, name)
    ]
    if measures(training) and not training.early_stopping_patience:
        given.append("eval_strategy")
    if given:
        raise ValueError(
            f"expected a recipe of train_elq, got {', '.join(given)}, which it does not have; leave it out"
        )


def _measured(linker: EntityLinker, data: DocumentData, match: str, folder: Path) -> dict[str, Any]:
    """Fits the threshold on `dev` and saves it, and measures on `evaluation`; either may be missing."""
    metrics: dict[str, Any] = {}
    if data.dev is not None:
        fitted = fit_joint_threshold(linker, data.dev, match=match)
        with written_whole(folder / "config.json") as stream:
            stream.write(linker.bi_encoder.config.to_json_string().encode())
        metrics |= {"joint_threshold": fitted.joint_threshold, f"dev_{match}_f1": fitted.f1}
        logger.info("fitted the joint threshold %.3f: %s F1 %.4f", fitted.joint_threshold, match, fitted.f1)
    return metrics | ({} if data.evaluation is None else evaluate_documents(linker, data.evaluation))


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs a recipe; see the module's text.

    Returns:
        The fitted threshold and the metrics on the recipe's `evaluation` files; empty without `dev` and `evaluation`.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    documents, settings, training = parse_recipe(
        (DocumentArguments, ElqArguments, BlinkTrainingArguments), arguments
    )
    _refuse_what_is_of_mentions(training)
    open_run(training, (documents, settings), resume=settings.resume, free=_OF_THE_THRESHOLD)
    set_seed(training.seed)
    with failing_together("loading the model"):
        model, processor = settings.load()
        check_fits(processor, model)
    data = documents.load(processor, training.seed)
    keep_data(training, data.knowledge_base, as_mentions(data.train))
    collator, index = ElqCollator(processor, data.knowledge_base), None
    for number in range(2 if settings.hard_negative_share else 1):
        model, index = train_stage(number, model, collator, data.train, training, settings)
    if training.process_index == 0:
        model.save_pretrained(training.output_dir)
        processor.save_pretrained(training.output_dir)
        logger.info("saved the ELQ model in %s", training.output_dir)
        logger.info("next: hf-blink build ENTITIES --encoder %s --out my-linker", training.output_dir)
    if data.dev is None and data.evaluation is None:
        return {}
    if index is None:
        linker = shared_linker(data.knowledge_base, model, processor)
    else:  # the second stage leaves the entities' vectors as they were
        linker = EntityLinker(model, processor, index, data.knowledge_base)
    if training.process_index != 0:
        return {}
    metrics = _measured(linker, data, settings.match, Path(str(training.output_dir)))
    write_metrics(metrics, training.output_dir)
    return metrics


if __name__ == "__main__":
    run_script(main)
