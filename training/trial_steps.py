"""A training for a few steps, to see what it needs: memory of a full batch, time of a usual one.

Two short trainings in a folder that is removed afterwards. The first makes one step with windows of full length, where
the trainer has such a setting, and counts the bytes that autograd keeps for the backward pass; the second makes three
and is timed from the second on, since the first step of a process is slow.
"""

import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from hf_blink.training.arguments import BlinkTrainingArguments

MakeTrainer = Callable[[BlinkTrainingArguments], Any]
_TIMED_STEPS = 3


class Needs(NamedTuple):
    """What a step needs in one process.

    Attributes:
        parameters: Numbers in the model.
        trained: Those of them that are trained.
        weights, gradients, optimizer: Bytes of these.
        activations: Bytes kept for the backward pass of a full batch, at most at a time; measured.
        peak: Bytes allocated on the GPU at most; measured. None on other devices.
        seconds: Of an update step without accumulation; measured.
    """

    parameters: int
    trained: int
    weights: int
    gradients: int
    optimizer: int
    activations: int
    peak: int | None
    seconds: float

    @property
    def total(self) -> int:
        """Bytes of everything that was counted."""
        return self.weights + self.gradients + self.optimizer + self.activations


def needs_of(make_trainer: MakeTrainer, args: BlinkTrainingArguments) -> Needs:
    """Tries a training; collective.

    Args:
        make_trainer: gives the trainer for some arguments, with enough mentions for a batch.
        args: the training's arguments; whatever writes, evaluates or logs is switched off.
    """
    on_gpu = args.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    with saved_for_backward() as kept:
        trainer = _train(make_trainer, args, fixed_length=True, max_steps=1)
    peak = torch.cuda.max_memory_allocated() if on_gpu else None
    weights = list(trainer.accelerator.unwrap_model(trainer.model).parameters())
    trained = [weight for weight in weights if weight.requires_grad]
    optimizer = _bytes(
        value
        for state in trainer.optimizer.state.values()
        for value in state.values()
        if torch.is_tensor(value)
    )
    timer = _StepTimer(on_gpu)
    _train(make_trainer, args, timer, max_steps=_TIMED_STEPS)
    return Needs(
        parameters=sum(weight.numel() for weight in weights),
        trained=sum(weight.numel() for weight in trained),
        weights=_bytes(weights),
        gradients=_bytes(trained),
        optimizer=optimizer,
        activations=kept.most,
        peak=peak,
        seconds=min(timer.seconds[1:]),
    )


def _train(make_trainer: MakeTrainer, args: BlinkTrainingArguments, *callbacks: Any, **changes: Any) -> Any:
    """The trainer after a short training that leaves no files."""
    with TemporaryDirectory() as folder:
        quiet: dict[str, Any] = {
            "output_dir": folder, "save_strategy": "no", "eval_strategy": "no", "logging_strategy": "no",
            "report_to": "none", "load_best_model_at_end": False, "early_stopping_patience": 0, "push_to_hub": False,
            "gradient_accumulation_steps": 1, "disable_tqdm": True, "mine_every_steps": 0,
        }  # fmt: skip
        trainer = make_trainer(replace(args, **quiet, **changes))
        for callback in (ProgressCallback, PrinterCallback):
            trainer.remove_callback(callback)
        for callback in callbacks:
            trainer.add_callback(callback)
        trainer.train()
    return trainer


def _bytes(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class _StepTimer(TrainerCallback):
    """Seconds of each step."""

    def __init__(self, on_gpu: bool):
        self.on_gpu = on_gpu
        self.seconds: list[float] = []
        self._begun = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._begun = self._now()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.seconds.append(self._now() - self._begun)

    def _now(self) -> float:
        if self.on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter()


class SavedBytes:
    """Bytes that autograd keeps for backward passes, now and at most; parameters are not counted."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._users: Counter[int] = Counter()

    def keep(self, tensor: Tensor) -> Any:
        """Called with each tensor that is kept; what it gives lives as long as that."""
        if isinstance(tensor if tensor._base is None else tensor._base, torch.nn.Parameter):
            return tensor
        storage = tensor.untyped_storage()
        pointer, size = storage.data_ptr(), storage.nbytes()
        self._users[pointer] += 1
        if self._users[pointer] == 1:
            self.now += size
            self.most = max(self.most, self.now)
        held = _Held(tensor.detach())  # a node must not hold what it made itself
        weakref.finalize(held, self._drop, pointer, size)
        return held

    def _drop(self, pointer: int, size: int) -> None:
        self._users[pointer] -= 1
        if not self._users[pointer]:
            del self._users[pointer]
            self.now -= size


class _Held:
    def __init__(self, tensor: Tensor):
        self.tensor = tensor


@contextmanager
def saved_for_backward() -> Iterator[SavedBytes]:
    """Counts the bytes that autograd keeps while the context lasts."""
    kept = SavedBytes()

    def give_back(held: Any) -> Tensor:
        return held.tensor if isinstance(held, _Held) else held

    with torch.autograd.graph.saved_tensors_hooks(kept.keep, give_back):
        yield kept
