"""Losses of the one-pass linker, as pure functions of tensors.

* `span_detection_loss`: binary cross-entropy of every span of the texts, 1 for the gold spans (Li et al. 2020, section 3.4).
* `pair_loss`: binary cross-entropy of pairs of a mention and an entity, ELQ's loss with hard negatives.

The in-batch loss, and the softmax over hard negatives, are those of `losses`.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def span_detection_loss(logits: Tensor, gold: Tensor) -> Tensor:
    """Mean binary cross-entropy over all spans of all texts.

    Args:
        logits: `[batch_size, text_length, max_mention_tokens]`, -inf where there is no span.
        gold: int64 `[num_gold, 3]`: text, first token, and number of tokens minus one. Gold spans that are longer than
            the longest one that is scored are left out; so are repeated ones.

    Returns:
        The mean loss, a float32 scalar.

    Raises:
        ValueError: a gold span that is no span of its text, or a batch without spans.
    """
    real = torch.isfinite(logits)
    if not real.any():
        raise ValueError(f"expected texts with at least one span, got none in logits {tuple(logits.shape)}")
    gold = gold[gold[:, 2] < logits.shape[2]]
    targets = torch.zeros_like(logits, dtype=torch.float32)
    rows, starts, widths = gold.unbind(dim=1)
    outside = ~real[rows, starts, widths]
    if outside.any():
        raise ValueError(
            f"expected gold spans within their texts, got {gold[outside][:10].tolist()} (text, first token, tokens - 1)"
        )
    targets[rows, starts, widths] = 1.0
    return F.binary_cross_entropy_with_logits(logits[real].float(), targets[real])


def pair_loss(scores: Tensor, is_gold: Tensor, counted: Tensor | None = None) -> Tensor:
    """Mean binary cross-entropy of mention-entity pairs.

    Args:
        scores: of pairs, any shape.
        is_gold: True where the entity is the mention's, the same shape.
        counted: True at pairs that count, the same shape; None counts all.

    Returns:
        The mean loss over the pairs that count, a float32 scalar.
    """
    if counted is not None:
        scores, is_gold = scores[counted], is_gold[counted]
    return F.binary_cross_entropy_with_logits(scores.float(), is_gold.float())
