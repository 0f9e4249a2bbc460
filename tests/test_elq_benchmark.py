"""benchmarks/elq.py on a tiny data set: every system is measured, stages are kept, the page is rendered."""

import gzip
import json

import pytest

from benchmarks import elq, elq_data
from tests.test_elq_trainer import elq_documents


@pytest.fixture
def data(tmp_path, entities):
    folder = tmp_path / "data/tiny"
    folder.mkdir(parents=True)

    def write(name, records):
        with gzip.open(folder / name, "wt") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)

    write("entities.jsonl.gz", entities)
    rows = [{name: row[name] for name in ("doc_id", "text", "mentions")} for row in elq_documents(3)]
    splits = ["val" if number % 3 == 0 else "train" for number in range(len(rows))]
    write(
        "documents.jsonl.gz",
        [
            row | {"split": split, "source": "a", "complete": True}
            for row, split in zip(rows, splits, strict=True)
        ],
    )
    return tmp_path / "data"


def command(data, tmp_path, tiny_encoder):
    sizes = {"steps": 2, "elq-steps": 2, "hard-steps": 2, "cross-mentions": 3, "num-candidates": 3, "batch-size": 4,
             "mention-length": 24, "entity-length": 24, "max-documents": 4}  # fmt: skip
    words = [
        "--data",
        str(data),
        "--sets",
        "tiny",
        "--work",
        str(tmp_path / "work"),
        "--base-model",
        tiny_encoder,
    ]
    words += [word for name, value in sizes.items() for word in (f"--{name}", str(value))]
    return [*words, "--results", str(tmp_path / "docs/results")]


def test_texts_of_sources_that_annotate_one_mention_are_incomplete(tmp_path):
    sources = ["shadowlinks-top", "shadowlinks-tail", "aquaint", None]
    rows = [{"text": "puma", "mentions": [], "split": "train", "source": source} for source in sources]
    with gzip.open(tmp_path / "documents.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    documents = elq_data.DocumentSet(tmp_path, seed=1).train
    assert sorted(map(str, documents["complete"])) == ["False", "False", "None", "None"]


def test_every_system_is_measured_and_stages_are_kept(data, tmp_path, tiny_encoder, monkeypatch, capsys):
    monkeypatch.setattr(elq_data, "_DEV_SHARE", 0.4)
    elq.main(command(data, tmp_path, tiny_encoder))
    result = json.loads((tmp_path / "docs/results/elq.json").read_text())["tiny"]
    systems = [row["system"] for row in result["rows"]]
    assert systems == [
        "titles + bi-encoder", "titles + bi-encoder + cross-encoder", "ELQ, in-batch", "ELQ", "ELQ + cross-encoder",
    ]  # fmt: skip
    for row in result["rows"]:
        assert 0 <= row["strong_f1"] <= row["weak_f1"] <= 1
        assert row["documents_per_second"] > 0 and row["alone_per_second"] > 0
    assert result["data"]["documents"] == 4 and result["settings"]["mention_length"] == 24
    page = (tmp_path / "docs/results.md").read_text()
    assert "### One pass: tiny" in page and "| ELQ + cross-encoder |" in page
    assert "trained elq in" in capsys.readouterr().out
    monkeypatch.setattr("hf_blink.training.short_training.train_briefly", None)  # nothing is trained again
    elq.main(command(data, tmp_path, tiny_encoder))


def test_missing_data_are_named(tmp_path):
    with pytest.raises(SystemExit, match=r"expected entities.jsonl.gz in .*questions"):
        elq.main(["--data", str(tmp_path), "--sets", "questions"])
