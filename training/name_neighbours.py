"""Hard negatives without a model: the entities of the same world whose names share the rarest words with the right one.

What a bi-encoder confuses is mostly what is called alike. Finding it by words costs no encoding of the catalogue, which on
a CPU can take longer than a short training.
"""

import logging
from array import array
from collections.abc import Iterable, Sequence
from math import log

import numpy as np
from datasets import Dataset
from tqdm.auto import tqdm

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.mention_detection import folded_words
from hf_blink.training.mention_references import gold_rows_of

logger = logging.getLogger(__name__)

_MOST_ENTITIES = (
    1000  # a word in the names of more entities of a world is passed over, and a whole name cut to so many
)
_BLOCK = 10_000  # entities whose names are read at once
NEIGHBOURS = 10  # entities that are found for a mention; a batch has some of them, drawn anew each time

Key = tuple[int, str]


class NameNeighbours:
    """Finds entities with similar names: a shared whole name or word counts by how rare it is in the world.

    Reads the names of all entities, and keeps those that share something with the entities whose neighbours are wanted, so
    memory grows with what these share, not with the catalogue. A word is a run of letters, digits and underscores: names in a
    script without spaces are alike where they are the same.

    Args:
        knowledge_base: the entities.
        wanted: rows of the entities whose neighbours will be looked for; None for all.
        seed: of the order among entities whose names are equally similar.
        progress: show a progress bar.
    """

    def __init__(
        self,
        knowledge_base: KnowledgeBase,
        wanted: Iterable[int] | None = None,
        seed: int = 13,
        *,
        progress: bool = False,
    ):
        count = len(knowledge_base)
        self._knowledge_base = knowledge_base
        self._worlds = np.full(count, -1)
        for number, world in enumerate(knowledge_base.worlds):
            self._worlds[knowledge_base.world_rows(world)] = number
        numbers, sizes = np.unique(self._worlds, return_counts=True)
        self._sizes = dict(zip(numbers.tolist(), sizes.tolist(), strict=True))
        self._rows: dict[Key, array[int]] = {}
        if wanted is not None:
            self._rows = {key: array("i") for row in wanted for key in self._keys(row, row + 1)[0]}
        with tqdm(total=count, desc="reading names", unit=" entities", disable=not progress) as bar:
            for start in range(0, count, _BLOCK):
                self._read(start, min(start + _BLOCK, count), everything=wanted is None)
                bar.update(min(_BLOCK, count - start))
        self._tie = np.random.default_rng(seed).random(count) * 1e-6

    def _read(self, start: int, stop: int, *, everything: bool) -> None:
        for row, keys in enumerate(self._keys(start, stop), start):
            for key in keys:
                if everything:
                    self._rows.setdefault(key, array("i")).append(row)
                elif key in self._rows:
                    self._rows[key].append(row)

    def _keys(self, start: int, stop: int) -> list[set[Key]]:
        """World and words of the names of each entity of some rows, and world and whole names, which have spaces."""
        worlds = self._worlds[start:stop].tolist()
        names = self._knowledge_base.names(start, stop)
        return [
            {(world, key) for name in (title, *aliases) for key in _name_keys(name)}
            for world, (title, aliases) in zip(worlds, names, strict=True)
        ]

    def nearest(self, rows: Sequence[int], k: int) -> list[int]:
        """Rows of at most k entities that share a word of a name with some entities, the most similar first.

        Args:
            rows: of the entities, of one or several that a mention may mean; none of them is in the result.
            k: how many.
        """
        scores: dict[int, float] = {}
        for key in sorted({key for row in rows for key in self._keys(row, row + 1)[0]}):
            found = self._rows[key]
            if len(found) > _MOST_ENTITIES and " " not in key[1]:
                continue
            weight = log(1 + self._sizes[key[0]] / len(found))
            for other in found[:_MOST_ENTITIES]:
                scores[other] = scores.get(other, 0.0) + weight
        ranked = sorted(scores.keys() - set(rows), key=lambda other: -(scores[other] + self._tie[other]))
        return ranked[:k]


def _name_keys(name: str) -> list[str]:
    """The words of a name, and the name itself where it has several."""
    words = [word for word in folded_words(name) if any(map(str.isalnum, word))]
    return [*words, " ".join(words)] if len(words) > 1 else words


def add_name_neighbours(
    dataset: Dataset,
    knowledge_base: KnowledgeBase,
    *,
    num_negatives: int = NEIGHBOURS,
    seed: int = 13,
    progress: bool = False,
) -> Dataset:
    """Adds the column `hard_negative_ids`: entities with similar names, the most similar first; none where there are none.

    How many mentions got none is logged.

    Args:
        dataset: labelled mentions; of several gold entities the names of all count.
        knowledge_base: the entities.
        num_negatives: entities a mention at most.
        seed: of the order among equally similar ones.
        progress: show progress bars.

    Raises:
        ValueError: `num_negatives` below 1, or a label that is not in the knowledge base.
    """
    if num_negatives < 1:
        raise ValueError(f"expected num_negatives of at least 1, got {num_negatives}")
    gold = [tuple(rows) for rows in gold_rows_of(dataset, knowledge_base)]
    wanted = sorted({row for rows in gold for row in rows})
    neighbours = NameNeighbours(knowledge_base, wanted, seed, progress=progress)
    found: dict[tuple[int, ...], list[str]] = {}
    for rows in tqdm(
        dict.fromkeys(gold), desc="looking for similar names", unit=" entities", disable=not progress
    ):
        found[rows] = knowledge_base.entity_ids(neighbours.nearest(rows, num_negatives))
    if alone := sum(not found[rows] for rows in gold):
        logger.info(
            "no entity with a similar name for %d of %d mentions, which have other negatives alone",
            alone,
            len(gold),
        )
    if "hard_negative_ids" in dataset.column_names:
        dataset = dataset.remove_columns("hard_negative_ids")
    return dataset.add_column("hard_negative_ids", [found[rows] for rows in gold])
