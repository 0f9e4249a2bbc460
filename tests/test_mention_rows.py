"""One record at a time: the forms of the common format, BLINK's, and what is refused."""

from typing import Any

import pytest

from hf_blink.modeling.entity_records import RecordError
from hf_blink.training.mention_rows import (
    CONTEXT_CHARACTERS,
    CONTEXT_WORDS,
    blink_rows,
    common_rows,
    text_window,
)

WINDOW = {"context_left": "Left", "mention": "Paris", "context_right": "right", "label_id": "Q90"}
TEXT = "In Paris, France"  # Paris = 3 to 8, France = 10 to 16


def one(record: Any) -> dict[str, Any]:
    (row,) = common_rows(record, "file:1")
    return row


def blink(record: Any, **options: Any) -> dict[str, Any]:
    (row,) = blink_rows(record, "file:1", **{"id_format": "{}", "documents": None, **options})
    return row


def test_common_rows_window() -> None:
    assert one({**WINDOW, "id": "m7", "doc_id": "d1", "world": "towns", "source": "news", "start": 3}) == {
        "id": "m7",
        "context_left": "Left",
        "mention": "Paris",
        "context_right": "right",
        "label_ids": ["Q90"],
        "world": "towns",
        "doc_id": "d1",
    }


def test_common_rows_defaults() -> None:
    row = one(WINDOW)
    assert (row["id"], row["world"], row["doc_id"]) == ("file:1", None, None)
    assert one({**WINDOW, "world": ""})["world"] is None


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"label_id": "Q90"}, ["Q90"]),
        ({"label_id": 90}, ["90"]),
        ({"label_id": None}, []),
        ({"label_id": "Q90", "nil": True}, []),
        ({"label_ids": ["Q90", 7, "Q90"]}, ["Q90", "7"]),
        ({"label_ids": []}, []),
        ({"labels": ["Q90"]}, ["Q90"]),
        ({"labels": "Q90", "label_id": None}, ["Q90"]),
        ({"label_ids": ["Q1"], "label_id": "Q2"}, ["Q1"]),
    ],
)
def test_common_rows_labels(labels: dict[str, Any], expected: list[str]) -> None:
    record = {name: value for name, value in WINDOW.items() if name != "label_id"}
    assert one({**record, **labels})["label_ids"] == expected


def test_common_rows_text_with_one_span() -> None:
    row = one({"id": "m1", "text": TEXT, "start": 3, "end": 8, "label_id": "Q90"})
    assert (row["context_left"], row["mention"], row["context_right"]) == ("In ", "Paris", ", France")
    assert (row["id"], row["label_ids"]) == ("m1", ["Q90"])


def test_common_rows_text_with_spans() -> None:
    spans = [{"start": 3, "end": 8, "label": ["Q90", "Q167646"]}, {"start": 10, "end": 16, "label": "Q142"}]
    first, second = common_rows({"id": "t1", "text": TEXT, "world": "towns", "entities": spans}, "file:1")
    assert (first["id"], first["mention"], first["label_ids"]) == ("t1#0", "Paris", ["Q90", "Q167646"])
    assert (second["id"], second["mention"], second["label_ids"]) == ("t1#1", "France", ["Q142"])
    assert (first["doc_id"], first["world"]) == ("t1", "towns")


def test_common_rows_document_with_mentions() -> None:
    spans = [
        {"start": 3, "end": 8, "label_id": None, "nil": True},
        {"start": 10, "end": 16, "label_id": "a", "world": "w2"},
    ]
    first, second = common_rows({"doc_id": "d1", "text": TEXT, "world": "w1", "mentions": spans}, "file:1")
    assert (first["id"], first["doc_id"], first["label_ids"], first["world"]) == ("d1#0", "d1", [], "w1")
    assert (second["id"], second["world"]) == ("d1#1", "w2")
    assert list(common_rows({"text": TEXT, "entities": []}, "file:1")) == []


