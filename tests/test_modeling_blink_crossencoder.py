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


@pytest.mark.parametrize("pooling", ["pooler", "cls", "mean", "product"])
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


@pytest.mark.parametrize("pooling", ["product", "mean", "pooler"])
def test_a_bi_encoders_tower_is_a_start_for_every_pooling(bi_encoder, batch, tmp_path, pooling):
    model = BlinkCrossEncoder.from_bi_encoder(bi_encoder, pooling=pooling, retrieval_weight=0.0).eval()
    tower = bi_encoder.mention_encoder.state_dict()
    assert all(torch.equal(model.encoder.state_dict()[name], value) for name, value in tower.items())
    assert model.encoder is not bi_encoder.mention_encoder
    model.save_pretrained(tmp_path)
    loaded = BlinkCrossEncoder.from_pretrained(tmp_path).eval()
    assert torch.allclose(loaded(**batch[0]).scores, model(**batch[0]).scores, atol=1e-5)


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


def test_product_pooling_is_the_cosine_of_mention_and_entity(bi_encoder, processor):
    contexts = [
        MentionContext("the", "jaguar", "in the forest"),
        MentionContext("[MENTION_START]", "paris", ""),
    ]
    windows, spans = processor.mention_windows(contexts)
    pairs = processor.process_pairs(
        windows, processor.entity_windows(["jaguar", "paris"], ["a cat", "a long town"])
    )
    assert pairs["mention_spans"].tolist() == [list(span) for span in spans]
    model = BlinkCrossEncoder.from_bi_encoder(bi_encoder).eval()
    hidden = bi_encoder.mention_encoder(
        input_ids=pairs["input_ids"],
        attention_mask=pairs["attention_mask"],
        token_type_ids=pairs["token_type_ids"],
    ).last_hidden_state
    scores = model.score_pairs(**pairs)
    for row, (start, end) in enumerate(spans):
        entity = hidden[row][(pairs["token_type_ids"][row] == 1) & (pairs["attention_mask"][row] == 1)].mean(
            dim=0
        )
        cosine = torch.cosine_similarity(hidden[row, start:end].mean(dim=0), entity, dim=0)
        assert scores[row].item() == pytest.approx(cosine.item() / bi_encoder.config.temperature, rel=1e-4)
    with pytest.raises(ValueError, match="token_type_ids and mention_spans for product pooling"):
        model.score_pairs(pairs["input_ids"], pairs["attention_mask"])


def test_a_window_without_mention_tokens_has_the_span_of_its_first_token(processor):
    (window,), (span,) = processor.mention_windows([MentionContext("a", "", "cat")])
    assert processor.span_of(window) == span == (0, 1)


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
