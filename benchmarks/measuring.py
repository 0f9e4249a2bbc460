"""One row of a result table: `evaluate_linker` on the held-out mentions, and what it alone cannot say.

`TwoStageRanking` shows the ranking after reranking as if it were one of retrieval: its first `rerank_k` candidates are in
the cross-encoder's order, the others follow in the bi-encoder's. So recall@1 and recall@4 are those of the final ranking,
and recall@k from `rerank_k` on is the bi-encoder's.
"""

import resource
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from hf_blink.modeling.linking_types import MentionContext
from hf_blink.training.evaluation import RankingLinker, evaluate_linker
from hf_blink.training.ranking_metrics import Positions, gold_positions, macro_average, recall_at

RECALL_AT = (1, 4, 16, 64)

Row = dict[str, Any]
Found = tuple[NDArray[np.float32], NDArray[np.int64]]


class RecordedRanking:
    """Passes everything on to a linker and keeps the rows that it retrieved.

    Args:
        linker: an `EntityLinker` or a baseline.
    """

    def __init__(self, linker: RankingLinker):
        self.linker = linker
        self.knowledge_base = linker.knowledge_base
        self._rows: list[NDArray[np.int64]] = []

    def retrieve(
        self, contexts: Sequence[MentionContext], k: int, worlds: Sequence[str | None] | None = None
    ) -> Found:
        scores, rows = self._retrieve(contexts, k, worlds)
        self._rows.append(rows)
        return scores, rows

    def _retrieve(
        self, contexts: Sequence[MentionContext], k: int, worlds: Sequence[str | None] | None
    ) -> Found:
        return self.linker.retrieve(contexts, k, worlds)

    def rerank(
        self, contexts: Sequence[MentionContext], rows: NDArray[np.int64], scores: NDArray[np.float32]
    ) -> NDArray[np.float32] | None:
        return None

    def positions(self, dataset: Dataset) -> Positions:
        """Where the gold entity of each mention that was ranked stands [num_mentions]; 0 = not among the candidates."""
        gold = [self.knowledge_base.find_rows(ids).tolist() for ids in dataset["label_ids"]]
        return gold_positions(np.concatenate(self._rows), gold)


class TwoStageRanking(RecordedRanking):
    """The final ranking of a linker with a cross-encoder; see the module's text.

    Args:
        linker: an `EntityLinker` with a cross-encoder.
        rerank_k: how many candidates the cross-encoder scores.
    """

    def __init__(self, linker: RankingLinker, rerank_k: int):
        super().__init__(linker)
        self.rerank_k = rerank_k

    def _retrieve(
        self, contexts: Sequence[MentionContext], k: int, worlds: Sequence[str | None] | None
    ) -> Found:
        scores, rows = self.linker.retrieve(contexts, k, worlds)
        first = slice(0, min(self.rerank_k, k))
        logits = self.linker.rerank(contexts, rows[:, first], scores[:, first])
        if logits is None:
            raise ValueError("expected a linker with a cross-encoder, got one without; pass cross_encoder=")
        order = np.argsort(-np.where(rows[:, first] < 0, -np.inf, logits), axis=1, kind="stable")
        for values in (scores, rows):
            values[:, first] = np.take_along_axis(values[:, first], order, axis=1)
        return scores, rows

    def rerank(
        self, contexts: Sequence[MentionContext], rows: NDArray[np.int64], scores: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Keeps the order, which is final already; so normalised accuracy is over the reranked candidates alone."""
        return np.broadcast_to(-np.arange(rows.shape[1], dtype=np.float32), rows.shape)


def measured_row(
    system: str, ranking: RecordedRanking, dataset: Dataset, rerank_k: int | None = None
) -> tuple[Row, Positions]:
    """Measures a system.

    Args:
        system: name of the row.
        ranking: the system.
        dataset: held-out mentions, all with a gold entity.
        rerank_k: candidates that count for normalised accuracy; None for the largest k of `RECALL_AT`.

    Returns:
        The row, in which `…_macro` is a mean over worlds and `…_entity_macro` over gold entities, and the gold entities'
        positions [num_mentions].
    """
    metrics = evaluate_linker(ranking, dataset, recall_at=RECALL_AT, rerank_k=rerank_k)
    positions = ranking.positions(dataset)
    entities = [ids[0] for ids in dataset["label_ids"]]
    worlds: dict[str, Row] = {}
    row: Row = {"system": system}
    for name, value in metrics.items():
        if name.startswith("world/"):
            _, world, metric = name.split("/", 2)
            worlds.setdefault(world, {})[metric] = value
        elif name != "seconds":
            row[name] = value
    for k in RECALL_AT:
        row[f"recall@{k}_entity_macro"] = macro_average(partial(recall_at, k=k), entities, positions)
    row["num_gold_entities"] = len(set(entities))
    row["normalised_over"] = min(rerank_k or max(RECALL_AT), max(RECALL_AT))
    row["link_seconds"] = metrics["seconds"]
    return row | ({"worlds": worlds} if worlds else {}), positions


def peak_memory_mb() -> float:
    """The most memory that this process has had in use so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
