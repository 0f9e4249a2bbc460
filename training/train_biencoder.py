"""Trains a bi-encoder: in-batch first, then rounds of mined hard negatives (Wu et al. 2020, section 4.1).

In the first round entities whose names are like the gold entity's join the batch (`name_negatives`; see name_neighbours):
hard negatives that cost no encoding of the knowledge base.

    accelerate launch -m hf_blink.training.train_biencoder recipe.yaml [--key value ...]

Each round is a folder of the output folder (`round_0` in-batch, `round_1`, ...), written whole; a run that is started
again with `--resume true` and the same settings skips finished rounds and goes on from the last checkpoint of the
unfinished one. Without `resume` a folder with rounds in it is refused. The last round's model is saved in the output
folder itself, where `from_pretrained` loads it.

In a round of hard negatives the current model mines at each epoch (`mine_again`, `mine_every_steps`). Processes share the
mining: each encodes its part of the knowledge base and mines its part of the mentions, and all get the whole result.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import set_seed

from hf_blink.modeling.configuration_blink import saved_model_type
from hf_blink.modeling.encoder_limits import check_fits
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.batch_sampling import check_batch_fits, plan_of
from hf_blink.training.collators import BiEncoderCollator
from hf_blink.training.data_arguments import DataArguments, RecipeData
from hf_blink.training.dev_recall import check_dev, dev_mentions, warn_of_idle_dev
from hf_blink.training.dry_run import Plan, Stage, dry_run, with_random_negatives
from hf_blink.training.evaluation import evaluate_linker
from hf_blink.training.matryoshka import check_dims
from hf_blink.training.mining_arguments import MiningArguments
from hf_blink.training.name_neighbours import add_name_neighbours
from hf_blink.training.recipe_arguments import (
    given_settings,
    parse_recipe,
    refuse_other_settings,
    run_script,
)
from hf_blink.training.remining import MinedMentions, mined_file, mined_rows
from hf_blink.training.run_folder import (
    FINISHED,
    keep_run,
    open_run,
    train_recorded,
    write_metrics,
)
from hf_blink.training.script_settings import refuse_unused
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
        name_negatives: entities with names like the gold entity's that join the batch for each mention in the in-batch
            round; 0 is BLINK's.
        hard_negative_rounds: rounds of mining and training after the in-batch round.
        hard_negative_share: length of each such round as a share of the in-batch round's steps.
        resume: go on with an interrupted run in the same output folder.

    Raises:
        ValueError: a number of rounds or a length that makes no sense.
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
    name_negatives: int = field(
        default=2, metadata={"help": "Entities of similar names a mention in the in-batch round."}
    )
    hard_negative_rounds: int = field(default=1, metadata={"help": "Rounds of mining and training."})
    hard_negative_share: float = field(
        default=0.5, metadata={"help": "Length of such a round, of the first one's."}
    )
    resume: bool = field(
        default=False, metadata={"help": "Go on with an interrupted run in the output folder."}
    )

    def __post_init__(self) -> None:
        if self.name_negatives < 0:
            raise ValueError(f"expected name_negatives of at least 0, got {self.name_negatives}")
        if self.hard_negative_rounds < 0 or self.hard_negative_share <= 0:
            raise ValueError(
                "expected hard_negative_rounds >= 0 and hard_negative_share > 0, got "
                f"{self.hard_negative_rounds} and {self.hard_negative_share}"
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


@dataclass(frozen=True)
class RoundParts:
    """What all rounds have in common.

    Args:
        processor: of the model.
        knowledge_base: the entities.
        dataset: labelled mentions.
        training: arguments of the whole training.
        settings: of the rounds.
        mining: of the hard negatives.
        dev: labelled mentions to measure on during training; None measures nothing.
    """

    processor: BlinkProcessor
    knowledge_base: KnowledgeBase
    dataset: Dataset
    training: BlinkTrainingArguments
    settings: BiEncoderArguments
    mining: MiningArguments
    dev: Dataset | None = None

    def arguments(self, number: int) -> BlinkTrainingArguments:
        """Those of a round: a share of the whole training long, in a folder of its own."""
        share = self.settings.hard_negative_share if number else 1.0
        steps, epochs = self.training.max_steps, self.training.num_train_epochs * share
        return replace_fields(
            self.training,
            output_dir=str(Path(str(self.training.output_dir)) / f"round_{number}"),
            num_train_epochs=epochs,
            max_steps=max(1, round(steps * share)) if steps > 0 else steps,
        )

    def trainer(self, number: int, model: BlinkBiEncoder) -> InBatchTrainer:
        """The trainer of a round; it mines once, now, or again and again as it trains."""
        arguments = self.arguments(number)
        collator = BiEncoderCollator(self.processor, self.knowledge_base)
        if not number:
            return self._first_trainer(model, arguments, collator)
        seed, device = arguments.seed + number, arguments.device
        miner = self.mining.miner(self.processor, self.knowledge_base, device, seed)
        if self.mining.mine_again:
            return HardNegativeTrainer(
                model, arguments, collator, self.dataset, miner=miner, eval_dataset=self.dev
            )
        mined = MinedMentions(self.dataset, self.knowledge_base)
        model.to(device)  # type: ignore[arg-type]
        mined.use(mined_rows(miner, model, self.dataset, 0, mined_file(arguments.output_dir, 0)))
        return HardNegativeTrainer(model, arguments, collator, mined, eval_dataset=self.dev)

    def _first_trainer(
        self, model: BlinkBiEncoder, arguments: BlinkTrainingArguments, collator: BiEncoderCollator
    ) -> InBatchTrainer:
        """That of the in-batch round."""
        count = self.settings.name_negatives
        if not count:
            return InBatchTrainer(model, arguments, collator, self.dataset, eval_dataset=self.dev)
        shown = arguments.process_index == 0 and not arguments.disable_tqdm
        named = add_name_neighbours(self.dataset, self.knowledge_base, seed=arguments.seed, progress=shown)
        arguments = replace_fields(arguments, num_hard_negatives=count)
        return HardNegativeTrainer(model, arguments, collator, named, eval_dataset=self.dev)

    def stages(self, model: BlinkBiEncoder) -> list[Stage]:
        """What a dry run tries: the rounds, with random entities in the place of mined ones and of those with similar names."""
        collator = BiEncoderCollator(self.processor, self.knowledge_base)
        count, rounds = self.training.num_hard_negatives, self.settings.hard_negative_rounds
        named = self.settings.name_negatives

        def first(args: BlinkTrainingArguments, mentions: Dataset) -> InBatchTrainer:
            if not named:
                return InBatchTrainer(model, args, collator, mentions)
            mentions = with_random_negatives(mentions, self.knowledge_base, named, args.seed)
            args = replace_fields(args, num_hard_negatives=named)
            return HardNegativeTrainer(model, args, collator, mentions)

        def later(args: BlinkTrainingArguments, mentions: Dataset) -> HardNegativeTrainer:
            mined = with_random_negatives(
                mentions, self.knowledge_base, self.mining.mined_negatives, args.seed
            )
            return HardNegativeTrainer(model, args, collator, mined)

        entities = "gold entities of the global batch" if self.training.gather_negatives else "gold entities"
        compared = f"the {entities}" + (
            f", and {named} of similar names for each of its mentions" * bool(named)
        )
        stages = [Stage("in-batch negatives", self.arguments(0), first, compared=compared)]
        if rounds:
            compared = f"the {entities}, and {count} hard negatives of each of its mentions"
            stages.append(Stage("hard negatives", self.arguments(1), later, rounds, compared))
        return stages


def train_round(number: int, model: BlinkBiEncoder, parts: RoundParts) -> BlinkBiEncoder:
    """One round: trains and saves; a finished round is loaded instead.

    Returns:
        The trained model, on the device of the arguments.
    """
    folder = Path(str(parts.training.output_dir)) / f"round_{number}"
    if parts.settings.resume and (folder / FINISHED).is_file():
        logger.info("round %d is finished, loading it", number)
        return BlinkBiEncoder.from_pretrained(folder).to(parts.training.device)
    trainer = parts.trainer(number, model)
    return train_recorded(trainer, resume=parts.settings.resume, num_mentions=len(parts.dataset))


def _plan(
    settings: BiEncoderArguments, mining: MiningArguments, training: BlinkTrainingArguments, data: RecipeData
) -> Plan:
    """What a dry run tries."""
    check_batch_fits(plan_of(training), len(data.knowledge_base))
    model, processor = settings.load()
    check_fits(processor, model)
    parts = RoundParts(processor, data.knowledge_base, data.train, training, settings, mining)
    return Plan(processor, model, parts.stages(model))


def _measured(parts: RoundParts, model: BlinkBiEncoder, evaluation: Dataset) -> dict[str, Any]:
    """The metrics of the trained model, which process 0 has and writes; collective."""
    linker = shared_linker(parts.knowledge_base, model, parts.processor)
    if parts.training.process_index != 0:
        return {}
    metrics = evaluate_linker(linker, evaluation)
    write_metrics(metrics, parts.training.output_dir)
    return metrics


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs a recipe; see the module's text.

    Returns:
        The metrics on the recipe's `evaluation` files; empty without them.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    data, settings, mining, training = parse_recipe(
        (DataArguments, BiEncoderArguments, MiningArguments, BlinkTrainingArguments), arguments
    )
    refuse_unused("train_biencoder", training)
    if training.mine_every_steps and not mining.mine_again:
        raise ValueError(
            f"expected mine_again with mine_every_steps: {training.mine_every_steps}, got mine_again: false; leave one out"
        )
    check_dev(data.dev, training)
    warn_of_idle_dev(data.dev, training)
    kept = open_run(training, (data, settings, mining), resume=settings.resume)
    if training.dry_run:
        return dry_run(data, training, partial(_plan, settings, mining, training), print)
    set_seed(training.seed)
    knowledge_base, train, dev, evaluation = data.load(training.seed)
    check_batch_fits(plan_of(training), len(knowledge_base))
    model, processor = settings.load()
    check_fits(processor, model)
    check_dims(training.matryoshka_dims, model.config.embed_dim)
    keep_run(training, kept, knowledge_base, train, dev)
    dev = dev_mentions(dev, training)
    parts = RoundParts(processor, knowledge_base, train, training, settings, mining, dev)
    for number in range(settings.hard_negative_rounds + 1):
        model = train_round(number, model, parts)
    if training.process_index == 0:
        model.save_pretrained(training.output_dir)
        processor.save_pretrained(training.output_dir)
        logger.info("saved the bi-encoder in %s", training.output_dir)
    metrics = {} if evaluation is None else _measured(parts, model, evaluation)
    if training.process_index == 0:
        logger.info("next: hf-blink build ENTITIES --encoder %s --out my-linker", training.output_dir)
    return metrics


if __name__ == "__main__":
    run_script(main)
