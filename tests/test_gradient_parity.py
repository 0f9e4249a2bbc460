"""Weights after one step: a batch in one piece, in chunks, over two real processes. (Equal losses hide wrong gradients.)"""

import json
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModel, AutoTokenizer

from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.training import train_biencoder
from tests.two_processes import launch_two

# Two mentions of Paris and two of the car maker: their columns are made by different processes.
MENTIONS = [
    ("the capital", "paris", "of france", "paris-fr"),
    ("in", "paris", "is the louvre", "paris-fr"),
    ("a spotted cat, the", "jaguar", "slept in the forest", "jaguar-cat"),
    ("the car maker", "jaguar", "is for sale", "jaguar-car"),
    ("an old", "jaguar", "stood in the rain", "jaguar-car"),
    ("a big", "puma", "of the river", "puma-cat"),
    ("new shoes of", "puma", "for sport", "puma-shoe"),
    ("a town called", "paris", "in texas", "paris-tx"),
]


@pytest.fixture
def recipe(tiny_encoder, tmp_path, entities) -> Path:
    """One step of SGD in each round on all eight mentions, without dropout, all mined negatives in the batch."""
    encoder = AutoModel.from_pretrained(
        tiny_encoder, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    encoder.save_pretrained(tmp_path / "encoder")
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(tmp_path / "encoder")
    plain = [{name: value for name, value in entity.items() if name != "world"} for entity in entities]
    plain += [{"id": f"more-{i}", "title": f"river {i}", "description": "a big river"} for i in range(2)]
    (tmp_path / "entities.jsonl").write_text("".join(json.dumps(entity) + "\n" for entity in plain))
    names = ("context_left", "mention", "context_right", "label_id")
    rows = [{"id": str(i), **dict(zip(names, row, strict=True))} for i, row in enumerate(MENTIONS)]
    (tmp_path / "mentions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {
        "entities": [str(tmp_path / "entities.jsonl")], "train": [str(tmp_path / "mentions.jsonl")],
        "base_model": str(tmp_path / "encoder"), "output_dir": str(tmp_path / "out"), "max_steps": 1,
        "per_device_train_batch_size": 8, "mined_negatives": 2, "num_hard_negatives": 2, "share_towers": False,
        "optim": "sgd", "learning_rate": 0.05, "warmup_steps": 0, "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0, "weight_decay": 0.0, "use_cpu": True, "disable_tqdm": True, "save_strategy": "no",
    }  # fmt: skip
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def run_alone(recipe: Path, folder: Path, *options: str) -> None:
    train_biencoder.main([str(recipe), "--output_dir", str(folder), *options])


def run_two(recipe: Path, folder: Path, *options: str) -> None:
    """The same global batch in two processes of four mentions each."""
    of_two = ("--output_dir", str(folder), "--ddp_backend", "gloo", "--per_device_train_batch_size", "4")
    launch_two("hf_blink.training.train_biencoder", str(recipe), *of_two, *options, folder=recipe.parent)
    assert json.loads((folder / "round_0/round.json").read_text())["num_processes"] == 2


def change(recipe: Path, folder: Path) -> dict[str, torch.Tensor]:
    """How the first round moved the weights, and the second after it."""
    start = BlinkBiEncoder.from_encoder(str(recipe.parent / "encoder"), share_towers=False).state_dict()
    rounds = [BlinkBiEncoder.from_pretrained(folder / name).state_dict() for name in ("round_0", "round_1")]
    moves: dict[str, torch.Tensor] = {}
    for number, (before, after) in enumerate(zip([start, rounds[0]], rounds, strict=True)):
        moves |= {f"{number}.{name}": after[name] - before[name] for name in after}
    return moves


def assert_equal_steps(expected: dict[str, torch.Tensor], got: dict[str, torch.Tensor]) -> None:
    """Relative to the largest move: float32 sums in another order differ by some 1e-5 of it."""
    for number in "01":
        largest = max(value.abs().max() for name, value in expected.items() if name.startswith(number))
        assert largest > 1e-3
        worst = max((expected[name] - got[name]).abs().max() for name in expected if name.startswith(number))
        assert worst < 3e-4 * largest, f"round {number}"


def test_chunks_and_processes_move_the_weights_as_one_batch_does(recipe, tmp_path):
    run_alone(recipe, tmp_path / "whole")
    whole = change(recipe, tmp_path / "whole")
    run_alone(recipe, tmp_path / "chunks", "--gradient_cache_chunk", "3")
    assert_equal_steps(whole, change(recipe, tmp_path / "chunks"))
    run_two(recipe, tmp_path / "two")
    assert_equal_steps(whole, change(recipe, tmp_path / "two"))
    run_two(recipe, tmp_path / "two_chunks", "--gradient_cache_chunk", "2")
    assert_equal_steps(whole, change(recipe, tmp_path / "two_chunks"))


def test_negatives_of_one_process_alone_are_another_step(recipe, tmp_path):
    """Without `gather_negatives` two processes of four step as one that accumulates two batches of four."""
    options = ("--hard_negative_rounds", "0", "--unique_entities", "false")
    run_alone(recipe, tmp_path / "whole", *options)
    halves = ("--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "2")
    run_alone(recipe, tmp_path / "halves", *options, *halves)
    run_two(recipe, tmp_path / "two", *options, "--gather_negatives", "false")
    names = ("whole", "halves", "two")
    whole, by_halves, two = (BlinkBiEncoder.from_pretrained(tmp_path / name).state_dict() for name in names)
    assert max((whole[name] - two[name]).abs().max() for name in whole) > 1e-4
    assert max((by_halves[name] - two[name]).abs().max() for name in whole) < 1e-6
