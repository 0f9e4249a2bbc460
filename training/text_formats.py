"""Documents in the line formats of their time: AIDA-CoNLL's table of tokens, and PubTator's abstracts.

AIDA-CoNLL (tab-separated; blank lines end sentences, which become lines of the text):

    -DOCSTART- (1 EU)
    EU   B   EU   --NME--
    Peter   B   Peter Blackburn   Peter_Blackburn   http://en.wikipedia.org/wiki/Peter_Blackburn   1234   /m/0abc

PubTator (offsets count title, one space or line end, abstract; blank lines end documents):

    123|t|Title
    123|a|Abstract
    123<tab>0<tab>5<tab>Title<tab>Disease<tab>MESH:D001|MESH:D002
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from hf_blink.modeling.entity_records import RecordError, show
from hf_blink.training.documents import Document, document

_DOCUMENT = re.compile(r"-DOCSTART-\s*(?:\((.*)\))?\s*$")
_PUBTATOR_TEXT = re.compile(r"([^|\t]+)\|([ta])\|(.*)$", re.DOTALL)
_NO_ENTITY = "--NME--"
_NO_IDS = frozenset(("-1", "-", "", "None"))
AIDA_LABELS = {"title": 3, "url": 4, "wikipedia_id": 5, "freebase_id": 6}  # columns, counted from 0

Lines = Iterable[tuple[str, str]]  # place for errors ("line 12") and text


def at_place(place: str, error: RecordError) -> RecordError:
    """The error with its place before it."""
    error.args = (f"{place}: {error}",)
    return error


class _Open(NamedTuple):
    """The mention that the last token belonged to."""

    start: int
    labels: list[str]


def aida_documents(lines: Lines, *, label_field: str = "wikipedia_id") -> Iterator[Document | RecordError]:
    """Documents of AIDA-CoNLL's table; mentions without an entity (--NME--) are NIL.

    Args:
        lines: of a file.
        label_field: which column has the entity ids: title, url, wikipedia_id or freebase_id. Titles are written with spaces.
    """
    doc_id, reader = "", _AidaReader(AIDA_LABELS[label_field], label_field == "title")
    first = ""
    for place, line in lines:
        first = first or line.strip()
        started = _DOCUMENT.match(line)
        if started:
            if reader.parts:
                yield reader.finished(doc_id or place)
            doc_id, reader = started[1] or place, _AidaReader(reader.column, reader.is_title)
            continue
        try:
            reader.add(line.rstrip("\r\n"))
        except RecordError as error:
            yield at_place(place, error)
    if reader.parts and not doc_id:
        yield _other_form("a line -DOCSTART- before each document, then a token a line (AIDA-CoNLL)", first)
    elif reader.parts:
        yield reader.finished(doc_id)


class _AidaReader:
    """Puts the tokens of a document together."""

    def __init__(self, column: int, is_title: bool):
        self.column, self.is_title = column, is_title
        self.parts: list[str] = []
        self.length = 0
        self.mentions: list[tuple[int, int, list[str]]] = []
        self._open: _Open | None = None

    def add(self, line: str) -> None:
        fields = line.split("\t")
        if not line.strip():
            self._open = None
            if self.parts and self.parts[-1] != "\n":
                self._append("\n")
            return
        start = self._token(fields[0])
        tag = fields[1].strip() if len(fields) > 1 else ""
        if tag == "I" and self._open is not None:
            self.mentions[-1] = (self._open.start, self.length, self._open.labels)
        elif tag in ("B", "I"):
            self._open = _Open(start, self._labels(fields))
            self.mentions.append((start, self.length, self._open.labels))
        elif tag in ("", "O"):
            self._open = None
        else:
            raise RecordError("tag", "B, I, O or none", show(tag))

    def _labels(self, fields: list[str]) -> list[str]:
        if len(fields) < 4:
            raise RecordError("(whole line)", "token, tag, mention and entity", show("\t".join(fields)))
        if fields[3] == _NO_ENTITY or len(fields) <= self.column or not fields[self.column].strip():
            return []
        label = fields[self.column].strip()
        return [label.replace("_", " ") if self.is_title else label]

    def _token(self, token: str) -> int:
        if self.parts and self.parts[-1] != "\n":
            self._append(" ")
        start = self.length
        self._append(token)
        return start

    def _append(self, part: str) -> None:
        self.parts.append(part)
        self.length += len(part)

    def finished(self, doc_id: str) -> Document:
        return document(doc_id, "".join(self.parts).rstrip("\n"), self.mentions)


def pubtator_documents(lines: Lines) -> Iterator[Document | RecordError]:
    """Documents of PubTator; ids are kept as they are, several (`|`, `,` or `;` between them) are all right, -1 is NIL."""
    texts: dict[str, str] = {}
    mentions: list[tuple[int, int, list[str]]] = []
    doc_id, start_place, failed, first = "", "", False, ""
    for place, line in lines:
        first = first or line.strip()
        line = line.rstrip("\r\n")
        text_line = _PUBTATOR_TEXT.match(line)
        try:
            if text_line and text_line[2] == "t" and texts:
                yield document(doc_id or start_place, _whole(texts), mentions)
                texts, mentions = {}, []
            if text_line:
                doc_id, start_place = text_line[1], start_place or place
                texts[text_line[2]] = text_line[3]
            elif line.strip() and line.split("\t")[1:2] and line.split("\t")[1].isdigit():
                mentions.append(_pubtator_mention(line.split("\t"), _whole(texts)))
        except (RecordError, ValueError) as error:
            failed = True
            found = (
                error if isinstance(error, RecordError) else RecordError("mentions", str(error), show(line))
            )
            yield at_place(place, found)
    if texts and not failed:
        yield document(doc_id, _whole(texts), mentions)
    if first and not doc_id and not failed:
        yield _other_form("lines id|t|title and id|a|abstract, then annotations with tabs (PubTator)", first)


def _other_form(expected: str, first: str) -> RecordError:
    """The error of a file without anything of its form; shows its first line that is not empty."""
    return RecordError(
        "(whole file)", expected, f"none, the first line is {first[:60]!r}; name the file's form"
    )


def _whole(texts: dict[str, str]) -> str:
    return " ".join(texts[part] for part in ("t", "a") if part in texts)


def _pubtator_mention(fields: list[str], text: str) -> tuple[int, int, list[str]]:
    if len(fields) < 5 or not fields[2].isdigit():
        raise RecordError(
            "(whole line)", "id, start, end, mention, type and entity ids", show("\t".join(fields))
        )
    start, end = int(fields[1]), int(fields[2])
    if text[start:end] != fields[3]:
        raise RecordError(
            "mention", f"the characters {start} to {end} of the text, {text[start:end]!r}", show(fields[3])
        )
    ids = re.split(r"[|,;]", fields[5]) if len(fields) > 5 else []
    return start, end, [label for part in ids if (label := part.strip()) not in _NO_IDS]
