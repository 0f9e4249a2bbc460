"""Trains a bi-encoder: in-batch first, then rounds of mined hard negatives (Wu et al. 2020, section 4.1).

    accelerate launch -m hf_blink.training.train_biencoder recipe.yaml [--key value ...]

Each round is a folder of the output folder (`round_0` in-batch, `round_1`, ...), written whole; a run that is started
again with `--resume true` and the same settings skips finished rounds and goes on from the last checkpoint of the
unfinished one. Without `resume` a folder with rounds in it is refused. The last round's model is saved in the output
folder itself, where `from_pretrained` loads it.

Processes share the mining: each encodes its part of the knowledge base and mines its part of the mentions, and all get
the whole result.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import set_seed
from transformers.trainer_utils import get_last_checkpoint

from hf_blink.modeling.configuration_blink import saved_model_type
from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.collators import BiEncoderCollator
from hf_blink.training.data_arguments import DataArguments
from hf_blink.training.dev_recall import dev_mentions
from hf_blink.training.evaluation import evaluate_linker
from hf_blink.training.hard_negatives import mine_hard_negatives
from hf_blink.training.recipe_arguments import (
    given_settings,
    parse_recipe,
    refuse_other_settings,
    run_script,
)
from hf_blink.training.run_folder import FINISHED, open_run, write_finished, write_metrics
from hf_blink.training.shared_linker import shared_linker
from hf_blink.training.trainers import HardNegativeTrainer, InBatchTrainer

logger = logging.getLogger(__name__)

_OF_THE_MODEL = ("share_towers", "mention_pooling", "entity_pooling", "similarity", "temperature")
_OF_THE_PROCESSOR = ("mention_length", "entity_length")


@dataclass
class BiEncoderArguments:
    """The model and its rounds.

    Args:
        base_model: encoder to start from, or a saved bi-encoder to train on.
        share_towers: one tower for mentions and entities, or two. This and the next six: None means the saved model's
            own, or for a new one true, mention_span, mean, cosine, 0.05, 128 and 128; a saved model has no other.
        mention_pooling: cls, mean or mention_span.
        entity_pooling: cls or mean.
        similarity: cosine or dot.
        temperature: scores are similarities divided by it.
        mention_length: tokens of a mention window.
        entity_length: tokens of an entity text.
        hard_negative_rounds: rounds of mining and training after the in-batch round.
        hard_negative_share: length of each such round as a share of the in-batch round's steps.
        mined_negatives: hard negatives that are mined for each mention.
        resume: go on with an interrupted run in the same output folder.

    Raises:
        ValueError: a number of rounds, their length or the number of mined negatives that makes no sense.
    """

    base_model: str = field(metadata={"help": "Encoder to start from, or a saved bi-encoder."})
    share_towers: bool | None = field(
        default=None, metadata={"help": "One tower for mentions and entities; of a new model (true)."}
    )
    mention_pooling: str | None = field(
        default=None, metadata={"help": "cls, mean or mention_span; of a new model (mention_span)."}
    )
    entity_pooling: str | None = field(default=None, metadata={"help": "cls or mean; of a new model (mean)."})
    similarity: str | None = field(default=None, metadata={"help": "cosine or dot; of a new model (cosine)."})
    temperature: float | None = field(
        default=None, metadata={"help": "Scores are similarities divided by it; of a new model (0.05)."}
    )
    mention_length: int | None = field(
        default=None, metadata={"help": "Tokens of a mention window; of a new model (128)."}
    )
    entity_length: int | None = field(
        default=None, metadata={"help": "Tokens of an entity text; of a new model (128)."}
    )
    hard_negative_rounds: int = field(default=1, metadata={"help": "Rounds of mining and training."})
    hard_negative_share: float = field(
        default=0.5, metadata={"help": "Length of such a round, of the first one's."}
    )
    mined_negatives: int = field(default=10, metadata={"help": "Hard negatives mined for each mention."})
    resume: bool = field(
        default=False, metadata={"help": "Go on with an interrupted run in the output folder."}
    )

    def __post_init__(self) -> None:
        if self.hard_negative_rounds < 0 or self.mined_negatives < 1 or self.hard_negative_share <= 0:
            raise ValueError(
                "expected hard_negative_rounds >= 0, mined_negatives >= 1 and hard_negative_share > 0, got "
                f"{self.hard_negative_rounds}, {self.mined_negatives} and {self.hard_negative_share}"
            )

    def load(self) -> tuple[BlinkBiEncoder, BlinkProcessor]:
        """The model and processor to start from.

        Raises:
            ValueError: a setting of new models differs from the saved one's.
        """
        settings, lengths = given_settings(self, _OF_THE_MODEL), given_settings(self, _OF_THE_PROCESSOR)
        if saved_model_type(self.base_model) == "blink-biencoder":
            model = BlinkBiEncoder.from_pretrained(self.base_model)
            processor = BlinkProcessor.from_pretrained(self.base_model)
            refuse_other_settings(settings, model.config, self.base_model)
            refuse_other_settings(lengths, processor, self.base_model)
            return model, processor
        processor = BlinkProcessor.from_base(self.base_model, **lengths)
        vocab_size = len(processor.tokenizer)
        return BlinkBiEncoder.from_encoder(self.base_model, vocab_size=vocab_size, **settings), processor


def train_round(
    number: int,
    model: BlinkBiEncoder,
    processor: BlinkProcessor,
    knowledge_base: KnowledgeBase,
    dataset: Dataset,
    arguments: BlinkTrainingArguments,
    settings: BiEncoderArguments,
    dev: Dataset | None = None,
) -> BlinkBiEncoder:
    """One round: mines (from round 1 on), trains and saves; a finished round is loaded instead.

    Returns:
        The trained model, on the device of the arguments.
    """
    folder = Path(str(arguments.output_dir)) / f"round_{number}"
    if settings.resume and (folder / FINISHED).is_file():
        logger.info("round %d is finished, loading it", number)
        return BlinkBiEncoder.from_pretrained(folder).to(arguments.device)
    if number:
        model.to(arguments.device)  # type: ignore[arg-type]
        linker = shared_linker(knowledge_base, model, processor)
        dataset = mine_hard_negatives(linker, dataset, num_negatives=settings.mined_negatives)
    trainer_class = HardNegativeTrainer if number else InBatchTrainer
    round_arguments = _round_arguments(folder, arguments, settings.hard_negative_share if number else 1.0)
    collator = BiEncoderCollator(processor, knowledge_base)
    trainer = trainer_class(model, round_arguments, collator, dataset, eval_dataset=dev)
    checkpoint = get_last_checkpoint(str(folder)) if settings.resume and folder.is_dir() else None
    result = trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model()
    if trainer.is_world_process_zero():
        write_finished(folder, trainer, result.metrics, len(dataset))
    trainer.accelerator.wait_for_everyone()
    return trainer.accelerator.unwrap_model(trainer.model)


def _round_arguments(folder: Path, arguments: BlinkTrainingArguments, share: float) -> BlinkTrainingArguments:
    """The arguments of a round that is a share of the whole training long."""
    steps = max(1, round(arguments.max_steps * share)) if arguments.max_steps > 0 else arguments.max_steps
    epochs = arguments.num_train_epochs * share
    return replace_fields(arguments, output_dir=str(folder), num_train_epochs=epochs, max_steps=steps)


def _flat_linker(
    knowledge_base: KnowledgeBase, model: BlinkBiEncoder, processor: BlinkProcessor
) -> EntityLinker:
    """A linker that searches exactly, the knowledge base encoded with the model where the model is."""
    return EntityLinker.from_knowledge_base(knowledge_base, model, processor=processor, index_kind="flat")


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs a recipe; see the module's text.

    Returns:
        The metrics on the recipe's `evaluation` files; empty without them.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    data, settings, training = parse_recipe(
        (DataArguments, BiEncoderArguments, BlinkTrainingArguments), arguments
    )
    open_run(training, (data, settings), resume=settings.resume)
    set_seed(training.seed)
    knowledge_base, train, evaluation = data.load(training.seed)
    dev = dev_mentions(evaluation, training)
    model, processor = settings.load()
    for number in range(settings.hard_negative_rounds + 1):
        model = train_round(number, model, processor, knowledge_base, train, training, settings, dev)
    if training.process_index != 0:
        return {}
    model.save_pretrained(training.output_dir)
    processor.save_pretrained(training.output_dir)
    logger.info("saved the bi-encoder in %s", training.output_dir)
    logger.info("next: hf-blink build ENTITIES --encoder %s --out my-linker", training.output_dir)
    if evaluation is None:
        return {}
    metrics = evaluate_linker(_flat_linker(knowledge_base, model, processor), evaluation)
    write_metrics(metrics, training.output_dir)
    return metrics


if __name__ == "__main__":
    run_script(main)
