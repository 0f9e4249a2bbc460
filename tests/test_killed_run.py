"""A training script is killed with SIGKILL while it trains, as by a machine that goes away, and resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from hf_blink.training import train_biencoder
from tests.test_train_biencoder import recipe as recipe
from tests.test_train_biencoder import weights
from tests.two_processes import ROOT


def kill_after(file: Path, module: str, *arguments: str) -> int:
    """Runs `python -m module`, kills it as soon as the file is there, and gives its exit code."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 120
        while not file.is_file() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
    return process.wait()


def _times(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if "second" in name}


def test_a_killed_run_resumes_to_the_weights_and_metrics_of_one_that_was_not(recipe, tmp_path):
    """Six mentions in batches of two: the kill is early in the 24 steps of the round with hard negatives."""
    options = ["--max_steps", "8", "--hard_negative_share", "3", "--logging_steps", "1"]
    options += ["--evaluation", str(tmp_path / "mentions.jsonl")]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    saved = ["--save_strategy", "steps", "--save_steps", "4", "--output_dir", str(killed)]
    checkpoint = killed / "round_1/checkpoint-4/trainer_state.json"
    code = kill_after(checkpoint, "hf_blink.training.train_biencoder", str(recipe), *options, *saved)
    assert code == -signal.SIGKILL and checkpoint.is_file()
    assert (killed / "round_0/round.json").is_file() and not (killed / "round_1/round.json").exists()
    resumed = train_biencoder.main([str(recipe), *options, *saved, "--resume", "true"])
    expected = train_biencoder.main(
        [str(recipe), *options, "--save_strategy", "no", "--output_dir", str(whole)]
    )
    assert torch.equal(weights(killed), weights(whole))
    assert {**resumed, **_times(expected)} == expected and resumed["num_mentions"] == 6
    first, second = (json.loads((folder / "round_1/round.json").read_text()) for folder in (whole, killed))
    assert len(first["losses"]) == 24 and first["losses"] == second["losses"]
