"""Tests of the one error that reports all bad records of an import."""

import json
from pathlib import Path

import pytest

from hf_blink.modeling.knowledge_base import KnowledgeBase


def write_lines(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_from_jsonl_reports_all_bad_rows_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    lines = [
        b'{"id": "1", "title": "good"}',
        b'{"title": "no id"}',
        b'{"id": "2"}',
        b'{"id": "3", "title": ',
        b'{"id": "4", "title": "\xff"}',
        b'{"id": 1.5, "title": "x"}',
        b'["5", "x"]',
        b'{"id": "1", "title": "again"}',
    ]
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(ValueError) as caught:
        KnowledgeBase.from_jsonl(path)
    report = str(caught.value)
    assert report.startswith("7 bad entity record(s):\n")
    assert (
        f"{path}, line 2: field 'entity_id / id / idx': expected a string or an integer, got nothing"
        in report
    )
    assert "line 3: field 'title': expected a string that is not empty, got nothing" in report
    assert "line 4: field '(whole line)': expected one JSON object, got invalid JSON" in report
    assert "line 5: field '(whole line)': expected UTF-8 text, got byte 0xff at byte 22" in report
    assert "line 6: field 'entity_id / id / idx': expected a string or an integer, got float 1.5" in report
    assert "line 7: field '(whole record)': expected an object with named fields, got list" in report
    assert (
        f"line 8: field 'entity_id': expected an id of its own, got '1', which {path}, line 1 has" in report
    )


def test_from_jsonl_lists_ten_problems_and_counts_all(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "bad.jsonl", *({"id": i, "title": i} for i in range(25)))
    with pytest.raises(ValueError, match=r"25 bad entity record\(s\), 10 of them are") as caught:
        KnowledgeBase.from_jsonl(path)
    assert str(caught.value).count("line ") == 10


def test_duplicates_across_files_name_both_places(tmp_path: Path) -> None:
    one = write_lines(tmp_path / "one.jsonl", {"id": "a", "title": "A"}, {"id": "b", "title": "B"})
    two = write_lines(
        tmp_path / "two.jsonl",
        {"id": "c", "title": "C"},
        {"id": "b", "title": "B"},
        {"id": "b", "title": "B"},
    )
    with pytest.raises(ValueError) as caught:
        KnowledgeBase.from_jsonl([one, two])
    report = str(caught.value)
    assert (
        f"{two}, line 2; {two}, line 3: field 'entity_id': expected an id of its own, got 'b', which {one}, line 2 has"
        in report
    )


def test_entities_without_a_description_are_told_with_the_fields_that_they_have(
    tmp_path: Path, caplog
) -> None:
    path = write_lines(
        tmp_path / "e.jsonl", {"id": "a", "title": "A", "desc": "x"}, {"id": "b", "title": "B"}
    )
    KnowledgeBase.from_jsonl(path)
    assert "2 of 2 entities have no description (expected in description" in caplog.text
    assert f"the first of them, {path}, line 1, has the fields id, title, desc)" in caplog.text


@pytest.mark.parametrize(
    ("fields", "got"),
    [
        ({"text": " "}, "has text, which is empty)"),
        ({"text": None}, "has text, which is empty)"),
        ({"text": "", "description": ""}, "has description and text, which are empty)"),
    ],
)
def test_an_empty_description_is_told_as_empty(tmp_path: Path, caplog, fields, got) -> None:
    full = {"id": "a", "title": "A", "text": "x"}
    path = write_lines(tmp_path / "e.jsonl", full, {"id": "b", "title": "B"} | fields)
    KnowledgeBase.from_jsonl(path)
    assert "1 of 2 entities have no description (expected in description" in caplog.text
    assert f"the first of them, {path}, line 2, {got}" in caplog.text
