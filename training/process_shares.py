"""Work shared by the processes of a run: who does which part, and how each gets what the others made.

    items 0 ... num_items -> blocks of a fixed size -> each process takes a contiguous share of whole blocks

Block borders do not depend on the number of processes, so a block gives the same bits whoever computes it. The functions
that exchange something are collective: every process of the run calls them, in the same order. Where
`torch.distributed` is not initialised there is one process, and they do nothing.
"""

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import distributed

Bounds = tuple[int, int]  # first item and the one after the last
_PIECE_BYTES = 64 * 2**20  # of a broadcast


def process_place() -> tuple[int, int]:
    """This process's number, from 0, and the number of processes."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def blocks(bounds: Bounds, block_size: int) -> Iterator[Bounds]:
    """The blocks of a share, each `block_size` items long but for the last of all."""
    start, stop = bounds
    for first in range(start, stop, block_size):
        yield first, min(first + block_size, stop)


def share_bounds(num_items: int, block_size: int, num_processes: int) -> list[Bounds]:
    """The contiguous share of each process in whole blocks, as equal as blocks allow; may be empty.

    Raises:
        ValueError: a block or a number of processes below 1.
    """
    if block_size < 1 or num_processes < 1:
        raise ValueError(
            f"expected block_size and num_processes of at least 1, got {block_size} and {num_processes}"
        )
    num_blocks = -(-num_items // block_size)
    cuts = [
        min(number * num_blocks // num_processes * block_size, num_items)
        for number in range(num_processes + 1)
    ]
    return list(pairwise(cuts))


def gather_objects(value: Any) -> list[Any]:
    """The small value that each process gives, in the order of processes; collective."""
    _, count = process_place()
    if count == 1:
        return [value]
    values: list[Any] = [None] * count
    distributed.all_gather_object(values, value)
    return values


def exchange_rows(whole: np.ndarray, shares: Sequence[Bounds]) -> None:
    """Fills in, in place, the rows that the other processes computed; collective.

    Shares may be uneven or empty. Needs no memory beyond the array but one piece of 64 MiB.

    Args:
        whole: `[num_items, ...]` in C order, of the same shape and type in every process; the own share is filled.
        shares: of each process.
    """
    index, count = process_place()
    if count == 1:
        return
    device = _exchange_device()
    piece_rows = max(1, _PIECE_BYTES // max(whole[:1].nbytes, 1))
    for source, bounds in enumerate(shares):
        for start, stop in blocks(bounds, piece_rows):
            piece = torch.from_numpy(whole[start:stop]).to(device)
            distributed.broadcast(piece, source)
            if index != source:
                whole[start:stop] = piece.cpu().numpy()


def _exchange_device() -> torch.device:
    """Where tensors must lie to be sent: NCCL knows only the GPU of the process."""
    if distributed.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def check_agreement(what: str, facts: Mapping[str, Any]) -> None:
    """Refuses processes that were started with different data or settings; collective.

    Args:
        what: the work that is about to start, for the error.
        facts: what must be equal everywhere, by name.

    Raises:
        ValueError: a fact differs, in every process; names the first such fact with the value of each process.
    """
    given = gather_objects(dict(facts))
    for name in facts:
        values = [other.get(name) for other in given]
        if any(value != values[0] for value in values):
            listed = ", ".join(f"{value!r} in process {number}" for number, value in enumerate(values))
            raise ValueError(
                f"{what}: expected the same {name} in all {len(given)} processes, got {listed}; start every process "
                "with the same recipe, files and model"
            )


def leave_processes(*, failed: bool = False) -> None:
    """Ends the exchange with the other processes, at the end of a program.

    Threads of the last exchange may otherwise be at work when Python ends, and abort the process.

    Args:
        failed: the others may not be at their end; then NCCL, which would wait for them, is left as it is.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    if not failed or distributed.get_backend() == "gloo":
        gc.collect()  # a model that is no longer used may hold the group
        distributed.destroy_process_group()


@contextmanager
def failing_together(what: str) -> Iterator[None]:
    """Work of each process's own, after which all go on or all raise, so that none waits for one that has stopped.

    Collective.

    Raises:
        ValueError: another process failed; names it and its error. The failed process raises its own error.
    """
    error: Exception | None = None
    try:
        yield
    except Exception as raised:
        error = raised
    messages = gather_objects(None if error is None else f"{type(error).__name__}: {error}")
    if error is not None:
        raise error
    for number, message in enumerate(messages):
        if message is not None:
            raise ValueError(
                f"{what}: expected all processes to finish, but process {number} stopped: {message}"
            )
