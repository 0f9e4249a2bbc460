"""Losses of the one-pass linker, as pure functions of tensors.

* `span_detection_loss`: binary cross-entropy of every span of the texts, 1 for the gold spans (Li et al. 2020, section 3.4).
  Of a text whose mentions are not all annotated `counted_spans` leaves out the spans that may be mentions.
* `pair_loss`: binary cross-entropy of pairs of a mention and an entity, ELQ's loss with hard negatives.

The in-batch loss, and the softmax over hard negatives, are those of `losses`. A mean over nothing is 0.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def counted_spans(logits: Tensor, gold: Tensor, complete: Tensor, *, nested: bool = False) -> Tensor:
    """Which spans the loss of span detection counts.

    Args:
        logits: `[batch_size, text_length, max_mention_tokens]`, -inf where there is no span.
        gold: int64 `[num_gold, 3]`: text, first token, and number of tokens minus one.
        complete: `[batch_size]`, True where all mentions of a text are gold.
        nested: whether mentions may overlap.

    Returns:
        `[batch_size, text_length, max_mention_tokens]`: True at all spans of a complete text. Of another they are the gold
        spans and those that share a token with one, which are certainly no mentions; any other may be one. Where mentions
        may overlap they are the gold spans alone.
    """
    real = ~torch.isneginf(logits)  # NaN is a span's, so that the loss shows it
    starts = torch.arange(logits.shape[1], device=logits.device)[:, None]
    stops = starts + torch.arange(logits.shape[2], device=logits.device) + 1
    rows, firsts, widths = gold[:, 0], gold[:, 1, None, None], gold[:, 2, None, None]
    known = (starts <= firsts + widths) & (stops > firsts)  # [num_gold, text_length, max_mention_tokens]
    if nested:
        known &= (starts == firsts) & (stops == firsts + widths + 1)
    near = torch.zeros(logits.shape, dtype=torch.int64, device=logits.device)
    near.index_add_(0, rows, known.long())
    return real & (complete[:, None, None] | (near > 0))


def span_detection_loss(logits: Tensor, gold: Tensor, counted: Tensor | None = None) -> Tensor:
    """Mean binary cross-entropy over the spans of all texts.

    Args:
        logits: `[batch_size, text_length, max_mention_tokens]`, -inf where there is no span.
        gold: int64 `[num_gold, 3]`: text, first token, and number of tokens minus one. Gold spans that are longer than
            the longest one that is scored are left out; so are repeated ones.
        counted: True at spans that count, of the shape of the logits (see `counted_spans`); None counts all.

    Returns:
        The mean loss over the spans that count, a float32 scalar.

    Raises:
        ValueError: a gold span that is no span of its text, or a batch without spans.
    """
    real = ~torch.isneginf(logits)
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
    return _mean_cross_entropy(logits, targets, real if counted is None else real & counted)


def pair_loss(scores: Tensor, is_gold: Tensor, counted: Tensor | None = None) -> Tensor:
    """Mean binary cross-entropy of mention-entity pairs.

    Args:
        scores: of pairs, any shape.
        is_gold: True where the entity is the mention's, the same shape.
        counted: True at pairs that count, the same shape; None counts all.

    Returns:
        The mean loss over the pairs that count, a float32 scalar.
    """
    return _mean_cross_entropy(scores, is_gold, torch.ones_like(is_gold) if counted is None else counted)


def _mean_cross_entropy(logits: Tensor, targets: Tensor, counted: Tensor) -> Tensor:
    total = F.binary_cross_entropy_with_logits(
        logits[counted].float(), targets[counted].float(), reduction="sum"
    )
    return total / counted.sum().clamp(min=1)
