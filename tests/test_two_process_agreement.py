"""Two real processes that were started with different settings or files, or of which one fails, stop together."""

import json
import re

import torch

from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from tests.two_processes import launch_two


def test_processes_that_disagree_or_fail_are_told_and_stop_together(tmp_path, entities, tiny_encoder):
    (tmp_path / "entities.jsonl").write_text("".join(json.dumps(entity) + "\n" for entity in entities))
    for number, labels in enumerate((["paris-fr", "paris-tx"], ["paris-fr", "puma-cat"])):
        rows = [
            {"context_left": "", "mention": "it", "context_right": "", "label_id": label} for label in labels
        ]
        (tmp_path / f"mentions-{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "disk-0/round_0").mkdir(parents=True)
    (tmp_path / "disk-0/round_0/round.json").write_text("{}")
    launch_two("tests.agreement_example", str(tmp_path), tiny_encoder, folder=tmp_path)
    for number in (0, 1):
        told = json.loads((tmp_path / f"{number}.json").read_text())
        settings, same, data, bad_file, same_data, no_file, apart, no_number = told
        assert settings == (
            "ValueError: training: expected the same learning_rate in all 2 processes, got 0.1 in process 0, 0.2 in process "
            "1; start every process with the same recipe, files and model"
        )
        assert same == same_data == "none"
        assert data.startswith("ValueError: training: expected the same fingerprint of the mentions in all 2")
        own = (
            "ValueError: 6 bad mention record(s)"
            if number == 0
            else "ValueError: reading the data: expected all processes"
        )
        assert bad_file.startswith(own), bad_file
        missing = "FileNotFoundError: expected a file at train: "
        assert no_file.startswith(
            missing
            if number
            else "ValueError: reading the data: expected all processes to finish, but process 1 stopped"
        )
        assert missing in no_file
        assert apart == (
            "ValueError: training: expected the same work in output_dir (a folder that all machines share) in all 2 "
            "processes, got {'.': 'no checkpoint', 'round_0': 'finished'} in process 0, {'.': 'no checkpoint'} in process "
            "1; start every process with the same recipe, files and model"
        )
        error = "FloatingPointError: expected a number as the loss of step 2, got nan, for the mentions .*-0.jsonl:[12]; look"
        others = "ValueError: step 2: expected all processes to finish, but process 1 stopped: "
        assert re.match(error if number else others + error, no_number), no_number
    assert [path.name for path in (tmp_path / "trained").glob("checkpoint-*")] == ["checkpoint-1"]
    kept = BlinkBiEncoder.from_pretrained(tmp_path / "trained/checkpoint-1").state_dict()
    assert all(torch.isfinite(value).all() for value in kept.values())
