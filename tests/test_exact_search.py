"""Tests of the exact search over chosen rows."""

import numpy as np
import pytest

from hf_blink.modeling import exact_search as module
from hf_blink.modeling.exact_search import exact_search

VECTORS = np.array([[1, 0], [2, 0], [3, 0], [2, 1], [0, 5]], np.float32)


def test_best_rows_come_first_and_ties_in_row_order() -> None:
    scores, rows = exact_search(VECTORS, np.array([[1, 0], [0, 1]], np.float32), 4, np.arange(5))
    assert rows.tolist() == [[2, 1, 3, 0], [4, 3, 0, 1]]
    assert scores.tolist() == [[3, 2, 2, 1], [5, 1, 0, 0]]
    assert (scores.dtype, rows.dtype) == (np.float32, np.int64)


@pytest.mark.parametrize("rows", [np.arange(3, 40), np.array([0, 5, 6, 7, 30, 49])])
def test_blocks_give_the_same_as_one_product(rows: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((50, 4), dtype=np.float32)
    queries = generator.standard_normal((7, 4), dtype=np.float32)
    monkeypatch.setattr(module, "_BLOCK_ROWS", 4)
    monkeypatch.setattr(module, "_BLOCK_QUERIES", 3)
    products = queries @ vectors[rows].T
    order = np.argsort(-products, axis=1)[:, :5]
    scores, found = exact_search(vectors, queries, 5, rows)
    assert found.tolist() == rows[order].tolist()
    np.testing.assert_allclose(scores, np.take_along_axis(products, order, axis=1), rtol=1e-6)


def test_nothing_to_search_gives_empty_results() -> None:
    none = np.zeros(0, np.int64)
    assert exact_search(VECTORS, np.ones((3, 2), np.float32), 0, none)[1].shape == (3, 0)
    assert exact_search(VECTORS, np.ones((0, 2), np.float32), 2, np.arange(5))[0].shape == (0, 2)
