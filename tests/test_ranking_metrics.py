"""Ranking metrics against numbers made by hand."""

from functools import partial

import numpy as np
import pytest

from hf_blink.training.ranking_metrics import (
    accuracy_normalised,
    accuracy_unnormalised,
    by_world,
    gold_positions,
    macro_average,
    mean_reciprocal_rank,
    recall_at,
)


def test_gold_positions_count_from_one() -> None:
    candidates = np.array([[7, 3, 9], [7, 3, 9], [7, 3, 9], [7, 3, 9]])
    assert gold_positions(candidates, [[7], [3], [9], [4]]).tolist() == [1, 2, 3, 0]


def test_gold_positions_best_of_several_gold_entities() -> None:
    # golds 9 and 3 are at positions 3 and 2; gold 4 is nowhere
    assert gold_positions(np.array([[7, 3, 9]]), [[9, 4, 3]]).tolist() == [2]


def test_gold_positions_missing_candidates_match_nothing() -> None:
    # a world of one entity leaves -1; neither an unknown gold (-1) nor the absence of golds may hit it
    candidates = np.array([[5, -1], [5, -1], [-1, -1]])
    assert gold_positions(candidates, [[-1], [], [5]]).tolist() == [0, 0, 0]


def test_gold_positions_without_mentions_or_candidates() -> None:
    assert gold_positions(np.zeros((0, 4), dtype=np.int64), []).tolist() == []
    assert gold_positions(np.zeros((2, 0), dtype=np.int64), [[1], [2]]).tolist() == [0, 0]


def test_gold_positions_wrong_shape_raises() -> None:
    with pytest.raises(ValueError, match=r"each of the 1 mentions .* got shape \(2, 2\)"):
        gold_positions(np.zeros((2, 2), dtype=np.int64), [[1]])
    with pytest.raises(ValueError, match=r"got shape \(1,\)"):
        gold_positions(np.zeros(1, dtype=np.int64), [[1]])


def test_recall_at_includes_position_k_and_no_more() -> None:
    # positions 1, 2, 5, none. Two known mistakes must not come back: positions counted from 0 compared with
    # <= k, which is recall@(k+1) (at k = 1 it would be 2/4), and a range that stops before k: recall@(k-1)
    positions = np.array([1, 2, 5, 0])
    assert recall_at(positions, 1) == 1 / 4
    assert recall_at(positions, 2) == 2 / 4
    assert recall_at(positions, 4) == 2 / 4
    assert recall_at(positions, 5) == 3 / 4
    assert recall_at(positions, 64) == 3 / 4


def test_recall_at_raises() -> None:
    with pytest.raises(ValueError, match="k must be at least 1; got 0"):
        recall_at(np.array([1]), 0)
    with pytest.raises(ValueError, match=r"non-empty vector.* got shape \(0,\)"):
        recall_at(np.array([], dtype=np.int64), 1)
    with pytest.raises(ValueError, match="positions count from 1, and 0 means not found; got -1"):
        recall_at(np.array([0, -1]), 1)


def test_mean_reciprocal_rank_hand_computed() -> None:
    # (1/1 + 1/2 + 1/4 + 0) / 4 = 0.4375
    assert mean_reciprocal_rank(np.array([1, 2, 4, 0])) == pytest.approx(0.4375)


def test_accuracies_hand_computed() -> None:
    # 5 mentions, 4 retrieved, 2 of them right after reranking: normalised 2/4, unnormalised 2/5
    positions = np.array([1, 1, 3, 2, 0])
    retrieved = np.array([True, True, True, True, False])
    assert accuracy_normalised(positions, retrieved) == 2 / 4
    assert accuracy_unnormalised(positions) == 2 / 5
    # unnormalised = recall of the candidates x normalised
    assert accuracy_unnormalised(positions) == pytest.approx(
        retrieved.mean() * accuracy_normalised(positions, retrieved)
    )


def test_accuracy_normalised_nothing_retrieved_is_zero() -> None:
    assert accuracy_normalised(np.array([0, 0]), np.array([False, False])) == 0.0


def test_accuracy_normalised_wrong_shape_raises() -> None:
    with pytest.raises(ValueError, match=r"retrieved must have shape \(2,\) .* got \(1,\)"):
        accuracy_normalised(np.array([1, 2]), np.array([True]))


def test_macro_average_differs_from_micro() -> None:
    # world a: 3 of 4 right; world b: 0 of 1; micro 3/5; macro (3/4 + 0) / 2, where the 0 counts
    positions, worlds = np.array([1, 1, 1, 2, 2]), ["a", "a", "a", "a", "b"]
    assert recall_at(positions, 1) == 3 / 5
    assert macro_average(partial(recall_at, k=1), worlds, positions) == 3 / 8
    assert macro_average(accuracy_unnormalised, worlds, positions) == 3 / 8


def test_macro_average_world_with_nothing_retrieved_counts_as_zero() -> None:
    # world a: 1 right of 1 retrieved; world b: nothing retrieved. BLINK leaves b out and reports 1.0
    positions, retrieved = np.array([1, 0]), np.array([True, False])
    assert macro_average(accuracy_normalised, ["a", "b"], positions, retrieved) == 0.5


def test_macro_average_mentions_without_world_form_a_group() -> None:
    # None: 1 of 2; a: 1 of 1 -> (1/2 + 1) / 2
    assert macro_average(accuracy_unnormalised, [None, "a", None], np.array([1, 1, 0])) == 0.75
    assert macro_average(accuracy_unnormalised, [None, None], np.array([1, 0])) == 0.5


def test_macro_average_wrong_number_of_worlds_raises() -> None:
    with pytest.raises(ValueError, match="one world for each of the 2 mentions; got 1"):
        macro_average(accuracy_unnormalised, ["a"], np.array([1, 0]))


def test_by_world_interleaved_worlds_are_kept_apart() -> None:
    # BLINK books the third mention of worlds A, B, A under B
    groups = [(world, array.tolist()) for world, (array,) in by_world(["b", "a", "b"], [np.array([1, 2, 3])])]
    assert groups == [("a", [2]), ("b", [1, 3])]
