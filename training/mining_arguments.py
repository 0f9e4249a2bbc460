"""The recipe's keys about mining: `MiningSettings` in flat form, and the cross-encoder of its filter."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_blink.modeling.configuration_blink import saved_model_type
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.modeling_blink_crossencoder import BlinkCrossEncoder
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.training.hard_negatives import HardNegativeMiner
from hf_blink.training.mining_settings import MiningSettings


@dataclass
class MiningArguments:
    """Which entities are hard negatives; see [`MiningSettings`] for what each key means.

    Args:
        mined_negatives: hard negatives that are mined for each mention.
        mine_again: mine with the current model at each epoch of a round; False mines once, before the round, if
            `mine_every_steps` does not say otherwise.
        mine_range_min, mine_range_max, mine_absolute_margin, mine_relative_margin, mine_random_share,
            mine_cross_encoder_margin: the fields of [`MiningSettings`] without `mine_`.
        mine_cross_encoder: folder or Hub name of the cross-encoder for `mine_cross_encoder_margin`.

    Raises:
        ValueError: settings that make no sense, or only one of the cross-encoder and its margin.
    """

    mined_negatives: int = field(default=10, metadata={"help": "Hard negatives mined for each mention."})
    mine_again: bool = field(
        default=False, metadata={"help": "Mine at each epoch; false mines once, before the round."}
    )
    mine_range_min: int = field(default=0, metadata={"help": "Nearest non-gold entities that are skipped."})
    mine_range_max: int | None = field(
        default=None, metadata={"help": "Rank before which hard negatives are taken."}
    )
    mine_absolute_margin: float | None = field(
        default=None, metadata={"help": "A negative scores at most the gold score - this."}
    )
    mine_relative_margin: float | None = field(
        default=None, metadata={"help": "The same, as a share of the gold score."}
    )
    mine_random_share: float = field(
        default=0.0, metadata={"help": "Share of the negatives drawn at random from the world."}
    )
    mine_cross_encoder: str | None = field(
        default=None, metadata={"help": "Cross-encoder that looks for unlabelled gold entities."}
    )
    mine_cross_encoder_margin: float | None = field(
        default=None, metadata={"help": "Drops what it scores above its gold score - this."}
    )

    def __post_init__(self) -> None:
        self.mining_settings()
        if (self.mine_cross_encoder is None) != (self.mine_cross_encoder_margin is None):
            raise ValueError(
                "expected mine_cross_encoder together with mine_cross_encoder_margin, got "
                f"{self.mine_cross_encoder} and {self.mine_cross_encoder_margin}; give both or neither"
            )

    def mining_settings(self, seed: int = 0) -> MiningSettings:
        """The settings of the miner."""
        return MiningSettings(
            num_negatives=self.mined_negatives,
            range_min=self.mine_range_min,
            range_max=self.mine_range_max,
            absolute_margin=self.mine_absolute_margin,
            relative_margin=self.mine_relative_margin,
            random_share=self.mine_random_share,
            cross_encoder_margin=self.mine_cross_encoder_margin,
            seed=seed,
        )

    def miner(
        self,
        processor: BlinkProcessor,
        knowledge_base: KnowledgeBase,
        device: Any,
        seed: int,
        folder: Path | None = None,
    ) -> HardNegativeMiner:
        """The miner.

        Args:
            processor: of the model in training.
            knowledge_base: the entities.
            device: of the cross-encoder.
            seed: of random negatives.
            folder: of encoded entities, until a mining is kept.

        Raises:
            ValueError: `mine_cross_encoder` is another kind of model.
        """
        cross_encoder = None
        if self.mine_cross_encoder is not None:
            if (found := saved_model_type(self.mine_cross_encoder)) != "blink-crossencoder":
                raise ValueError(
                    f"expected a trained blink-crossencoder at mine_cross_encoder: {self.mine_cross_encoder}, got {found}"
                )
            cross_encoder = BlinkCrossEncoder.from_pretrained(self.mine_cross_encoder).to(device)
        settings = self.mining_settings(seed)
        return HardNegativeMiner(
            processor, knowledge_base, settings, cross_encoder=cross_encoder, folder=folder
        )
