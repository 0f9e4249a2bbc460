"""Which layers of an encoder a smaller one keeps: the configuration and the weights of an encoder with layers left out.

    kept = chosen_layers(3, 6)                         (0, 2, 5)
    student = AutoModel.from_config(config_with_layers(config, kept))
    copy_layers(teacher, student, kept)                layer 2 of the teacher becomes layer 1 of the student

The layers are found by their number alone: the one `ModuleList` of the encoder that is as long as `num_hidden_layers`.
BERT, RoBERTa, MPNet, ELECTRA, DistilBERT, DeBERTa and ModernBERT have one; ALBERT, whose layers are one layer used
many times, has none.
"""

import copy
from collections.abc import Sequence
from typing import Any

from torch import nn


def chosen_layers(layers: int | Sequence[int], num_layers: int) -> tuple[int, ...]:
    """The numbers of the layers that are kept.

    Args:
        layers: which, in this order; a number keeps so many, spread evenly from the first to the last.
        num_layers: layers that there are.

    Raises:
        ValueError: none, more than there are, or numbers that repeat or are out of range.
    """
    if isinstance(layers, int):
        if not 1 <= layers <= num_layers:
            raise ValueError(f"expected 1 to {num_layers} layers to keep, got {layers}")
        step = (num_layers - 1) / max(layers - 1, 1)
        return tuple(round(step * i) for i in range(layers))
    kept = tuple(layers)
    if not kept or len(set(kept)) < len(kept) or not all(0 <= number < num_layers for number in kept):
        raise ValueError(
            f"expected different numbers of layers from 0 to {num_layers - 1}, got {list(kept)}; the encoder has "
            f"{num_layers}"
        )
    return kept


def config_with_layers(config: Any, kept: Sequence[int]) -> Any:
    """A copy of an encoder's configuration with these layers: their number, and the kind of each where kinds differ."""
    smaller = copy.deepcopy(config)
    num_layers = config.num_hidden_layers
    smaller.num_hidden_layers = len(kept)
    kinds = getattr(config, "layer_types", None)  # ModernBERT: full or local attention
    if isinstance(kinds, (list, tuple)) and len(kinds) == num_layers:
        smaller.layer_types = [kinds[number] for number in kept]
    return smaller


def copy_layers(source: Any, target: Any, kept: Sequence[int]) -> None:
    """Copies an encoder's weights to one with fewer layers.

    Args:
        source: the encoder that has all layers.
        target: an encoder of the same kind, made with `config_with_layers`.
        kept: numbers of the source's layers, in the order of the target's.

    Raises:
        ValueError: the layers cannot be found, or one does not fit the place that it gets.
    """
    prefix = f"{_layer_list(source)}."
    state = source.state_dict()
    weights = {name: value for name, value in state.items() if not name.startswith(prefix)}
    for new, old in enumerate(kept):
        start = f"{prefix}{old}."
        weights |= {
            f"{prefix}{new}.{name.removeprefix(start)}": value
            for name, value in state.items()
            if name.startswith(start)
        }
    if lonely := sorted(weights.keys() ^ target.state_dict().keys()):
        raise ValueError(
            f"expected layers that fit the places they get, got layers {list(kept)} with weights on one side only: "
            f"{lonely[:5]}; keep the first layer in its place"
        )
    target.load_state_dict(weights)


def _layer_list(encoder: Any) -> str:
    """The name of the list of layers in an encoder."""
    num_layers = encoder.config.num_hidden_layers
    found = [
        name
        for name, module in encoder.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == num_layers
    ]
    if len(found) != 1:
        raise ValueError(
            f"expected an encoder with one list of its {num_layers} layers, got {len(found)} such lists in a "
            f"{encoder.config.model_type} encoder; its layers cannot be left out"
        )
    return found[0]
