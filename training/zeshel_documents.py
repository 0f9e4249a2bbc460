"""The documents of Zeshel: a file `<world>.json` per world, a JSON object a line; each document is an entity.

A world is read when the first of its mentions asks for it, and then held, so that a data set costs the memory
of its own worlds only. Ids are unique within a world; BLINK refers to a document by its line, counted from 0.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hf_blink.modeling.entity_readers import Place, read_json_lines
from hf_blink.modeling.entity_records import RecordError, RecordProblems, show

FIELDS = ("document_id", "title", "text")


class ZeshelDocuments:
    """Documents by world and id.

    Raises:
        FileNotFoundError: The folder is not there or holds no `<world>.json`.
    """

    def __init__(self, folder: str | Path) -> None:
        self._files = {file.stem: file for file in sorted(Path(folder).glob("*.json"))}
        if not self._files:
            raise FileNotFoundError(
                f"expected Zeshel's documents as <world>.json in the folder '{folder}'; found none"
            )
        self._worlds: dict[str, dict[str, dict[str, str]]] = {}

    def text(self, world: str, field: str, document_id: str) -> str:
        """The text of a document.

        Args:
            world: Its world.
            field: Name of the field that the id is from, for the error.
            document_id: Its id.

        Raises:
            RecordError: The world, or the document in it, is not there.
            ValueError: The world's file has bad records.
        """
        document = self._world(world).get(document_id)
        if document is None:
            raise RecordError(field, f"the id of a document of the world {world!r}", show(document_id))
        return document["description"]

    def id_at_line(self, world: str, field: str, line: str) -> str:
        """The id of the document at a line of the world's file, counted from 0; raises like `text`."""
        documents = self._world(world)
        if not line.isdecimal() or int(line) >= len(documents):
            raise RecordError(
                field, f"a line of the {len(documents)} of {world}.json, counted from 0", show(line)
            )
        return list(documents)[int(line)]

    def entities(self) -> list[dict[str, Any]]:
        """All documents of the worlds read so far, for `KnowledgeBase.from_entities`, by world and line."""
        return [document for world in sorted(self._worlds) for document in self._worlds[world].values()]

    def _world(self, world: str) -> dict[str, dict[str, str]]:
        if world not in self._files:
            raise RecordError("world", f"one of {', '.join(self._files)}", show(world))
        if world not in self._worlds:
            self._worlds[world] = _read_world(world, self._files[world])
        return self._worlds[world]


def read_documents(world: str, file: Path) -> Iterator[tuple[Place, dict[str, str] | RecordError]]:
    """The documents of a world as records of entities, with their places; a bad one comes as its error."""
    for place, record in read_json_lines(file):
        try:
            yield place, _document(world, record)
        except RecordError as error:
            yield place, error


def _read_world(world: str, file: Path) -> dict[str, dict[str, str]]:
    documents: dict[str, dict[str, str]] = {}
    problems = RecordProblems()
    for place, document in read_documents(world, file):
        if not isinstance(document, RecordError) and document["entity_id"] in documents:
            document = RecordError(
                "document_id", "an id that is not used before", show(document["entity_id"])
            )
        if isinstance(document, RecordError):
            problems.add(str(place), document)
        else:
            documents[document["entity_id"]] = document
    problems.raise_if_any()
    return documents


def _document(world: str, record: Any) -> dict[str, str]:
    if isinstance(record, RecordError):  # the line could not be read at all
        raise record
    for field in FIELDS:
        value = record.get(field) if isinstance(record, dict) else record
        if not isinstance(value, str):
            raise RecordError(field, "a string", show(value))
    document_id, title, text = (record[field] for field in FIELDS)
    return {"entity_id": document_id, "title": title, "description": text, "world": world}
