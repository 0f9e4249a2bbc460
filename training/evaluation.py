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
SHOWN_IDS = 10


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
    """Links every mention of a labelled data set and compares with the labels.

    Recall and mean reciprocal rank are the bi-encoder's over its first max(recall_at) candidates. Accuracies
    are those of the final ranking: the cross-encoder's over the first `rerank_k` candidates where the linker
    has one, else the same one as for recall.

    Args:
        linker: The linker; the whole knowledge base is the pool where it, or the mention, has no world.
        dataset: Labelled mentions, as the readers of `dataset_readers` give them.
        recall_at: The k of each recall@k.
        rerank_k: Number of candidates that the cross-encoder scores; None means max(recall_at).
        progress: Whether to show a progress bar.

    Returns:
        A flat dict, described at the top of this file.

    Raises:
        ValueError: A k below 1, a gold entity or a world that the knowledge base lacks, or no mention to
            measure.
    """
    started = time.perf_counter()
    cutoffs = _checked_cutoffs(recall_at, rerank_k)
    knowledge_base = linker.knowledge_base
    all_gold_rows = _gold_rows(dataset, knowledge_base)
    measured = [mention for mention, rows in enumerate(all_gold_rows) if rows]
    if not measured:
        raise ValueError(
            f"none of the {len(dataset)} mentions has a gold entity: there is nothing to measure"
        )
    mentions, gold_rows = dataset.select(measured), [all_gold_rows[mention] for mention in measured]
    worlds = _worlds(mentions)
    pools = _pools(worlds, knowledge_base)
    depths = max(cutoffs), rerank_k or max(cutoffs)
    outcome = _outcome(linker, mentions, pools, gold_rows, depths, progress)
    return _summary(outcome, worlds, cutoffs) | {
        "num_mentions": len(measured),
        "num_nil": len(dataset) - len(measured),
        "num_entities": len(knowledge_base),
        "num_worlds": len({world for world in worlds if world is not None}),
        "seconds": time.perf_counter() - started,
    }


def _checked_cutoffs(recall_at: Sequence[int], rerank_k: int | None) -> list[int]:
    cutoffs = sorted(set(recall_at))
    if not cutoffs or cutoffs[0] < 1:
        raise ValueError(f"recall_at must name at least one k, each at least 1; got {list(recall_at)}")
    if rerank_k is not None and rerank_k < 1:
        raise ValueError(f"rerank_k must be at least 1, or None for max(recall_at); got {rerank_k}")
    return cutoffs


def _gold_rows(dataset: Dataset, knowledge_base: KnowledgeBase) -> list[list[int]]:
    """Entity rows of the gold entities of each mention; NIL mentions have none."""
    label_ids: list[list[str]] = list(dataset["label_ids"])
    distinct = list(dict.fromkeys(entity_id for ids in label_ids for entity_id in ids))
    row_of = dict(zip(distinct, (int(row) for row in knowledge_base.find_rows(distinct)), strict=True))
    unknown = [entity_id for entity_id, row in row_of.items() if row < 0]
    if unknown:
        raise ValueError(
            f"{len(unknown)} gold entities are not in the knowledge base of {len(knowledge_base)} entities: "
            f"{_shown(unknown)}; evaluate with the knowledge base that the labels belong to"
        )
    return [[row_of[entity_id] for entity_id in ids] for ids in label_ids]


def _worlds(dataset: Dataset) -> list[str | None]:
    return list(dataset["world"]) if "world" in dataset.column_names else [None] * len(dataset)


def _pools(worlds: list[str | None], knowledge_base: KnowledgeBase) -> list[str | None] | None:
    """The world that each mention's candidates are from; None = the whole knowledge base for all mentions."""
    known = set(knowledge_base.worlds)
    if not known:
        return None
    unknown = sorted({world for world in worlds if world is not None} - known)
    if unknown:
        raise ValueError(
            f"{len(unknown)} worlds of the mentions are not in the knowledge base: {_shown(unknown)}; "
            f"its worlds are {_shown(sorted(known))}"
        )
    return worlds


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN_IDS} more" if len(names) > SHOWN_IDS else ""
    return ", ".join(repr(name) for name in names[:SHOWN_IDS]) + more


def _outcome(
    linker: RankingLinker,
    mentions: Dataset,
    pools: list[str | None] | None,
    gold_rows: list[list[int]],
    depths: tuple[int, int],
    progress: bool,
) -> Outcome:
    """Ranks all mentions, some at a time; depths = how many candidates count for (recall, reranking)."""
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
    pools: list[str | None] | None,
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
