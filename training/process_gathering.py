"""Negatives of all processes: the entity columns of a step, gathered with their gradient.

Each process scores its own mentions against the columns of all of them and takes the mean over its own mentions. The
backward pass adds up what all processes want of a column and gives it to the one that made it; then the average of
the gradients, which DistributedDataParallel takes, is exactly that of one process with the whole batch. (Gathering
without gradient gives the same loss and wrong gradients.)
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from hf_blink.training.process_shares import process_place


class _GatherRows(torch.autograd.Function):
    """Rows of all processes, one after the other; every process gives equally many."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].contiguous()
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


def gather_columns(vectors: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, int]:
    """The entity columns of all processes.

    Args:
        vectors: Entity vectors of this process, `[num_columns, embed_dim]`; processes may differ in number.
        rows: Entity rows of the columns, int64 `[num_columns]`.

    Returns:
        Vectors and rows of all processes, and the column at which this process's own begin.
    """
    number, count = process_place()
    if count == 1:
        return vectors, rows, 0
    counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(count)]
    dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    sizes = [int(size) for size in counts]
    largest = max(sizes)
    padded = torch.nn.functional.pad(vectors, (0, 0, 0, largest - len(vectors)))
    all_vectors = _GatherRows.apply(padded)
    parts = [torch.empty(largest, dtype=rows.dtype, device=rows.device) for _ in sizes]
    dist.all_gather(parts, torch.nn.functional.pad(rows, (0, largest - len(rows)), value=-1))
    kept = torch.cat([torch.arange(size, device=rows.device) + i * largest for i, size in enumerate(sizes)])
    return all_vectors[kept], torch.cat(parts)[kept], sum(sizes[:number])
