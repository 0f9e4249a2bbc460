"""Tests of linker.json: a stranger's file is checked field by field."""

import json
from typing import Any

import pytest

from hf_blink.modeling.linker_description import (
    check_files,
    listed_files,
    read_description,
    write_description,
)

RECORD = {"size": 1, "sha256": "0" * 64}
FINGERPRINTS = {"encoder_fingerprint": "a" * 64, "knowledge_base_fingerprint": "b" * 64}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "cross_encoder").mkdir()
    for name in (
        "config.json",
        "model.safetensors",
        "cross_encoder/config.json",
        "cross_encoder/model.safetensors",
    ):
        (tmp_path / name).write_text(name)
    write_description(tmp_path, {"num_candidates": 3, "threshold": 0.5}, FINGERPRINTS, has_cross_encoder=True)
    return tmp_path


def edit(folder, **changes: Any) -> None:
    file = folder / "linker.json"
    content = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({key: value for key, value in content.items() if value != "missing"}))


def test_what_is_written_is_read_back(folder):
    description = read_description(folder)
    assert (description["num_candidates"], description["threshold"]) == (3, 0.5)
    assert listed_files(folder) == {
        "config.json",
        "cross_encoder/config.json",
        "cross_encoder/model.safetensors",
        "linker.json",
        "model.safetensors",
    }
    check_files(folder, description)
    (folder / "cross_encoder" / "config.json").unlink()
    check_files(folder, description, skip=("cross_encoder",))
    with pytest.raises(FileNotFoundError, match="cross_encoder/config.json"):
        check_files(folder, description)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 99}, "expected format_version 1 to 1 .* got 99; upgrade"),
        ({"format_version": True}, "expected format_version"),
        ({"files": "missing"}, "expected files as an object"),
        ({"files": [1]}, "expected files as an object"),
        ({"files": {}}, "expected config.json among files"),
        ({"files": {"config.json": 5}}, r"expected files\['config.json'\] as .* got 5"),
        ({"files": {"config.json": {"size": "1", "sha256": "0" * 64}}}, r"expected files\['config.json'\]"),
        ({"files": {"config.json": {"size": 1, "sha256": "0"}}}, r"expected files\['config.json'\]"),
        ({"files": {"config.json": {"size": -1, "sha256": "0" * 64}}}, r"expected files\['config.json'\]"),
        ({"files": {"config.json": RECORD}}, "expected model.safetensors among files"),
        (
            {"files": {"config.json": RECORD, "model.safetensors": RECORD}},
            "expected cross_encoder/config.json among files",
        ),
        ({"files": {"../x": RECORD}}, "inside the linker, got '../x'"),
        ({"files": {"/etc/x": RECORD}}, "inside the linker, got '/etc/x'"),
        ({"num_candidates": "16"}, "expected num_candidates as an integer of at least 1, got '16'"),
        ({"num_candidates": 0}, "expected num_candidates"),
        ({"num_candidates": True}, "expected num_candidates"),
        ({"threshold": "high"}, "expected a threshold between 0 and 1 .*got 'high'"),
        ({"threshold": float("nan")}, "expected a threshold between 0 and 1 .*got nan"),
        ({"has_cross_encoder": "missing"}, "expected has_cross_encoder as true or false, got None"),
        ({"encoder_fingerprint": None}, "expected encoder_fingerprint as 64 hexadecimal digits, got None"),
    ],
)
def test_wrong_shapes_are_named(folder, changes, message):
    edit(folder, **changes)
    with pytest.raises(ValueError, match=message):
        read_description(folder)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 100_000, b"[]", b"5"])
def test_what_is_no_description_is_refused(folder, content):
    (folder / "linker.json").write_bytes(content)
    with pytest.raises(ValueError, match="expected"):
        read_description(folder)


def test_changed_files_are_named(folder):
    (folder / "config.json").write_text("Config.json")
    with pytest.raises(ValueError, match="expected config.json in .* as it was saved"):
        check_files(folder, read_description(folder))
