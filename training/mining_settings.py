"""What counts as a hard negative: how many, from which ranks, how far below the gold entity, how many at random."""

import math
from dataclasses import dataclass

_FILTERED_RANGE = 3  # with a filter, so many times as many entities are looked at as are wanted


@dataclass(frozen=True)
class MiningSettings:
    """Settings of `HardNegativeMiner` and `mine_hard_negatives`.

    Scores are inner products of the vectors (cosines, for a cosine model), not divided by the temperature. The gold score
    is that of the mention's best-placed gold entity.

    Args:
        num_negatives: entities a mention at most (Wu et al. 2020: 10).
        range_min: skips so many of the nearest non-gold entities, which may be unlabelled gold.
        range_max: looks at the nearest non-gold entities before this rank; None means `range_min` + the wanted number,
            or + 3 times the wanted number where a margin or the cross-encoder may refuse some.
        absolute_margin: a negative's score must be at most the gold score - this; None does not ask.
        relative_margin: a negative's score must be at most the gold score - this share of its size; None does not ask.
        random_share: this share of the negatives is drawn at random from the mention's world (the whole knowledge base
            where it has none); they pass no filter. Zhang and Stratos 2021 mix both kinds half and half.
        cross_encoder_margin: an entity that the cross-encoder scores above its gold score - this, in logits, is taken for
            unlabelled gold and dropped; None does not ask, and no cross-encoder is needed.
        seed: of the random ones, together with the mention's id and the number of the mining.

    Raises:
        ValueError: a setting that makes no sense; names it.
    """

    num_negatives: int = 10
    range_min: int = 0
    range_max: int | None = None
    absolute_margin: float | None = None
    relative_margin: float | None = None
    random_share: float = 0.0
    cross_encoder_margin: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_negatives < 1 or self.range_min < 0:
            raise ValueError(
                f"expected num_negatives >= 1 and range_min >= 0, got {self.num_negatives} and {self.range_min}"
            )
        if not 0 <= self.random_share <= 1:
            raise ValueError(f"expected random_share from 0 to 1, got {self.random_share}")
        if self.range_max is not None and self.range_max < self.range_min + max(1, self.num_hard):
            raise ValueError(
                f"expected range_max of at least range_min + the {self.num_hard} hard negatives = "
                f"{self.range_min + max(1, self.num_hard)}, got {self.range_max}; raise it, or leave it out"
            )
        for name in ("absolute_margin", "relative_margin", "cross_encoder_margin"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"expected {name} of at least 0 or None, got {value}")
        if self.relative_margin is not None and self.relative_margin > 1:
            raise ValueError(
                f"expected relative_margin as a share of the gold score, from 0 to 1, got {self.relative_margin}"
            )
        if self.seed < 0:
            raise ValueError(f"expected seed of at least 0, got {self.seed}")

    @property
    def num_random(self) -> int:
        """Negatives drawn at random for each mention."""
        return round(self.random_share * self.num_negatives)

    @property
    def num_hard(self) -> int:
        """Negatives that the model ranks high, for each mention at most."""
        return self.num_negatives - self.num_random

    @property
    def rank_end(self) -> int:
        """Non-gold entities are looked at before this rank."""
        if self.range_max is not None:
            return self.range_max
        margins = (self.absolute_margin, self.relative_margin, self.cross_encoder_margin)
        filtered = any(margin is not None for margin in margins)
        return self.range_min + max(1, self.num_hard) * (_FILTERED_RANGE if filtered else 1)
