"""Two real processes that were started with different settings or files, or of which one fails, stop together."""

import json
import re
from pathlib import Path

import pytest
import torch

from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from tests.two_processes import launch_two

STOPPED = "expected all processes to finish, but process {} stopped: "


@pytest.fixture(scope="module")
def folder(tiny_encoder, tmp_path_factory) -> Path:
    """What the processes read and wrote: `<number>.json` has what each was told."""
    folder: Path = tmp_path_factory.mktemp("agreement")
    write_lines(folder / "entities.jsonl", [{"id": f"e{i}", "title": f"river {i}"} for i in range(6)])
    for number, labels in enumerate((["e0", "e1"], ["e0", "e2"])):
        part = {"context_left": "", "mention": "it", "context_right": ""}
        write_lines(folder / f"mentions-{number}.jsonl", [{**part, "label_id": label} for label in labels])
    (folder / "disk-0/round_0").mkdir(parents=True)
    (folder / "disk-0/round_0/round.json").write_text("{}")
    launch_two("tests.agreement_example", str(folder), tiny_encoder, folder=folder)
    return folder


@pytest.fixture(scope="module")
def told(folder) -> list[dict[str, str]]:
    return [json.loads((folder / f"{number}.json").read_text()) for number in (0, 1)]


def write_lines(file: Path, rows: list[dict[str, str]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_what_differs_is_named_in_both(told):
    end = "; start every process with the same recipe, files and model"
    for own in told:
        assert own["settings"] == (
            "ValueError: training: expected the same learning_rate in all 2 processes, got 0.1 in process 0, 0.2 in process "
            "1" + end
        )
        assert own["same settings"] == own["same mentions"] == "none"
        start = "ValueError: training: expected the same fingerprint of the mentions in all 2 processes"
        assert own["mentions"].startswith(start)
        assert own["output_dir"] == (
            "ValueError: training: expected the same work in output_dir (a folder that all machines share) in all 2 "
            "processes, got {'.': 'no checkpoint', 'round_0': 'finished'} in process 0, {'.': 'no checkpoint'} in process 1"
            + end
        )


@pytest.mark.parametrize(
    ("case", "failed", "work", "error"),
    [
        ("bad file", 0, "reading the data", r"ValueError: 6 bad mention record\(s\)"),
        (
            "no file",
            1,
            "reading the data",
            r"FileNotFoundError: expected a file at train: .*nowhere.jsonl, got",
        ),
        ("no model", 1, "loading the model", "OSError: no such encoder"),
        (
            "no number",
            1,
            "step 2",
            "FloatingPointError: expected a number as the loss of step 2, got nan, for the mentions .*-0.jsonl:[12]; look",
        ),
    ],
)
def test_one_that_fails_stops_the_other(told, case, failed, work, error):
    assert re.match(error, told[failed][case]), told[failed][case]
    assert re.match(f"ValueError: {work}: {STOPPED.format(failed)}{error}", told[1 - failed][case])


def test_a_loss_that_is_no_number_leaves_the_weights_of_the_step_before(folder, told):
    assert [path.name for path in (folder / "trained").glob("checkpoint-*")] == ["checkpoint-1"]
    kept = BlinkBiEncoder.from_pretrained(folder / "trained/checkpoint-1").state_dict()
    assert all(torch.isfinite(value).all() for value in kept.values())
