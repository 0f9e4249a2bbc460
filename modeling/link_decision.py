"""From the raw scores of candidates to probabilities and decisions.

logits = rerank scores, or retrieval scores / temperature where nothing was reranked
score  = softmax(logits) over all candidates of the mention
link   = the best candidate, or NIL where its score is under the threshold
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .linking_types import Candidate, EntityLink, Mention


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities float64 `[num_mentions, k]` of candidates by their logits; -inf gives 0."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithms of `softmax`, float64 `[num_mentions, k]`, exact where a probability is near 0 or 1."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def decide_links(
    mentions: Sequence[Mention],
    knowledge_base: Any,
    rows: np.ndarray,
    retrieval: np.ndarray,
    rerank: np.ndarray | None,
    *,
    temperature: float,
    top_k: int,
    threshold: float,
) -> Iterator[EntityLink]:
    """One link a mention, in order.

    Args:
        mentions: the mentions.
        knowledge_base: the entities.
        rows: entity rows of the candidates `[num_mentions, k]`; -1 is no candidate.
        retrieval: retrieval scores `[num_mentions, k]`.
        rerank: logits of the cross-encoder `[num_mentions, k]`; None without one.
        temperature: of the bi-encoder.
        top_k: candidates that a link keeps; the probabilities are those among all k.
        threshold: a best score under it makes the link NIL.
    """
    logits = np.where(rows >= 0, retrieval / temperature if rerank is None else rerank, -np.inf)
    order = np.argsort(-logits, axis=1, kind="stable")[:, :top_k]
    scores = softmax(logits)
    for i, mention in enumerate(mentions):
        kept = [j for j in order[i] if rows[i, j] >= 0]
        entities = knowledge_base.entities([int(rows[i, j]) for j in kept])
        candidates = tuple(
            Candidate(
                entity=entity,
                retrieval_score=float(retrieval[i, j]),
                rerank_score=None if rerank is None else float(rerank[i, j]),
                score=float(scores[i, j]),
            )
            for entity, j in zip(entities, kept, strict=True)
        )
        yield decide(mention, candidates, threshold)


def decide(mention: Mention, candidates: tuple[Candidate, ...], threshold: float) -> EntityLink:
    """The best candidate, or NIL under the threshold or without candidates."""
    if not candidates:
        return EntityLink(mention, None, 0.0, True, None, None, ())
    best = candidates[0]
    nil = best.score < threshold
    entity = None if nil else best.entity
    return EntityLink(mention, entity, best.score, nil, best.retrieval_score, best.rerank_score, candidates)


def check_settings(num_candidates: Any, threshold: Any, name: str = "num_candidates") -> None:
    """Refuses settings of a wrong type or out of range; `name` is what the caller calls the number of candidates.

    Raises:
        ValueError: names the setting.
    """
    if not isinstance(num_candidates, int) or isinstance(num_candidates, bool) or num_candidates < 1:
        raise ValueError(f"expected {name} as an integer of at least 1, got {num_candidates!r}")
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 <= threshold <= 1:
        raise ValueError(f"expected a threshold between 0 and 1 (a probability), got {threshold!r}")
