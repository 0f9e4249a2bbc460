"""From one record of a mention file to rows of the data set's schema: one function per file format.

Each takes the record and the id of mentions that have none, and gives a row for every mention in it; a record
that cannot become rows raises `RecordError`. Offsets are characters of the text, end exclusive; Zeshel alone
counts words and includes the last one. Texts keep their case and their spaces.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from hf_blink.modeling.entity_records import RecordError, check_unicode, show
from hf_blink.training.zeshel_documents import ZeshelDocuments

CONTEXT_WORDS = 128
# A bound for text without spaces; 128 words of ordinary text are less than half as long.
CONTEXT_CHARACTERS = 16 * CONTEXT_WORDS
LABEL_FIELDS = ("label_ids", "labels", "label_id")
SPAN_LABEL_FIELDS = (*LABEL_FIELDS, "label")
SPAN_LISTS = ("entities", "mentions")
NIL_LABEL = "-1"  # what BLINK writes for "unknown"

Row = dict[str, Any]
RowReader = Callable[[Any, str], Iterable[Row]]


def common_rows(record: Any, default_id: str) -> Iterator[Row]:
    """Reads a window, a text with one span, or a text with a list of spans; see `read_mentions`."""
    record = mapping("(whole record)", record)
    row_id = optional(record, "id") or optional(record, "doc_id") or default_id
    span_list = next((name for name in SPAN_LISTS if record.get(name) is not None), None)
    if "context_left" in record or "context_right" in record:
        yield _row(row_id, record, _window_of_record(record), LABEL_FIELDS)
    elif "text" in record and span_list is not None:
        yield from _span_rows(record, span_list, row_id)
    elif "text" in record and "start" in record:
        yield _row(row_id, record, _window_of_span(text_of(record, "text"), record), LABEL_FIELDS)
    else:
        raise RecordError(
            "(whole record)",
            "context_left, mention, context_right; or text, start, end; or text, entities",
            f"the fields {', '.join(map(str, record)) or '(none)'}",
        )


def _span_rows(record: Mapping[str, Any], span_list: str, row_id: str) -> Iterator[Row]:
    text = text_of(record, "text")
    shared = {"doc_id": row_id} | {field: record[field] for field in ("doc_id", "world") if record.get(field)}
    if not isinstance(record[span_list], list):
        raise RecordError(span_list, "a list of spans", show(record[span_list]))
    for number, span in enumerate(record[span_list]):
        span = mapping(f"{span_list}[{number}]", span)
        yield _row(f"{row_id}#{number}", shared | dict(span), _window_of_span(text, span), SPAN_LABEL_FIELDS)


def blink_rows(
    record: Any, default_id: str, *, id_format: str, documents: ZeshelDocuments | None
) -> Iterator[Row]:
    """Reads a record of BLINK; see `read_blink_mentions`."""
    record = mapping("(whole record)", record)
    field = "label_id" if record.get("label_id") is not None else "Wikipedia_ID"
    if record.get(field) is None:
        raise RecordError("label_id", "an id or a number", "nothing")
    label = _identifier(field, record[field])
    labels = []
    if documents is not None:
        labels = [documents.id_at_line(_required(record, "world"), "label_id", label)]
    elif label != NIL_LABEL:
        labels = [id_format.format(label)]
    row_id = optional(record, "query_id") or optional(record, "id") or default_id
    yield _row(row_id, dict(record) | {"label_ids": labels}, _window_of_record(record), ("label_ids",))


def zeshel_rows(record: Any, default_id: str, *, documents: ZeshelDocuments) -> Iterator[Row]:
    """Reads a mention of Zeshel and cuts its window out of the document that it is from."""
    record = mapping("(whole record)", record)
    world = _required(record, "corpus")
    source_id = _required(record, "context_document_id")
    label_id = _required(record, "label_document_id")
    documents.text(world, "label_document_id", label_id)  # raises where the world has no such document
    words = documents.text(world, "context_document_id", source_id).split()
    start, end = integer(record, "start_index"), integer(record, "end_index")
    if not 0 <= start <= end < len(words):
        expected = f"0 <= start_index <= end_index < {len(words)} (words, last one included)"
        raise RecordError("end_index", expected, f"start_index={start}, end_index={end}")
    mention = " ".join(words[start : end + 1])
    if mention.lower() != " ".join(_required(record, "text").lower().split()):
        raise RecordError(
            "text", f"the words {start} to {end} of the document, {mention!r}", show(record["text"])
        )
    left = " ".join(words[max(0, start - CONTEXT_WORDS) : start])
    right = " ".join(words[end + 1 : end + 1 + CONTEXT_WORDS])
    fields = {"world": world, "doc_id": source_id, "label_ids": [label_id]}
    yield _row(optional(record, "mention_id") or default_id, fields, (left, mention, right), ("label_ids",))


def text_window(text: str, start: int, end: int) -> tuple[str, str, str]:
    """The mention at characters [start, end) of a text, with up to 128 words a side, spaces as they are."""
    left = text[max(0, start - CONTEXT_CHARACTERS) : start]
    right = text[end : end + CONTEXT_CHARACTERS]
    left_words = list(re.finditer(r"\S+", left))
    right_words = list(re.finditer(r"\S+", right))
    if len(left_words) > CONTEXT_WORDS:
        left = left[left_words[-CONTEXT_WORDS].start() :]
    if len(right_words) > CONTEXT_WORDS:
        right = right[: right_words[CONTEXT_WORDS - 1].end()]
    return left, text[start:end], right


def _row(
    row_id: str, record: Mapping[str, Any], window: tuple[str, str, str], label_fields: tuple[str, ...]
) -> Row:
    left, mention, right = window
    return {
        "id": row_id,
        "context_left": left,
        "mention": mention,
        "context_right": right,
        "label_ids": labels_of(record, label_fields),
        "world": optional(record, "world"),
        "doc_id": optional(record, "doc_id"),
    }


def _window_of_record(record: Mapping[str, Any]) -> tuple[str, str, str]:
    left, right = text_of(record, "context_left"), text_of(record, "context_right")
    return left, _required(record, "mention"), right


def _window_of_span(text: str, span: Mapping[str, Any]) -> tuple[str, str, str]:
    start, end = integer(span, "start"), integer(span, "end")
    if not 0 <= start < end <= len(text):
        expected = f"0 <= start < end <= {len(text)} (characters, end exclusive)"
        raise RecordError("end", expected, f"start={start}, end={end}")
    if span.get("mention") not in (None, text[start:end]):
        expected = f"the characters {start} to {end} of the text, {text[start:end]!r}"
        raise RecordError("mention", expected, show(span["mention"]))
    return text_window(text, start, end)


def labels_of(record: Mapping[str, Any], fields: tuple[str, ...]) -> list[str]:
    """The gold ids, each once; NIL is null, an empty list, or `"nil": true`."""
    field = next((field for field in fields if record.get(field) is not None), None)
    if record.get("nil") is True or (field is None and any(field in record for field in fields)):
        return []
    if field is None:
        got = f"the fields {', '.join(map(str, record))}"
        raise RecordError(" / ".join(fields), "an id or a list of ids, null for NIL", got)
    value = record[field]
    return list(
        dict.fromkeys(_identifier(field, label) for label in (value if isinstance(value, list) else [value]))
    )


def mapping(field: str, value: Any) -> Mapping[str, Any]:
    """A value that must be an object; `field` names it in the error."""
    if isinstance(value, RecordError):  # the line could not be read at all
        raise value
    if not isinstance(value, Mapping):
        raise RecordError(field, "an object with named fields", show(value))
    return value


def text_of(record: Mapping[str, Any], field: str) -> str:
    """A field that must be a string."""
    value = record.get(field)
    if not isinstance(value, str):
        raise RecordError(field, "a string", show(value))
    check_unicode(field, value)
    return value


def _required(record: Mapping[str, Any], field: str) -> str:
    text = text_of(record, field)
    if not text.strip():
        raise RecordError(field, "a string that is not empty", show(text))
    return text


def optional(record: Mapping[str, Any], field: str) -> str | None:
    """An id, or None where there is none."""
    value = record.get(field)
    return None if value is None or value == "" else _identifier(field, value)


def _identifier(field: str, value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise RecordError(field, "a string that is not empty, or an integer", show(value))
    check_unicode(field, value)
    return value


def integer(record: Mapping[str, Any], field: str) -> int:
    """A field that must be an integer."""
    value = record.get(field)
    if not isinstance(value, int) or isinstance(value, bool):
        raise RecordError(field, "an integer", show(value))
    return value
