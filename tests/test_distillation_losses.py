"""The distance from a teacher: by hand, against torch's own, with padding, and what is refused."""

import math

import pytest
import torch
from torch.nn import functional

from hf_blink.training.distillation_losses import (
    DISTILLATION_LOSSES,
    distillation_loss,
    soft_cross_entropy,
    soft_kl_divergence,
)

# Probabilities 3/4, 1/4 and 1/2, 1/2; then 1/4, 3/4 and 1/5, 4/5.
TEACHER = torch.tensor([[math.log(3), 0.0], [0.0, math.log(3)]])
STUDENT = torch.tensor([[0.0, 0.0], [0.0, math.log(4)]])


def test_cross_entropy_by_hand():
    first = math.log(2)
    second = -(0.25 * math.log(0.2) + 0.75 * math.log(0.8))
    assert soft_cross_entropy(STUDENT, TEACHER).item() == pytest.approx((first + second) / 2, rel=1e-6)


def test_kl_by_hand_and_zero_where_both_agree():
    first = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    second = 0.25 * math.log(0.25 / 0.2) + 0.75 * math.log(0.75 / 0.8)
    assert soft_kl_divergence(STUDENT, TEACHER).item() == pytest.approx((first + second) / 2, rel=1e-5)
    assert soft_kl_divergence(TEACHER + 7, TEACHER).item() == pytest.approx(0, abs=1e-6)


def test_the_temperature_divides_both_and_kl_gets_its_square():
    assert soft_cross_entropy(2 * STUDENT, 2 * TEACHER, temperature=2).item() == pytest.approx(
        soft_cross_entropy(STUDENT, TEACHER).item(), rel=1e-6
    )
    assert soft_kl_divergence(2 * STUDENT, 2 * TEACHER, temperature=2).item() == pytest.approx(
        4 * soft_kl_divergence(STUDENT, TEACHER).item(), rel=1e-5
    )


@pytest.mark.parametrize("form", sorted(DISTILLATION_LOSSES))
def test_padding_adds_nothing_and_gets_no_gradient(form):
    mask = torch.tensor([[True, True, False], [True, True, False]])
    padded = functional.pad(STUDENT, (0, 1), value=9.0).requires_grad_()
    teacher = functional.pad(TEACHER, (0, 1), value=float("nan"))
    loss = DISTILLATION_LOSSES[form](padded, teacher, mask, temperature=3.0)
    plain = STUDENT.clone().requires_grad_()
    expected = DISTILLATION_LOSSES[form](plain, TEACHER, temperature=3.0)
    loss.backward()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert padded.grad is not None and plain.grad is not None
    assert torch.allclose(padded.grad[:, :2], plain.grad) and (padded.grad[:, 2] == 0).all()


def test_gradients_are_probabilities_minus_the_teachers():
    student = STUDENT.clone().requires_grad_()
    teacher = TEACHER.clone().requires_grad_()
    soft_cross_entropy(student, teacher).backward()
    assert student.grad is not None and teacher.grad is None
    expected = torch.tensor([[0.5 - 0.75, 0.5 - 0.25], [0.2 - 0.25, 0.8 - 0.75]]) / 2
    assert torch.allclose(student.grad, expected, atol=1e-6)


def test_kl_is_torchs_own():
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 7, dtype=torch.float64), torch.randn(5, 7, dtype=torch.float64)
    own = functional.kl_div(student.log_softmax(1), teacher.softmax(1), reduction="batchmean")
    loss = soft_kl_divergence(student, teacher)
    assert loss.dtype == torch.float64 and loss.item() == pytest.approx(own.item(), rel=1e-12)
    assert soft_kl_divergence(student.bfloat16(), teacher).dtype == torch.float64
    assert soft_kl_divergence(student.bfloat16(), teacher.half()).dtype == torch.float32


def test_alpha_weighs_the_hard_loss():
    hard = torch.tensor(2.0)
    soft = soft_cross_entropy(STUDENT, TEACHER, temperature=2.0).item()
    options = {"temperature": 2.0, "form": "cross_entropy"}
    for alpha in (0.0, 0.3, 1.0):
        loss = distillation_loss(hard, STUDENT, TEACHER, alpha=alpha, **options)  # type: ignore[arg-type]
        assert loss.item() == pytest.approx(alpha * 2 + (1 - alpha) * soft, rel=1e-6)
    kl = distillation_loss(hard, STUDENT, TEACHER, alpha=0.5, form="kl").item()
    assert kl == pytest.approx(1 + soft_kl_divergence(STUDENT, TEACHER).item() / 2, rel=1e-6)


def test_what_makes_no_sense_is_refused():
    mask = torch.tensor([[True, True], [False, False]])
    with pytest.raises(ValueError, match="distillation temperature above 0, got 0"):
        soft_cross_entropy(STUDENT, TEACHER, temperature=0)
    with pytest.raises(ValueError, match=r"got \(2, 2\) and \(1, 2\)"):
        soft_cross_entropy(STUDENT, TEACHER[:1])
    with pytest.raises(ValueError, match=r"boolean candidate_mask of shape \(2, 2\), got torch.int64 of"):
        soft_kl_divergence(STUDENT, TEACHER, mask.long())
    with pytest.raises(ValueError, match=r"at least one candidate a mention, got none in rows \[1\]"):
        soft_kl_divergence(STUDENT, TEACHER, mask)
    with pytest.raises(ValueError, match=r"finite teacher scores, got others in rows \[0\]; compute them"):
        soft_kl_divergence(STUDENT, torch.tensor([[float("-inf"), 0.0], [0.0, 0.0]]))
