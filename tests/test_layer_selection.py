"""Students with fewer layers: which are kept, that they are the teacher's own, and which encoders have none to keep."""

from typing import Any

import pytest
import torch
from transformers import AlbertConfig, BertConfig, DistilBertConfig, ModernBertConfig, RobertaConfig

from hf_blink.modeling.configuration_blink import BlinkBiEncoderConfig
from hf_blink.modeling.layer_selection import chosen_layers
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder

SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
SPECIAL: dict[str, Any] = {
    "pad_token_id": 0,
    "cls_token_id": 1,
    "bos_token_id": 1,
    "sep_token_id": 2,
    "eos_token_id": 2,
}


def tower(name: str):
    if name == "bert":
        return BertConfig(vocab_size=50, **SIZES)
    if name == "roberta":
        return RobertaConfig(vocab_size=50, max_position_embeddings=64, **SIZES)
    if name == "distilbert":
        return DistilBertConfig(vocab_size=50, dim=16, n_layers=4, n_heads=2, hidden_dim=32)
    kinds = ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]
    return ModernBertConfig(vocab_size=50, layer_types=kinds, local_attention=4, **SIZES, **SPECIAL)


def model_of(name: str, **settings) -> BlinkBiEncoder:
    torch.manual_seed(0)
    return BlinkBiEncoder(BlinkBiEncoderConfig(mention_config=tower(name), **settings)).eval()


def test_a_number_spreads_the_layers_from_first_to_last():
    assert chosen_layers(3, 6) == (0, 2, 5)
    assert chosen_layers(6, 12) == (0, 2, 4, 7, 9, 11)  # as in DistilBERT
    assert (chosen_layers(1, 6), chosen_layers(6, 6)) == ((0,), (0, 1, 2, 3, 4, 5))
    assert chosen_layers([0, 2, 5], 6) == (0, 2, 5)
    for layers, message in (
        (0, "1 to 6 layers to keep, got 0"),
        (7, "1 to 6 layers to keep, got 7"),
        ([], "from 0 to 5, got []"),
        ([0, 6], "from 0 to 5, got [0, 6]"),
        ([-1], "from 0 to 5, got [-1]"),
        ([0, 0], "different numbers"),
    ):
        with pytest.raises(ValueError) as raised:
            chosen_layers(layers, 6)
        assert message in str(raised.value)


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "modernbert"])
def test_a_student_computes_what_the_teacher_does_without_the_other_layers(name, tmp_path):
    teacher = model_of(name)
    student = teacher.with_layers([0, 1, 3])
    assert student.config.mention_config.num_hidden_layers == 3
    assert teacher.config.mention_config.num_hidden_layers == 4 and not student.training
    inputs = {
        "input_ids": torch.tensor([[1, 7, 8, 9, 10, 11, 12, 2]]),
        "attention_mask": torch.ones(1, 8).long(),
    }
    vectors = student.encode_entities(**inputs)
    encoder = teacher.mention_encoder
    layers = encoder.transformer if name == "distilbert" else getattr(encoder, "encoder", encoder)
    list_name = "layers" if name == "modernbert" else "layer"
    kept = getattr(layers, list_name)
    setattr(layers, list_name, torch.nn.ModuleList([kept[0], kept[1], kept[3]]))
    encoder.config.num_hidden_layers = 3
    if name == "modernbert":  # layer 3 sees everything, the third of a new model would not
        encoder.config.layer_types = student.config.mention_config.layer_types
    assert torch.allclose(vectors, teacher.encode_entities(**inputs), atol=1e-6)
    student.save_pretrained(tmp_path)
    loaded = BlinkBiEncoder.from_pretrained(tmp_path)
    assert loaded.config.mention_config.num_hidden_layers == 3
    assert torch.equal(loaded.encode_entities(**inputs), vectors)


def test_both_towers_and_their_projections_are_kept(tmp_path):
    torch.manual_seed(0)
    config = BlinkBiEncoderConfig(
        mention_config=tower("bert"), entity_config=tower("roberta"), projection_dim=8, truncate_dim=4
    )
    teacher = BlinkBiEncoder(config)
    student = teacher.with_layers(2)
    assert "entity_encoder.encoder.layer.2.output.dense.weight" not in student.state_dict()
    assert student.config.entity_config.num_hidden_layers == 2 and student.config.embed_dim == 4
    assert student.entity_projection is not None and teacher.entity_projection is not None
    assert torch.equal(student.entity_projection.weight, teacher.entity_projection.weight)
    old, new = teacher.state_dict(), student.state_dict()
    for number, layer in enumerate((0, 3)):
        for name in ("mention", "entity"):
            weight = "attention.self.query.weight"
            start = f"{name}_encoder.encoder.layer"
            assert torch.equal(new[f"{start}.{number}.{weight}"], old[f"{start}.{layer}.{weight}"])
    assert student.mention_encoder.embeddings is not teacher.mention_encoder.embeddings


def test_encoders_without_a_list_of_layers_are_refused():
    config = AlbertConfig(vocab_size=50, embedding_size=8, max_position_embeddings=64, **SIZES)
    model = BlinkBiEncoder(BlinkBiEncoderConfig(mention_config=config))
    with pytest.raises(ValueError, match="one list of its 4 layers, got 0 such lists in a albert encoder"):
        model.with_layers(2)


def test_layers_that_fit_no_other_place_are_refused():
    with pytest.raises(ValueError, match="layers that fit the places they get.*keep the first layer"):
        model_of("modernbert").with_layers([1, 3])
