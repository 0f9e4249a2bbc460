"""Tests of encoding in batches: order, budget, device."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hf_blink.modeling.batch_encoding import (
    _collect,
    encode_entities,
    encode_mentions,
    length_sorted_batches,
    score_pairs,
)
from hf_blink.modeling.linking_types import MentionContext

TITLES = ["paris", "the spotted jaguar of the forest", "puma", "", "a town in texas"]
DESCRIPTIONS = ["capital of france", "cat", "", "shoes", "river " * 40]


def test_batches_by_hand():
    batches = length_sorted_batches([2, 9, 4, 4, 1], batch_tokens=8)
    assert [batch.tolist() for batch in batches] == [[1], [2, 3], [0, 4]]
    assert list(length_sorted_batches([], 8)) == []


@pytest.mark.parametrize("batch_tokens", [1, 20, None])
def test_vectors_do_not_depend_on_batches_and_keep_the_order(bi_encoder, processor, batch_tokens):
    together = encode_entities(bi_encoder, processor, TITLES, DESCRIPTIONS, batch_tokens=batch_tokens)
    alone = [
        bi_encoder.encode_entities(**processor.process_entities([title], [text]))[0].detach().numpy()
        for title, text in zip(TITLES, DESCRIPTIONS, strict=True)
    ]
    assert together.dtype == np.float32
    assert together == pytest.approx(np.stack(alone), abs=1e-5)


def test_mentions_and_pairs_of_nothing(bi_encoder, cross_encoder, processor):
    assert encode_entities(bi_encoder, processor, [], []).shape == (0, 32)
    assert encode_mentions(bi_encoder, processor, []).shape == (0, 32)
    assert score_pairs(cross_encoder, processor, []).shape == (0,)


def test_progress_counts_every_item_and_the_mode_comes_back(bi_encoder, processor):
    done: list[int] = []
    bi_encoder.train()
    contexts = [MentionContext("the", "cat", "is")] * 7
    first, second = (
        encode_mentions(bi_encoder, processor, contexts, batch_tokens=16, progress=done.append) for _ in "ab"
    )
    assert sum(done) == 14 and len(done) > 2 and bi_encoder.training
    assert (first == second).all()  # without dropout


@pytest.mark.parametrize(
    ("device", "batch_tokens", "sizes"),
    [("cpu", None, [20, 20, 10]), ("cuda", None, [50]), ("cuda", 1000, [10] * 5), ("cpu", 65_536, [50])],
)
def test_the_budget_follows_the_device(device, batch_tokens, sizes):
    model = SimpleNamespace(device=torch.device(device), training=False, eval=int, train=lambda mode: mode)
    seen = []

    def compute(positions):
        seen.append(len(positions))
        return torch.zeros(len(positions), 1)

    _collect(model, [100] * 50, compute, batch_tokens, None)
    assert seen == sizes
