"""Recipes and the options that override them."""

from contextlib import nullcontext
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from torch import distributed
from torch.distributed import HashStore

from hf_blink.training import train_biencoder, train_distillation
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.biencoder_arguments import BiEncoderArguments
from hf_blink.training.data_arguments import DataArguments
from hf_blink.training.dev_recall import check_dev
from hf_blink.training.mining_arguments import MiningArguments
from hf_blink.training.recipe_arguments import (
    given_settings,
    parse_recipe,
    refuse_other_settings,
    run_script,
)
from hf_blink.training.script_settings import refuse_unused
from hf_blink.training.train_crossencoder import CrossEncoderArguments
from hf_blink.training.train_distillation import DistillationArguments
from hf_blink.training.train_elq import DocumentArguments, ElqArguments

USING = {
    BiEncoderArguments: "train_biencoder",
    CrossEncoderArguments: "train_crossencoder",
    DistillationArguments: "train_distillation",
}


def parse(folder: Path, values: dict, *options: str) -> BlinkTrainingArguments:
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"output_dir": str(folder), "use_cpu": True, **values}))
    (training,) = parse_recipe([BlinkTrainingArguments], [str(recipe), *options])
    return training


def test_command_line_overrides_the_recipe(tmp_path):
    training = parse(tmp_path, {"max_steps": 4, "per_device_train_batch_size": 2}, "--max_steps", "9")
    assert training.max_steps == 9 and training.per_device_train_batch_size == 2


def test_mappings_lists_and_null(tmp_path):
    values = {
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr": 1e-6},
        "report_to": None,
        "label_names": ["a", "b"],
        "num_hard_negatives": None,
    }
    training = parse(tmp_path, values)
    assert training.lr_scheduler_kwargs == {"min_lr": 1e-6}
    assert training.label_names == ["a", "b"]
    assert training.num_hard_negatives == BlinkTrainingArguments.num_hard_negatives


