"""Trains a bi-encoder: in-batch first, then rounds of mined hard negatives (Wu et al. 2020, section 4.1).

    accelerate launch -m hf_blink.training.train_biencoder recipe.yaml [--key value ...]

Each round is a folder of the output folder (`round_0` in-batch, `round_1`, ...), written whole; a run that is started
again with `--resume true` skips finished rounds and goes on from the last checkpoint of the unfinished one. The last
round's model is saved in the output folder itself, where `from_pretrained` loads it.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoConfig, set_seed
from transformers.trainer_utils import get_last_checkpoint

from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.collators import BiEncoderCollator
from hf_blink.training.evaluation import evaluate_linker
from hf_blink.training.hard_negatives import mine_hard_negatives
from hf_blink.training.recipe_arguments import DataArguments, parse_recipe
from hf_blink.training.trainers import HardNegativeTrainer, InBatchTrainer

logger = logging.getLogger(__name__)

FINISHED = "round.json"  # written last into a round's folder


@dataclass
class BiEncoderArguments:
    """The model and its rounds.

    Args:
        base_model: encoder to start from, or a saved bi-encoder to train on.
        share_towers: one tower for mentions and entities, or two.
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
    """

    base_model: str = field(metadata={"help": "Encoder to start from, or a saved bi-encoder."})
    share_towers: bool = field(default=True, metadata={"help": "One tower for mentions and entities."})
    mention_pooling: str = field(default="mention_span", metadata={"help": "cls, mean or mention_span."})
    entity_pooling: str = field(default="mean", metadata={"help": "cls or mean."})
    similarity: str = field(default="cosine", metadata={"help": "cosine or dot."})
    temperature: float = field(default=0.05, metadata={"help": "Scores are similarities divided by it."})
    mention_length: int = field(default=128, metadata={"help": "Tokens of a mention window."})
    entity_length: int = field(default=128, metadata={"help": "Tokens of an entity text."})
    hard_negative_rounds: int = field(default=1, metadata={"help": "Rounds of mining and training."})
    hard_negative_share: float = field(
        default=0.5, metadata={"help": "Length of such a round, of the first one's."}
    )
    mined_negatives: int = field(default=10, metadata={"help": "Hard negatives mined for each mention."})
    resume: bool = field(
        default=False, metadata={"help": "Go on with an interrupted run in the output folder."}
    )

    def load(self) -> tuple[BlinkBiEncoder, BlinkProcessor]:
        """The model and processor to start from."""
        if AutoConfig.from_pretrained(self.base_model).model_type == "blink-biencoder":
            return BlinkBiEncoder.from_pretrained(self.base_model), BlinkProcessor.from_pretrained(
                self.base_model
            )
        processor = BlinkProcessor.from_base(
            self.base_model, mention_length=self.mention_length, entity_length=self.entity_length
        )
        names = ("share_towers", "mention_pooling", "entity_pooling", "similarity", "temperature")
        settings = {name: getattr(self, name) for name in names}
        model = BlinkBiEncoder.from_encoder(self.base_model, vocab_size=len(processor.tokenizer), **settings)
        return model, processor


def train_round(
    number: int,
    model: BlinkBiEncoder,
    processor: BlinkProcessor,
    knowledge_base: KnowledgeBase,
    dataset: Dataset,
    arguments: BlinkTrainingArguments,
    settings: BiEncoderArguments,
) -> BlinkBiEncoder:
    """One round: mines (from round 1 on), trains and saves; a finished round is loaded instead.

    Returns:
        The trained model.
    """
    folder = Path(str(arguments.output_dir)) / f"round_{number}"
    if settings.resume and (folder / FINISHED).is_file():
        logger.info("round %d is finished, loading it", number)
        return BlinkBiEncoder.from_pretrained(folder)
    trainer_class = InBatchTrainer
    if number:
        trainer_class = HardNegativeTrainer
        linker = EntityLinker.from_knowledge_base(
            knowledge_base, model, processor=processor, index_kind="flat"
        )
        dataset = mine_hard_negatives(linker, dataset, num_negatives=settings.mined_negatives)
    share = settings.hard_negative_share if number else 1.0
    steps = max(1, round(arguments.max_steps * share)) if arguments.max_steps > 0 else arguments.max_steps
    round_arguments = replace_fields(
        arguments,
        output_dir=str(folder),
        num_train_epochs=arguments.num_train_epochs * share,
        max_steps=steps,
    )
    trainer = trainer_class(model, round_arguments, BiEncoderCollator(processor, knowledge_base), dataset)
    checkpoint = get_last_checkpoint(str(folder)) if settings.resume and folder.is_dir() else None
    result = trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model()
    if trainer.is_world_process_zero():
        record = {**result.metrics, "num_processes": trainer.args.world_size, "num_mentions": len(dataset)}
        (folder / FINISHED).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    trainer.accelerator.wait_for_everyone()
    return trainer.accelerator.unwrap_model(trainer.model)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs a recipe; see the module's text.

    Returns:
        The metrics on the recipe's `evaluation` files; empty without them.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    data, settings, training = parse_recipe(
        (DataArguments, BiEncoderArguments, BlinkTrainingArguments), arguments
    )
    set_seed(training.seed)
    knowledge_base = data.knowledge_base()
    dataset = data.mentions(data.train, training.seed)
    model, processor = settings.load()
    for number in range(settings.hard_negative_rounds + 1):
        model = train_round(number, model, processor, knowledge_base, dataset, training, settings)
    if training.process_index != 0:
        return {}
    model.save_pretrained(training.output_dir)
    processor.save_pretrained(training.output_dir)
    logger.info("saved the bi-encoder in %s", training.output_dir)
    if not data.evaluation:
        return {}
    linker = EntityLinker.from_knowledge_base(knowledge_base, model, processor=processor, index_kind="flat")
    metrics = evaluate_linker(linker, data.mentions(data.evaluation))
    Path(str(training.output_dir), "metrics.json").write_text(
        json.dumps(metrics, indent=2) + "\n", encoding="utf-8"
    )
    logger.info(
        json.dumps(
            {name: value for name, value in metrics.items() if not name.startswith("world/")}, indent=2
        )
    )
    return metrics


if __name__ == "__main__":
    main()
