"""Exact inner-product search over a chosen set of rows, in plain matrix products.

Blocks of rows are scored against blocks of queries and the best k so far are kept, so memory stays bounded
for any number of rows. A world whose rows lie together is read in place, without a copy. Equal scores are
ordered by row.
"""

import numpy as np

_BLOCK_ROWS = 16_384
_BLOCK_QUERIES = 512


def exact_search(
    vectors: np.ndarray, queries: np.ndarray, k: int, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The k rows with the highest inner product.

    Args:
        vectors: All vectors, float32 [num_vectors, embed_dim].
        queries: float32 [num_queries, embed_dim].
        k: Results a query, at most the number of `rows`.
        rows: The rows that are allowed, ascending and each once, int64 [num_rows].

    Returns:
        Scores float32 and rows int64, both [num_queries, k], best first.
    """
    parts = [
        _search_block(vectors, queries[start : start + _BLOCK_QUERIES], k, rows)
        for start in range(0, len(queries), _BLOCK_QUERIES)
    ]
    if not parts:
        return np.zeros((0, k), np.float32), np.zeros((0, k), np.int64)
    return np.concatenate([scores for scores, _ in parts]), np.concatenate([found for _, found in parts])


def _search_block(
    vectors: np.ndarray, queries: np.ndarray, k: int, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    best = np.zeros((len(queries), 0), np.float32)
    best_rows = np.zeros((len(queries), 0), np.int64)
    for start in range(0, len(rows), _BLOCK_ROWS):
        some = rows[start : start + _BLOCK_ROWS]
        together = some[-1] - some[0] + 1 == len(some)
        block = vectors[some[0] : some[-1] + 1] if together else vectors[some]
        best = np.concatenate([best, queries @ block.T], axis=1)
        best_rows = np.concatenate([best_rows, np.broadcast_to(some, (len(queries), len(some)))], axis=1)
        if best.shape[1] > k:
            keep = (
                np.argpartition(-best, k - 1, axis=1)[:, :k] if k else np.zeros((len(queries), 0), np.int64)
            )
            best = np.take_along_axis(best, keep, axis=1)
            best_rows = np.take_along_axis(best_rows, keep, axis=1)
    order = np.lexsort((best_rows, -best), axis=1)
    return np.take_along_axis(best, order, axis=1), np.take_along_axis(best_rows, order, axis=1)
