"""Losses of vectors that serve in several lengths (Kusupati et al. 2022): the mean of a loss over truncations.

A model that is trained so puts what matters most into its first dimensions; `BlinkBiEncoder.truncated(64)` or
`truncate_dim=64` then gives an index a sixth as large as 384 dimensions do.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional


def over_truncations(
    loss: Callable[[Tensor, Tensor], Tensor],
    mentions: Tensor,
    entities: Tensor,
    dims: Sequence[int],
    similarity: str,
) -> Tensor:
    """The mean of a loss over the first `dims` dimensions of the vectors.

    Args:
        loss: of mention vectors [batch_size, dim] and entity vectors [num_columns, dim], a scalar.
        mentions: [batch_size, embed_dim].
        entities: [num_columns, embed_dim].
        dims: lengths of the truncations; empty means the whole vectors alone.
        similarity: `cosine` gives every truncation length 1 again, as the truncated model does; `dot` leaves it.

    Raises:
        ValueError: a length below 1 or above embed_dim.
    """
    if not dims:
        return loss(mentions, entities)
    check_dims(dims, mentions.shape[1])
    losses = []
    for dim in dims:
        parts = mentions[:, :dim], entities[:, :dim]
        if similarity == "cosine":
            parts = functional.normalize(parts[0], dim=-1), functional.normalize(parts[1], dim=-1)
        losses.append(loss(*parts))
    return torch.stack(losses).mean()


def check_dims(dims: Sequence[int], embed_dim: int) -> None:
    """Refuses lengths that the vectors do not have.

    Raises:
        ValueError: a length below 1 or above `embed_dim`.
    """
    if wrong := [dim for dim in dims if not 1 <= dim <= embed_dim]:
        raise ValueError(
            f"expected matryoshka_dims from 1 to {embed_dim}, the length of the model's vectors, got {wrong}"
        )
