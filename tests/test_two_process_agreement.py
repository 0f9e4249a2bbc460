"""Two real processes that were started with different settings or files stop together, each with the reason."""

import json

from tests.two_processes import launch_two


def test_processes_that_disagree_are_told_before_anything_is_trained(tmp_path, entities):
    (tmp_path / "entities.jsonl").write_text("".join(json.dumps(entity) + "\n" for entity in entities))
    for number, labels in enumerate((["paris-fr", "paris-tx"], ["paris-fr", "puma-cat"])):
        rows = [
            {"context_left": "", "mention": "it", "context_right": "", "label_id": label} for label in labels
        ]
        (tmp_path / f"mentions-{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = launch_two("tests.agreement_example", str(tmp_path), folder=tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    for number in (0, 1):
        settings, same, data, bad_file, same_data = json.loads((tmp_path / f"{number}.json").read_text())
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
