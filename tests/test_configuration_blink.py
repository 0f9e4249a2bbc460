"""Tests of what a configuration keeps, and of what counts for the encoder fingerprint."""

import dataclasses
import json

import pytest
from transformers import BertConfig, ModernBertConfig, RobertaConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from hf_blink.modeling import configuration_blink
from hf_blink.modeling.configuration_blink import (
    BlinkBiEncoderConfig,
    clean_sub_config,
    saved_model_type,
    settings_of_vectors,
)
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from tests.broken_encoder import encoder_without_type
from tests.elq_example import elq_model


def settings(**fields):
    config = BlinkBiEncoderConfig(mention_config=BertConfig(hidden_size=32, num_attention_heads=2, **fields))
    return config.entity_settings()


def test_settings_hold_what_differs_from_the_defaults():
    assert settings_of_vectors(BertConfig()) == {"model_type": "bert"}
    assert settings_of_vectors(BertConfig(hidden_size=32, hidden_act="relu")) == {
        "model_type": "bert",
        "hidden_size": 32,
        "hidden_act": "relu",
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"use_cache": False},
        {"output_hidden_states": True},
        {"return_dict": False},
        {"id2label": {0: "A", 1: "B", 2: "C"}},
        {"problem_type": "regression"},
        {"chunk_size_feed_forward": 8},
        {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.2},
        {"bos_token_id": 3, "eos_token_id": 4},
        {"initializer_range": 0.5},
    ],
)
def test_fields_that_change_no_vector_are_left_out(fields):
    assert settings(**fields) == settings()


@pytest.mark.parametrize(
    "fields",
    [
        {"hidden_act": "relu"},
        {"layer_norm_eps": 1e-5},
        {"num_hidden_layers": 3},
        {"is_decoder": True},
        {"max_position_embeddings": 64},
    ],
)
def test_fields_that_change_a_vector_are_kept(fields):
    assert settings(**fields) != settings()


def test_the_padding_id_counts_because_roberta_numbers_positions_from_it():
    assert settings_of_vectors(RobertaConfig(pad_token_id=0)) != settings_of_vectors(RobertaConfig())


def test_a_new_field_of_a_later_transformers_changes_nothing(monkeypatch):
    class LaterBertConfig(BertConfig):
        rotary: bool = False

    later = dataclasses.dataclass(LaterBertConfig)
    mapping = {**dict(CONFIG_MAPPING.items()), "bert": later}
    before = settings_of_vectors({"model_type": "bert", "hidden_size": 32})
    monkeypatch.setattr(configuration_blink, "CONFIG_MAPPING", mapping)
    assert "rotary" in (clean_sub_config(later(hidden_size=32)) or {})
    assert settings_of_vectors(later(hidden_size=32)) == before
    assert settings_of_vectors(later(hidden_size=32, rotary=True)) != before


def test_settings_are_the_same_after_a_round_trip(tmp_path):
    config = BlinkBiEncoderConfig(mention_config=BertConfig(hidden_size=32, num_attention_heads=2))
    config.save_pretrained(tmp_path)
    assert BlinkBiEncoderConfig.from_pretrained(tmp_path).entity_settings() == config.entity_settings()
    modern = BlinkBiEncoderConfig(mention_config=ModernBertConfig(num_hidden_layers=4))
    modern.save_pretrained(tmp_path)
    assert BlinkBiEncoderConfig.from_pretrained(tmp_path).entity_settings() == modern.entity_settings()


def test_truncation_counts_and_whole_vectors_keep_their_settings():
    def with_dims(dim):
        tower = BertConfig(hidden_size=32, num_attention_heads=2)
        return BlinkBiEncoderConfig(mention_config=tower, truncate_dim=dim).entity_settings()

    assert with_dims(8) != with_dims(16) and with_dims(8) == with_dims(None) | {"truncate_dim": 8}
    assert with_dims(32) == with_dims(None)
    assert set(with_dims(None)) == {"entity_config", "entity_pooling", "similarity", "projection_dim"}


def test_a_file_does_not_choose_the_attention_but_a_caller_does(bi_encoder, tmp_path):
    bi_encoder.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    keys = dict.fromkeys(
        ("attn_implementation", "_attn_implementation", "experts_implementation"), "evil/kernel"
    )
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))
    assert BlinkBiEncoder.from_pretrained(tmp_path).config._attn_implementation == "sdpa"
    assert (
        BlinkBiEncoder.from_pretrained(tmp_path, attn_implementation="eager").config._attn_implementation
        == "eager"
    )


def test_an_encoder_without_a_kind_is_refused_with_what_to_add(tiny_encoder, tmp_path):
    assert saved_model_type(tiny_encoder) == "bert"
    untyped = encoder_without_type(tiny_encoder, tmp_path / "encoder")
    with pytest.raises(
        ValueError, match=r'expected a model_type in .*encoder\', got none; add .*"model_type": "bert"'
    ):
        saved_model_type(untyped)
    (tmp_path / "encoder/config.json").write_text('{"model_type": "nothing-known"}')
    with pytest.raises(ValueError, match="model type `nothing-known`"):
        saved_model_type(untyped)


def test_the_folder_of_another_kind_of_model_is_refused(tmp_path, bi_encoder, tiny_encoder):
    elq_model(tiny_encoder).save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match="model of type 'blink-biencoder', got 'elq'; name the folder of a BlinkBiEncoder"
    ):
        BlinkBiEncoder.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="expected an encoder to start from, .*got a model of type 'elq'"):
        BlinkBiEncoder.from_encoder(str(tmp_path))
