"""Tests of checking entity rows."""

import numpy as np
import pytest

from hf_blink.modeling.entity_rows import as_rows


def test_rows_of_any_form_become_int64() -> None:
    for rows in ([2, 0, 2], (2, 0, 2), np.array([2, 0, 2], np.uint8), iter([2, 0, 2])):
        array = as_rows(rows, 3)
        assert array.dtype == np.int64
        assert array.tolist() == [2, 0, 2]
    assert as_rows([], 3).tolist() == as_rows(np.zeros(0), 3).tolist() == []


def test_rows_that_are_none_are_refused() -> None:
    with pytest.raises(IndexError, match="from 0 to 2, got 0 to 3"):
        as_rows([0, 3], 3)
    with pytest.raises(IndexError, match="from 0 to 2, got -1 to 1"):
        as_rows(np.array([1, -1]), 3)
    for wrong in ([0.0], ["Q1"], [True], [[1]]):
        with pytest.raises(TypeError, match="flat list of integer entity rows"):
            as_rows(wrong, 3)  # type: ignore[arg-type]
