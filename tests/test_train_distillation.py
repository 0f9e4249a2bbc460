"""The distillation script as users start it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.training import candidate_files, teacher_score_files, train_distillation
from tests.two_processes import launch_two


@pytest.fixture
def recipe(bi_encoder, cross_encoder, processor, tmp_path, entities) -> Path:
    """A recipe of six mentions and two steps, with untrained encoders."""
    for part in (bi_encoder, processor):
        part.save_pretrained(tmp_path / "bi_encoder")
    cross_encoder.save_pretrained(tmp_path / "cross_encoder")
    mentions = [
        {
            "context_left": entity["description"],
            "mention": entity["title"],
            "context_right": "",
            "label_id": entity["id"],
        }
        for entity in entities
    ]
    for name, records in (("entities", entities), ("mentions", mentions)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    values = {
        "entities": [str(tmp_path / "entities.jsonl")],
        "train": [str(tmp_path / "mentions.jsonl")],
        "bi_encoder": str(tmp_path / "bi_encoder"),
        "cross_encoder": str(tmp_path / "cross_encoder"),
        "num_candidates": 3,
        "output_dir": str(tmp_path / "out"),
        "max_steps": 2,
        "per_device_train_batch_size": 2,
        "use_cpu": True,
        "disable_tqdm": True,
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_recipe_trains_a_student_that_links_in_fewer_layers_and_dimensions(recipe, tmp_path):
    evaluation = str(tmp_path / "mentions.jsonl")
    options = ["--student_layers", "1", "--matryoshka_dims", "32", "8", "--save_strategy", "no"]
    metrics = train_distillation.main([str(recipe), "--evaluation", evaluation, *options])
    assert 0 <= metrics["recall@1"] <= 1
    assert json.loads((tmp_path / "out/metrics.json").read_text()) == metrics
    record = json.loads((tmp_path / "out/round.json").read_text())
    assert (record["num_processes"], record["num_mentions"]) == (1, 6)
    student = BlinkBiEncoder.from_pretrained(tmp_path / "out")
    assert student.config.mention_config.num_hidden_layers == 1
    linker = EntityLinker.from_knowledge_base(
        str(tmp_path / "entities.jsonl"), str(tmp_path / "out"), truncate_dim=8, progress=False
    )
    assert linker.index.dimension == 8 and len(linker.link("Paris")[0].candidates) == 6


def test_scores_are_read_again_by_a_resumed_run_and_by_one_of_the_same_models(recipe, tmp_path, monkeypatch):
    train_distillation.main([str(recipe)])
    assert len(list(tmp_path.glob("out/teacher_scores/*/*.parquet"))) == 1
    with pytest.raises(ValueError, match="expected an empty output_dir, or --resume true.* checkpoint-2"):
        train_distillation.main([str(recipe)])
    with pytest.raises(ValueError, match="num_candidates: 3 then, 4 now"):
        train_distillation.main([str(recipe), "--resume", "true", "--num_candidates", "4"])

    def stop(*arguments, **options):
        raise InterruptedError

    monkeypatch.setattr(candidate_files, "mine_candidates", stop)
    monkeypatch.setattr(teacher_score_files, "add_teacher_scores", stop)
    assert train_distillation.main([str(recipe), "--resume", "true"]) == {}
    for checkpoint in tmp_path.glob("out/checkpoint-*"):
        checkpoint.rename(tmp_path / checkpoint.name)
    assert train_distillation.main([str(recipe), "--distillation_alpha", "0.9"]) == {}
    for checkpoint in tmp_path.glob("out/checkpoint-*"):
        checkpoint.rename(tmp_path / f"second-{checkpoint.name}")
    with pytest.raises(InterruptedError):
        train_distillation.main([str(recipe), "--num_candidates", "4"])


def test_layers_are_a_number_or_a_list(bi_encoder):
    def student(*layers):
        return train_distillation.DistillationArguments("bi", "cross", list(layers)).student(bi_encoder)

    assert student() is bi_encoder
    assert student(2).config.mention_config.num_hidden_layers == 2
    assert student(0, 1).config.mention_config.num_hidden_layers == 2
    with pytest.raises(ValueError, match="expected 1 to 2 layers to keep, got 3"):
        student(3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--num_candidates", "1"], "num_candidates of at least 2, got 1"),
        (["--student_layers", "5"], "expected 1 to 2 layers to keep, got 5"),
        (["--matryoshka_dims", "32", "64"], r"matryoshka_dims from 1 to 32, .* got \[64\]"),
        (["--distillation_alpha", "2"], "distillation_alpha from 0 to 1"),
        (
            ["--cross_encoder", "BI"],
            "expected a trained blink-crossencoder at cross_encoder: .*, got blink-bienc",
        ),
        (
            ["--bi_encoder", "CROSS"],
            "expected a trained blink-biencoder at bi_encoder: .*, got blink-crossenc",
        ),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_mined(recipe, tmp_path, monkeypatch, options, message):
    folders = {"BI": str(tmp_path / "bi_encoder"), "CROSS": str(tmp_path / "cross_encoder")}
    monkeypatch.setattr(train_distillation, "teacher_dataset", None)
    with pytest.raises(ValueError, match=message):
        train_distillation.main([str(recipe), *[folders.get(option, option) for option in options]])


def test_two_processes_share_the_scoring_and_train_one_student(recipe, tmp_path):
    options = ["--ddp_backend", "gloo", "--save_strategy", "no"]
    launch_two("hf_blink.training.train_distillation", str(recipe), *options, folder=tmp_path)
    assert json.loads((tmp_path / "out/round.json").read_text())["num_processes"] == 2
    assert BlinkBiEncoder.from_pretrained(tmp_path / "out").config.embed_dim == 32


def test_early_stopping_is_of_the_dev_mentions(recipe, tmp_path):
    """All six entities are among the 64 nearest from the first evaluation on: nothing later is better."""
    options = [
        "--dev",
        str(shutil.copy(tmp_path / "mentions.jsonl", tmp_path / "dev.jsonl")),
        "--early_stopping_patience",
        "1",
        "--max_steps",
        "5",
    ]
    train_distillation.main([str(recipe), *options, "--save_strategy", "steps", "--save_steps", "1"])
    assert json.loads((tmp_path / "out/round.json").read_text())["recalls"] == [[1, 1.0], [2, 1.0]]
    best, result = (BlinkBiEncoder.from_pretrained(tmp_path / name) for name in ("out/checkpoint-1", "out"))
    trained = result.state_dict()
    assert all(torch.equal(trained[name], value) for name, value in best.state_dict().items())


def test_an_interrupted_run_resumes_to_the_same_weights(recipe, tmp_path):
    """Six mentions in batches of two: step 2 is in the middle of the first epoch."""
    options = ["--max_steps", "4", "--save_strategy", "steps", "--save_steps", "1", "--save_total_limit", "9"]
    train_distillation.main([str(recipe), *options])
    expected = BlinkBiEncoder.from_pretrained(tmp_path / "out").state_dict()
    for step in (3, 4):
        shutil.rmtree(tmp_path / f"out/checkpoint-{step}")
    (tmp_path / "out/model.safetensors").unlink()
    kept = tmp_path / "out/checkpoint-2/model.safetensors"
    untouched = kept.stat().st_mtime_ns
    train_distillation.main([str(recipe), *options, "--resume", "true"])
    assert kept.stat().st_mtime_ns == untouched
    again = BlinkBiEncoder.from_pretrained(tmp_path / "out").state_dict()
    assert all(torch.equal(again[name], value) for name, value in expected.items())
    at_2 = BlinkBiEncoder.from_pretrained(tmp_path / "out/checkpoint-2").state_dict()
    assert any(not torch.equal(at_2[name], value) for name, value in expected.items())
