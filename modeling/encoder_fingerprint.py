"""A fingerprint of everything that decides an entity's vector: weights of the entity tower, processor,
configuration.

An index names the fingerprint of the encoder that filled it. Vectors of another encoder look just as sound
and rank entities at random, so the two are compared whenever they meet. The data type counts: weights
rounded to bfloat16 are another encoder.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch


def fingerprint_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over name, data type, shape and bytes of each tensor, by name; the device does not matter.

    Returns:
        64 hexadecimal digits.
    """
    whole = hashlib.sha256(b"hf_blink tensors 1\n")
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        header = json.dumps([name, str(tensor.dtype), list(tensor.shape)])
        whole.update(header.encode() + b"\n")
        # NumPy has no bfloat16, so the bytes are taken; a tensor without dimensions has no byte view.
        flat = tensor.cpu().contiguous().reshape(-1)
        whole.update(flat.view(torch.uint8).numpy().data)
    return whole.hexdigest()


def encoder_fingerprint(model: Any, processor: Any) -> str:
    """SHA-256 over the entity tower's weights and every setting that changes an entity's vector.

    Args:
        model: Bi-encoder with `entity_tower_state()` (name to tensor) and `config.entity_settings()`.
        processor: Its processor, with `entity_settings()`.

    Returns:
        64 hexadecimal digits.

    Raises:
        TypeError: if a setting is not JSON.
    """
    settings = {"processor": processor.entity_settings(), "config": model.config.entity_settings()}
    text = json.dumps(settings, sort_keys=True)
    tensors = fingerprint_tensors(model.entity_tower_state())
    return hashlib.sha256(f"hf_blink encoder 1\n{tensors}\n{text}".encode()).hexdigest()
