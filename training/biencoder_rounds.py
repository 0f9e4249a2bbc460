"""The rounds of the bi-encoder script: in-batch with negatives by name first, then with hard negatives that the model mines."""

import logging
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from pathlib import Path

from datasets import Dataset

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.biencoder_arguments import BiEncoderArguments
from hf_blink.training.collators import BiEncoderCollator
from hf_blink.training.dry_run import Stage, with_random_negatives
from hf_blink.training.encoded_blocks import VECTORS
from hf_blink.training.mining_arguments import MiningArguments
from hf_blink.training.name_neighbours import NEIGHBOURS, add_name_neighbours
from hf_blink.training.process_shares import failing_together
from hf_blink.training.remining import MinedMentions, mined_file, mined_rows
from hf_blink.training.run_folder import FINISHED, train_recorded
from hf_blink.training.trainers import HardNegativeTrainer, InBatchTrainer

logger = logging.getLogger(__name__)


class NameNegativeTrainer(HardNegativeTrainer):
    """`HardNegativeTrainer` whose negatives are the recipe's `name_negatives`, as advice on memory calls them."""

    def sizes(self) -> dict[str, int]:
        """Settings beside the batch size that need memory."""
        sizes = super().sizes()
        return {"name_negatives": sizes.pop("num_hard_negatives"), **sizes}


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
        folder = mined_file(arguments.output_dir, 0).parent / VECTORS
        with failing_together("loading the model"):
            miner = self.mining.miner(self.processor, self.knowledge_base, device, seed, folder)
        if self.mining.mine_again or self.training.mine_every_steps:
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
        found, seed = max(NEIGHBOURS, count), arguments.seed
        named = add_name_neighbours(
            self.dataset, self.knowledge_base, num_negatives=found, seed=seed, progress=shown
        )
        arguments = replace_fields(arguments, num_hard_negatives=count)
        return NameNegativeTrainer(model, arguments, collator, named, eval_dataset=self.dev)

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
            return NameNegativeTrainer(model, args, collator, mentions)

        def later(args: BlinkTrainingArguments, mentions: Dataset) -> HardNegativeTrainer:
            mined = with_random_negatives(
                mentions, self.knowledge_base, self.mining.mined_negatives, args.seed
            )
            return HardNegativeTrainer(model, args, collator, mined)

        entities = "gold entities of the global batch" if self.training.gather_negatives else "gold entities"
        alike = f", and {named} of similar names for each of its mentions" if named else ""
        compared = f"the {entities}{alike}"
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
        with failing_together("loading the model"):
            return BlinkBiEncoder.from_pretrained(folder).to(parts.training.device)
    trainer = parts.trainer(number, model)
    return train_recorded(trainer, resume=parts.settings.resume, num_mentions=len(parts.dataset))
