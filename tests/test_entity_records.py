"""Tests of making rows from records of many forms."""

import json
from typing import Any

import pytest

from hf_blink.modeling.entity_records import (
    EntityRow,
    RecordError,
    RecordProblems,
    check_unicode,
    normalise_record,
    show,
)


def test_every_field_has_a_column() -> None:
    record = {
        "entity_id": "Q90",
        "title": " Paris\n",
        "description": " capital ",
        "aliases": ["Paname", " Paname ", "", "Lutetia"],
        "world": "geo",
        "url": "https://x",
        "metadata": {"rank": 1},
    }
    assert normalise_record(record) == EntityRow(
        "Q90", "Paris", "capital", ["Paname", "Lutetia"], "geo", "https://x", '{"rank": 1}'
    )


@pytest.mark.parametrize(
    ("record", "field", "value"),
    [
        ({"id": 7, "name": "x"}, "entity_id", "7"),
        ({"idx": "7", "label": "x"}, "entity_id", "7"),
        ({"id": "a", "entity_id": "b", "title": "x"}, "entity_id", "b"),
        ({"id": " a", "title": "x"}, "entity_id", " a"),
        ({"id": "a", "label": "y", "title": None}, "title", "y"),
        ({"id": "a", "entity": "e", "title": "t"}, "title", "t"),
        ({"id": "a", "title": "t", "text": "x", "description": "y"}, "description", "y"),
        ({"id": "a", "title": "t"}, "description", ""),
        ({"id": "a", "title": "t", "synonyms": ("s",)}, "aliases", ["s"]),
        ({"id": "a", "title": "t", "world": ""}, "world", "given"),
        ({"id": "a", "title": "t", "world": "own"}, "world", "own"),
        ({"id": "a", "title": "t", "url": " "}, "url", None),
    ],
)
def test_names_that_people_use_are_known(record: dict[str, Any], field: str, value: Any) -> None:
    assert getattr(normalise_record(record, "given"), field) == value


@pytest.mark.parametrize(
    ("extra", "metadata"),
    [
        ({}, {}),
        ({"rank": 1, "tags": ["é"]}, {"rank": 1, "tags": ["é"]}),
        ({"rank": None, "weight": float("nan")}, {}),
        ({"entity": "t"}, {}),  # a second name that says the same
        ({"entity": "other", "text": "x", "description": "y"}, {"entity": "other", "text": "x"}),
        ({"metadata": {"a": 1, "b": 1}, "b": 2}, {"a": 1, "b": 2}),
        ({"metadata": '{"a": 1}'}, {"a": 1}),
    ],
)
def test_all_other_fields_become_metadata(extra: dict[str, Any], metadata: dict[str, Any]) -> None:
    assert json.loads(normalise_record({"id": "a", "title": "t", **extra}).metadata) == metadata


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": None}, "field 'entity_id / id / idx': expected a string or an integer, got nothing"),
        ({"id": " "}, "expected a string or an integer, got str ' '"),
        ({"id": 1.0}, "expected a string or an integer, got float 1.0"),
        ({"id": True}, "expected a string or an integer, got bool True"),
        ({"title": ""}, "field 'title': expected a string that is not empty, got str ''"),
        ({"title": 1984}, "field 'title': expected a string, got int 1984"),
        ({"text": ["x"]}, r"field 'text': expected a string, got list \['x'\]"),
        ({"aliases": "a, b"}, "field 'aliases': expected a list of strings, got str 'a, b'"),
        ({"synonyms": ["a", 5]}, "field 'synonyms': expected a list of strings, got a list with int 5"),
        ({"world": 3}, "field 'world': expected a string, got int 3"),
        (
            {"title": "\ud800x"},
            "field 'title': expected valid Unicode text, got a lone surrogate at character 0",
        ),
        ({"kind": "\udfff"}, "field 'metadata': expected valid Unicode text"),
        ({"metadata": "[]"}, "field 'metadata': expected an object, or the JSON text of one, got list"),
        ({"metadata": "{"}, "field 'metadata': expected an object, or the JSON text of one, got str"),
        ({"good": 1, "when": {1, 2}}, "field 'when': expected values that JSON can hold, got .* set"),
        ({"x": [float("inf")]}, "field 'x': expected values that JSON can hold"),
    ],
)
def test_bad_records_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        normalise_record({"id": "a", "title": "t"} | changes)


@pytest.mark.parametrize("record", [None, "x", ["a"], 5])
def test_records_that_are_no_objects_are_refused(record: object) -> None:
    with pytest.raises(RecordError, match="expected an object with named fields"):
        normalise_record(record)


def test_problems_are_counted_and_the_first_ten_listed() -> None:
    problems = RecordProblems()
    problems.raise_if_any()
    for i in range(12):
        problems.add(f"line {i}", f"wrong {i}")
    with pytest.raises(ValueError, match=r"12 bad entity record\(s\), 10 of them are") as caught:
        problems.raise_if_any()
    assert "line 9: wrong 9" in str(caught.value)
    assert "line 10" not in str(caught.value)


def test_a_problem_of_many_records_is_one_line() -> None:
    problems = RecordProblems()
    for i in range(30):
        problems.add(f"line {i}", "no title" if i % 10 else "no id")
    with pytest.raises(ValueError) as caught:
        problems.raise_if_any()
    assert str(caught.value).splitlines() == [
        "30 bad entity record(s):",
        "  line 0; line 10; line 20: no id",
        "  line 1; line 2; line 3 and 24 more: no title",
        "Correct or remove them and load again.",
    ]


@pytest.mark.parametrize(
    "record",
    [
        {"id": "1", "text": "Jordan scored.", "start": 0, "end": 6, "label_id": "michael-jordan"},
        {"id": "2", "text": "Jordan.", "entities": [{"start": 0, "end": 6, "label": ["michael-jordan"]}]},
        {"context_left": "", "mention": "Jordan", "context_right": "", "label_id": 3, "label": "A kingdom."},
        {"mention_id": "m", "context_document_id": "d", "label_document_id": "e", "text": "frog"},
    ],
)
def test_a_mention_in_the_place_of_an_entity_is_called_one(record: dict[str, object]) -> None:
    with pytest.raises(
        RecordError, match=r"expected an entity with an id and a title, got a mention with .*; give the files"
    ):
        normalise_record(record)
    assert normalise_record({"id": "a", "title": "t", "start": 1776}).title == "t"


def test_shown_values_are_short() -> None:
    assert len(show("x" * 10_000)) < 80


def test_problems_are_called_what_the_records_are() -> None:
    problems = RecordProblems("mention")
    problems.add("test.jsonl, line 1", "no label")
    with pytest.raises(
        ValueError, match=r"^1 bad mention record\(s\):\n  test.jsonl, line 1: no label\nCorrect"
    ):
        problems.raise_if_any()


def test_check_unicode_names_the_character() -> None:
    check_unicode("title", "Z\u00fcrich \U0001f600")
    with pytest.raises(
        RecordError, match="field 'title': expected valid Unicode text, got a lone surrogate at character 1"
    ):
        check_unicode("title", "a\ud800")
