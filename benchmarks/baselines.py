"""BM25, which `evaluate_linker` measures like a linker: the mention's words against title, description and aliases.

One index for each world. Entities that share no word with the mention are no candidates; equal scores keep the
knowledge base's order.
"""

from types import ModuleType
from typing import Any

import numpy as np

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training.name_ranking import Found, NameRanking

WORDS = r"(?u)\w+"  # bm25s drops words of one character by default: names of elements such as <a> and <g> are some


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


class Bm25Ranking(NameRanking):
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
