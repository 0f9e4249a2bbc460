import json

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel

from hf_blink.modeling.batch_encoding import encode_entities, encode_mentions, length_sorted_batches
from hf_blink.modeling.configuration_blink import BlinkBiEncoderConfig, clean_sub_config
from hf_blink.modeling.linking_types import MentionContext
from hf_blink.modeling.modeling_blink import pool
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder

CONTEXTS = [MentionContext("the", "jaguar", "in the forest"), MentionContext("a town in", "texas paris", "")]


def test_pool_by_hand():
    hidden = torch.tensor([[[1.0, 0.0], [2.0, 2.0], [4.0, 6.0], [9.0, 9.0]]])
    mask = torch.tensor([[1, 1, 1, 0]])
    assert pool(hidden, mask, "cls").tolist() == [[1.0, 0.0]]
    assert pool(hidden, mask, "mean")[0].tolist() == pytest.approx([7 / 3, 8 / 3])
    assert pool(hidden, mask, "mention_span", torch.tensor([[1, 3]])).tolist() == [[3.0, 4.0]]
    with pytest.raises(ValueError, match="mention_spans"):
        pool(hidden, mask, "mention_span")


def test_forward_gives_named_scores_and_tuples(bi_encoder, processor):
    mentions = processor.process_mentions(CONTEXTS)
    entities = processor.process_entities(["paris", "puma", "car"], ["a town", "a cat", ""])
    inputs = {
        "mention_input_ids": mentions["input_ids"],
        "mention_attention_mask": mentions["attention_mask"],
        "mention_spans": mentions["mention_spans"],
        "entity_input_ids": entities["input_ids"],
        "entity_attention_mask": entities["attention_mask"],
    }
    output = bi_encoder(**inputs)
    assert output.scores.shape == (2, 3)
    assert torch.allclose(output.mention_embeddings.norm(dim=1), torch.ones(2), atol=1e-6)
    assert torch.allclose(output.scores, output.mention_embeddings @ output.entity_embeddings.T / 0.05)
    assert torch.equal(bi_encoder(**inputs, return_dict=False)[0], output.scores)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {
            "share_towers": False,
            "mention_pooling": "cls",
            "entity_pooling": "cls",
            "similarity": "dot",
            "temperature": 1,
        },
        {"projection_dim": 8},
        {"share_towers": False, "projection_dim": 8, "mention_pooling": "mean"},
        {"truncate_dim": 8},
        {"projection_dim": 8, "truncate_dim": 4, "similarity": "dot", "temperature": 1},
    ],
)
def test_save_and_load_keep_vectors_and_settings(tiny_encoder, processor, tmp_path, settings):
    model = BlinkBiEncoder.from_encoder(tiny_encoder, **settings).eval()
    model.save_pretrained(tmp_path)
    loaded = BlinkBiEncoder.from_pretrained(tmp_path)
    saved, read = model.config.to_dict(), loaded.config.to_dict()
    assert {**read, "_name_or_path": ""} == saved
    mentions = processor.process_mentions(CONTEXTS)
    assert torch.equal(loaded.encode_mentions(**mentions), model.encode_mentions(**mentions))
    entities = processor.process_entities(["paris"], ["a town"])
    assert torch.equal(loaded.encode_entities(**entities), model.encode_entities(**entities))
    assert model.encode_entities(**entities).shape == (1, model.config.embed_dim)


def test_sharded_save_and_bf16_load(bi_encoder, tmp_path, processor):
    bi_encoder.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    loaded = BlinkBiEncoder.from_pretrained(tmp_path, dtype=torch.bfloat16)
    mentions = processor.process_mentions(CONTEXTS)
    cosine = (loaded.encode_mentions(**mentions).float() * bi_encoder.encode_mentions(**mentions)).sum(dim=1)
    assert (cosine > 0.99).all()


