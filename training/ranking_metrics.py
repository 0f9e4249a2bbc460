"""Metrics of a ranking, as pure functions of arrays with one entry per mention.

Positions count from 1, and 0 means "not among the candidates": recall@k is the share of positions 1 to k.
(Counted from 0, the same comparison gives recall@(k+1), and a range that ends before k gives recall@(k-1).)

Unnormalised accuracy is over all mentions; normalised accuracy is over those whose gold entity was retrieved.
Each metric by itself is a mean over mentions (micro); `macro_average` makes a mean over worlds of it, in
which a world without a right answer counts as 0.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]
Metric = Callable[..., float]


def gold_positions(candidate_rows: NDArray[np.int64], gold_rows: Sequence[Sequence[int]]) -> Positions:
    """Position of each mention's best-placed gold entity among its candidates.

    Args:
        candidate_rows: Entity rows of the candidates, best first [num_mentions, k]; -1 = no candidate.
        gold_rows: Entity rows of each mention's gold entities.

    Returns:
        Positions [num_mentions], counted from 1; 0 = no gold entity among the candidates.

    Raises:
        ValueError: The two differ in the number of mentions.
    """
    candidate_rows = np.asarray(candidate_rows, dtype=np.int64)
    if candidate_rows.ndim != 2 or len(candidate_rows) != len(gold_rows):
        raise ValueError(
            f"candidate_rows must have one row for each of the {len(gold_rows)} mentions of gold_rows; "
            f"got shape {candidate_rows.shape}"
        )
    if candidate_rows.size == 0:
        return np.zeros(len(gold_rows), dtype=np.int64)
    width = max((len(rows) for rows in gold_rows), default=0)
    golds = np.full((len(gold_rows), width), -1, dtype=np.int64)
    for mention, rows in enumerate(gold_rows):
        golds[mention, : len(rows)] = rows
    hits = np.zeros(candidate_rows.shape, dtype=bool)
    for gold in golds.T:
        hits |= candidate_rows == gold[:, None]
    hits &= candidate_rows >= 0
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0)


def recall_at(positions: Positions, k: int) -> float:
    """Share of the mentions with a gold entity among the first k candidates.

    Args:
        positions: Positions of the gold entities [num_mentions], counted from 1; 0 = not among the
            candidates.
        k: Number of candidates that count, at least 1.

    Raises:
        ValueError: No positions, a negative one, or k below 1.
    """
    positions = _checked(positions)
    if k < 1:
        raise ValueError(f"k must be at least 1; got {k}")
    return float(np.mean((positions > 0) & (positions <= k)))


def mean_reciprocal_rank(positions: Positions) -> float:
    """Mean of 1 / position, where 0 (not among the candidates) counts as 0; argument as in `recall_at`."""
    positions = _checked(positions)
    return float(np.mean(np.where(positions > 0, 1 / np.maximum(positions, 1), 0.0)))


def accuracy_unnormalised(positions_after_rerank: Positions) -> float:
    """Share of all mentions whose first candidate is right; argument as in `recall_at`."""
    return recall_at(positions_after_rerank, 1)


def accuracy_normalised(positions_after_rerank: Positions, retrieved: NDArray[np.bool_]) -> float:
    """Share of the mentions whose first candidate is right among those whose gold entity was retrieved.

    Args:
        positions_after_rerank: Positions in the final ranking [num_mentions], counted from 1.
        retrieved: True where a gold entity was among the candidates of that ranking [num_mentions].

    Returns:
        The share; 0 where nothing was retrieved.

    Raises:
        ValueError: No positions, a negative one, or another number of flags.
    """
    right = _checked(positions_after_rerank) == 1
    retrieved = np.asarray(retrieved, dtype=bool)
    if retrieved.shape != right.shape:
        raise ValueError(
            f"retrieved must have shape {right.shape} to fit the positions; got {retrieved.shape}"
        )
    return float((right & retrieved).sum() / max(int(retrieved.sum()), 1))


def macro_average(metric: Metric, worlds: Sequence[str | None], *arrays: NDArray) -> float:
    """Mean over the worlds of a metric within each; every world counts the same, also one with a result of 0.

    Args:
        metric: One of the functions above, or a partial one: `partial(recall_at, k=4)`.
        worlds: World of each mention; mentions without a world form a group of their own.
        arrays: The metric's arrays, each with one entry per mention.

    Raises:
        ValueError: The number of worlds is not that of the mentions.
    """
    if any(len(array) != len(worlds) for array in arrays):
        raise ValueError(f"expected one world for each of the {len(arrays[0])} mentions; got {len(worlds)}")
    return float(np.mean([metric(*arrays_of) for _, arrays_of in by_world(worlds, arrays)]))


def by_world(
    worlds: Sequence[str | None], arrays: Sequence[NDArray]
) -> Iterator[tuple[str | None, list[NDArray]]]:
    """The part of each array that belongs to each world, by name; mentions without a world come first."""
    members: dict[str | None, list[int]] = {}
    for mention, world in enumerate(worlds):
        members.setdefault(world, []).append(mention)
    for world in sorted(members, key=lambda name: (name is not None, name or "")):
        yield world, [array[members[world]] for array in arrays]


def _checked(positions: Positions) -> Positions:
    positions = np.asarray(positions)
    if positions.ndim != 1 or positions.size == 0:
        raise ValueError(
            f"positions must be a non-empty vector, one per mention; got shape {positions.shape}"
        )
    if positions.min() < 0:
        raise ValueError(f"positions count from 1, and 0 means not found; got {positions.min()}")
    return positions
