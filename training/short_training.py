"""A training that leaves nothing behind but the model: a progress bar, no log lines, no files."""

from tempfile import TemporaryDirectory
from typing import Any

from transformers.trainer_callback import PrinterCallback, ProgressCallback

from hf_blink.training.arguments import BlinkTrainingArguments


class _BarOnly(ProgressCallback):
    def on_log(self, *args: Any, **kwargs: Any) -> None:
        pass


def one_device(arguments: Any) -> None:
    """Trains on the first GPU alone where there are several, since no `accelerate launch` starts a process for each."""
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1


def train_briefly(
    trainer_class: Any, model: Any, collator: Any, dataset: Any, *, progress: bool = True, **options: Any
) -> Any:
    """Trains a model.

    Args:
        trainer_class: one of the trainers.
        model: what is trained, in place.
        collator: makes its batches.
        dataset: what it is trained on.
        progress: show a progress bar.
        **options: of [`BlinkTrainingArguments`].

    Returns:
        The model on the CPU, in evaluation mode.
    """
    with TemporaryDirectory() as folder:
        fixed: dict[str, Any] = {"save_strategy": "no", "logging_strategy": "no"}
        arguments = BlinkTrainingArguments(folder, **fixed, **options)
        one_device(arguments)
        trainer = trainer_class(model, arguments, collator, dataset)
        for callback in (ProgressCallback, PrinterCallback):
            trainer.remove_callback(callback)
        if progress:
            trainer.add_callback(_BarOnly)
        trainer.train()
    return trainer.model.cpu().eval()
