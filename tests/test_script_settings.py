"""Settings that a script would ignore are refused by it, before anything is read."""

import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from hf_blink.training import train_biencoder, train_crossencoder, train_distillation, train_elq
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.script_settings import OWN, USED, refuse_unused

SCRIPTS = {
    "train_biencoder": (train_biencoder, ["--base_model", "base"]),
    "train_crossencoder": (train_crossencoder, ["--bi_encoder", "bi"]),
    "train_distillation": (train_distillation, ["--bi_encoder", "bi", "--cross_encoder", "cross"]),
    "train_elq": (train_elq, ["--base_model", "base"]),
}
CHANGED: dict[str, Any] = {
    **{
        "num_hard_negatives": 3,
        "mine_every_steps": 5,
        "gradient_cache_chunk": 2,
        "early_stopping_patience": 2,
    },
    **{
        "same_world_batches": False,
        "unique_entities": False,
        "gather_negatives": False,
        "fixed_length": True,
    },
    **{"blink_optimizer": True, "precision": "float32", "dry_run": True, "matryoshka_dims": [8, 4]},
    **{"span_loss_weight": 0.5, "hard_negative_loss": "bce", "distillation_alpha": 0.1},
    **{"distillation_temperature": 2.0, "distillation_loss": "cross_entropy"},
}


def test_every_setting_is_of_a_script():
    assert set(OWN) == set(CHANGED) == {name for used in USED.values() for name in used}
    assert USED.keys() == SCRIPTS.keys()


@pytest.mark.parametrize(
    ("script", "name"), [(script, name) for script, used in USED.items() for name in OWN if name not in used]
)
def test_a_changed_setting_is_refused_where_it_does_nothing(script, name, tmp_path):
    training = BlinkTrainingArguments(str(tmp_path), use_cpu=True, **{name: CHANGED[name]})
    with pytest.raises(
        ValueError, match=f"expected settings that {script} uses, got {name} .of .*; leave it out"
    ):
        refuse_unused(script, training)


@pytest.mark.parametrize("script", USED)
def test_what_a_script_uses_and_every_default_pass(script, tmp_path):
    used = {name: CHANGED[name] for name in USED[script]}
    refuse_unused(script, BlinkTrainingArguments(str(tmp_path), use_cpu=True, **used))
    given: dict[str, Any] = {
        field.name: field.default if field.default is not MISSING else []
        for field in fields(BlinkTrainingArguments)
        if field.name in OWN
    }
    refuse_unused(script, BlinkTrainingArguments(str(tmp_path), use_cpu=True, **given))


def test_all_are_named_at_once_with_the_scripts_that_use_them(tmp_path):
    training = BlinkTrainingArguments(
        str(tmp_path), use_cpu=True, matryoshka_dims=[8], mine_every_steps=3, distillation_alpha=0.0
    )
    message = (
        "expected settings that train_elq uses, got mine_every_steps (of train_biencoder), matryoshka_dims (of "
        "train_biencoder and train_distillation), distillation_alpha (of train_distillation), eval_strategy; leave them out"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        refuse_unused("train_elq", training, ["eval_strategy"])


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_scripts_refuse_before_anything_is_read(script, tmp_path):
    module, models = SCRIPTS[script]
    words = ["--output_dir", str(tmp_path / "out"), "--use_cpu", "true", *models]
    for name in ("entities", "train"):
        (tmp_path / name).write_text("no JSON")
        words += [f"--{name}", str(tmp_path / name)]
    name = next(name for name in ("matryoshka_dims", "span_loss_weight") if name not in USED[script])
    value = {"matryoshka_dims": "8", "span_loss_weight": "0.5"}[name]
    with pytest.raises(ValueError, match=f"expected settings that {script} uses, got {name}"):
        module.main([*words, f"--{name}", value])
    assert not Path(tmp_path / "out").exists()
