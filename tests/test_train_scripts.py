"""The training scripts as users start them: recipes, overrides, resume, and two real processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.modeling_blink_crossencoder import BlinkCrossEncoder
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.training import train_biencoder, train_crossencoder
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.recipe_arguments import DataArguments, parse_recipe

ROOT = Path(__file__).parents[1]


@pytest.fixture
def recipe(tiny_encoder, tmp_path, entities) -> Path:
    """A recipe of six mentions and four steps a round."""
    (tmp_path / "entities.jsonl").write_text("".join(json.dumps(entity) + "\n" for entity in entities))
    mentions = [
        {
            "id": entity["id"],
            "context_left": entity["description"],
            "mention": entity["title"],
            "context_right": "",
            "label_id": entity["id"],
        }
        for entity in entities
    ]
    (tmp_path / "mentions.jsonl").write_text("".join(json.dumps(mention) + "\n" for mention in mentions))
    values = {
        "entities": [str(tmp_path / "entities.jsonl")],
        "train": [str(tmp_path / "mentions.jsonl")],
        "base_model": tiny_encoder,
        "mention_length": 32,
        "entity_length": 32,
        "output_dir": str(tmp_path / "out"),
        "max_steps": 4,
        "per_device_train_batch_size": 2,
        "mined_negatives": 3,
        "use_cpu": True,
        "disable_tqdm": True,
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def weights(folder: Path) -> torch.Tensor:
    return torch.cat(
        [value.flatten() for value in BlinkBiEncoder.from_pretrained(folder).state_dict().values()]
    )


def test_biencoder_recipe_trains_rounds_and_saves_what_from_pretrained_loads(recipe, tmp_path):
    metrics = train_biencoder.main(
        [str(recipe), "--evaluation", str(tmp_path / "mentions.jsonl"), "--save_strategy", "no"]
    )
    assert metrics["num_mentions"] == 6 and 0 < metrics["recall@1"] <= 1
    record = json.loads((tmp_path / "out/round_1/round.json").read_text())
    assert record["num_processes"] == 1 and record["num_mentions"] == 6
    assert not torch.equal(weights(tmp_path / "out/round_0"), weights(tmp_path / "out/round_1"))
    assert torch.equal(weights(tmp_path / "out"), weights(tmp_path / "out/round_1"))
    assert BlinkProcessor.from_pretrained(tmp_path / "out").mention_length == 32


def test_an_interrupted_run_resumes_to_the_same_weights(recipe, tmp_path):
    options = ["--max_steps", "8", "--save_strategy", "steps", "--save_steps", "2", "--save_total_limit", "9"]
    train_biencoder.main([str(recipe), *options])
    expected = weights(tmp_path / "out")
    last = tmp_path / "out/round_1"
    (last / "round.json").unlink()
    (last / "checkpoint-4").rename(tmp_path / "gone")  # stopped after step 2 of the round's 4
    untouched = (tmp_path / "out/round_0/model.safetensors").stat().st_mtime_ns
    train_biencoder.main([str(recipe), *options, "--resume", "true"])
    assert torch.equal(weights(tmp_path / "out"), expected)
    assert (tmp_path / "out/round_0/model.safetensors").stat().st_mtime_ns == untouched


def test_crossencoder_recipe_reranks_what_the_biencoder_retrieves(recipe, tmp_path, tiny_encoder):
    train_biencoder.main([str(recipe), "--save_strategy", "no", "--hard_negative_rounds", "0"])
    values = yaml.safe_load(recipe.read_text())
    for key in ("mention_length", "entity_length", "mined_negatives"):
        values.pop(key)
    values |= {"bi_encoder": values["output_dir"], "output_dir": str(tmp_path / "cross"), "num_candidates": 3}
    path = tmp_path / "cross.yaml"
    path.write_text(yaml.safe_dump(values))
    metrics = train_crossencoder.main(
        [str(path), "--evaluation", str(tmp_path / "mentions.jsonl"), "--save_strategy", "no"]
    )
    assert 0 <= metrics["accuracy_unnormalised"] <= 1
    cross_encoder = BlinkCrossEncoder.from_pretrained(tmp_path / "cross")
    assert cross_encoder.config.retrieval_weight == 1.0
    linker = EntityLinker.from_knowledge_base(
        str(tmp_path / "entities.jsonl"), str(tmp_path / "out"), cross_encoder=cross_encoder
    )
    assert linker.link("Paris")[0].rerank_score is not None


def test_accelerate_launch_starts_two_processes(recipe, tmp_path):
    """`--cpu --num_processes 2` would silently run one process, so the script's own record of the world is checked."""
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        "2",
        "--main_process_port",
        "0",
    ]
    options = ["--ddp_backend", "gloo", "--save_strategy", "no", "--max_steps", "2"]
    environment = {
        **os.environ,
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    result = subprocess.run(
        [*command, "-m", "hf_blink.training.train_biencoder", str(recipe), *options],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    for number in (0, 1):
        assert json.loads((tmp_path / f"out/round_{number}/round.json").read_text())["num_processes"] == 2
    assert len(weights(tmp_path / "out"))


def test_command_line_overrides_the_recipe(recipe):
    _, training = parse_recipe(
        (DataArguments, BlinkTrainingArguments), [str(_without_model(recipe)), "--max_steps", "9"]
    )
    assert training.max_steps == 9 and training.per_device_train_batch_size == 2


def _without_model(recipe: Path) -> Path:
    values = yaml.safe_load(recipe.read_text())
    for key in ("base_model", "mention_length", "entity_length", "mined_negatives"):
        values.pop(key)
    recipe.write_text(yaml.safe_dump(values))
    return recipe


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"learning_rat": 1}, ValueError, "got learning_rat"),
        ({"train": ["missing.jsonl"]}, FileNotFoundError, "missing.jsonl"),
        ({"entities": []}, ValueError, "expected entities and train"),
    ],
)
def test_bad_recipes_are_refused(recipe, change, error, message):
    recipe.write_text(yaml.safe_dump({**yaml.safe_load(recipe.read_text()), **change}))
    with pytest.raises(error, match=message):
        train_biencoder.main([str(recipe)])


def test_recipe_files_are_checked(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a recipe"):
        train_biencoder.main([str(tmp_path / "no.yaml")])
    for text, message in (("- a\n", "key: value lines"), ("a: [", "expected YAML")):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(ValueError, match=message):
            train_biencoder.main([str(tmp_path / "bad.yaml")])
