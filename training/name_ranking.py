"""Rankings by names alone, without a neural network, which `evaluate_linker` measures like a linker.

`ExactNameRanking` is the baseline that a linker must beat: entities whose title or one of whose aliases is the mention
(ignoring case and runs of spaces), in the knowledge base's order.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.linking_types import MentionContext

Found = tuple[NDArray[np.float32], NDArray[np.int64]]


class NameRanking(ABC):
    """Ranks by the mention's text alone; mentions of one text and world are looked up once.

    Args:
        knowledge_base: the entities.
    """

    def __init__(self, knowledge_base: KnowledgeBase):
        self.knowledge_base = knowledge_base
        self._rows_of_world: dict[str | None, NDArray[np.int64]] = {}

    def world_rows(self, world: str | None) -> NDArray[np.int64]:
        """Rows of a world's entities in ascending order; all rows for None."""
        if world not in self._rows_of_world:
            every = np.arange(len(self.knowledge_base))
            self._rows_of_world[world] = every if world is None else self.knowledge_base.world_rows(world)
        return self._rows_of_world[world]

    @abstractmethod
    def ranked(self, text: str, world: str | None, k: int) -> Found:
        """Scores and rows of at most k candidates, best first."""

    def retrieve(
        self, contexts: Sequence[MentionContext], k: int, worlds: Sequence[str | None] | None = None
    ) -> Found:
        """Scores and rows `[num_mentions, k]`, best first, as `EntityLinker.retrieve` gives them: row -1 is no candidate."""
        scores = np.full((len(contexts), k), -np.inf, dtype=np.float32)
        rows = np.full((len(contexts), k), -1, dtype=np.int64)
        known: dict[tuple[str, str | None], Found] = {}
        for i, (context, world) in enumerate(zip(contexts, worlds or [None] * len(contexts), strict=True)):
            key = context.mention, world
            if key not in known:
                known[key] = self.ranked(*key, k)
            found_scores, found_rows = known[key]
            scores[i, : len(found_rows)], rows[i, : len(found_rows)] = found_scores, found_rows
        return scores, rows

    def rerank(
        self, contexts: Sequence[MentionContext], rows: NDArray[np.int64], scores: NDArray[np.float32]
    ) -> None:
        """No second stage."""
        return None


class ExactNameRanking(NameRanking):
    """Entities whose title or alias is the mention.

    Args:
        knowledge_base: the entities.
    """

    def __init__(self, knowledge_base: KnowledgeBase):
        super().__init__(knowledge_base)
        self._rows_of_name: dict[str, list[int]] = {}
        for row, (title, aliases) in enumerate(knowledge_base.names(0, len(knowledge_base))):
            for name in dict.fromkeys(map(_folded, (title, *aliases))):
                self._rows_of_name.setdefault(name, []).append(row)

    def ranked(self, text: str, world: str | None, k: int) -> Found:
        rows = np.array(self._rows_of_name.get(_folded(text), []), dtype=np.int64)
        rows = rows[np.isin(rows, self.world_rows(world))][:k]
        return np.ones(len(rows), dtype=np.float32), rows


def _folded(name: str) -> str:
    return " ".join(name.casefold().split())
