"""Measures a linker: recall, reciprocal rank and accuracy, over mentions (micro) and over worlds (macro).

The candidates of a mention are all entities of its world, or of the whole knowledge base where there are no
worlds. A pool of only the entities that some mention of the test set refers to gives better numbers, which
mean nothing. A mention may have several gold entities: the best-placed one counts. Mentions without any (NIL)
are left out.

The result is one flat dict:

| key | content |
|---|---|
| `recall@<k>`, `mrr` | of the bi-encoder; shares between 0 and 1, over all mentions |
| `accuracy_normalised` | of the final ranking, over the mentions whose gold entity is in it |
| `accuracy_unnormalised` | of the final ranking, over all mentions |
| `<metric>_macro` | mean over the worlds; mentions without a world count as one world |
| `world/<name>/<metric>` | within a world; also `world/<name>/num_mentions` |
| `num_mentions`, `num_nil` | mentions measured, and left out as NIL |
| `num_entities`, `num_worlds` | entities of the knowledge base, and worlds that the mentions name |
| `seconds` | wall time of the evaluation |
"""

import time
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from tqdm.auto import tqdm

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.linking_types import MentionContext
from hf_blink.training.dataset_readers import contexts_of
from hf_blink.training.mention_references import candidate_worlds, gold_rows_of, worlds_of
from hf_blink.training.ranking_metrics import (
    Metric,
    Positions,
    accuracy_normalised,
    accuracy_unnormalised,
    by_world,
    gold_positions,
    macro_average,
    mean_reciprocal_rank,
    recall_at,
)

MENTIONS_PER_STEP = 1024


class Outcome(NamedTuple):
    """Where the gold entities of the mentions ended up; every array is [num_mentions].

    Attributes:
        retrieved_at: Position among the first max(recall_at) candidates of the bi-encoder; 0 = not there.
        ranked_at: Position in the final ranking; 0 = not there, as its candidates hold no gold entity.
    """

    retrieved_at: Positions
    ranked_at: Positions


class RankingLinker(Protocol):
    """What the evaluation asks of an `EntityLinker`."""

    @property
    def knowledge_base(self) -> KnowledgeBase: ...

    def retrieve(
        self, contexts: Sequence[MentionContext], k: int, worlds: Sequence[str | None] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]: ...

    def rerank(
        self, contexts: Sequence[MentionContext], rows: NDArray[np.int64], scores: NDArray[np.float32]
    ) -> NDArray[np.float32] | None: ...


def evaluate_linker(
    linker: RankingLinker,
    dataset: Dataset,
    *,
    recall_at: Sequence[int] = (1, 4, 16, 64),
    rerank_k: int | None = None,
    progress: bool = True,
) -> dict[str, float]:
    """Links every mention of a labelled data set and compares with the labels; returns the flat dict described above.

    Recall and mean reciprocal rank are the bi-encoder's over its first max(recall_at) candidates, accuracies
    those of the final ranking: the cross-encoder's of the first `rerank_k`, without one the same as for recall.

    Args:
        linker: The linker; the whole knowledge base is the pool where it, or the mention, has no world.
        dataset: Labelled mentions, as the readers of `dataset_readers` give them.
        recall_at: The k of each recall@k.
        rerank_k: Number of candidates that the cross-encoder scores; None takes the linker's own
            `num_candidates`, as linking does, or max(recall_at) where it has none.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: A k below 1, a gold entity or a world that the knowledge base lacks, or no mention to
            measure.
    """
    started = time.perf_counter()
    cutoffs = _checked_cutoffs(recall_at, rerank_k)
    mentions, gold_rows = _measurable(dataset, linker.knowledge_base)
    worlds = worlds_of(mentions)
    depths = max(cutoffs), rerank_k or getattr(linker, "num_candidates", None) or max(cutoffs)
    outcome = _outcome(linker, mentions, gold_rows, depths, progress)
    return _summary(outcome, worlds, cutoffs) | {
        "num_mentions": len(mentions),
        "num_nil": len(dataset) - len(mentions),
        "num_entities": len(linker.knowledge_base),
        "num_worlds": len({world for world in worlds if world is not None}),
        "seconds": time.perf_counter() - started,
    }