def test_sdpa_and_eager_agree(bi_encoder, tmp_path, processor):
    bi_encoder.save_pretrained(tmp_path)
    eager = BlinkBiEncoder.from_pretrained(tmp_path, attn_implementation="eager")
    sdpa = BlinkBiEncoder.from_pretrained(tmp_path, attn_implementation="sdpa")
    assert eager.mention_encoder.config._attn_implementation == "eager"
    mentions = processor.process_mentions(CONTEXTS)
    assert torch.allclose(eager.encode_mentions(**mentions), sdpa.encode_mentions(**mentions), atol=1e-5)


def test_activation_checkpointing_leaves_gradients_unchanged(tiny_encoder, processor):
    gradients = []
    for checkpointing in (False, True):
        model = BlinkBiEncoder.from_encoder(tiny_encoder)
        if checkpointing:
            model.activation_checkpointing_enable()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.train()
        model.encode_mentions(**processor.process_mentions(CONTEXTS))[:, 0].sum().backward()
        gradients.append(model.get_input_embeddings().weight.grad)
    assert torch.allclose(gradients[0], gradients[1], atol=1e-6) and gradients[0].abs().sum() > 0


def test_two_towers_start_equal_and_are_separate(tiny_encoder):
    model = BlinkBiEncoder.from_encoder(tiny_encoder, share_towers=False)
    towers = [dict(getattr(model, name).named_parameters()) for name in ("mention_encoder", "entity_encoder")]
    assert all(torch.equal(towers[0][name], towers[1][name]) for name in towers[0])
    assert all(towers[0][name] is not towers[1][name] for name in towers[0])
    assert set(model.entity_tower_state()) == {f"encoder.{name}" for name in towers[1]}
    assert not any("pooler" in name for name, _ in model.named_parameters())


def test_auto_classes_load_it(bi_encoder, tmp_path):
    bi_encoder.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).mention_pooling == "mention_span"
    assert type(AutoModel.from_pretrained(tmp_path)) is BlinkBiEncoder


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_truncated_vectors_are_the_first_dimensions(tiny_encoder, processor, similarity):
    model = BlinkBiEncoder.from_encoder(tiny_encoder, similarity=similarity).eval()
    entities = processor.process_entities(["paris", "puma"], ["a town", "a cat"])
    mentions = processor.process_mentions(CONTEXTS)
    small = model.truncated(8)
    assert small.config.embed_dim == 8 and small.config.full_dim == 32 and model.config.embed_dim == 32
    for method, inputs in (("encode_entities", entities), ("encode_mentions", mentions)):
        whole = getattr(model, method)(**inputs)[:, :8]
        expected = torch.nn.functional.normalize(whole, dim=-1) if similarity == "cosine" else whole
        assert torch.allclose(getattr(small, method)(**inputs), expected, atol=1e-6)
    assert encode_entities(small, processor, [], []).shape == (0, 8)
    assert torch.equal(small.truncated(None).encode_entities(**entities), model.encode_entities(**entities))


def test_dimensions_are_chosen_when_a_model_is_loaded(bi_encoder, processor, tmp_path):
    bi_encoder.save_pretrained(tmp_path)
    entities = processor.process_entities(["paris"], ["a town"])
    expected = bi_encoder.truncated(8).encode_entities(**entities)
    for loaded in (
        BlinkBiEncoder.from_pretrained(tmp_path, truncate_dim=8),
        AutoModel.from_pretrained(tmp_path, truncate_dim=8),
    ):
        assert torch.equal(loaded.encode_entities(**entities), expected)
    loaded.save_pretrained(tmp_path / "small")
    again = BlinkBiEncoder.from_pretrained(tmp_path / "small")
    assert again.config.truncate_dim == 8 and torch.equal(again.encode_entities(**entities), expected)
    whole = BlinkBiEncoder.from_pretrained(tmp_path / "small", truncate_dim=None)
    assert torch.equal(whole.encode_entities(**entities), bi_encoder.encode_entities(**entities))


def test_dimensions_that_the_vectors_do_not_have_are_refused(bi_encoder, tmp_path):
    bi_encoder.save_pretrained(tmp_path)
    for dim in (0, 33):
        with pytest.raises(ValueError, match=f"truncate_dim from 1 to 32, .*, got {dim}"):
            bi_encoder.truncated(dim)
        with pytest.raises(ValueError, match=f"truncate_dim from 1 to 32, .*, got {dim}"):
            BlinkBiEncoder.from_pretrained(tmp_path, truncate_dim=dim)
    with pytest.raises(ValueError, match="truncate_dim from 1 to 8, "):
        BlinkBiEncoderConfig(projection_dim=8, truncate_dim=9)


