"""Which of the settings of `BlinkTrainingArguments` each training script uses; one that it would ignore is refused.

The four scripts share their arguments, and not all of these mean something to each. A setting that was changed and does
nothing would leave its user in the belief that it does.
"""

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any

from hf_blink.training.arguments import BlinkTrainingArguments

_ALL = ("precision", "dry_run")
_OF_BATCHES = ("same_world_batches", "unique_entities", "gather_negatives", "fixed_length", "blink_optimizer")
_OF_LONG_VECTORS = ("gradient_cache_chunk", "matryoshka_dims")
USED = {
    "train_biencoder": (
        *(*_ALL, *_OF_BATCHES, *_OF_LONG_VECTORS),
        *("early_stopping_patience", "num_hard_negatives", "mine_every_steps"),
    ),
    "train_crossencoder": (*_ALL, "early_stopping_patience"),
    "train_distillation": (
        *(*_ALL, *_OF_BATCHES, *_OF_LONG_VECTORS),
        *("early_stopping_patience", "distillation_alpha", "distillation_temperature", "distillation_loss"),
    ),
    "train_elq": (*_ALL, *_OF_BATCHES, "num_hard_negatives", "span_loss_weight", "hard_negative_loss"),
}
_INHERITED = {field.name for field in fields(BlinkTrainingArguments.__mro__[1])}
OWN = tuple(field.name for field in fields(BlinkTrainingArguments) if field.name not in _INHERITED)


def refuse_unused(script: str, training: BlinkTrainingArguments, more: Sequence[str] = ()) -> None:
    """Refuses settings that were changed although the script does nothing with them, before anything is read.

    Args:
        script: a key of `USED`.
        training: of the recipe and the command line.
        more: names of other settings that were given and that the script does not have.

    Raises:
        ValueError: there are such settings; names all of them, with the scripts that use them.
    """
    values = _defaults()
    changed = [name for name in OWN if name not in USED[script] and getattr(training, name) != values[name]]
    if given := [*map(_with_scripts, changed), *more]:
        raise ValueError(
            f"expected settings that {script} uses, got {', '.join(given)}; leave {'them' if len(given) > 1 else 'it'} out"
        )


def _defaults() -> dict[str, Any]:
    return {
        field.name: field.default if field.default_factory is MISSING else field.default_factory()
        for field in fields(BlinkTrainingArguments)
        if field.name in OWN
    }


def _with_scripts(name: str) -> str:
    return f"{name} (of {' and '.join(script for script, used in USED.items() if name in used)})"
