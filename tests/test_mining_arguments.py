"""The recipe's keys about mining."""

import pytest

from hf_blink.training.mining_arguments import MiningArguments
from hf_blink.training.mining_settings import MiningSettings


def test_keys_become_the_miners_settings():
    arguments = MiningArguments(
        mined_negatives=4, mine_range_min=1, mine_range_max=9, mine_absolute_margin=0.1, mine_relative_margin=0.2,
        mine_random_share=0.5,
    )  # fmt: skip
    expected = MiningSettings(4, 1, 9, 0.1, 0.2, 0.5, None, seed=7)
    assert arguments.mining_settings(7) == expected
    assert MiningArguments().mining_settings() == MiningSettings()


def test_wrong_settings_are_refused_when_the_recipe_is_read():
    with pytest.raises(ValueError, match="expected num_negatives >= 1"):
        MiningArguments(mined_negatives=0)
    with pytest.raises(
        ValueError, match="expected mine_cross_encoder together with mine_cross_encoder_margin"
    ):
        MiningArguments(mine_cross_encoder_margin=0.5)
    with pytest.raises(
        ValueError, match="expected mine_cross_encoder together with mine_cross_encoder_margin"
    ):
        MiningArguments(mine_cross_encoder="runs/crossencoder")


def test_the_filters_cross_encoder_is_loaded_and_another_model_refused(
    bi_encoder, cross_encoder, processor, knowledge_base, tmp_path
):
    for name, model in (("bi", bi_encoder), ("cross", cross_encoder)):
        model.save_pretrained(tmp_path / name)
    good = MiningArguments(mine_cross_encoder=str(tmp_path / "cross"), mine_cross_encoder_margin=0.5)
    miner = good.miner(processor, knowledge_base, "cpu", seed=3)
    assert miner.cross_encoder is not None and miner.settings.seed == 3
    wrong = MiningArguments(mine_cross_encoder=str(tmp_path / "bi"), mine_cross_encoder_margin=0.5)
    with pytest.raises(ValueError, match="expected a trained blink-crossencoder .*got blink-biencoder"):
        wrong.miner(processor, knowledge_base, "cpu", seed=3)
