"""Whole files: schema, several files, splits, and one report of all bad rows."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.linking_types import MentionContext
from hf_blink.training import dataset_readers
from hf_blink.training.dataset_readers import (
    MENTION_FEATURES,
    contexts_of,
    read_blink_mentions,
    read_mentions,
    read_zeshel,
)


def window(mention: str, **fields: Any) -> dict[str, Any]:
    return {"context_left": "left", "mention": mention, "context_right": "right", "label_id": "Q1", **fields}


def write_lines(file: Path, *records: object) -> Path:
    data = b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in records)
    file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)
    return file


def test_read_mentions_schema_and_rows(tmp_path: Path) -> None:
    file = write_lines(
        tmp_path / "m.jsonl", window("Paris", id="m1", world="w"), window("Rome", label_id=None)
    )
    dataset = read_mentions(file)
    assert dataset.features == MENTION_FEATURES
    assert dataset[0] == {
        "id": "m1",
        "context_left": "left",
        "mention": "Paris",
        "context_right": "right",
        "label_ids": ["Q1"],
        "world": "w",
        "doc_id": None,
    }
    assert (dataset[1]["id"], dataset[1]["label_ids"], dataset[1]["world"]) == ("m.jsonl:2", [], None)


def test_read_mentions_several_files_plain_and_gzipped(tmp_path: Path) -> None:
    first = write_lines(tmp_path / "a.jsonl.gz", window("Paris"))
    spans = [{"start": 0, "end": 4, "label": ["Q2", "Q3"]}, {"start": 5, "end": 9, "label": []}]
    second = write_lines(tmp_path / "b.jsonl", {"id": "t", "text": "Rome Bonn", "entities": spans})
    dataset = read_mentions([first, str(second)])
    assert list(dataset["mention"]) == ["Paris", "Rome", "Bonn"]
    assert list(dataset["label_ids"]) == [["Q1"], ["Q2", "Q3"], []]
    assert list(dataset["id"]) == ["a.jsonl.gz:1", "t#0", "t#1"]


def test_read_mentions_split(tmp_path: Path) -> None:
    rows = [window("a", split="train"), window("b", split="val"), window("c")]
    file = write_lines(tmp_path / "m.jsonl", *rows)
    dataset = read_mentions(file, split="val")
    assert list(dataset["mention"]) == ["b", "c"]
    assert str(dataset.split) == "val"
    assert len(read_mentions(file)) == 3
    only = write_lines(tmp_path / "n.jsonl", *rows[:2])
    with pytest.raises(ValueError, match=r"no mention in .* is of the split 'test'"):
        read_mentions(only, split="test")


def test_read_mentions_in_batches_keeps_every_row_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_readers, "BATCH_ROWS", 2)
    for number in (3, 4, 5):
        file = write_lines(tmp_path / "m.jsonl", *[window(f"m{i}") for i in range(number)])
        assert list(read_mentions(file)["mention"]) == [f"m{i}" for i in range(number)]


def test_read_mentions_works_with_map_and_filter(tmp_path: Path) -> None:
    dataset = read_mentions(write_lines(tmp_path / "m.jsonl", window("a"), window("b", label_id=None)))
    assert list(dataset.filter(lambda row: row["label_ids"])["mention"]) == ["a"]
    assert dataset.map(lambda row: {"length": len(row["mention"])})["length"][:] == [1, 1]


def test_read_mentions_reads_a_changed_file_anew(tmp_path: Path) -> None:
    file = tmp_path / "m.jsonl"
    assert read_mentions(write_lines(file, window("a")))["mention"][:] == ["a"]
    assert read_mentions(write_lines(file, window("b")))["mention"][:] == ["b"]


def test_read_mentions_all_bad_rows_in_one_error(tmp_path: Path) -> None:
    file = write_lines(
        tmp_path / "m.jsonl",
        window("good"),
        window("x", context_left=None),
        {"text": "Rome", "start": 3, "end": 9, "label_id": "Q1"},
        b"{broken",
        b'{"mention": "\xff"}',
        [1, 2],
    )
    with pytest.raises(ValueError) as caught:
        read_mentions(file)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("5 bad")
    assert f"{file}, line 2: field 'context_left': expected a string, got nothing" in lines[1]
    assert "line 3: field 'end': expected 0 <= start < end <= 4" in lines[2]
    assert "got start=3, end=9" in lines[2]
    assert "line 4" in lines[3] and "JSON" in lines[3]
    assert "line 5" in lines[4] and "UTF-8" in lines[4]
    assert "line 6" in lines[5] and "got list [1, 2]" in lines[5]


def test_read_mentions_tells_the_same_of_all_files_once(tmp_path: Path) -> None:
    first = write_lines(tmp_path / "a.jsonl", *[window("") for _ in range(8)])
    second = write_lines(tmp_path / "b.jsonl", *[window("") for _ in range(7)])
    with pytest.raises(ValueError) as caught:
        read_mentions([first, second])
    message = str(caught.value)
    assert message.startswith("15 bad")
    assert message.count("field 'mention'") == 1 and "line 3 and 12 more: " in message


def test_read_mentions_missing_file_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere.jsonl"):
        read_mentions(tmp_path / "nowhere.jsonl")


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_read_mentions_empty_file_raises(tmp_path: Path, content: bytes) -> None:
    full, empty = write_lines(tmp_path / "a.jsonl", window("a")), tmp_path / "b.jsonl"
    empty.write_bytes(content)
    with pytest.raises(ValueError, match=r"b.jsonl is empty: expected one JSON object"):
        read_mentions([full, empty])


def test_read_mentions_texts_without_mentions_raise(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "m.jsonl", {"text": "Rome", "entities": []})
    with pytest.raises(ValueError, match=r"no mention in "):
        read_mentions(file)


def test_contexts_of_dataset(tmp_path: Path) -> None:
    dataset = read_mentions(write_lines(tmp_path / "m.jsonl", window("a"), window("b", context_right="")))
    assert contexts_of(dataset) == [MentionContext("left", "a", "right"), MentionContext("left", "b", "")]
    assert contexts_of(dataset.select([1])) == [MentionContext("left", "b", "")]


def test_read_blink_mentions(tmp_path: Path) -> None:
    file = write_lines(
        tmp_path / "test.jsonl", window("a", label_id=12, query_id="q"), window("b", label_id=-1)
    )
    dataset = read_blink_mentions(file)
    assert dataset.features == MENTION_FEATURES
    assert list(dataset["label_ids"]) == [["12"], []]
    assert list(dataset["id"]) == ["q", "test.jsonl:2"]
    assert list(read_blink_mentions(file, id_format="curid={}")["label_ids"]) == [["curid=12"], []]


def test_read_blink_mentions_id_format_without_label_raises(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"id_format must hold \{\}.* got 'curid'"):
        read_blink_mentions(tmp_path / "test.jsonl", id_format="curid")


# -- Zeshel: two worlds in which line 0 is another document, one mention each

LEGO = [
    {
        "document_id": "L1",
        "title": "Red Castle",
        "text": "Red Castle is by the sea . The Blue King lives in Red Castle .",
    },
    {"document_id": "L2", "title": "Blue King", "text": "Blue King rules ."},
]
MUPPETS = [{"document_id": "M1", "title": "Frog", "text": "The Frog sings ."}]


def zeshel_mention(**fields: Any) -> dict[str, Any]:
    return {
        "mention_id": "Z1",
        "context_document_id": "L1",
        "label_document_id": "L2",
        "corpus": "lego",
        "text": "blue king",
        "start_index": 8,
        "end_index": 9,
        "category": "LOW_OVERLAP",
        **fields,
    }


FROG = {
    "mention_id": "Z2",
    "context_document_id": "M1",
    "label_document_id": "M1",
    "corpus": "muppets",
    "text": "Frog",
    "start_index": 1,
    "end_index": 1,
}


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    write_lines(folder / "lego.json", *LEGO)
    write_lines(folder / "muppets.json", *MUPPETS)
    write_lines(folder / "yugioh.json", {"document_id": "Y1", "title": "Dragon", "text": "Dragon"})
    return folder


def test_read_zeshel(documents: Path, tmp_path: Path) -> None:
    dataset, entities = read_zeshel(documents, write_lines(tmp_path / "train.json", FROG, zeshel_mention()))
    assert dataset.features == MENTION_FEATURES
    assert dataset[1] == {
        "id": "Z1",
        "context_left": "Red Castle is by the sea . The",
        "mention": "Blue King",  # the end index is included, and the case is the document's
        "context_right": "lives in Red Castle .",
        "label_ids": ["L2"],
        "world": "lego",
        "doc_id": "L1",
    }
    assert (dataset[0]["context_left"], dataset[0]["mention"], dataset[0]["context_right"]) == (
        "The",
        "Frog",
        "sings .",
    )
    base = KnowledgeBase.from_entities(entities)
    assert base.entity_ids(range(len(base))) == ["L1", "L2", "M1"]  # all documents of the two worlds
    assert base.worlds == ["lego", "muppets"]
    assert base[1].description == "Blue King rules ."


def test_read_zeshel_windows_are_128_words(documents: Path, tmp_path: Path) -> None:
    words = [f"w{number}" for number in range(400)]
    write_lines(documents / "lego.json", {"document_id": "L1", "title": "T", "text": " ".join(words)})
    mention = zeshel_mention(label_document_id="L1", text="w200 W201", start_index=200, end_index=201)
    dataset, _ = read_zeshel(documents, write_lines(tmp_path / "train.json", mention))
    assert dataset[0]["context_left"] == " ".join(words[72:200])
    assert dataset[0]["mention"] == "w200 w201"
    assert dataset[0]["context_right"] == " ".join(words[202:330])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"end_index": 7},
            "'end_index': expected 0 <= start_index <= end_index < 15 .* got start_index=8, end_index=7",
        ),
        ({"end_index": 15}, "got start_index=8, end_index=15"),
        ({"start_index": "8"}, "'start_index': expected an integer, got str '8'"),
        (
            {"start_index": 7},
            "'text': expected the words 7 to 9 of the document, 'The Blue King', got str 'blue king'",
        ),
        ({"corpus": "moria"}, "'world': expected one of lego, muppets, yugioh, got str 'moria'"),
        (
            {"label_document_id": "M1"},
            "'label_document_id': expected the id of a document of the world 'lego'",
        ),
        (
            {"context_document_id": "M1"},
            "'context_document_id': expected the id of a document of the world 'lego'",
        ),
        ({"text": None}, "'text': expected a string, got nothing"),
    ],
)
def test_read_zeshel_bad_mentions_raise(
    documents: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    file = write_lines(tmp_path / "train.json", FROG, zeshel_mention(**change))
    with pytest.raises(ValueError, match=rf"(?s)1 bad .*train\.json, line 2: .*{message}"):
        read_zeshel(documents, file)


def test_read_blink_mentions_of_zeshel_labels_are_lines_of_the_world(documents: Path, tmp_path: Path) -> None:
    file = write_lines(
        tmp_path / "train.jsonl",
        window("blue king", label_id=1, world="lego"),
        window("frog", label_id=0, world="muppets"),
    )
    assert list(read_blink_mentions(file, documents_folder=documents)["label_ids"]) == [["L2"], ["M1"]]
    wrong = write_lines(
        tmp_path / "wrong.jsonl", window("frog", label_id=1, world="muppets"), window("frog", label_id=0)
    )
    with pytest.raises(
        ValueError, match=r"(?s)2 bad .*'label_id': expected a line of the 1 of muppets.*'world'"
    ):
        read_blink_mentions(wrong, documents_folder=documents)


def test_errors_of_mention_files_speak_of_mentions(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a mention file at '.*nowhere.jsonl'"):
        read_mentions(tmp_path / "nowhere.jsonl")
    with pytest.raises(ValueError, match=r"1 bad mention record\(s\)"):
        read_mentions(write_lines(tmp_path / "bad.jsonl", {"mention": "x"}))
