"""From a stranger's record to a row of a knowledge base, and one report of everything that is wrong.

A record is a mapping with the field names that people use (`FIELD_NAMES`, the first one present wins):
BLINK's `entity.jsonl` says idx / title / text, others say id / name / description. `normalise_record`
returns the seven values of a row in the order of `ROW_FIELDS`, texts stripped, ids as strings, and every
field without a column as one JSON string. A record that cannot be a row raises `RecordError`;
`RecordProblems` collects those of a whole import, so that the user sees all bad rows in one error instead
of one per run.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

ROW_FIELDS = ("entity_id", "title", "description", "aliases", "world", "url", "metadata")

FIELD_NAMES: dict[str, tuple[str, ...]] = {
    "entity_id": ("entity_id", "id", "idx"),
    "title": ("title", "name", "label", "entity"),
    "description": ("description", "text"),
    "aliases": ("aliases", "synonyms"),
    "world": ("world",),
    "url": ("url",),
    "metadata": ("metadata",),
}
_ALL_NAMES = frozenset(name for names in FIELD_NAMES.values() for name in names)
# Of a mention's record, in any of the forms that training reads; an entity without id or title has none of them.
_OF_MENTIONS = frozenset(
    (
        *("context_left", "context_right", "mention", "start", "end", "entities", "mentions"),
        *("label_id", "label_ids", "labels", "label_document_id"),
    )
)
_LISTED_PROBLEMS = 10
_LISTED_PLACES = 3  # of the same problem
_SHOWN_CHARACTERS = 60


class EntityRow(NamedTuple):
    """One row of the knowledge base's table; `metadata` is a JSON object as a string."""

    entity_id: str
    title: str
    description: str
    aliases: list[str]
    world: str | None
    url: str | None
    metadata: str


class RecordError(ValueError):
    """One record cannot become a row: which field, what was expected, what came."""

    def __init__(self, field: str, expected: str, got: str) -> None:
        super().__init__(f"field '{field}': expected {expected}, got {got}")


class RecordProblems:
    """The problems of one import; the first ten different ones are kept in words, all are counted.

    Args:
        what: what the records are, for the error: "entity" or "mention".
    """

    def __init__(self, what: str = "entity") -> None:
        self._what = what
        self.total = 0
        self._listed: dict[str, list[str]] = {}  # of each its first places
        self._counts: Counter[str] = Counter()

    def add(self, place: str, problem: object) -> None:
        """Notes one problem.

        Args:
            place: Where it is, such as "entities.jsonl, line 12".
            problem: What is wrong there.
        """
        self.total += 1
        text = str(problem)
        if text not in self._listed and len(self._listed) == _LISTED_PROBLEMS:
            return
        self._counts[text] += 1
        places = self._listed.setdefault(text, [])
        if len(places) < _LISTED_PLACES:
            places.append(place)

    def raise_if_any(self) -> None:
        """Raises one ValueError with the listed problems and their total, if there was any."""
        if self.total:
            told = self._counts.total()
            shown = f", {told} of them are" if self.total > told else ""
            lines = [f"  {self._places(problem)}: {problem}" for problem in self._listed]
            raise ValueError(
                f"{self.total} bad {self._what} record(s){shown}:\n"
                + "\n".join(lines)
                + "\nCorrect or remove them and load again."
            )

    def _places(self, problem: str) -> str:
        named = self._listed[problem]
        more = self._counts[problem] - len(named)
        return "; ".join(named) + (f" and {more:,} more" if more else "")


def show(value: Any) -> str:
    """A short description of a wrong value: its type and the beginning of its text."""
    if value is None:
        return "nothing"
    text = repr(value)
    if len(text) > _SHOWN_CHARACTERS:
        text = text[:_SHOWN_CHARACTERS] + "…"
    return f"{type(value).__name__} {text}"


