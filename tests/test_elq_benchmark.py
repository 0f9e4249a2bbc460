"""benchmarks/elq.py on a tiny data set: every system is measured, stages are kept, the page is rendered."""

import gzip
import json

import pytest

from benchmarks import elq, elq_data
from benchmarks.elq_settings import STAGES, Settings
from benchmarks.real_data_settings import Settings as RealDataSettings
from benchmarks.real_data_settings import settings_of as settings_of_real_data
from benchmarks.stages import encoder_name, settings_of, shown_encoder, stages_before
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
             "mention-length": 24, "entity-length": 24, "documents": 4}  # fmt: skip
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
    row = {"text": "puma", "mentions": [], "split": "train"}
    rows = [row | {"source": source} for source in sources]
    with gzip.open(tmp_path / "documents.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    documents = elq_data.DocumentSet(tmp_path, seed=1).train
    assert sorted(map(str, documents["complete"])) == ["False", "False", "None", "None"]


@pytest.fixture
def run(data, tmp_path, tiny_encoder, monkeypatch):
    """Runs the command line with its stages in this process; returns the stages that ran."""
    ran: list[str] = []

    def here(file, given, name, stage):
        ran.append(stage)
        elq.main([*given, "--child", name, stage])

    def command_line(*more):
        ran.clear()
        elq.main([*command(data, tmp_path, tiny_encoder), *more])
        return list(ran)

    monkeypatch.setattr(elq_data, "_DEV_SHARE", 0.4)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # torch has read it by now
    monkeypatch.setattr(elq, "run_child", here)
    return command_line


def test_every_system_is_measured_and_stages_are_kept_while_their_settings_are_the_same(run, tmp_path):
    assert run() == list(STAGES)
    result = json.loads((tmp_path / "docs/results/elq.json").read_text())["tiny"]
    systems = [row["system"] for row in result["rows"]]
    assert systems == [
        "titles + bi-encoder", "titles + bi-encoder + cross-encoder", "ELQ, in-batch", "ELQ", "ELQ + cross-encoder",
    ]  # fmt: skip
    for row in result["rows"]:
        assert 0 <= row["strong_f1"] <= row["weak_f1"] <= 1
        assert row["documents_per_cpu_second"] > 0 and row["alone_per_second"] > 0
        assert row["train_cpu_seconds"] > 0 and row["peak_memory_mb"] > 0
    assert result["data"]["documents"] == 4 and result["settings"]["mention_length"] == 24
    page = (tmp_path / "docs/results.md").read_text()
    assert "### One pass: tiny" in page and "| ELQ + cross-encoder |" in page
    assert "OMP_NUM_THREADS: 3.\n" in page
    assert run() == []
    assert run("--cross-mentions", "2") == ["cross_encoder", "titles_reranked", "elq_reranked"]
    (tmp_path / "work/tiny/elq.json").unlink()  # as after an interruption of its training
    assert run("--cross-mentions", "2") == ["elq", "elq_linking", "elq_reranked"]
    (tmp_path / "docs/results/elq.json").unlink()
    with pytest.raises(SystemExit, match=r"expected entities.jsonl.gz in .*missing, got no such file"):
        run("--cross-mentions", "2", "--sets", "missing", "tiny")
    assert list(json.loads((tmp_path / "docs/results/elq.json").read_text())) == ["tiny"]  # all the same


def test_stages_name_their_settings_and_those_before_them():
    first, other = (settings_of(STAGES, "elq_linking", Settings(steps=steps)) for steps in (1, 2))
    assert first != other and {"steps", "elq_steps", "hard_steps", "documents"} <= first.keys()
    assert "cross_mentions" not in first
    assert stages_before(STAGES, "elq_reranked") == ["bi_encoder", "elq_in_batch", "elq", "cross_encoder"]


def test_encoders_of_one_name_are_two_and_the_default_keeps_its_name(tmp_path, monkeypatch):
    default = settings_of(STAGES, "bi_encoder", Settings())
    assert default["base_model"] == "all-MiniLM-L6-v2", "as in the results that are there"
    folders = [tmp_path / name / "all-MiniLM-L6-v2" for name in ("a", "b")]
    for folder in folders:
        folder.mkdir(parents=True)
    given = [
        *map(str, folders),
        "all-MiniLM-L6-v2/",
        "sentence-transformers/all-MiniLM-L6-v2",
        "other/all-MiniLM-L6-v2",
    ]
    monkeypatch.chdir(folders[0].parent)
    names = [settings_of(STAGES, "bi_encoder", Settings(base_model=one))["base_model"] for one in given]
    assert names[2] == names[0] and len({*names, "all-MiniLM-L6-v2"}) == 5
    assert names[3:] == given[3:] and not any(str(tmp_path) in name for name in names)
    assert {shown_encoder(name) for name in names[:3]} == {"all-MiniLM-L6-v2"}
    real = settings_of_real_data("untuned", RealDataSettings(base_model=str(folders[1])))
    assert real["base_model"] == encoder_name(str(folders[1])) == names[1]


def test_missing_data_are_named(tmp_path):
    with pytest.raises(SystemExit, match=r"expected entities.jsonl.gz in .*questions"):
        elq.main(["--data", str(tmp_path), "--sets", "questions"])
