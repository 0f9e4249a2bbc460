"""Streams records into an entity table, and reports every bad record and every repeated id in one error.

Rows go to disk as they come; of each row only its line number stays in memory (8 bytes), so that a repeated
id, which shows only after the last row, can still be reported with both places.
"""

import logging
import os
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .entity_id_lookup import EntityIdLookup
from .entity_readers import Place
from .entity_records import FIELD_NAMES, RecordError, RecordProblems, normalise_record
from .entity_table import EntityTable, EntityTableWriter

logger = logging.getLogger(__name__)


class _RowPlaces:
    """Where each row of the table came from."""

    def __init__(self) -> None:
        self._numbers = array("q")
        self._first_rows: list[int] = []
        self._sources: list[tuple[str, str]] = []

    def append(self, place: Place) -> None:
        source = (place.source, place.unit)
        if not self._sources or self._sources[-1] != source:
            self._first_rows.append(len(self._numbers))
            self._sources.append(source)
        self._numbers.append(place.number)

    def __getitem__(self, row: int) -> Place:
        source, unit = self._sources[bisect_right(self._first_rows, row) - 1]
        return Place(source, unit, self._numbers[row])


def import_records(
    records: Iterable[tuple[Place, Any]], path: str | os.PathLike[str], world: str | None = None
) -> EntityTable:
    """Writes records to a new table file and opens it.

    Args:
        records: What a reader yields: places with records, or with the RecordError of an unreadable one.
        path: Arrow file to write.
        world: World of records that name none.

    Raises:
        ValueError: if any record is bad, an id comes twice, or there is no record at all.
    """
    problems, places = RecordProblems(), _RowPlaces()
    without_description, first = 0, ""  # the first such record: its place, and what it has instead
    with EntityTableWriter(path) as writer:
        for place, record in records:
            try:
                if isinstance(record, Exception):
                    raise record
                row = normalise_record(record, world)
                writer.write(row)
                places.append(place)
                if not row.description:
                    without_description += 1
                    first = first or f"{place}, {_instead_of_description(record)}"
            except RecordError as error:
                problems.add(str(place), error)
    table = EntityTable(path)
    report_duplicates(table, places.__getitem__, problems)
    problems.raise_if_any()
    refuse_empty(table)
    if without_description:
        logger.warning(
            "%d of %d entities have no description (expected in %s; the first of them, %s); they are told apart "
            "by their titles alone",
            without_description, len(table), " or ".join(FIELD_NAMES["description"]), first,
        )  # fmt: skip
    return table


def _instead_of_description(record: Mapping[Any, Any]) -> str:
    """What a record without a description has: an empty one, or other fields."""
    empty = [name for name in FIELD_NAMES["description"] if name in record]
    if empty:
        return f"has {' and '.join(empty)}, which {'is' if len(empty) == 1 else 'are'} empty"
    return f"has the fields {', '.join(map(str, record))}"


def report_duplicates(
    table: EntityTable, place_of: Callable[[int], object], problems: RecordProblems
) -> None:
    """Adds to `problems` every row whose entity id an earlier row has."""
    for first, later in EntityIdLookup(table).duplicates():
        entity_id = table.take(["entity_id"], [later])[0][0]
        error = RecordError("entity_id", "an id of its own", f"{entity_id!r}, which {place_of(first)} has")
        problems.add(str(place_of(later)), error)


def refuse_empty(table: EntityTable) -> None:
    """Raises ValueError for a table without rows."""
    if not len(table):
        raise ValueError(
            "expected at least one entity, got an empty knowledge base; nothing could be linked to it"
        )
