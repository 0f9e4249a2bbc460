"""Losses against numbers computed by hand; ln 2 = 0.693147, ln 3 = 1.098612."""

import math

import pytest
import torch

from hf_blink.training.losses import (
    candidate_softmax_loss,
    gold_columns,
    in_batch_softmax_loss,
    target_and_ignored_columns,
)

LN2, LN3, LN4 = math.log(2), math.log(3), math.log(4)


def test_in_batch_softmax_loss_hand_computed() -> None:
    # row 0: exp = 2, 1, 1 -> target 0 has 2/4 -> ln 2; row 1: exp = 1, 3, 2 -> target 1 has 3/6 -> ln 2
    # row 2: exp = 1, 1, 2 -> target 0 has 1/4 -> ln 4. Mean = (ln 2 + ln 2 + ln 4) / 3 = 4 ln 2 / 3
    scores = torch.tensor([[LN2, 0, 0], [0, LN3, LN2], [0, 0, LN2]])
    loss = in_batch_softmax_loss(scores, torch.tensor([0, 1, 0]))
    assert loss.item() == pytest.approx(4 * LN2 / 3, abs=1e-6)
    assert loss.shape == ()


def test_in_batch_softmax_loss_more_columns_than_mentions() -> None:
    # one mention, four equal columns: ln 4, whichever is the target
    assert in_batch_softmax_loss(torch.zeros(1, 4), torch.tensor([3])).item() == pytest.approx(LN4)


def test_in_batch_softmax_loss_leaves_ignored_columns_out() -> None:
    # exp = 2, 1, 1, 4 with the last left out: target 0 has 2/4 -> ln 2 (with it: 2/8 -> ln 4)
    scores = torch.tensor([[LN2, 0, 0, LN4]])
    ignore = torch.tensor([[False, False, False, True]])
    assert in_batch_softmax_loss(scores, torch.tensor([0]), ignore).item() == pytest.approx(LN2)
    assert in_batch_softmax_loss(scores, torch.tensor([0])).item() == pytest.approx(LN4)


def test_in_batch_softmax_loss_gradient_of_ignored_columns_is_exactly_zero() -> None:
    # probabilities without the last column: 1/2, 1/4, 1/4; gradient = probability - target
    scores = torch.tensor([[LN2, 0, 0, 7.0]], requires_grad=True)
    in_batch_softmax_loss(scores, torch.tensor([0]), torch.tensor([[False, False, False, True]])).backward()
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad[:, :3], torch.tensor([[-0.5, 0.25, 0.25]]))
    assert scores.grad[0, 3].item() == 0.0


def test_in_batch_softmax_loss_only_target_left_is_zero() -> None:
    scores = torch.tensor([[3.0, 5.0]], requires_grad=True)
    loss = in_batch_softmax_loss(scores, torch.tensor([0]), torch.tensor([[False, True]]))
    loss.backward()
    assert loss.item() == 0.0
    assert scores.grad is not None and scores.grad.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_batch_softmax_loss_low_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    # 1024 equal columns: ln 1024 = 6.931472; bfloat16 would give 6.9375, float16 6.9297 or 6.9336
    scores = torch.full((2, 1024), 100.0, dtype=dtype, requires_grad=True)
    loss = in_batch_softmax_loss(scores, torch.tensor([0, 1023]))
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(10 * LN2, abs=1e-4)
    assert scores.grad is not None and scores.grad.dtype == dtype


def test_in_batch_softmax_loss_huge_scores_stay_finite() -> None:
    # the target is 1000 lower than the best column: loss 1000
    scores = torch.tensor([[1e4, 9e3, -1e4]])
    assert in_batch_softmax_loss(scores, torch.tensor([1])).item() == pytest.approx(1000.0)


def test_in_batch_softmax_loss_keeps_float64() -> None:
    assert (
        in_batch_softmax_loss(torch.zeros(1, 2, dtype=torch.float64), torch.tensor([0])).dtype
        == torch.float64
    )


def test_in_batch_softmax_loss_ignored_target_raises() -> None:
    ignore = torch.tensor([[False, True], [False, True]])
    with pytest.raises(ValueError, match=r"must not be ignored, but it is in rows \[1\]"):
        in_batch_softmax_loss(torch.zeros(2, 2), torch.tensor([0, 1]), ignore)


@pytest.mark.parametrize("target", [-1, 2])
def test_in_batch_softmax_loss_target_outside_columns_raises(target: int) -> None:
    with pytest.raises(ValueError, match=rf"columns from 0 to 1; got \[{target}\] in rows \[1\]"):
        in_batch_softmax_loss(torch.zeros(2, 2), torch.tensor([0, target]))


@pytest.mark.parametrize("shape", [(3,), (0, 3), (3, 0), (1, 2, 3)])
def test_losses_scores_not_a_matrix_raises(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="non-empty matrix"):
        in_batch_softmax_loss(torch.zeros(shape), torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match="non-empty matrix"):
        candidate_softmax_loss(torch.zeros(shape), torch.ones(shape, dtype=torch.bool))


def test_losses_wrong_shapes_raise() -> None:
    scores, mask = torch.zeros(2, 3), torch.zeros(2, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"targets must have shape \(2,\) .* got \(3,\)"):
        in_batch_softmax_loss(scores, torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match=r"ignore must have shape \(2, 3\) .* got \(2, 2\)"):
        in_batch_softmax_loss(scores, torch.tensor([0, 1]), mask)
    with pytest.raises(ValueError, match=r"gold must have shape \(2, 3\)"):
        candidate_softmax_loss(scores, mask)
    with pytest.raises(ValueError, match=r"candidate_mask must have shape \(2, 3\)"):
        candidate_softmax_loss(scores, torch.ones(2, 3, dtype=torch.bool), mask)


