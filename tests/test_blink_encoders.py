"""BLINK's encoders from their files: what is read, what is kept, what is refused."""

import json
from typing import Any

import pytest
import torch

import hf_blink
from hf_blink import import_blink_biencoder, import_blink_crossencoder
from hf_blink.blink_encoders import BI_ENCODER, CROSS_ENCODER, BlinkSettings
from tests.blink_files import HIDDEN, blink, write_blink
from tests.oracle import changed_settings

__all__ = ["blink"]


def test_settings_become_configuration_and_processor(blink):
    model, processor = import_blink_biencoder(blink["biencoder"], blink["biencoder_config"])
    config = model.config
    assert (config.mention_pooling, config.entity_pooling) == ("cls", "cls")
    assert (config.similarity, config.temperature, config.projection_dim) == ("dot", 1, None)
    assert not config.share_towers
    assert (processor.mention_length, processor.entity_length) == (24, 24)
    assert processor.do_lower_case and processor.pad_mention_in_pairs
    assert processor.token_ids(["Stadt"]) == processor.token_ids(["stadt"])
    assert not model.training


def test_a_linear_layer_is_read_over_the_pooler(tmp_path):
    files = write_blink(tmp_path, add_linear=True)
    model: Any
    model, processor = import_blink_biencoder(files["biencoder"], files["biencoder_config"])
    assert (model.config.mention_pooling, model.config.projection_dim, model.config.embed_dim) == (
        "pooler",
        8,
        8,
    )
    batch = processor.process_entities(["Black Star"], ["a ship"])
    inputs = batch["input_ids"], batch["attention_mask"]
    with torch.inference_mode():
        pooled = model.entity_encoder(*inputs).pooler_output
        expected = pooled @ model.entity_projection.weight.T + model.entity_projection.bias
        assert torch.allclose(model.encode_entities(*inputs), expected, atol=1e-6)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_names_and_weights_go_round_to_the_bit(tmp_path, zipped):
    files = write_blink(tmp_path, zipped=zipped)
    for read, table, name in (
        (import_blink_biencoder, BI_ENCODER, "biencoder"),
        (import_blink_crossencoder, CROSS_ENCODER, "crossencoder"),
    ):
        model, _ = read(files[name], files[f"{name}_config"])
        before, after = torch.load(files[name], weights_only=True), table.to_theirs(model.state_dict())
        assert list(before) == list(after)
        assert all(torch.equal(before[key], after[key]) for key in before)


def test_poolers_that_nothing_reads_are_kept_and_never_trained(blink, tmp_path):
    model, _ = import_blink_biencoder(blink["biencoder"], blink["biencoder_config"])
    model.save_pretrained(tmp_path)
    for one in (model, hf_blink.BlinkBiEncoder.from_pretrained(tmp_path)):
        trainable = {name: weight.requires_grad for name, weight in one.named_parameters()}
        assert {name for name, trains in trainable.items() if not trains} == {
            f"{tower}_encoder.pooler.dense.{part}"
            for tower in ("mention", "entity")
            for part in ("weight", "bias")
        }
    assert not any("pooler" in name for name in model.entity_tower_state())  # they decide no vector


def test_a_pair_is_cut_where_blink_cuts_it(blink, tmp_path):
    settings = changed_settings(blink["crossencoder_config"], tmp_path, max_seq_length=30)
    model, processor = import_blink_crossencoder(blink["crossencoder"], settings)
    whole, _ = import_blink_crossencoder(blink["crossencoder"], blink["crossencoder_config"])
    assert (model.config.pair_length, whole.config.pair_length) == (30, None)
    batch = processor.process_pairs([[5, 1, 20, 2, 6]], [[5, *range(8, 24), 6]])
    cut = {name: value[:, :30] for name, value in batch.items()}
    with torch.inference_mode():
        assert torch.equal(model.score_pairs(**batch), whole.score_pairs(**cut))
        assert not torch.equal(model.score_pairs(**batch), whole.score_pairs(**batch))


