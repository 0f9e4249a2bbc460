"""From one record of a JSON-lines file to a document with its mentions: one function for each form.

Labels are ids of the knowledge base; where a form has several kinds of ids, the reader says which it takes. Offsets are
characters, end exclusive. A record that cannot become a document raises `RecordError`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from hf_blink.modeling.entity_records import RecordError, show
from hf_blink.training.documents import Document, document
from hf_blink.training.mention_rows import (
    LABEL_FIELDS,
    SPAN_LABEL_FIELDS,
    SPAN_LISTS,
    integer,
    labels_of,
    mapping,
    optional,
    text_of,
)

_OF_A_MENTION = ("start", "end", *LABEL_FIELDS)
_KILT_MARKS = ("[START_ENT]", "[END_ENT]")


def common_document(record: Any, default_id: str) -> Document:
    """`{"doc_id", "text", "mentions": [{"start", "end", "label_id"}], "world"?, "complete"?}`."""
    record = mapping("(whole record)", record)
    text, span_list = (
        text_of(record, "text"),
        next((n for n in SPAN_LISTS if record.get(n) is not None), None),
    )
    if span_list is None and (found := [name for name in _OF_A_MENTION if record.get(name) is not None]):
        raise RecordError(
            "mentions",
            "a list of all mentions of the text",
            f"one labelled mention with {', '.join(found)}; files of those are not for --documents or train_elq",
        )
    spans = [] if span_list is None else record[span_list]
    if not isinstance(spans, list):
        raise RecordError(str(span_list), "a list of spans", show(spans))
    mentions = []
    for number, span in enumerate(spans):
        span = mapping(f"{span_list}[{number}]", span)
        mentions.append((integer(span, "start"), integer(span, "end"), labels_of(span, SPAN_LABEL_FIELDS)))
    complete = record.get("complete")
    if complete is not None and not isinstance(complete, bool):
        raise RecordError("complete", "true, false or null", show(complete))
    doc_id = optional(record, "doc_id") or optional(record, "id") or default_id
    return _checked(doc_id, text, mentions, world=optional(record, "world"), complete=complete)


def elq_document(
    record: Any, default_id: str, *, label_field: str = "label_id", knowledge_base: Any = None
) -> Document:
    """ELQ's questions: `{"id", "text", "mentions": [[start, end]], "label_id": [...], "wikidata_id": [...]}`.

    Args:
        record: the record.
        default_id: id of a record without one.
        label_field: whose values are the entity ids: `label_id`, `wikidata_id` or `entity` (titles).
        knowledge_base: the catalogue that `label_id` counts the lines of, as it was imported; each label becomes the id of
            its row, and -1 none. None takes the labels as they are.
    """
    record = mapping("(whole record)", record)
    spans, labels = record.get("mentions"), record.get(label_field)
    if not isinstance(spans, list) or not isinstance(labels, list) or len(spans) != len(labels):
        raise RecordError(label_field, "one label for each of the mentions", show(labels))
    if knowledge_base is not None:
        labels = _ids_of_lines(record, label_field, knowledge_base)
    mentions = []
    for span, label in zip(spans, labels, strict=True):
        if not isinstance(span, list) or len(span) != 2:
            raise RecordError("mentions", "pairs of start and end", show(span))
        bounds = {"start": span[0], "end": span[1], "label": label}
        mentions.append((integer(bounds, "start"), integer(bounds, "end"), labels_of(bounds, ("label",))))
    doc_id = optional(record, "id") or default_id
    return _checked(doc_id, text_of(record, "text"), mentions)


def _ids_of_lines(record: Mapping[str, Any], name: str, knowledge_base: Any) -> list[str | None]:
    """Ids of the entities at lines of the catalogue; a Wikidata id that both sides have must be the same."""
    lines = [_line_number(label, name) for label in record[name]]
    if wrong := [line for line in lines if not -1 <= line < len(knowledge_base)]:
        raise RecordError(name, f"lines of the catalogue, 0 to {len(knowledge_base) - 1}", str(wrong[0]))
    entities = iter(knowledge_base.entities([line for line in lines if line >= 0]))
    found = [None if line < 0 else next(entities) for line in lines]
    theirs = record.get("wikidata_id")
    for line, entity, expected in zip(lines, found, theirs if isinstance(theirs, list) else (), strict=False):
        own = None if entity is None else entity.metadata.get("wikidata_id")
        if own and expected and own != expected:
            raise RecordError(
                name,
                f"the line of {expected} in the catalogue",
                f"line {line}, which has {own}; it is another catalogue",
            )
    return [None if entity is None else entity.entity_id for entity in found]


def _line_number(label: Any, name: str) -> int:
    """A line of the catalogue, which some files write as a string of digits."""
    return int(label) if isinstance(label, str) and label.isdecimal() else integer({name: label}, name)


def blink_document(record: Any, default_id: str) -> Document:
    """BLINK's mentions, a document each: `{"context_left", "mention", "context_right", "label_id", "world"?}`."""
    record = mapping("(whole record)", record)
    left, mention, right = (text_of(record, name) for name in ("context_left", "mention", "context_right"))
    labels = [label for label in labels_of(record, (*LABEL_FIELDS, "Wikipedia_ID")) if label != "-1"]
    doc_id = optional(record, "query_id") or optional(record, "id") or default_id
    return _between(doc_id, (left, mention, right), labels, optional(record, "world"))


def kilt_document(record: Any, default_id: str, *, label_field: str = "wikipedia_id") -> Document:
    """KILT's entity linking, a mention each: `{"input": "... [START_ENT] mention [END_ENT] ...", "output": [...]}`.

    Args:
        record: the record.
        default_id: id of a record without one.
        label_field: whose values are the entity ids: `wikipedia_id` of the provenance, or `title` (the answer).
    """
    record = mapping("(whole record)", record)
    text = text_of(record, "input")
    if any(text.count(mark) != 1 for mark in _KILT_MARKS):
        raise RecordError("input", "a text with one [START_ENT] and one [END_ENT]", show(text))
    left, _, rest = text.partition(_KILT_MARKS[0])
    mention, _, right = rest.partition(_KILT_MARKS[1])
    labels: list[str] = []
    for output in record.get("output") or []:
        output = mapping("output", output)
        if label_field == "title":
            labels += labels_of(output, ("answer",)) if output.get("answer") is not None else []
            continue
        for source in output.get("provenance") or []:
            labels += labels_of(mapping("provenance", source), (label_field,))
    return _between(optional(record, "id") or default_id, (left, mention.strip(), right), labels)


def _between(
    doc_id: str, parts: tuple[str, str, str], labels: Iterable[str], world: str | None = None
) -> Document:
    """A document of one mention between two contexts, which a space parts from it where none does."""
    left, mention, right = parts
    before = left + (" " if left and not left[-1].isspace() else "")
    after = (" " if right and not right[0].isspace() else "") + right
    span = (len(before), len(before) + len(mention), list(labels))
    return _checked(doc_id, before + mention + after, [span], world=world, complete=False)


def _checked(doc_id: str, text: str, mentions: list[Any], **fields: Any) -> Document:
    try:
        return document(doc_id, text, mentions, **fields)
    except ValueError as error:
        expected, _, got = str(error).removeprefix("expected ").partition(", got ")
        raise RecordError("mentions", expected, got) from None
