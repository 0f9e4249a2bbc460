"""Hard negatives without a model: the entities of the same world whose names share the rarest words with the right one.

What a bi-encoder confuses is mostly what is called alike. Finding it by words costs no encoding of the catalogue, which on
a CPU can take longer than a short training.
"""

from array import array
from collections.abc import Sequence
from math import log

import numpy as np
from datasets import Dataset
from tqdm.auto import tqdm

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.mention_detection import folded_words
from hf_blink.training.mention_references import gold_rows_of

_MOST_ENTITIES = 1000  # a word in the names of more entities of a world is passed over
_BLOCK = 10_000  # entities whose names are read at once


class NameNeighbours:
    """Finds entities with similar names; holds 4 bytes in memory for each word of each entity's names, and each word once.

    Args:
        knowledge_base: the entities.
        seed: of the order among entities whose names are equally similar.
    """

    def __init__(self, knowledge_base: KnowledgeBase, seed: int = 13):
        count = len(knowledge_base)
        self._knowledge_base = knowledge_base
        self._worlds = np.full(count, -1)
        for number, world in enumerate(knowledge_base.worlds):
            self._worlds[knowledge_base.world_rows(world)] = number
        self._rows: dict[tuple[int, str], array[int]] = {}
        for start in range(0, count, _BLOCK):
            for row, keys in enumerate(self._keys(start, min(start + _BLOCK, count)), start):
                for key in keys:
                    self._rows.setdefault(key, array("i")).append(row)
        self._tie = np.random.default_rng(seed).random(count) * 1e-6

    def _keys(self, start: int, stop: int) -> list[set[tuple[int, str]]]:
        """World and words of the names of each entity of some rows."""
        worlds = self._worlds[start:stop].tolist()
        return [
            {(world, word) for name in (title, *aliases) for word in folded_words(name) if word[0].isalnum()}
            for world, (title, aliases) in zip(worlds, self._knowledge_base.names(start, stop), strict=True)
        ]

    def nearest(self, row: int, k: int, without: Sequence[int] = ()) -> list[int]:
        """Rows of at most k entities that share a word of a name with an entity, the most similar first.

        Args:
            row: of the entity.
            k: how many.
            without: rows to leave out besides the entity itself.
        """
        scores: dict[int, float] = {}
        for key in sorted(self._keys(row, row + 1)[0]):
            rows = self._rows[key]
            if len(rows) <= _MOST_ENTITIES:
                weight = log(1 + len(self._tie) / len(rows))
                for other in rows:
                    scores[other] = scores.get(other, 0.0) + weight
        left_out = {row, *without}
        ranked = sorted(scores, key=lambda other: -(scores[other] + self._tie[other]))
        return [other for other in ranked if other not in left_out][:k]


def add_name_neighbours(
    dataset: Dataset,
    knowledge_base: KnowledgeBase,
    *,
    num_negatives: int = 10,
    seed: int = 13,
    progress: bool = False,
) -> Dataset:
    """Adds the column `hard_negative_ids`: entities with similar names, the most similar first; none where there are none.

    Args:
        dataset: labelled mentions.
        knowledge_base: the entities.
        num_negatives: entities a mention at most.
        seed: of the order among equally similar ones.
        progress: show a progress bar.

    Raises:
        ValueError: `num_negatives` below 1, or a label that is not in the knowledge base.
    """
    if num_negatives < 1:
        raise ValueError(f"expected num_negatives of at least 1, got {num_negatives}")
    gold = [tuple(rows) for rows in gold_rows_of(dataset, knowledge_base)]
    neighbours = NameNeighbours(knowledge_base, seed)
    found: dict[tuple[int, ...], list[str]] = {(): []}
    for rows in tqdm(
        dict.fromkeys(gold), desc="looking for similar names", unit=" entities", disable=not progress
    ):
        if rows:
            found[rows] = knowledge_base.entity_ids(neighbours.nearest(rows[0], num_negatives, rows))
    if "hard_negative_ids" in dataset.column_names:
        dataset = dataset.remove_columns("hard_negative_ids")
    return dataset.add_column("hard_negative_ids", [found[rows] for rows in gold])
