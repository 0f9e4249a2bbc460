"""The benchmark of training without labels, whole on a tiny set, and its table on given numbers."""

import gzip
import json

import numpy as np
import pytest

from benchmarks import adapt
from benchmarks.adapt_table import cells, render_adapt

ENTITIES = [
    {"id": "big-cat", "title": "big cat", "description": "A cat of the forest, no big car at all, it likes a river."},
    {"id": "big-car", "title": "big car", "description": "Made in a town."},
    {"id": "river", "title": "river", "description": "It runs through a forest and a town and past a big car."},
]  # fmt: skip


def write(path, rows) -> None:
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data" / "tiny"
    folder.mkdir(parents=True)
    write(folder / "entities.jsonl.gz", ENTITIES)
    document = {"world": None, "mentions": [{"start": 0, "end": 1, "label_id": "secret"}]}
    texts = {"train": "a big cat", "val": "a river", "train_ext": "a big car"}
    write(
        folder / "documents.jsonl.gz",
        [{"doc_id": s, "text": text, "split": s, **document} for s, text in texts.items()],
    )
    mention = {"context_left": "a", "mention": "river", "context_right": "", "label_id": "river"}
    write(
        folder / "mentions_val.jsonl.gz", [{"id": "1", **mention}, {"id": "2", **mention, "label_id": None}]
    )
    return tmp_path / "data"


def test_training_texts_are_those_of_the_training_split_without_labels(data):
    assert list(adapt.training_texts(data / "tiny" / "documents.jsonl.gz")) == [
        {"text": "a big cat", "world": None, "doc_id": "train"}
    ]


def test_the_benchmark_writes_rows_and_a_page(data, tmp_path, tiny_encoder, capsys):
    results = tmp_path / "docs" / "results"
    words = ["--data", str(data), "--sets", "tiny", "--steps", "1", "--window", "16"]
    adapt.main([*words, "--base-model", tiny_encoder, "--results", str(results)])
    result = json.loads((results / "adapt.json").read_text())["tiny"]
    assert [row["system"] for row in result["rows"]] == list(adapt.ROWS)
    untuned, descriptions, texts = result["rows"]
    assert untuned["gain"] == 0 and "used" not in untuned
    assert descriptions["used"] == {"texts": 0, "descriptions": 3, "own": 2}
    assert texts["used"] == {"texts": 1, "descriptions": 3, "own": 2}
    assert result["data"] == {"catalogue": 3, "entities": 3, "mentions": 1, "worlds": ""}
    assert str(tmp_path) not in (results / "adapt.json").read_text()
    page = (tmp_path / "docs" / "results.md").read_text()
    assert "### Without labels: tiny" in page and "| adapted, descriptions and texts |" in page
    assert "adapted, descriptions" in capsys.readouterr().out


def test_missing_data_stop_before_any_work(tmp_path):
    with pytest.raises(SystemExit, match=r"expected entities\.jsonl\.gz in .*none, got no such file"):
        adapt.main(["--data", str(tmp_path), "--sets", "none"])


def test_gain_is_the_difference_of_first_places():
    gain = adapt._gain(np.array([1, 2, 0, 1]), np.array([1, 1, 1, 0]))
    assert gain["gain"] == 0.25 and gain["gain_low"] <= 0.25 <= gain["gain_high"]
    assert adapt._gain(np.array([1, 2]), np.array([1, 2])) == {"gain": 0, "gain_low": 0, "gain_high": 0}


def test_cells_are_percent_and_points():
    shares = {f"recall@{k}": 0.5 for k in (1, 4, 16, 64)}
    assert cells({"system": "untuned", **shares})[1:] == ["50.0"] * 4 + ["-"] * 4
    row: dict = {"gain": 0.031, "gain_low": -0.01, "gain_high": 0.07, "train_seconds": 9.6}
    row |= {"used": {"texts": 1, "descriptions": 2, "own": 3}}
    assert cells({"system": "x", **shares, **row})[5:] == ["+3.1", "-1.0 to +7.0", "1 / 2 / 3", "10"]
    assert render_adapt({}).startswith("## Training without labels")
