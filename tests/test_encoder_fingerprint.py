"""Tests of the encoder fingerprint, on stand-ins for model and processor."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hf_blink.modeling.encoder_fingerprint import encoder_fingerprint, fingerprint_tensors


def test_fingerprint_of_tensors_is_stable_and_ignores_order() -> None:
    one, two = torch.arange(6.0).reshape(2, 3), torch.tensor(5)
    first = fingerprint_tensors({"a": one, "b": two})
    assert len(first) == 64
    assert first == fingerprint_tensors({"b": two.clone(), "a": one.T.contiguous().T})
    assert first == fingerprint_tensors({"a": torch.nn.Parameter(one), "b": two})


def test_fingerprint_sees_names_types_shapes_and_bytes() -> None:
    tensor = torch.arange(4.0)
    changed = tensor.clone()
    changed[3] = 3.0000002
    variants = [
        {"a": tensor},
        {"b": tensor},
        {"a": tensor.reshape(2, 2)},
        {"a": tensor.to(torch.bfloat16)},
        {"a": tensor.to(torch.float16)},
        {"a": tensor.view(torch.int32)},
        {"a": changed},
        {"a": tensor[:0]},
        {"a": tensor, "b": tensor[:0]},
        {},
    ]
    assert len({fingerprint_tensors(variant) for variant in variants}) == len(variants)


def encoder(weight: float = 1.0, pooling: str = "cls", length: Any = 128) -> str:
    model = SimpleNamespace(
        entity_tower_state=lambda: {"weight": torch.tensor([weight])},
        config=SimpleNamespace(entity_settings=lambda: {"pooling": pooling, "markers": ["[ENT]"]}),
    )
    return encoder_fingerprint(model, SimpleNamespace(entity_settings=lambda: {"length": length, "a": None}))


def test_encoder_fingerprint_sees_weights_and_settings() -> None:
    assert encoder() == encoder()
    assert len({encoder(), encoder(weight=2.0), encoder(pooling="mean"), encoder(length=64)}) == 4


def test_settings_that_are_no_json_are_refused() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        encoder(length=torch.float32)
