"""What to lower where memory ran out: the error of a training that did not fit says so, with the settings as they are.

PyTorch tells how many bytes were wanted, which helps nobody who does not know what they were for. Inside
`advising_on_memory` a failed allocation, of a GPU or of the machine, becomes a `MemoryError` whose message begins with
PyTorch's first sentence and goes on with the settings that need memory, those first that cost least to lower.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

_OF_THE_CPU = ("can't allocate memory", "not enough memory", "Cannot allocate memory", "std::bad_alloc")
_OF_LIBRARIES = ("CUBLAS_STATUS_ALLOC_FAILED", "out of memory")  # errors that are not OutOfMemoryError


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on a GPU or on the machine."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(
        text in str(error) for text in (*_OF_THE_CPU, *_OF_LIBRARIES)
    )


@contextmanager
def advising_on_memory(
    args: Any, lengths: Callable[[], Mapping[str, int]], *, cached: bool
) -> Iterator[None]:
    """Turns running out of memory into an error that says what to lower.

    Args:
        args: the [`BlinkTrainingArguments`] of the training.
        lengths: gives other sizes that need memory, by the name of their setting: `mention_length`, `num_candidates`, ...
        cached: whether the trainer works in parts with `gradient_cache_chunk`.

    Raises:
        MemoryError: memory ran out. Other errors pass.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        said = str(error).split(". ")[0].splitlines() or ["out of memory"]
        raise MemoryError(
            f"expected a training that fits into memory, got: {said[0]}; lower, in this order: "
            f"{'; '.join(_advice(args, lengths(), cached=cached))}"
        ) from error


def _advice(args: Any, lengths: Mapping[str, int], *, cached: bool) -> list[str]:
    """Settings with their values, those that change no result first."""
    batch, chunk = args.per_device_train_batch_size, args.gradient_cache_chunk
    advice = []
    if cached and not chunk:
        part = max(1, batch // 4)
        advice.append(
            f"gradient_cache_chunk (now 0, the whole batch: {part} trains the same in parts of {part})"
        )
    elif cached:
        advice.append(f"gradient_cache_chunk (now {chunk})")
    # Its name in transformers before 5.23 is gradient_checkpointing.
    checkpointing = next(
        name for name in ("activation_checkpointing", "gradient_checkpointing") if hasattr(args, name)
    )
    if not getattr(args, checkpointing):
        advice.append(f"{checkpointing} (now false: true keeps fewer activations, for a third more time)")
    if not (args.bf16 or args.fp16) and args.device.type == "cuda":
        advice.append("precision (now float32: bf16 halves the activations)")
    kept = "" if cached else ", and raise gradient_accumulation_steps as much"
    advice.append(f"per_device_train_batch_size (now {batch}{kept})")
    advice += [f"{name} (now {value})" for name, value in lengths.items()]
    return advice
