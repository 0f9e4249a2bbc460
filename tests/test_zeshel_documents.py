"""Zeshel's documents by world, id and line."""

import json
from pathlib import Path

import pytest

from hf_blink.modeling.entity_records import RecordError
from hf_blink.training.zeshel_documents import ZeshelDocuments


def write_world(folder: Path, world: str, *documents: object) -> None:
    lines = [document if isinstance(document, str) else json.dumps(document) for document in documents]
    (folder / f"{world}.json").write_text("\n".join(lines) + "\n", encoding="utf-8")


def document(document_id: str, title: str = "Title", text: str = "Title Some text") -> dict[str, str]:
    return {"document_id": document_id, "title": title, "text": text}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_world(tmp_path, "yugioh", document("Y1", "Dragon", "Dragon A card ."), document("Y2"))
    write_world(tmp_path, "lego", document("L1"), document("L2"))
    return tmp_path


def test_text_and_line(folder: Path) -> None:
    documents = ZeshelDocuments(folder)
    assert documents.text("yugioh", "context_document_id", "Y1") == "Dragon A card ."
    assert documents.id_at_line("lego", "label_id", "1") == "L2"


def test_entities_are_those_of_the_worlds_that_were_asked_for(folder: Path) -> None:
    documents = ZeshelDocuments(folder)
    assert documents.entities() == []
    documents.text("yugioh", "field", "Y1")
    assert documents.entities()[0] == {
        "entity_id": "Y1",
        "title": "Dragon",
        "description": "Dragon A card .",
        "world": "yugioh",
    }
    documents.text("lego", "field", "L1")
    assert [entity["entity_id"] for entity in documents.entities()] == ["L1", "L2", "Y1", "Y2"]


def test_unknown_world_or_document_raises(folder: Path) -> None:
    documents = ZeshelDocuments(folder)
    with pytest.raises(RecordError, match=r"'world': expected one of lego, yugioh, got str '../lego'"):
        documents.text("../lego", "field", "L1")
    with pytest.raises(
        RecordError, match="'label_document_id': expected the id of a document of the world 'lego'"
    ):
        documents.text("lego", "label_document_id", "Y1")


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_a_world_without_documents_raises(folder: Path, content: str) -> None:
    (folder / "empty.json").write_text(content)
    documents = ZeshelDocuments(folder)
    with pytest.raises(
        RecordError, match="'label_document_id': expected the id of a document of the world 'empty', got"
    ):
        documents.text("empty", "label_document_id", "Y1")
    with pytest.raises(
        RecordError, match=r"'label_id': expected a line of the 0 of empty\.json, counted from 0, got"
    ):
        documents.id_at_line("empty", "label_id", "0")


@pytest.mark.parametrize("line", ["2", "-1", "1.5", "L1"])
def test_line_outside_the_world_raises(folder: Path, line: str) -> None:
    with pytest.raises(
        RecordError, match=r"'label_id': expected a line of the 2 of lego.json, counted from 0"
    ):
        ZeshelDocuments(folder).id_at_line("lego", "label_id", line)


def test_bad_documents_are_reported_together(folder: Path) -> None:
    write_world(
        folder,
        "muppets",
        document("M1"),
        document("M1"),
        {"document_id": "M2", "title": 3, "text": ""},
        "{",
        [1],
    )
    with pytest.raises(
        ValueError, match=r"(?s)4 bad.*line 2.*'document_id'.*line 3.*'title'.*line 4.*JSON.*line 5"
    ):
        ZeshelDocuments(folder).text("muppets", "field", "M1")


def test_folder_without_documents_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"<world>.json in the folder .*nowhere'; found none"):
        ZeshelDocuments(tmp_path / "nowhere")