def test_recipe_files_are_checked(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a recipe"):
        parse_recipe([BlinkTrainingArguments], [str(tmp_path / "no.yaml")])
    for text, message in (("- a\n", "key: value lines"), ("a: [", "expected YAML")):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(ValueError, match=message):
            parse_recipe([BlinkTrainingArguments], [str(tmp_path / "bad.yaml")])
    with pytest.raises(ValueError, match=r"got learning_rat \(did you mean learning_rate\?\), zzz;"):
        parse(tmp_path, {"zzz": 2, "learning_rat": 1})


@pytest.mark.parametrize(
    ("options", "got"),
    [
        (("--max_stepz", "9"), "--max_stepz (did you mean --max_steps?)"),
        (("--learning-rat=1", "--zzz"), "--learning_rat (did you mean --learning_rate?), --zzz"),
    ],
)
def test_options_that_are_none_are_named_with_a_guess_before_anything_else(tmp_path, options, got):
    with pytest.raises(ValueError) as caught:
        parse(tmp_path, {"max_steps": 4}, *options)
    assert str(caught.value) == f"expected options that the script knows, got {got}; --help lists them"
    with pytest.raises(ValueError, match="expected options that the script knows"):
        parse_recipe([DataArguments, BiEncoderArguments], list(options))  # what is required is missing too


def test_options_are_written_with_either_dash_and_stray_words_are_refused(tmp_path):
    assert parse(tmp_path, {}, "--max-steps=9", "--use_cpu").max_steps == 9
    with pytest.raises(ValueError, match="expected --option value pairs, got also stray;"):
        parse(tmp_path, {}, "--max_steps", "9", "stray")


def test_settings_that_a_saved_model_does_not_have_are_refused():
    settings = SimpleNamespace(pooling="mean", dropout=None, length=64)
    given = given_settings(settings, ("pooling", "dropout", "length"))
    assert given == {"pooling": "mean", "length": 64}
    refuse_other_settings(given, SimpleNamespace(pooling="mean", dropout=0.1, length=64), "folder")
    with pytest.raises(
        ValueError, match=r"model folder has, got pooling: 'mean' \(saved: 'cls'\), length: 64 \(saved: 32\);"
    ):
        refuse_other_settings(given, SimpleNamespace(pooling="cls", length=32), "folder")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("biencoder", BiEncoderArguments),
        ("biencoder_gpu", BiEncoderArguments),
        ("blink_2020", BiEncoderArguments),
        ("crossencoder", CrossEncoderArguments),
        ("distillation", DistillationArguments),
    ],
)
def test_the_recipes_of_the_package_have_keys_that_the_scripts_know(name, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in ("entities", "mentions_train", "mentions_dev", "mentions_val"):
        (tmp_path / f"{file}.jsonl").touch()
    recipe = files("hf_blink.training") / "recipes" / f"{name}.yaml"
    mining = (MiningArguments,) if arguments is BiEncoderArguments else ()
    classes = (DataArguments, arguments, *mining, BlinkTrainingArguments)
    data, settings, *_, training = parse_recipe(classes, [str(recipe), "--use_cpu", "true"])
    refuse_unused(USING[arguments], training)
    check_dev(data.dev, training)
    assert data.evaluation == ["mentions_val.jsonl"] and not settings.resume
    assert training.output_dir == f"runs/{name}"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("zeshel_biencoder", BiEncoderArguments), ("zeshel_crossencoder", CrossEncoderArguments)],
)
def test_the_recipes_for_zeshel(name, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("documents", "mentions"):
        (tmp_path / "zeshel" / folder).mkdir(parents=True)
    for split in ("train", "val"):
        (tmp_path / f"zeshel/mentions/{split}.json").touch()
    recipe = files("hf_blink.training") / "recipes" / f"{name}.yaml"
    mining = (MiningArguments,) if arguments is BiEncoderArguments else ()
    data, *_, training = parse_recipe(
        (DataArguments, arguments, *mining, BlinkTrainingArguments), [str(recipe), "--use_cpu", "true"]
    )
    refuse_unused(USING[arguments], training)
    check_dev(data.dev, training)
    assert (data.reader, data.train) == ("zeshel", ["zeshel/mentions/train.json"])
    assert training.output_dir == f"runs/{name}"


def test_the_recipe_of_elq_has_keys_that_its_script_knows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in ("entities", "documents", "documents_dev", "documents_val"):
        (tmp_path / f"{file}.jsonl").touch()
    recipe = files("hf_blink.training") / "recipes" / "elq.yaml"
    classes = (DocumentArguments, ElqArguments, BlinkTrainingArguments)
    documents, settings, training = parse_recipe(classes, [str(recipe), "--use_cpu", "true"])
    refuse_unused("train_elq", training)
    assert documents.dev == ["documents_dev.jsonl"] and settings.mention_pooling == "all_avg"
    assert training.output_dir == "runs/elq"


@pytest.mark.parametrize(
    ("script", "models"),
    [
        (train_biencoder, ["--base_model", "base"]),
        (train_distillation, ["--bi_encoder", "bi", "--cross_encoder", "cross"]),
    ],
)
@pytest.mark.parametrize(("more", "warned"), [([], True), (["--eval_strategy", "epoch"], False)])
def test_dev_files_that_nothing_is_measured_on_are_warned_of(
    tmp_path, monkeypatch, caplog, script, models, more, warned
):
    def stop(*arguments, **options):
        raise InterruptedError

    monkeypatch.setattr(script, "open_run", stop)
    words = ["--output_dir", str(tmp_path / "out"), "--use_cpu", "true", *models, *more]
    for name in ("entities", "train", "dev"):
        (tmp_path / name).touch()
        words += [f"--{name}", str(tmp_path / name)]
    with pytest.raises(InterruptedError):
        script.main(words)
    assert ("dev is named and not used" in caplog.text) == warned


def test_every_recipe_is_tested():
    found = {file.name for file in (Path(str(files("hf_blink.training"))) / "recipes").glob("*.yaml")}
    source = Path(__file__).read_text("utf-8")
    assert found and all(
        f'"{name.removesuffix(".yaml")}"' in source or f'"{name}"' in source for name in found
    )


def test_ctrl_c_says_how_to_go_on(capsys):
    def main():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        run_script(main)
    assert ended.value.code == 130 and "--resume true goes on" in capsys.readouterr().err


def test_a_start_beside_the_clone_is_refused(capsys, monkeypatch):
    monkeypatch.setattr("hf_blink.__file__", None)  # what Python makes of a folder of that name
    with pytest.raises(SystemExit):
        run_script(lambda: pytest.fail("ran"))
    assert "which hides it; start somewhere else" in capsys.readouterr().err


def test_run_script_ends_wrong_input_with_its_message_and_exit_code_2(capsys):
    def main():
        raise ValueError("expected a seed, got sed")

    with pytest.raises(SystemExit) as ended:
        run_script(main)
    assert ended.value.code == 2 and "expected a seed, got sed" in capsys.readouterr().err
    run_script(lambda: None)


@pytest.mark.parametrize("fails", [False, True])
def test_run_script_leaves_the_other_processes(fails):
    def main():
        distributed.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
        if fails:
            raise ValueError("expected a seed, got sed")

    with pytest.raises(SystemExit) if fails else nullcontext():
        run_script(main)
    assert not distributed.is_initialized()
