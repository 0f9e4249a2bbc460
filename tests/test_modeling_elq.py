import math

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoProcessor

from hf_blink.modeling.batch_encoding import encode_entities, encode_mentions
from hf_blink.modeling.configuration_elq import ElqConfig
from hf_blink.modeling.encoder_fingerprint import encoder_fingerprint
from hf_blink.modeling.linking_types import MentionContext
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.modeling_elq import ElqModel, span_logits, span_vectors
from tests.elq_example import elq_model, elq_processor

TEXTS = ["the jaguar in paris", "puma"]


@pytest.fixture(scope="module")
def processor(tiny_encoder):
    return elq_processor(tiny_encoder)


def batch_of(processor, texts):
    return processor.pad([window.ids for window in processor.text_windows(texts)])


def test_span_logits_are_start_plus_end_plus_all_inside_scores():
    scores = torch.tensor([[[1.0, 10.0, 100.0], [2.0, 20.0, 200.0], [3.0, 30.0, 300.0]]])
    logits = span_logits(scores, torch.ones(1, 3, dtype=torch.bool), 2)
    inf = math.inf
    assert logits.tolist() == [[[111.0, 321.0], [222.0, 532.0], [333.0, -inf]]]
    allowed = torch.tensor([[True, False, True]])
    assert span_logits(scores, allowed, 3).tolist() == [
        [[111.0, -inf, -inf], [-inf] * 3, [333.0, -inf, -inf]]
    ]


def test_span_vectors_are_means_of_all_or_of_the_outer_tokens():
    hidden = torch.tensor([[[1.0], [2.0], [6.0], [9.0]], [[5.0], [7.0], [0.0], [0.0]]])
    rows, spans = torch.tensor([0, 0, 1]), torch.tensor([[0, 3], [1, 2], [0, 2]])
    assert span_vectors(hidden, rows, spans, "all_avg").flatten().tolist() == [3.0, 2.0, 6.0]
    assert span_vectors(hidden, rows, spans, "first_last").flatten().tolist() == [3.5, 2.0, 6.0]
    assert span_vectors(hidden, rows[:0], spans[:0], "all_avg").shape == (0, 1)


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_saved_whole_and_sharded_and_loaded_by_the_auto_classes(tiny_encoder, processor, tmp_path, head):
    model = elq_model(tiny_encoder, span_head=head, mention_pooling="first_last", joint_threshold=-2.9)
    for size in ("50GB", "40KB"):
        folder = tmp_path / size
        model.save_pretrained(folder, max_shard_size=size)
        processor.save_pretrained(folder)
        loaded = AutoModel.from_pretrained(folder)
        assert type(loaded) is ElqModel and loaded.config.joint_threshold == -2.9
        assert type(AutoConfig.from_pretrained(folder)) is ElqConfig
        read = AutoProcessor.from_pretrained(folder)
        assert type(read) is type(processor) and read.mention_length == 32
        batch = batch_of(processor, TEXTS)
        assert torch.equal(model(**batch).span_logits, loaded(**batch).span_logits)
        assert encoder_fingerprint(model, processor) == encoder_fingerprint(loaded, read)
    assert len(list((tmp_path / "40KB").glob("model-*.safetensors"))) > 1


def test_special_tokens_are_in_spans_only_where_the_configuration_says_so(tiny_encoder, processor):
    batch = batch_of(processor, TEXTS)
    logits = elq_model(tiny_encoder)(**batch).span_logits
    assert (
        torch.isinf(logits[0, 0]).all()
        and torch.isinf(logits[0, 5]).all()
        and torch.isinf(logits[1, 2:]).all()
    )
    assert torch.isfinite(logits[0, 1, :4]).all() and torch.isinf(logits[0, 1, 4:]).all()
    logits = elq_model(tiny_encoder, frame_in_spans=True)(**batch).span_logits
    assert torch.isfinite(logits[0, 0, :6]).all() and torch.isfinite(logits[1, 2, 0])
    assert torch.isinf(logits[1, 3:]).all(), "padding"


def test_forward_gives_the_vectors_that_the_encoders_give(tiny_encoder, processor, knowledge_base):
    model = elq_model(tiny_encoder)
    entities = processor.process_entities(*knowledge_base.texts(0, 6))
    output = model(
        **batch_of(processor, TEXTS),
        mention_rows=torch.tensor([0, 0, 1]),
        mention_spans=torch.tensor([[2, 3], [4, 5], [1, 2]]),
        entity_input_ids=entities["input_ids"],
        entity_attention_mask=entities["attention_mask"],
    )
    contexts = [("the", "jaguar", "in paris"), ("the jaguar in", "paris", ""), ("", "puma", "")]
    expected = encode_mentions(model, processor, [MentionContext(*context) for context in contexts])
    torch.testing.assert_close(
        output.mention_embeddings.detach(), torch.from_numpy(expected), rtol=1e-4, atol=1e-5
    )
    expected = encode_entities(model, processor, *knowledge_base.texts(0, 6))
    torch.testing.assert_close(
        output.entity_embeddings.detach(), torch.from_numpy(expected), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(output.mention_embeddings.norm(dim=1), torch.ones(3))
    assert model(**batch_of(processor, TEXTS), return_dict=False)[1].shape == (2, 6, 11)


def test_it_starts_from_a_bi_encoder_whose_index_it_then_shares(tiny_encoder, processor):
    bi_encoder = BlinkBiEncoder.from_encoder(tiny_encoder, share_towers=False)
    model = ElqModel.from_bi_encoder(bi_encoder, joint_threshold=-1)
    assert encoder_fingerprint(model, processor) == encoder_fingerprint(bi_encoder, processor)
    assert not model.config.share_towers and model.config.temperature == 0.05
    projected = BlinkBiEncoder.from_encoder(tiny_encoder, projection_dim=8)
    with pytest.raises(ValueError, match="without projection_dim and truncate_dim.* got projection_dim 8"):
        ElqModel.from_bi_encoder(projected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"joint_threshold": 0.5}, "joint_threshold of at most 0"),
        ({"joint_threshold": math.nan}, "joint_threshold of at most 0"),
        ({"temperature": 0}, "temperature above 0"),
        ({"num_mentions": 0}, "num_mentions of at least 1"),
        ({"max_mention_tokens": 0}, "max_mention_tokens of at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ElqConfig(**settings)


def test_a_mention_without_its_span_and_an_unknown_setting_are_refused(tiny_encoder, processor):
    model = elq_model(tiny_encoder)
    with pytest.raises(ValueError, match=r"expected mention_spans \[batch_size, 2\], got None"):
        model.encode_mentions(**batch_of(processor, TEXTS))
    with pytest.raises(ValueError, match="threshhold"):
        ElqModel.from_encoder(tiny_encoder, threshhold=1)