def test_sub_configurations_keep_declared_fields_only(bi_encoder, tmp_path):
    bi_encoder.config.mention_config._name_or_path = "/somewhere/private"
    bi_encoder.save_pretrained(tmp_path)
    assert "/somewhere" not in (tmp_path / "config.json").read_text()
    config = json.loads((tmp_path / "config.json").read_text())
    evil = {
        "trust_remote_code": True,
        "auto_map": {"AutoConfig": "x--y.Z"},
        "_attn_implementation_internal": "x/y",
        "_name_or_path": "x/y",
    }
    config["mention_config"].update(evil)
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = BlinkBiEncoder.from_pretrained(tmp_path).config.mention_config
    assert not hasattr(loaded, "trust_remote_code") and not hasattr(loaded, "auto_map")
    assert loaded._attn_implementation != "x/y" and loaded._name_or_path != "x/y"


def test_configuration_refuses_what_it_cannot_mean():
    with pytest.raises(ValueError, match="temperature above 0"):
        BlinkBiEncoderConfig(temperature=0)
    with pytest.raises(ValueError, match="model_type"):
        clean_sub_config({"hidden_size": 3})
    with pytest.raises(Exception, match="mention_pooling"):
        BlinkBiEncoderConfig(mention_pooling="max")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="settings among the configuration's fields"):
        BlinkBiEncoder.from_encoder("nowhere", poolin="cls")


def test_added_markers_get_embeddings(tiny_encoder, tmp_path):
    from hf_blink.modeling.processing_blink import BlinkProcessor

    processor = BlinkProcessor.from_base(tiny_encoder, mention_start="[ENT]", mention_end="[/ENT]")
    model = BlinkBiEncoder.from_encoder(
        tiny_encoder, vocab_size=len(processor.tokenizer), share_towers=False
    ).eval()
    assert model.config.mention_config.vocab_size == len(processor.tokenizer)
    model.save_pretrained(tmp_path)
    loaded = BlinkBiEncoder.from_pretrained(tmp_path)
    mentions = processor.process_mentions(CONTEXTS)
    assert torch.equal(loaded.encode_mentions(**mentions), model.encode_mentions(**mentions))


def test_length_sorted_batches_cover_everything_within_the_budget():
    lengths = [5, 30, 7, 30, 1, 100]
    batches = list(length_sorted_batches(lengths, 64))
    assert sorted(position for batch in batches for position in batch) == list(range(6))
    assert [batch.tolist() for batch in batches] == [[5], [1, 3], [2, 0, 4]]
    assert list(length_sorted_batches([], 64)) == []


def test_saved_weights_may_be_read_by_whoever_may_read_the_configuration(bi_encoder, tmp_path):
    bi_encoder.save_pretrained(tmp_path)
    modes = {file.name: file.stat().st_mode for file in tmp_path.iterdir()}
    assert modes["model.safetensors"] == modes["config.json"]


def test_encoding_in_batches_equals_one_by_one(bi_encoder, processor):
    titles, descriptions = (
        ["paris", "a very long jaguar title of the forest", "car"],
        ["town " * 20, "", "a cat"],
    )
    together = encode_entities(bi_encoder, processor, titles, descriptions, batch_tokens=40)
    alone = [
        encode_entities(bi_encoder, processor, [t], [d])[0] for t, d in zip(titles, descriptions, strict=True)
    ]
    assert np.allclose(together, np.stack(alone), atol=1e-5)
    bi_encoder.train()
    seen: list[int] = []
    vectors = encode_mentions(bi_encoder, processor, CONTEXTS, progress=seen.append)
    assert bi_encoder.training and sum(seen) == 2 and vectors.dtype == np.float32
    assert encode_mentions(bi_encoder, processor, []).shape == (0, 32)
