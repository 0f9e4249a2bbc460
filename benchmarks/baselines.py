"""Systems without a neural network, which `evaluate_linker` measures like a linker: BM25 and exact names.

* BM25: the mention's words against title, description and aliases of every entity of the mention's world (an index a
  world). Entities that share no word with the mention are no candidates; equal scores keep the knowledge base's order.
* Exact: entities whose title or one of whose aliases is the mention (ignoring case and runs of spaces), in the knowledge
  base's order.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.linking_types import MentionContext

WORDS = r"(?u)\w+"  # bm25s drops words of one character by default: names of elements such as <a> and <g> are some

Found = tuple[NDArray[np.float32], NDArray[np.int64]]


def import_bm25s() -> ModuleType:
    """The library of the BM25 row.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import bm25s
    except ImportError as error:
        raise ImportError(
            "expected bm25s for the BM25 row; install it with `pip install 'hf_blink[benchmark]'`"
        ) from error
    return bm25s


class _NameRanking:
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

    def ranked(self, text: str, world: str | None, k: int) -> Found:
        """Scores and rows of at most k candidates, best first."""
        raise NotImplementedError

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


class Bm25Ranking(_NameRanking):
    """BM25 of the mention's text in each entity's title, description and aliases.

    Args:
        knowledge_base: the entities.

    Raises:
        ImportError: bm25s is not installed.
    """

    def __init__(self, knowledge_base: KnowledgeBase):
        super().__init__(knowledge_base)
        self._library = import_bm25s()
        titles, descriptions = knowledge_base.texts(0, len(knowledge_base))
        names = knowledge_base.names(0, len(knowledge_base))
        self._texts = [
            " ".join((title, description, *aliases))
            for title, description, (_, aliases) in zip(titles, descriptions, names, strict=True)
        ]
        self._indexes: dict[str | None, Any] = {}

    def _tokens(self, texts: list[str]) -> list[list[str]]:
        options = {"token_pattern": WORDS, "stopwords": [], "return_ids": False, "show_progress": False}
        tokens: list[list[str]] = self._library.tokenize(texts, **options)
        return tokens

    def _index(self, world: str | None) -> Any:
        if world not in self._indexes:
            index = self._library.BM25()
            index.index(
                self._tokens([self._texts[row] for row in self.world_rows(world)]), show_progress=False
            )
            self._indexes[world] = index
        return self._indexes[world]

    def ranked(self, text: str, world: str | None, k: int) -> Found:
        index = self._index(world)
        words = [word for word in self._tokens([text])[0] if word in index.vocab_dict]
        if not words:
            return np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int64)
        scores = index.get_scores(words)
        best = np.argsort(-scores, kind="stable")[:k]
        best = best[scores[best] > 0]
        return scores[best].astype(np.float32), self.world_rows(world)[best]


class ExactNameRanking(_NameRanking):
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