def test_common_rows_offsets_are_characters() -> None:
    # the smiley is one character, four bytes and two UTF-16 units; the case of the text stays
    row = one({"text": "😀 PARIS", "start": 2, "end": 7, "label_id": "Q90"})
    assert (row["context_left"], row["mention"], row["context_right"]) == ("😀 ", "PARIS", "")


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"mention": None}, "mention", "a string, got nothing"),
        ({"mention": " "}, "mention", "a string that is not empty, got str ' '"),
        ({"context_left": 3}, "context_left", "a string, got int 3"),
        ({"context_right": None}, "context_right", "a string, got nothing"),
        ({"label_id": True}, "label_id", "or an integer, got bool True"),
        ({"label_id": ""}, "label_id", "not empty, or an integer, got str ''"),
        ({"label_id": 1.5}, "label_id", "or an integer, got float 1.5"),
        ({"label_ids": ["Q1", None]}, "label_ids", "or an integer, got nothing"),
        ({"label_ids": {"Q1": 1}}, "label_ids", "or an integer, got dict"),
        ({"world": ["w"]}, "world", "or an integer, got list"),
        ({"id": 0.5}, "id", "or an integer, got float 0.5"),
        ({"mention": "\ud83d"}, "mention", "valid Unicode text, got a lone surrogate at character 0"),
    ],
)
def test_common_rows_bad_window_raises(change: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(RecordError, match=f"field '{field}': expected .*{message}"):
        one({**WINDOW, **change})


@pytest.mark.parametrize(("start", "end"), [(8, 3), (3, 3), (-1, 3), (3, 17), (16, 16), (40, 50)])
def test_common_rows_bad_span_raises(start: int, end: int) -> None:
    expected = rf"'end': expected 0 <= start < end <= 16 .*end exclusive\), got start={start}, end={end}"
    with pytest.raises(RecordError, match=expected):
        one({"text": TEXT, "start": start, "end": end, "label_id": "Q90"})
    with pytest.raises(RecordError, match=expected):
        one({"text": TEXT, "entities": [{"start": start, "end": end, "label": []}]})


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            {"text": TEXT, "start": "3", "end": 8, "label_id": "a"},
            "'start': expected an integer, got str '3'",
        ),
        ({"text": TEXT, "start": 3, "label_id": "a"}, "'end': expected an integer, got nothing"),
        ({"text": TEXT, "start": True, "end": 8, "label_id": "a"}, "'start': expected an integer, got bool"),
        ({"text": 5, "start": 3, "end": 8, "label_id": "a"}, "'text': expected a string, got int 5"),
        (
            {"text": TEXT, "start": 3, "end": 8},
            "'label_ids / labels / label_id': expected .*null for NIL, got the fields ",
        ),
        ({"text": TEXT, "entities": "x"}, "'entities': expected a list of spans, got str 'x'"),
        (
            {"text": TEXT, "entities": [7]},
            r"'entities\[0\]': expected an object with named fields, got int 7",
        ),
        (
            {"text": TEXT, "start": 3, "end": 8, "mention": "London", "label_id": "a"},
            "'mention': expected the characters 3 to 8 of the text, 'Paris', got str 'London'",
        ),
        ({"text": TEXT}, r"'\(whole record\)': expected context_left, .*got the fields text"),
        ({}, r"got the fields \(none\)"),
        ([1], "expected an object with named fields, got list"),
    ],
)
def test_common_rows_bad_record_raises(record: Any, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        one(record)


def test_text_window_cuts_at_words_and_keeps_spaces() -> None:
    words = [f"w{number}" for number in range(200)]
    left, right = "  ".join(words), "\n".join(words)
    text = f"{left} Paris {right}"
    start = len(left) + 1
    window = text_window(text, start, start + 5)
    assert window[1] == "Paris"
    assert window[0] == "  ".join(words[-CONTEXT_WORDS:]) + " "
    assert window[2] == " " + "\n".join(words[:CONTEXT_WORDS])


def test_text_window_of_text_without_spaces_is_bounded() -> None:
    text = "字" * 10_000
    left, mention, right = text_window(text, 5000, 5002)
    assert (len(left), len(mention), len(right)) == (CONTEXT_CHARACTERS, 2, CONTEXT_CHARACTERS)


def test_blink_rows_test_record() -> None:
    record = {
        **WINDOW,
        "label_id": 25,
        "query_id": "q1",
        "Wikipedia_ID": 25,
        "label": "text",
        "label_title": "Paris",
    }
    row = blink(record)
    assert (row["id"], row["label_ids"], row["world"]) == ("q1", ["25"], None)
    assert blink({**record, "label_id": "25"})["label_ids"] == ["25"]
    assert blink({**WINDOW, "label_id": None, "Wikipedia_ID": 25})["label_ids"] == ["25"]


def test_blink_rows_id_format() -> None:
    row = blink({**WINDOW, "label_id": 25}, id_format="https://en.wikipedia.org/wiki?curid={}")
    assert row["label_ids"] == ["https://en.wikipedia.org/wiki?curid=25"]


@pytest.mark.parametrize("label", [-1, "-1"])
def test_blink_rows_unknown_label_is_nil(label: int | str) -> None:
    assert blink({**WINDOW, "label": "unknown", "label_id": label})["label_ids"] == []


def test_blink_rows_bad_records_raise() -> None:
    with pytest.raises(RecordError, match="'label_id': expected an id or a number, got nothing"):
        blink({**WINDOW, "label_id": None})
    with pytest.raises(RecordError, match="'context_left': expected a string, got nothing"):
        blink({"mention": "Paris", "context_right": "", "label_id": 1})
