"""Shares are contiguous, whole blocks; with one process nothing is exchanged. Two processes: test_two_process_mining."""

import numpy as np
import pytest

from hf_blink.training.process_shares import (
    blocks,
    check_agreement,
    exchange_rows,
    failing_together,
    gather_objects,
    process_place,
    share_bounds,
)


def test_shares_are_whole_blocks_and_every_item_is_in_one():
    assert share_bounds(10, 2, 3) == [(0, 2), (2, 6), (6, 10)]  # blocks 0 | 1 2 | 3 4
    assert share_bounds(5, 2, 2) == [(0, 2), (2, 5)]
    assert share_bounds(3, 8, 2) == [(0, 0), (0, 3)]
    assert share_bounds(0, 8, 2) == [(0, 0), (0, 0)]
    assert list(blocks((2, 5), 2)) == [(2, 4), (4, 5)]
    assert list(blocks((0, 0), 2)) == []


def test_block_borders_do_not_depend_on_the_processes():
    alone = list(blocks((0, 23), 4))
    for count in (2, 3, 7, 40):
        assert [block for share in share_bounds(23, 4, count) for block in blocks(share, 4)] == alone


@pytest.mark.parametrize(("block_size", "count"), [(0, 1), (1, 0)])
def test_shares_of_nothing_are_refused(block_size, count):
    with pytest.raises(ValueError, match="block_size and num_processes of at least 1"):
        share_bounds(5, block_size, count)


def test_one_process_has_everything_already():
    rows = np.arange(4)
    exchange_rows(rows, [(0, 4)])
    check_agreement("counting", {"number": 1})
    assert (process_place(), gather_objects("x"), rows.tolist()) == ((0, 1), ["x"], [0, 1, 2, 3])
    with pytest.raises(KeyError, match="own error"), failing_together("counting"):
        raise KeyError("own error")
