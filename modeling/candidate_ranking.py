"""The two stages that rank entities for mentions.

    `retrieve`   contexts -> bi-encoder -> index, within the mention's world or whole -> rows and retrieval scores
    `rerank`     contexts and rows -> cross-encoder on (mention window, entity text) + weighted retrieval score -> logits

An entity that is a candidate of several mentions is tokenised once. Row -1 with the score -inf is no candidate.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .batch_encoding import encode_mentions, score_pairs
from .linking_types import MentionContext

_SHOWN_WORLDS = 10


def check_worlds(knowledge_base: Any, worlds: Sequence[str | None]) -> None:
    """Refuses a world that no entity names; None stands for the whole knowledge base.

    Raises:
        ValueError: an unknown world; names some known ones.
    """
    asked = [world for world in worlds if world is not None]
    known = set(knowledge_base.worlds) if asked else set()
    for world in asked:
        if not isinstance(world, str) or world not in known:
            shown = ", ".join(map(repr, sorted(known)[:_SHOWN_WORLDS])) or "none, as no entity names a world"
            raise ValueError(
                f"expected a world of the knowledge base ({shown}), got {world!r}; None searches all entities"
            )


def retrieve(
    bi_encoder: Any,
    processor: Any,
    index: Any,
    knowledge_base: Any,
    contexts: Sequence[MentionContext],
    k: int,
    worlds: Sequence[str | None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest entities of each mention by the bi-encoder; `EntityLinker.retrieve` tells arguments and results."""
    if worlds is None:
        worlds = [None] * len(contexts)
    check_worlds(knowledge_base, worlds)
    return search_worlds(index, knowledge_base, encode_mentions(bi_encoder, processor, contexts), k, worlds)


def search_worlds(
    index: Any, knowledge_base: Any, vectors: np.ndarray, k: int, worlds: Sequence[str | None]
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest entities of mention vectors, each within its world.

    Args:
        index: of the knowledge base.
        knowledge_base: knows the rows of the worlds.
        vectors: `[num_mentions, embed_dim]`.
        k: entities a mention.
        worlds: the world of each mention, None for the whole knowledge base.

    Returns:
        Scores and rows as of `EntityLinker.retrieve`.
    """
    width = min(k, len(index))
    scores = np.full((len(vectors), width), -np.inf, dtype=np.float32)
    rows = np.full((len(vectors), width), -1, dtype=np.int64)
    groups: dict[str | None, list[int]] = {}
    for position, world in enumerate(worlds):
        groups.setdefault(world, []).append(position)
    for world, positions in groups.items():
        allowed = None if world is None else knowledge_base.world_rows(world)
        found, found_rows = index.search(vectors[positions], k, rows=allowed)
        scores[positions, : found.shape[1]] = found
        rows[positions, : found.shape[1]] = found_rows
    return scores, rows


def rerank(
    cross_encoder: Any,
    processor: Any,
    knowledge_base: Any,
    contexts: Sequence[MentionContext],
    rows: np.ndarray,
    scores: np.ndarray,
    temperature: float,
) -> np.ndarray:
    """The cross-encoder's logits of candidates; `EntityLinker.rerank` tells arguments and results.

    The bi-encoder's similarities `scores` / `temperature` are added as far as the cross-encoder's `retrieval_weight` says.
    """
    windows = processor.marked_windows(contexts)
    unique, inverse = np.unique(rows, return_inverse=True)
    known = unique >= 0
    titles, descriptions = knowledge_base.texts_at(unique[known])
    absent: list[Any] = [None] * int((~known).sum())
    entities = absent + processor.entity_windows(titles, descriptions)
    mention_at, candidate_at = np.nonzero(rows >= 0)
    inverse = inverse.reshape(rows.shape)
    pairs = [(windows[i], entities[inverse[i, j]]) for i, j in zip(mention_at, candidate_at, strict=True)]
    logits = np.full(rows.shape, -np.inf, dtype=np.float32)
    own = score_pairs(cross_encoder, processor, pairs)
    weight = cross_encoder.config.retrieval_weight / temperature
    logits[mention_at, candidate_at] = own + weight * scores[mention_at, candidate_at]
    return logits
