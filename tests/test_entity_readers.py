"""Tests of reading records from files and datasets."""

import gzip
import json
from pathlib import Path

import datasets
import pytest

from hf_blink.modeling.entity_readers import Place, existing_files, read_entities, read_json_lines
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.linking_types import Entity


def write_lines(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_from_jsonl_tolerates_bom_crlf_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "entities.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": 1, "title": "one"}\r\n\r\n  \n{"id": 2, "title": "two"}')
    assert KnowledgeBase.from_jsonl(path).entity_ids([0, 1]) == ["1", "2"]


def test_an_endless_line_is_reported_and_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_blink.modeling.entity_readers._MAX_LINE_BYTES", 50)
    path = write_lines(tmp_path / "long.jsonl", {"id": 1, "title": "x" * 200}, {"id": 2})
    with pytest.raises(
        ValueError, match=r"2 bad.*\n.*line 1: .*at most 50 bytes, got a longer line\n.*line 2"
    ):
        KnowledgeBase.from_jsonl(path)


def test_missing_empty_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"expected an entity file at '.*nowhere.jsonl', got nothing .*correct"
    ):
        KnowledgeBase.from_jsonl(tmp_path / "nowhere.jsonl")
    (tmp_path / "empty.jsonl").write_bytes(b"\n")
    with pytest.raises(ValueError, match="at least one entity, got an empty knowledge base"):
        KnowledgeBase.from_jsonl(tmp_path / "empty.jsonl")
    with pytest.raises(ValueError, match="at least one entity file"):
        KnowledgeBase.from_jsonl([])
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"id": 1, "title": "x"}\n' * 1000)[:-12])
    with pytest.raises(ValueError, match=r"cut.jsonl.gz: expected a complete gzip file, got a damaged one"):
        KnowledgeBase.from_jsonl(tmp_path / "cut.jsonl.gz")


@pytest.mark.parametrize(
    ("name", "content", "got"),
    [
        ("a.csv", b"id,title\n1,Paris\n2,Rome\n", "a table"),
        ("a.json", b'[\n{"id": 1, "title": "x"}\n]', "a JSON array"),
        ("a.json", b'\xef\xbb\xbf[{"id": 1, "title": "x"}]', "a JSON array"),
        ("a.parquet", b"PAR1\x00\n\x01", "a parquet file"),
    ],
)
def test_a_file_of_another_format_is_one_error(tmp_path: Path, name: str, content: bytes, got: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(
        ValueError, match=f"expected one JSON object a line, got {got}; .*from_dataset"
    ) as caught:
        KnowledgeBase.from_jsonl(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_entities_without_description_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    described = '{"id": 2, "title": "y", "description": "d"}'
    lines = ['{"id": 1, "title": "x", "description": null}', described, '{"id": 3, "title": "z"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    KnowledgeBase.from_jsonl(tmp_path / "a.jsonl")
    assert "2 of 3 entities have no description" in caplog.text
    caplog.clear()
    (tmp_path / "b.jsonl").write_text(described)
    KnowledgeBase.from_jsonl(tmp_path / "b.jsonl")
    assert caplog.text == ""


def test_files_are_called_what_they_hold(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"expected a mention file at '.*', got a folder .*; correct the path"
    ):
        existing_files(tmp_path, what="mention")
    with pytest.raises(FileNotFoundError, match="expected a mention file"):
        next(read_json_lines(tmp_path / "x", what="mention"))
    with pytest.raises(ValueError, match="at least one mention file"):
        existing_files([], what="mention")


def test_from_dataset_asks_for_one_split() -> None:
    split = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"id": ["1"], "title": ["x"]})})
    with pytest.raises(
        TypeError, match=r"expected a datasets.Dataset .* got DatasetDict.*dataset\['train'\]"
    ):
        KnowledgeBase.from_dataset(split)


def test_gzip_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(gzip.compress(b'{"id": 1}\n'))
    assert list(read_json_lines(tmp_path / "blob")) == [(Place(str(tmp_path / "blob"), "line", 1), {"id": 1})]
    (tmp_path / "plain.gz").write_bytes(b'\n{"id": 2}\n')
    place, record = next(read_json_lines([tmp_path / "plain.gz"]))
    assert (str(place), record) == (f"{tmp_path / 'plain.gz'}, line 2", {"id": 2})


def test_json_of_any_depth_is_an_error_of_its_line(tmp_path: Path) -> None:
    (tmp_path / "deep.jsonl").write_text("[" * 200_000 + "\n" + '{"id": 3}\n')
    (_, error), (_, record) = read_json_lines(tmp_path / "deep.jsonl")
    assert "expected one JSON object, got invalid JSON" in str(error)
    assert record == {"id": 3}


def test_entities_are_known_by_their_attributes() -> None:
    (place, record), (_, error) = read_entities([Entity("Q1", "x", aliases=("y",)), "Q2"])
    assert str(place) == "entities, row 0"
    assert (record["entity_id"], record["aliases"], record["metadata"]) == ("Q1", ("y",), {})
    assert "expected an Entity or a mapping, got str 'Q2'" in str(error)