def _checked_cutoffs(recall_at: Sequence[int], rerank_k: int | None) -> list[int]:
    cutoffs = sorted(set(recall_at))
    if not cutoffs or cutoffs[0] < 1:
        raise ValueError(f"recall_at must name at least one k, each at least 1; got {list(recall_at)}")
    if rerank_k is not None and rerank_k < 1:
        raise ValueError(f"rerank_k must be at least 1, or None for the linker's own; got {rerank_k}")
    return cutoffs


def _measurable(dataset: Dataset, knowledge_base: KnowledgeBase) -> tuple[Dataset, list[list[int]]]:
    """The mentions with gold entities, and the rows of those; leaves NIL mentions out."""
    gold_rows = gold_rows_of(dataset, knowledge_base)
    measured = [mention for mention, rows in enumerate(gold_rows) if rows]
    if not measured:
        raise ValueError(
            f"none of the {len(dataset)} mentions has a gold entity: there is nothing to measure"
        )
    return dataset.select(measured), [gold_rows[mention] for mention in measured]


def _outcome(
    linker: RankingLinker,
    mentions: Dataset,
    gold_rows: list[list[int]],
    depths: tuple[int, int],
    progress: bool,
) -> Outcome:
    """Ranks all mentions, some at a time; depths = how many candidates count for (recall, reranking)."""
    pools = candidate_worlds(worlds_of(mentions), linker.knowledge_base)
    parts = []
    with tqdm(total=len(mentions), desc="Linking", unit=" mentions", disable=not progress) as bar:
        for start in range(0, len(mentions), MENTIONS_PER_STEP):
            stop = min(start + MENTIONS_PER_STEP, len(mentions))
            contexts = contexts_of(mentions.select(range(start, stop)))
            step_pools = None if pools is None else pools[start:stop]
            parts.append(_step_outcome(linker, contexts, step_pools, gold_rows[start:stop], depths))
            bar.update(stop - start)
    return Outcome(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _step_outcome(
    linker: RankingLinker,
    contexts: list[MentionContext],
    pools: Sequence[str | None] | None,
    gold_rows: list[list[int]],
    depths: tuple[int, int],
) -> Outcome:
    recall_depth, rerank_depth = depths
    scores, rows = linker.retrieve(contexts, max(depths), pools)
    retrieved_at = gold_positions(rows[:, :recall_depth], gold_rows)
    scores, rows = scores[:, :rerank_depth], rows[:, :rerank_depth]
    rerank_scores = linker.rerank(contexts, rows, scores)
    if rerank_scores is None:
        return Outcome(retrieved_at, retrieved_at)
    return Outcome(retrieved_at, gold_positions(_reranked(rows, rerank_scores), gold_rows))


def _reranked(rows: NDArray[np.int64], rerank_scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """The candidates by descending rerank score [num_mentions, k]; ties keep the order of retrieval."""
    if rerank_scores.shape != rows.shape or np.isnan(rerank_scores).any():
        raise ValueError(
            f"rerank scores must be numbers of shape {rows.shape}; got shape {rerank_scores.shape} "
            f"with {int(np.isnan(rerank_scores).sum())} NaN"
        )
    order = np.argsort(-np.where(rows < 0, -np.inf, rerank_scores), axis=1, kind="stable")
    return np.take_along_axis(rows, order, axis=1)


def _summary(outcome: Outcome, worlds: Sequence[str | None], cutoffs: Sequence[int]) -> dict[str, float]:
    """Every metric over all mentions, as mean over worlds, and within each world."""
    metrics: dict[str, tuple[Metric, tuple[NDArray, ...]]] = {
        f"recall@{k}": (partial(recall_at, k=k), (outcome.retrieved_at,)) for k in cutoffs
    }
    metrics["mrr"] = mean_reciprocal_rank, (outcome.retrieved_at,)
    metrics["accuracy_normalised"] = accuracy_normalised, (outcome.ranked_at, outcome.ranked_at > 0)
    metrics["accuracy_unnormalised"] = accuracy_unnormalised, (outcome.ranked_at,)
    summary = {name: metric(*arrays) for name, (metric, arrays) in metrics.items()}
    for name, (metric, arrays) in metrics.items():
        summary[f"{name}_macro"] = macro_average(metric, worlds, *arrays)
        for world, arrays_of_world in by_world(worlds, arrays):
            if world is not None:
                summary[f"world/{world}/{name}"] = metric(*arrays_of_world)
                summary[f"world/{world}/num_mentions"] = len(arrays_of_world[0])
    return summary
