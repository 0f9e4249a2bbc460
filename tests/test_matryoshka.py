"""The mean of a loss over truncated vectors."""

import pytest
import torch

from hf_blink.training.matryoshka import over_truncations

MENTIONS = torch.tensor([[0.6, 0.0, 0.8], [0.0, 1.0, 0.0]])
ENTITIES = torch.tensor([[0.0, 0.6, 0.8]])


def total(mentions, entities):
    return (mentions @ entities.T).sum()


def test_the_mean_over_truncations_by_hand():
    """Whole: 0.64 + 0.6; first two dimensions with length 1: (1, 0) and (0, 1) with (0, 1), so 0 + 1."""
    assert over_truncations(total, MENTIONS, ENTITIES, [], "cosine").item() == pytest.approx(1.24)
    assert over_truncations(total, MENTIONS, ENTITIES, [3], "cosine").item() == pytest.approx(1.24)
    assert over_truncations(total, MENTIONS, ENTITIES, [2], "cosine").item() == pytest.approx(1.0)
    assert over_truncations(total, MENTIONS, ENTITIES, [3, 2], "cosine").item() == pytest.approx(1.12)


def test_dot_products_keep_their_lengths():
    assert over_truncations(total, MENTIONS, ENTITIES, [2], "dot").item() == pytest.approx(0.6)
    assert over_truncations(total, MENTIONS, ENTITIES, [3, 2], "dot").item() == pytest.approx(0.92)


def test_every_truncation_has_a_gradient():
    mentions = MENTIONS.clone().requires_grad_()
    over_truncations(total, mentions, ENTITIES, [1, 3], "dot").backward()
    assert mentions.grad is not None
    expected = (torch.tensor([0.0, 0.0, 0.0]) + ENTITIES[0]) / 2
    assert torch.allclose(mentions.grad[0], expected)


def test_a_truncated_model_gives_the_vectors_of_the_loss(bi_encoder, processor):
    """What the loss of `dim` sees is what the truncated model returns."""
    entities = processor.process_entities(["paris", "puma"], ["a town", "a cat"])
    seen = []

    def loss(mentions, vectors):
        seen.append(vectors)
        return vectors.sum()

    whole = bi_encoder.encode_entities(**entities)
    over_truncations(loss, whole, whole, [8, 32], bi_encoder.config.similarity)
    assert torch.allclose(seen[0], bi_encoder.truncated(8).encode_entities(**entities), atol=1e-6)
    assert torch.allclose(seen[1], whole, atol=1e-6)


def test_lengths_that_the_vectors_do_not_have_are_refused():
    with pytest.raises(ValueError, match=r"matryoshka_dims from 1 to 3, .* got \[0, 4\]"):
        over_truncations(total, MENTIONS, ENTITIES, [2, 0, 4], "dot")
