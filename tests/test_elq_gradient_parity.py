"""Gradients of the one-pass linker's losses: two real processes with parts of a batch, and one with all of it."""

import json

import torch

from tests.elq_gradient_example import DIVISIONS, STAGES, gradients
from tests.two_processes import launch_two


def test_two_processes_have_the_gradients_of_one_however_mentions_are_divided(
    tiny_encoder, entities, tmp_path
):
    def write(name, rows):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    write("entities.jsonl", entities)
    mention = {"start": 0, "end": 4, "label_id": "puma-cat"}
    for number in (0, 1):
        write(f"{number}.jsonl", [{"text": "puma" + " cat" * number, "mentions": [mention]}])
    launch_two("tests.elq_gradient_example", tiny_encoder, str(tmp_path), folder=tmp_path)
    found = torch.load(tmp_path / "gradients.pt", weights_only=True)
    for stage in STAGES:
        for name, parts in DIVISIONS.items():
            alone = gradients(tiny_encoder, tmp_path, stage, [*parts[0], *parts[1]])
            largest = max(gradient.abs().max() for gradient in alone.values())
            assert largest > 1e-3 and alone.keys() == found[stage, name].keys()
            for weight, gradient in alone.items():
                difference = (gradient - found[stage, name][weight]).abs().max()
                assert difference < 1e-5 * largest, (stage, name, weight)
    for number in (0, 1):
        data, bad_file, same_data = json.loads((tmp_path / f"{number}.json").read_text())
        assert data.startswith("ValueError: training: expected the same fingerprint of the mentions in all 2")
        own = "document record(s)" if number == 0 else "reading the data: expected all processes"
        assert own in bad_file and same_data == "none"
