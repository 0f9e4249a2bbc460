"""BLINK's own numbers: inputs and what the original programs computed from them with MiniLM weights.

The reference file is not part of this project. It is read from the path in `HF_BLINK_ORACLE`, or from
`../shared/oracle/oracle.json` beside the checkout; where there is none these tests say so, and the tests of processing and
models guard the same paths.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from hf_blink.default_encoder import default_encoder
from hf_blink.modeling.batch_encoding import encode_entities, encode_mentions, score_pairs
from hf_blink.modeling.linking_types import MentionContext
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.modeling_blink_crossencoder import BlinkCrossEncoder
from hf_blink.modeling.processing_blink import BlinkProcessor

ORACLE = Path(os.environ.get("HF_BLINK_ORACLE", Path(__file__).parents[2] / "shared/oracle/oracle.json"))


@pytest.fixture(scope="module")
def oracle():
    if not ORACLE.is_file():
        pytest.skip(
            f"no file with the numbers of the original programs at {ORACLE}; name it in HF_BLINK_ORACLE"
        )
    return json.loads(ORACLE.read_text(encoding="utf-8"))


def contexts(oracle) -> list[MentionContext]:
    """The mentions as BLINK's pipeline passes them on: lower-cased."""
    keys = ("context_left", "mention", "context_right")
    return [MentionContext(*(mention[key].lower() for key in keys)) for mention in oracle["mentions"]]


def texts(oracle) -> tuple[list[str], list[str]]:
    return [entity["title"] for entity in oracle["entities"]], [
        entity["text"] for entity in oracle["entities"]
    ]


@pytest.mark.parametrize("length", [32, 128])
def test_token_ids_of_mention_windows_and_entities(oracle, length):
    processor = BlinkProcessor.from_base(default_encoder(), mention_length=length, entity_length=128)
    windows, _ = processor.mention_windows(contexts(oracle))
    assert windows == oracle["minilm"][f"context_ids_{length}"]
    entities = processor.entity_windows(*texts(oracle))
    assert entities == oracle["minilm"]["entity_token_ids"]


def test_scores_of_the_bi_encoder(oracle):
    processor = BlinkProcessor.from_base(default_encoder(), mention_length=32, entity_length=128)
    model = BlinkBiEncoder.from_encoder(
        default_encoder(), mention_pooling="cls", entity_pooling="cls", similarity="dot", temperature=1
    )
    mentions = encode_mentions(model, processor, contexts(oracle))
    entities = encode_entities(model, processor, *texts(oracle))
    np.testing.assert_allclose(mentions @ entities.T, oracle["minilm"]["scores"], rtol=1e-4)


def test_logits_of_the_cross_encoder_with_its_padding_gap(oracle):
    expected = oracle["minilm"]["crossencoder"]
    processor = BlinkProcessor.from_base(
        default_encoder(), mention_length=32, entity_length=128, pad_mention_in_pairs=True
    )
    model = BlinkCrossEncoder.from_encoder(default_encoder(), pooling="pooler")
    with torch.no_grad():
        model.score.weight.copy_(
            torch.tensor(oracle["minilm"]["additional_linear_weight"]).view_as(model.score.weight)
        )
        model.score.bias.copy_(
            torch.tensor(oracle["minilm"]["additional_linear_bias"]).view_as(model.score.bias)
        )
    windows, _ = processor.mention_windows(contexts(oracle))
    entities = processor.entity_windows(*texts(oracle))
    pairs = [(windows[i], entities[j]) for i, found in enumerate(expected["candidates"]) for j in found]
    logits = score_pairs(model, processor, pairs).reshape(len(windows), -1)
    np.testing.assert_allclose(logits, expected["logits"], rtol=1e-4, atol=1e-5)