def test_gold_columns_finds_every_gold_entity_of_a_mention() -> None:
    # columns hold entities 7, 3, 7, 9; mention 0 = {7}, mention 1 = {9, 3}, 2 = nothing of these, 3 = NIL
    gold = gold_columns(torch.tensor([[7, -1], [9, 3], [4, -1], [-1, -1]]), torch.tensor([7, 3, 7, 9]))
    assert gold.tolist() == [
        [True, False, True, False],
        [False, True, False, True],
        [False, False, False, False],
        [False, False, False, False],
    ]
    assert gold.dtype == torch.bool


def test_gold_columns_negative_rows_match_nothing() -> None:
    gold = gold_columns(torch.tensor([[-1, -1], [2, -1]]), torch.tensor([-1, 2]))
    assert gold.tolist() == [[False, False], [False, True]]


def test_an_entity_in_two_columns_counts_once_and_the_first_copy_stays() -> None:
    # columns hold 7, 3, 7, 9; mention 0 has the gold entity 7 in column 2, mention 1 has 9 and 3 with 3 as its target
    gold_rows = torch.tensor([[7, -1], [9, 3]])
    targets, ignored = target_and_ignored_columns(gold_rows, torch.tensor([7, 3, 7, 9]), torch.tensor([2, 1]))
    assert targets.tolist() == [0, 1]
    assert ignored.tolist() == [[False, False, True, False], [False, False, True, True]]


def test_in_batch_softmax_loss_repeated_gold_in_the_batch_is_no_negative() -> None:
    # both mentions have entity 5, so both columns are gold for both: nothing is left to push away, loss 0;
    # counted as negatives, as BLINK does, equal scores would cost ln 2 each
    targets = torch.tensor([0, 1])
    moved, ignored = target_and_ignored_columns(torch.tensor([[5], [5]]), torch.tensor([5, 5]), targets)
    assert in_batch_softmax_loss(torch.zeros(2, 2), moved, ignored).item() == 0.0
    assert in_batch_softmax_loss(torch.zeros(2, 2), targets).item() == pytest.approx(LN2)


def test_candidate_softmax_loss_one_gold_is_cross_entropy() -> None:
    # exp = 1, 2, 1 -> gold has 2/4 -> ln 2; exp = 3, 1, 2 -> gold (last) has 2/6 -> ln 3
    scores = torch.tensor([[0, LN2, 0], [LN3, 0, LN2]])
    gold = torch.tensor([[False, True, False], [False, False, True]])
    assert candidate_softmax_loss(scores, gold).item() == pytest.approx((LN2 + LN3) / 2)
    expected = torch.nn.functional.cross_entropy(scores, torch.tensor([1, 2]))
    assert candidate_softmax_loss(scores, gold).item() == pytest.approx(expected.item())


def test_candidate_softmax_loss_several_gold_is_marginal_likelihood() -> None:
    # exp = 1, 2, 1, 4; gold = first two -> (1 + 2) / 8 -> ln(8/3) = 0.980829
    scores = torch.tensor([[0, LN2, 0, LN4]])
    gold = torch.tensor([[True, True, False, False]])
    assert candidate_softmax_loss(scores, gold).item() == pytest.approx(0.980829, abs=1e-6)


def test_candidate_softmax_loss_all_gold_is_zero() -> None:
    assert candidate_softmax_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[True, True]])).item() == 0.0


def test_candidate_softmax_loss_padding_is_masked_out() -> None:
    # exp = 1, 1, (9 = padding): gold has 1/2 -> ln 2, gradients 1/2 - 1 and 1/2, and exactly 0 at the padding
    scores = torch.tensor([[0, 0, math.log(9)]], requires_grad=True)
    mask = torch.tensor([[True, True, False]])
    loss = candidate_softmax_loss(scores, torch.tensor([[True, False, False]]), mask)
    loss.backward()
    assert loss.item() == pytest.approx(LN2)
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad[:, :2], torch.tensor([[-0.5, 0.5]]))
    assert scores.grad[0, 2].item() == 0.0


def test_candidate_softmax_loss_bfloat16_is_computed_in_float32() -> None:
    # 64 equal candidates: ln 64 = 4.158883; bfloat16 would give 4.15625
    scores = torch.full((1, 64), -30.0, dtype=torch.bfloat16)
    loss = candidate_softmax_loss(scores, torch.arange(64)[None] == 5)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(6 * LN2, abs=1e-5)


def test_candidate_softmax_loss_rows_without_gold_raise() -> None:
    gold = torch.tensor([[True, False], [False, False], [False, True]])
    with pytest.raises(ValueError, match=r"there is none in rows \[1\]"):
        candidate_softmax_loss(torch.zeros(3, 2), gold)
    # a gold flag on padding is no gold candidate
    mask = torch.tensor([[True, True], [True, True], [True, False]])
    with pytest.raises(ValueError, match=r"there is none in rows \[1, 2\]"):
        candidate_softmax_loss(torch.zeros(3, 2), gold, mask)
    with pytest.raises(ValueError, match=r"rows \[0, 1, 2, 3, 4, 5, 6, 7, 8, 9\] and 2 more"):
        candidate_softmax_loss(torch.zeros(12, 2), torch.zeros(12, 2, dtype=torch.bool))


def test_losses_masks_of_another_type_raise() -> None:
    with pytest.raises(ValueError, match=r"gold must be a boolean mask; got torch.int64"):
        candidate_softmax_loss(torch.zeros(1, 2), torch.tensor([[0, 1]]))
    with pytest.raises(ValueError, match=r"ignore must be a boolean mask; got torch.float32"):
        in_batch_softmax_loss(torch.zeros(1, 2), torch.tensor([0]), torch.zeros(1, 2))
