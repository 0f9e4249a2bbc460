"""How many predicted links of a text are right: strong matching wants the same span, weak matching one that overlaps.

Either way the entity must be the gold one. Links are matched one to one: gold and predicted links are put in order of
their ends, and the longest common sequence of matching pairs counts, as in ELQ (elq/vcg_utils/measures.py), so that two
predictions in one gold span are one right answer and one wrong one.

Where nothing is right, precision and recall follow GERBIL (FMeasureCalculator.java, calculateMeasures): all three figures
are 1 if there was nothing to find and nothing was found, and 0 otherwise, also recall where there was nothing to find and
precision where nothing was found.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple


class SpanLink(NamedTuple):
    """A link of a text.

    Attributes:
        start: first character (or token).
        end: the one after the last.
        entity_ids: the entity, or all gold entities, any of which is right; empty is NIL, no entity of the knowledge base.
    """

    start: int
    end: int
    entity_ids: Collection[str]


class Counts(NamedTuple):
    """What precision and recall are made of.

    Attributes:
        matched: predicted links that are right.
        predicted: predicted links.
        gold: gold links.
    """

    matched: int
    predicted: int
    gold: int

    @property
    def precision(self) -> float:
        """Share of the predicted links that are right; without any, 1 where there was nothing to find either and else 0."""
        return self.matched / self.predicted if self.predicted else float(not self.gold)

    @property
    def recall(self) -> float:
        """Share of the gold links that were found; without any, 1 where nothing was predicted either and else 0."""
        return self.matched / self.gold if self.gold else float(not self.predicted)

    @property
    def f1(self) -> float:
        """Harmonic mean of the two."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0

    def __add__(self, other: "Counts") -> "Counts":  # type: ignore[override]
        return Counts(self.matched + other.matched, self.predicted + other.predicted, self.gold + other.gold)


def overlaps(one: SpanLink, other: SpanLink) -> bool:
    """Whether two spans share a character."""
    return one.start < other.end and other.start < one.end


def count_matches(gold: Sequence[SpanLink], predicted: Sequence[SpanLink], *, strong: bool) -> int:
    """Predicted links that are right, matched one to one.

    Args:
        gold: of a text.
        predicted: of the same text.
        strong: whether spans must be the same, or only overlap.
    """
    golds = sorted(gold, key=lambda link: (link.end, link.start))
    links = sorted(predicted, key=lambda link: (link.end, link.start))
    best = [0] * (len(links) + 1)
    for wanted in golds:
        row = [0]
        for place, link in enumerate(links, 1):
            right = best[place - 1] + matches(wanted, link, strong=strong)
            row.append(max(right, best[place], row[-1]))
        best = row
    return best[-1]


def matches(gold: SpanLink, predicted: SpanLink, *, strong: bool) -> bool:
    """Whether a predicted link is right by a gold one; NIL matches NIL."""
    same = (gold.start, gold.end) == (predicted.start, predicted.end) if strong else overlaps(gold, predicted)
    if not same:
        return False
    if not gold.entity_ids or not predicted.entity_ids:
        return not gold.entity_ids and not predicted.entity_ids
    return not set(gold.entity_ids).isdisjoint(predicted.entity_ids)


def matched_counts(gold: Sequence[SpanLink], predicted: Sequence[SpanLink], *, strong: bool) -> Counts:
    """The counts of one text."""
    return Counts(count_matches(gold, predicted, strong=strong), len(predicted), len(gold))