def normalise_record(record: Any, world: str | None = None) -> EntityRow:
    """Makes a row of a record.

    Args:
        record: Mapping from field names to values.
        world: World of records that name none.

    Raises:
        RecordError: if the id or the title is missing, or a value has a wrong type.
    """
    if not isinstance(record, Mapping):
        raise RecordError("(whole record)", "an object with named fields", show(record))
    chosen = {field: _first_present(record, names) for field, names in FIELD_NAMES.items()}
    _refuse_mention(record, chosen)
    entity_id = _identifier(record.get(chosen["entity_id"]))
    title = _text(chosen["title"], record.get(chosen["title"]))
    if not title:
        raise RecordError(chosen["title"], "a string that is not empty", show(record.get(chosen["title"])))
    own_world = _text(chosen["world"], record.get(chosen["world"]))
    return EntityRow(
        entity_id,
        title,
        _text(chosen["description"], record.get(chosen["description"])),
        _aliases(chosen["aliases"], record.get(chosen["aliases"])),
        own_world or world,
        _text(chosen["url"], record.get(chosen["url"])) or None,
        _metadata(record, chosen),
    )


def _refuse_mention(record: Mapping[str, Any], chosen: Mapping[str, str]) -> None:
    """Says that a record is a mention's, rather than what an entity's would have."""
    incomplete = any(record.get(chosen[field]) is None for field in ("entity_id", "title"))
    if incomplete and (found := [name for name in record if name in _OF_MENTIONS]):
        raise RecordError(
            "(whole record)",
            "an entity with an id and a title",
            f"a mention with {', '.join(found)}; give the files of mentions to training or evaluation, and those of "
            "entities here",
        )


def _first_present(record: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """The first of `names` that the record has a value for, or else the first of all."""
    return next((name for name in names if record.get(name) is not None), names[0])


def _identifier(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    names = " / ".join(FIELD_NAMES["entity_id"])
    if not isinstance(value, str) or not value.strip():
        raise RecordError(names, "a string or an integer", show(value))
    check_unicode(names, value)
    return value


def _text(field: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RecordError(field, "a string", show(value))
    check_unicode(field, value)
    return value.strip()


def check_unicode(field: str, value: str) -> None:
    """Refuses text without a UTF-8 form, which neither Arrow nor a tokenizer takes.

    JSON can escape half of a surrogate pair, and Python reads it.

    Raises:
        RecordError: names the field and the character.
    """
    if value.isascii():
        return
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RecordError(
            field, "valid Unicode text", f"a lone surrogate at character {error.start}"
        ) from None


def _aliases(field: str, value: Any) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise RecordError(field, "a list of strings", show(value))
    for alias in value:
        if not isinstance(alias, str):
            raise RecordError(field, "a list of strings", f"a list with {show(alias)}")
    return list(dict.fromkeys(text for alias in value if (text := _text(field, alias))))


def _metadata(record: Mapping[str, Any], chosen: Mapping[str, str]) -> str:
    """Everything that has no column, as JSON: unknown fields, and second names that say something else.

    Values that mean "nothing here" (null, and NaN as pandas writes it) are left out.
    """
    extra = _given_metadata(record.get("metadata"))
    used = set(chosen.values())
    for name, value in record.items():
        if name in used or value is None or (isinstance(value, float) and math.isnan(value)):
            continue
        if name in _ALL_NAMES and any(value == record.get(other) for other in _synonyms(name)):
            continue
        extra[name] = value
    if not extra:
        return "{}"
    try:
        text = json.dumps(extra, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise RecordError(_culprit(extra), "values that JSON can hold", str(error)) from None
    check_unicode("metadata", text)
    return text


def _synonyms(name: str) -> list[str]:
    return [other for names in FIELD_NAMES.values() if name in names for other in names if other != name]


def _given_metadata(value: Any) -> dict[str, Any]:
    """The record's own `metadata` field, which is an object or the JSON text of one."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise RecordError("metadata", "an object, or the JSON text of one", show(value)) from None
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise RecordError("metadata", "an object, or the JSON text of one", show(value))
    return dict(value)


def _culprit(extra: Mapping[str, Any]) -> str:
    """The first field of the metadata that JSON cannot hold."""
    for name, value in extra.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            return str(name)
    return "metadata"
