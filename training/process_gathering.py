"""Negatives of all processes: the entity columns of a step, gathered with their gradient.

Each process scores its own mentions against the columns of all of them and takes the mean over its own mentions. The
backward pass adds up what all processes want of a column and gives it to the one that made it; then the average of
the gradients, which DistributedDataParallel takes, is exactly that of one process with the whole batch. (Gathering
without gradient gives the same loss and wrong gradients.)

That holds where all processes have equally many mentions; `mean_over_processes` weights the means of those that do not.
All functions are collective: every process calls them, in the same order.
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
    sizes = _sizes(rows)
    if not max(sizes):
        return vectors, rows, 0
    all_vectors = _GatherRows.apply(torch.nn.functional.pad(vectors, (0, 0, 0, max(sizes) - len(vectors))))
    return all_vectors[_kept(sizes, rows.device)], _gathered(rows, sizes), sum(sizes[:number])


def gather_rows(rows: Tensor) -> Tensor:
    """Entity rows of all processes, int64 `[num_rows]`; processes may differ in number."""
    if process_place()[1] == 1:
        return rows
    return _gathered(rows, _sizes(rows))


def mean_over_processes(mean: Tensor, count: int) -> Tensor:
    """A loss whose average over the processes, with its gradient, is the mean over the items of all of them.

    Args:
        mean: the mean over this process's items, a scalar; anything finite where it has none.
        count: of this process's items.

    Returns:
        `mean * count * num_processes / items of all processes`, 0 where no process has any.
    """
    _, num_processes = process_place()
    if num_processes == 1:
        return mean
    total = torch.tensor([count], dtype=torch.int64, device=mean.device)
    dist.all_reduce(total)
    return mean * (count * num_processes / max(int(total), 1))


def any_process(flag: Tensor) -> bool:
    """Whether a flag is set in any process.

    Args:
        flag: of this process, a bool scalar; one byte on its device is exchanged.
    """
    if process_place()[1] > 1:
        flag = flag.to(torch.uint8)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag)


def most_of_processes(number: int, device: torch.device) -> int:
    """The largest of the numbers that the processes give, which is exchanged on their devices."""
    if process_place()[1] == 1:
        return number
    most = torch.tensor([number], dtype=torch.int64, device=device)
    dist.all_reduce(most, dist.ReduceOp.MAX)
    return int(most)


def _sizes(rows: Tensor) -> list[int]:
    """The number of rows of each process."""
    counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(process_place()[1])]
    dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    return [int(size) for size in counts]


def _gathered(rows: Tensor, sizes: list[int]) -> Tensor:
    if not max(sizes):
        return rows
    parts = [torch.empty(max(sizes), dtype=rows.dtype, device=rows.device) for _ in sizes]
    dist.all_gather(parts, torch.nn.functional.pad(rows, (0, max(sizes) - len(rows)), value=-1))
    return torch.cat(parts)[_kept(sizes, rows.device)]


def _kept(sizes: list[int], device: torch.device) -> Tensor:
    """Positions of the rows that are no padding, where each process's are padded to the most."""
    return torch.cat([torch.arange(size, device=device) + i * max(sizes) for i, size in enumerate(sizes)])
