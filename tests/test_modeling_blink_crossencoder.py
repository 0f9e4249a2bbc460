import pytest
import torch
from transformers import AutoModel

from hf_blink.modeling.batch_encoding import score_pairs
from hf_blink.modeling.linking_types import MentionContext
from hf_blink.modeling.modeling_blink_crossencoder import BlinkCrossEncoder


@pytest.fixture
def batch(processor):
    """Two mentions with three candidates each."""
    windows, _ = processor.mention_windows(
        [MentionContext("the", "jaguar", "in the forest"), MentionContext("", "paris", "")]
    )
    entities = processor.entity_windows(["jaguar", "puma", "paris"], ["a cat", "", "a town in texas"])
    pairs = [(window, entity) for window in windows for entity in entities]
    flat = processor.process_pairs([pair[0] for pair in pairs], [pair[1] for pair in pairs])
    return {name: value.view(2, 3, -1) for name, value in flat.items()}, pairs


@pytest.mark.parametrize("pooling", ["pooler", "cls", "mean"])
def test_forward_scores_candidates_and_round_trips(tiny_encoder, batch, tmp_path, pooling):
    model = BlinkCrossEncoder.from_encoder(tiny_encoder, pooling=pooling, retrieval_weight=0.5).eval()
    retrieval = torch.arange(6.0).view(2, 3)
    scores = model(**batch[0], retrieval_scores=retrieval).scores
    assert scores.shape == (2, 3)
    own = model.score_pairs(**{name: value.view(6, -1) for name, value in batch[0].items()})
    assert torch.allclose(scores, own.view(2, 3) + 0.5 * retrieval, atol=1e-5)
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert torch.equal(loaded(**batch[0], retrieval_scores=retrieval).scores, scores)
    assert (getattr(loaded.encoder, "pooler", None) is None) == (pooling != "pooler")


def test_candidate_mask_leaves_padding_out(cross_encoder, batch):
    mask = torch.tensor([[True, True, False], [True, False, False]])
    full = cross_encoder(**batch[0]).scores
    masked = cross_encoder(**batch[0], candidate_mask=mask).scores
    assert torch.allclose(masked[mask], full[mask], atol=1e-5)
    assert (masked[~mask] == float("-inf")).all()


def test_score_pairs_in_batches_equals_forward(cross_encoder, processor, batch):
    inputs, pairs = batch
    scores = score_pairs(cross_encoder, processor, pairs, batch_tokens=20)
    assert scores == pytest.approx(cross_encoder(**inputs).scores.flatten().tolist(), abs=1e-5)


def test_mean_pooling_leaves_padding_out(tiny_encoder, batch):
    model = BlinkCrossEncoder.from_encoder(tiny_encoder, pooling="mean").eval()
    inputs = {name: value.flatten(0, 1) for name, value in batch[0].items() if name != "candidate_mask"}
    hidden = model.encoder(**inputs).last_hidden_state
    means = [row[mask.bool()].mean(dim=0) for row, mask in zip(hidden, inputs["attention_mask"], strict=True)]
    expected = model.score(torch.stack(means)).squeeze(-1)
    assert not inputs["attention_mask"].all()
    assert torch.allclose(model.score_pairs(**inputs), expected, atol=1e-5)


def test_token_types_matter_only_where_the_backbone_has_them(tiny_encoder, cross_encoder, batch):
    inputs, _ = batch
    without = {name: value for name, value in inputs.items() if name != "token_type_ids"}
    assert not torch.allclose(cross_encoder(**inputs).scores, cross_encoder(**without).scores)
    cross_encoder.encoder.config.type_vocab_size = 1
    assert torch.equal(cross_encoder(**inputs).scores, cross_encoder(**without).scores)


def test_missing_retrieval_scores_and_bad_settings_are_refused(tiny_encoder, batch):
    model = BlinkCrossEncoder.from_encoder(tiny_encoder, retrieval_weight=1.0)
    with pytest.raises(ValueError, match="expected retrieval_scores"):
        model(**batch[0])
    with pytest.raises(ValueError, match="settings among the configuration's fields"):
        BlinkCrossEncoder.from_encoder(tiny_encoder, polling="cls")
