"""Tests of the check that windows fit the encoders."""

import pytest
import torch
from transformers import AutoConfig, AutoModel, BertConfig, RobertaConfig, T5Config

from hf_blink.modeling.encoder_limits import check_fits, num_positions
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.modeling_blink_crossencoder import BlinkCrossEncoder
from hf_blink.modeling.processing_blink import BlinkProcessor


def test_positions_of_model_families():
    assert num_positions(BertConfig()) == 512
    assert num_positions(RobertaConfig(max_position_embeddings=514, pad_token_id=1)) == 512
    assert num_positions(T5Config()) is None


@pytest.mark.parametrize("model_type", ["camembert", "mpnet", "roberta", "xlm-roberta"])
def test_position_offsets_are_those_of_transformers(model_type):
    config = AutoConfig.for_model(
        model_type, vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
        intermediate_size=8, max_position_embeddings=12, pad_token_id=1,
    )  # fmt: skip
    model = AutoModel.from_config(config)
    fits = num_positions(config)
    assert fits is not None
    model(torch.full((1, fits), 5))
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, fits + 1), 5))


def processor_of(tiny_encoder, mention, entity):
    return BlinkProcessor.from_base(tiny_encoder, mention_length=mention, entity_length=entity)


def test_lengths_up_to_the_positions_fit(tiny_encoder, bi_encoder, cross_encoder):
    check_fits(processor_of(tiny_encoder, 160, 160), bi_encoder)
    check_fits(processor_of(tiny_encoder, 81, 80), bi_encoder, cross_encoder)
    for lengths, message in (
        ((161, 8), r"mention tower with positions for 161 tokens \(mention_length .*got 160 \(bert\); make"),
        ((8, 161), r"entity tower with positions for 161 tokens \(entity_length .*got 160"),
    ):
        with pytest.raises(ValueError, match=message):
            check_fits(processor_of(tiny_encoder, *lengths), bi_encoder)
    with pytest.raises(
        ValueError, match=r"cross-encoder with positions for 161 tokens \(mention_length \+ entity"
    ):
        check_fits(processor_of(tiny_encoder, 81, 81), bi_encoder, cross_encoder)


def test_every_token_has_an_embedding(tiny_encoder, bi_encoder, cross_encoder):
    processor = BlinkProcessor.from_base(
        tiny_encoder, mention_length=32, entity_length=32, mention_start="[NEW]"
    )
    size = len(processor.tokenizer)
    with pytest.raises(ValueError, match="mention tower with at least .* BlinkBiEncoder.from_encoder"):
        check_fits(processor, bi_encoder)
    fitting = BlinkBiEncoder.from_encoder(tiny_encoder, vocab_size=size)
    check_fits(processor, fitting)
    with pytest.raises(ValueError, match="cross-encoder with at least .* BlinkCrossEncoder.from_encoder"):
        check_fits(processor, fitting, cross_encoder)
    check_fits(processor, fitting, BlinkCrossEncoder.from_encoder(tiny_encoder, vocab_size=size))
    two = BlinkBiEncoder.from_encoder(tiny_encoder, vocab_size=size, share_towers=False)
    assert two.entity_encoder is not None
    two.entity_encoder.resize_token_embeddings(size - 1)
    with pytest.raises(ValueError, match="entity tower with at least"):
        check_fits(processor, two)
