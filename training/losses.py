"""Losses as pure functions of tensors: scores in, one number out; no model and no tokenizer in sight.

* Bi-encoder: `in_batch_softmax_loss` is the cross-entropy of each mention over the entity columns of the
  batch. A column may be a gold entity of a mention without being its target: the same entity drawn by another
  mention of the batch, or another gold entity of the same mention. BLINK counts those as negatives;
  `target_and_ignored_columns` takes them out of that mention's softmax. The target is the only gold entity
  that stays.
* Cross-encoder: `candidate_softmax_loss` is minus the log of the probability that falls on the gold
  candidates, which is the plain cross-entropy where there is one of them, and the marginal likelihood where
  there are several.

Everything is computed in float32 (float64 stays float64), whatever the precision of the scores. Columns that
are left out have a gradient of exactly zero.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

SHOWN_ROWS = 10
LEFT_OUT = float("-inf")


def in_batch_softmax_loss(scores: Tensor, targets: Tensor, ignore: Tensor | None = None) -> Tensor:
    """Softmax cross-entropy of every mention over the entity columns, averaged over the mentions.

    The columns may be more than the mentions: hard negatives and the columns of other processes count as
    well.

    Args:
        scores: Score of every mention with every column [batch_size, num_columns].
        targets: Column of each mention's gold entity, int64 [batch_size].
        ignore: True where a column is left out of the row's softmax [batch_size, num_columns]; None leaves
            out nothing.

    Returns:
        The mean loss, a float32 scalar.

    Raises:
        ValueError: A shape or a mask's type does not fit, a target is outside the columns, or a target column
            is ignored.
    """
    _check_scores(scores)
    _check_shape("targets", targets, (scores.shape[0],))
    outside = (targets < 0) | (targets >= scores.shape[1])
    if outside.any():
        raise ValueError(
            f"targets must be columns from 0 to {scores.shape[1] - 1}; "
            f"got {targets[outside][:SHOWN_ROWS].tolist()} in rows {_rows(outside)}"
        )
    logits = _full_precision(scores)
    if ignore is not None:
        _check_mask("ignore", ignore, scores.shape)
        ignored_target = ignore.gather(1, targets[:, None]).squeeze(1)
        if ignored_target.any():
            raise ValueError(
                f"the target column must not be ignored, but it is in rows {_rows(ignored_target)}; "
                "build the mask with target_and_ignored_columns"
            )
        logits = logits.masked_fill(ignore, LEFT_OUT)
    return F.cross_entropy(logits, targets)


def gold_columns(gold_rows: Tensor, column_rows: Tensor) -> Tensor:
    """Finds the columns that hold a gold entity of each mention.

    Args:
        gold_rows: Gold entity rows of each mention, int64 [batch_size, max_gold].
        column_rows: Entity row that each column holds, int64 [num_columns]. Negative rows, here or among the
            labels, mean "no entity" and match nothing.

    Returns:
        True where the column's entity is gold for the mention [batch_size, num_columns].
    """
    gold = torch.zeros(gold_rows.shape[0], column_rows.shape[0], dtype=torch.bool, device=column_rows.device)
    for rows in gold_rows.unbind(dim=1):
        gold |= rows[:, None] == column_rows[None, :]
    return gold & (column_rows >= 0)


def target_and_ignored_columns(
    gold_rows: Tensor, column_rows: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """The softmax of columns in which each entity counts once: what `in_batch_softmax_loss` needs.

    Columns of several processes, or a batch that was not freed of repetitions, may hold an entity more than once. The
    first copy stays for all mentions. A mention's gold columns but its target are left out too.

    Args:
        gold_rows: Gold entity rows of each mention, -1 for none, int64 [batch_size, max_gold].
        column_rows: Entity row that each column holds, int64 [num_columns].
        targets: Column of each mention's gold entity, int64 [batch_size].

    Returns:
        The targets, moved to first copies, [batch_size], and the columns to ignore [batch_size, num_columns].
    """
    _, entity = torch.unique(column_rows, return_inverse=True)
    numbers = torch.arange(len(column_rows), device=column_rows.device)
    first = torch.full_like(numbers, len(column_rows)).scatter_reduce(0, entity, numbers, "amin")[entity]
    targets = first[targets]
    ignored = gold_columns(gold_rows, column_rows) | (first != numbers)
    return targets, ignored.scatter(1, targets[:, None], False)


def candidate_softmax_loss(scores: Tensor, gold: Tensor, candidate_mask: Tensor | None = None) -> Tensor:
    """Minus the log of the probability of the gold candidates, averaged over the mentions.

    Args:
        scores: Score of every candidate of every mention [batch_size, num_candidates].
        gold: True where a candidate is a gold entity of its mention [batch_size, num_candidates].
        candidate_mask: True at candidates, False at padding [batch_size, num_candidates]; None means no
            padding.

    Returns:
        The mean loss, a float32 scalar.

    Raises:
        ValueError: A shape or a mask's type does not fit, or a mention has no gold entity among its
            candidates.
    """
    _check_scores(scores)
    _check_mask("gold", gold, scores.shape)
    logits = _full_precision(scores)
    if candidate_mask is not None:
        _check_mask("candidate_mask", candidate_mask, scores.shape)
        logits = logits.masked_fill(~candidate_mask, LEFT_OUT)
        gold = gold & candidate_mask
    without_gold = ~gold.any(dim=1)
    if without_gold.any():
        raise ValueError(
            "every mention needs a gold entity among its candidates, but there is none in rows "
            f"{_rows(without_gold)}; leave those mentions out or add their gold entity to the candidates"
        )
    log_all = torch.logsumexp(logits, dim=1)
    log_gold = torch.logsumexp(logits.masked_fill(~gold, LEFT_OUT), dim=1)
    return (log_all - log_gold).mean()


def _full_precision(scores: Tensor) -> Tensor:
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def _check_scores(scores: Tensor) -> None:
    if scores.dim() != 2 or 0 in scores.shape:
        raise ValueError(
            f"scores must be a non-empty matrix with one row per mention; got shape {tuple(scores.shape)}"
        )


def _check_mask(name: str, mask: Tensor, expected: Sequence[int]) -> None:
    if mask.dtype != torch.bool:
        raise ValueError(f"{name} must be a boolean mask; got {mask.dtype}")
    _check_shape(name, mask, expected)


def _check_shape(name: str, tensor: Tensor, expected: Sequence[int]) -> None:
    if tuple(tensor.shape) != tuple(expected):
        raise ValueError(
            f"{name} must have shape {tuple(expected)} to fit the scores; got {tuple(tensor.shape)}"
        )


def _rows(mask: Tensor) -> str:
    """Names the rows at which a mask [batch_size] is True, the first ten of them."""
    rows = mask.nonzero().flatten().tolist()
    more = f" and {len(rows) - SHOWN_ROWS} more" if len(rows) > SHOWN_ROWS else ""
    return f"{rows[:SHOWN_ROWS]}{more}"
