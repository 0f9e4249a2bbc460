"""How far a student's scores of candidates are from a teacher's, as pure functions of tensors.

With p = softmax(teacher / temperature) and q = softmax(student / temperature) over the candidates of a mention:

* `cross_entropy`, the paper's form (Wu et al. 2020, section 5): H(p, q) = -sum p log q. Its least value is the
  teacher's entropy, and its gradient shrinks with the square of the temperature.
* `kl`: temperature^2 * KL(p || q), which is 0 where the two agree. The factor keeps the size of the gradient
  (Hinton et al. 2015, section 2), so that the weight beside the hard loss needs no change with the temperature. At
  temperature 1 its gradient is that of `cross_entropy`.

Everything is computed in float32 at least. Padding has a gradient of exactly zero, and so has the teacher.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from hf_blink.training.losses import LEFT_OUT, SHOWN_ROWS


def soft_cross_entropy(
    student_scores: Tensor,
    teacher_scores: Tensor,
    candidate_mask: Tensor | None = None,
    *,
    temperature: float = 1.0,
) -> Tensor:
    """H(softmax(teacher / temperature), softmax(student / temperature)), averaged over the mentions.

    Args:
        student_scores: [batch_size, num_candidates].
        teacher_scores: [batch_size, num_candidates], in the same order.
        candidate_mask: True at candidates, False at padding [batch_size, num_candidates]; None means no padding.
        temperature: above 0; higher ones let the teacher's lower candidates count more.

    Returns:
        A float32 scalar (float64 for scores in float64).

    Raises:
        ValueError: shapes that differ, a mask that is not boolean, a mention without candidates, a teacher's score that
            is not finite, or a temperature of 0 or less.
    """
    teacher, _, log_student = _distributions(student_scores, teacher_scores, candidate_mask, temperature)
    return -(teacher * log_student).sum(dim=1).mean()


def soft_kl_divergence(
    student_scores: Tensor,
    teacher_scores: Tensor,
    candidate_mask: Tensor | None = None,
    *,
    temperature: float = 1.0,
) -> Tensor:
    """temperature^2 * KL(softmax(teacher / temperature) || softmax(student / temperature)), averaged over the mentions.

    Arguments and errors are those of `soft_cross_entropy`.
    """
    teacher, log_teacher, log_student = _distributions(
        student_scores, teacher_scores, candidate_mask, temperature
    )
    return temperature**2 * (teacher * (log_teacher - log_student)).sum(dim=1).mean()


DISTILLATION_LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": soft_cross_entropy,
    "kl": soft_kl_divergence,
}


def distillation_loss(
    hard_loss: Tensor,
    student_scores: Tensor,
    teacher_scores: Tensor,
    candidate_mask: Tensor | None = None,
    *,
    alpha: float,
    temperature: float = 1.0,
    form: str = "cross_entropy",
) -> Tensor:
    """alpha * hard loss + (1 - alpha) * the distance from the teacher.

    Args:
        hard_loss: the loss against the labels, a scalar.
        student_scores, teacher_scores, candidate_mask, temperature: see `soft_cross_entropy`.
        alpha: between 0, the teacher alone, and 1, the labels alone.
        form: `cross_entropy` or `kl`.

    Raises:
        ValueError: as `soft_cross_entropy` and `check_distillation`.
    """
    check_distillation(alpha, temperature, form)
    soft = DISTILLATION_LOSSES[form]
    distance = soft(student_scores, teacher_scores, candidate_mask, temperature=temperature)
    return alpha * hard_loss + (1 - alpha) * distance


def check_distillation(alpha: float, temperature: float, form: str) -> None:
    """Checks the settings of `distillation_loss` before anything is computed.

    Raises:
        ValueError: names all three.
    """
    if not 0 <= alpha <= 1 or not temperature > 0 or form not in DISTILLATION_LOSSES:
        raise ValueError(
            "expected distillation_alpha from 0 to 1, distillation_temperature above 0 and a distillation_loss of "
            f"{', '.join(DISTILLATION_LOSSES)}, got {alpha}, {temperature} and {form!r}"
        )


def _distributions(
    student_scores: Tensor, teacher_scores: Tensor, candidate_mask: Tensor | None, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The teacher's probabilities and logs of them, and the student's logs, [batch_size, num_candidates]; 0 at padding."""
    _check(student_scores, teacher_scores, candidate_mask, temperature)
    logs = []
    for scores in (teacher_scores.detach(), student_scores):
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32)) / temperature
        if candidate_mask is not None:
            scores = scores.masked_fill(~candidate_mask, LEFT_OUT)
        logs.append(functional.log_softmax(scores, dim=1))
    probabilities = logs[0].exp()
    if candidate_mask is not None:
        logs = [values.masked_fill(~candidate_mask, 0.0) for values in logs]
    return probabilities, logs[0], logs[1]


def _check(
    student_scores: Tensor, teacher_scores: Tensor, candidate_mask: Tensor | None, temperature: float
) -> None:
    if not temperature > 0:
        raise ValueError(f"expected a distillation temperature above 0, got {temperature}")
    shape = tuple(student_scores.shape)
    if len(shape) != 2 or 0 in shape or tuple(teacher_scores.shape) != shape:
        raise ValueError(
            "expected scores of student and teacher in one shape [batch_size, num_candidates], not empty, got "
            f"{shape} and {tuple(teacher_scores.shape)}"
        )
    finite = teacher_scores.isfinite()
    if candidate_mask is not None:
        if candidate_mask.dtype != torch.bool or tuple(candidate_mask.shape) != shape:
            raise ValueError(
                f"expected a boolean candidate_mask of shape {shape}, got {candidate_mask.dtype} of "
                f"{tuple(candidate_mask.shape)}"
            )
        if (empty := ~candidate_mask.any(dim=1)).any():
            raise ValueError(
                f"expected at least one candidate a mention, got none in rows {_rows(empty)}; leave those mentions out"
            )
        finite = finite | ~candidate_mask
    if (wrong := ~finite.all(dim=1)).any():
        raise ValueError(
            f"expected finite teacher scores, got others in rows {_rows(wrong)}; compute them with add_teacher_scores"
        )


def _rows(mask: Tensor) -> list[int]:
    return mask.nonzero().flatten().tolist()[:SHOWN_ROWS]