def test_training_params_are_read_as_well(blink, tmp_path):
    (tmp_path / "training_params.txt").write_text(repr(json.loads(blink["biencoder_config"].read_text())))
    read = BlinkSettings.read(tmp_path / "training_params.txt", "the bi-encoder's settings")
    assert read == BlinkSettings.read(blink["biencoder_config"], "the bi-encoder's settings")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_context_length": "32"}, "'max_context_length' to be of type int, got '32'"),
        ({"bert_model": None}, "'bert_model' to be of type str, got nothing"),
        ({"roberta": True}, "got 'roberta': true"),
        ({"lowercase": "yes"}, "'lowercase' to be of type bool"),
    ],
)
def test_wrong_settings_are_named(blink, tmp_path, changes, message):
    settings = changed_settings(blink["biencoder_config"], tmp_path, **changes)
    with pytest.raises(ValueError, match=f"{settings.name}.*{message}"):
        import_blink_biencoder(blink["biencoder"], settings)


def test_a_bert_that_is_not_there_is_named(blink, tmp_path):
    settings = changed_settings(blink["biencoder_config"], tmp_path, bert_model="./no-such-bert")
    with pytest.raises(
        FileNotFoundError, match=r"'\./no-such-bert' \(bert_model in .*name another folder.*--bert-model"
    ):
        import_blink_biencoder(blink["biencoder"], settings)
    model, _ = import_blink_biencoder(
        blink["biencoder"], settings, bert_model=str(blink["biencoder"].parent / "bert")
    )
    assert model.config.embed_dim == HIDDEN


def test_the_wrong_file_is_named(blink):
    with pytest.raises(
        ValueError,
        match=r"crossencoder\.bin: expected the weights of BLINK's bi-.*, got those of BLINK's cross-encoder",
    ):
        import_blink_biencoder(blink["crossencoder"], blink["biencoder_config"])
    with pytest.raises(
        ValueError, match=r"expected a cross-encoder's settings.*got no linear layer; these may be the bi-"
    ):
        import_blink_crossencoder(blink["crossencoder"], blink["biencoder_config"])
    with pytest.raises(
        ValueError, match=r"all_entities\.t7: expected the state dict of BLINK's bi-encoder, got a Tensor"
    ):
        import_blink_biencoder(blink["encodings"], blink["biencoder_config"])


def test_another_bert_is_named(blink, tmp_path):
    bert = tmp_path / "bert"
    bert.mkdir()
    config = json.loads((blink["biencoder"].parent / "bert" / "config.json").read_text())
    (bert / "config.json").write_text(json.dumps(config | {"vocab_size": 999}))
    with pytest.raises(
        ValueError, match=r"word_embeddings\.weight of shape \[\d+, 32\] for \[999, 32\]; name the encoder"
    ):
        import_blink_biencoder(blink["biencoder"], blink["biencoder_config"], bert_model=str(bert))


def test_weights_that_are_not_finite_are_refused(blink, tmp_path):
    state = torch.load(blink["crossencoder"], weights_only=True)
    state["encoder.additional_linear.bias"] = torch.tensor([float("nan")])
    torch.save(state, tmp_path / "nan.bin")
    with pytest.raises(
        ValueError, match=r"NaN or infinity in encoder\.additional_linear\.bias; download it again"
    ):
        import_blink_crossencoder(tmp_path / "nan.bin", blink["crossencoder_config"])


def test_an_imported_model_is_cut_to_fewer_layers_and_exported(blink, tmp_path):
    model, processor = import_blink_biencoder(blink["biencoder"], blink["biencoder_config"])
    smaller: Any = model.with_layers(1)
    whole: Any = model.entity_encoder
    assert smaller.config.entity_config.num_hidden_layers == 1
    assert torch.equal(smaller.entity_encoder.pooler.dense.weight, whole.pooler.dense.weight)
    hf_blink.export_sentence_transformers(model, processor, tmp_path / "entities")
    assert (tmp_path / "entities" / "modules.json").is_file()
