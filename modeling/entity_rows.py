"""Checks entity rows as callers give them: the integer positions that knowledge base and index share."""

from collections.abc import Iterable

import numpy as np


def as_rows(rows: Iterable[int] | np.ndarray, count: int) -> np.ndarray:
    """Entity rows as an int64 array [num_rows], in the given order.

    Args:
        rows: Positions from 0.
        count: Number of entities there are.

    Raises:
        TypeError: if they are not integers.
        IndexError: if one is negative or not under `count`.
    """
    array = rows if isinstance(rows, np.ndarray) else np.array(list(rows))
    if array.size == 0:
        return np.zeros(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TypeError(
            f"expected a flat list of integer entity rows, got {array.dtype} with shape {array.shape}; "
            "entity ids become rows with KnowledgeBase.find_rows"
        )
    if array.min() < 0 or array.max() >= count:
        raise IndexError(f"expected entity rows from 0 to {count - 1}, got {array.min()} to {array.max()}")
    return array.astype(np.int64, copy=False)
