"""What a recipe of `train_elq` starts from, and how long its stages are."""

from pathlib import Path
from typing import Any

import pytest
import torch

from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.modeling.processing_elq import ElqProcessor
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.elq_arguments import ElqArguments, stage_name


def test_it_starts_from_a_plain_encoder_a_bi_encoder_or_an_elq_model(tiny_encoder, processor, tmp_path):
    model, own = ElqArguments(tiny_encoder, similarity="dot", mention_length=24).load()
    assert not model.config.share_towers and model.config.similarity == "dot" and own.mention_length == 24
    model.save_pretrained(tmp_path / "elq")
    own.save_pretrained(tmp_path / "elq")
    again, own = ElqArguments(str(tmp_path / "elq")).load()
    assert again.config.similarity == "dot" and type(own) is ElqProcessor
    with pytest.raises(ValueError, match=r"got similarity: 'cosine' \(saved: 'dot'\)"):
        ElqArguments(str(tmp_path / "elq"), similarity="cosine").load()
    shared, own = ElqArguments(tiny_encoder, share_towers=True, hard_negative_share=0).load()
    shared.save_pretrained(tmp_path / "shared")
    own.save_pretrained(tmp_path / "shared")
    with pytest.raises(ValueError, match="expected two towers where the entities' is frozen"):
        ElqArguments(str(tmp_path / "shared")).load()
    bi_encoder = BlinkBiEncoder.from_encoder(tiny_encoder)
    bi_encoder.save_pretrained(tmp_path / "bi")
    BlinkProcessor.from_base(tiny_encoder, mention_length=64, entity_length=16).save_pretrained(
        tmp_path / "bi"
    )
    model, own = ElqArguments(str(tmp_path / "bi"), mention_length=32).load()
    assert type(own) is ElqProcessor and (own.mention_length, own.entity_length) == (32, 16)
    assert not model.config.share_towers
    towers: list[Any] = [model.mention_encoder, model.entity_encoder]
    for tower in towers:
        for name, value in bi_encoder.mention_encoder.state_dict().items():
            assert torch.equal(tower.state_dict()[name], value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hard_negative_share": -1.0}, "hard_negative_share of at least 0"),
        ({"share_towers": True}, "share_towers: false where the entity tower is frozen"),
    ],
)
def test_stages_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ElqArguments("encoder", **change)


def test_stages_have_a_folder_and_a_length_of_their_own(tmp_path):
    training = BlinkTrainingArguments(str(tmp_path), use_cpu=True, num_train_epochs=3, max_steps=5)
    settings = ElqArguments("encoder", hard_negative_share=0.3)
    first, second = (settings.stage_arguments(number, training) for number in range(settings.num_stages))
    assert [Path(str(stage.output_dir)).name for stage in (first, second)] == ["round_0", "round_1"]
    assert (first.max_steps, second.max_steps) == (5, 2)
    assert (first.num_train_epochs, second.num_train_epochs) == (3, pytest.approx(0.9))
    assert [stage_name(0), stage_name(1)] == ["in-batch stage (round_0)", "hard-negative stage (round_1)"]
    assert ElqArguments("encoder", hard_negative_share=0).num_stages == 1
