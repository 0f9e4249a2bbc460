"""From entity ids to rows, in 16 bytes a row instead of a dict of Python strings.

The 64-bit hashes of all ids are sorted once; a look-up is a binary search, and the id that is found is read
from the table and compared, so two ids with the same hash are told apart. Python's own string hash serves:
it is fast, and as it is salted per process no file can be made to collide. For that reason a lookup never
leaves its process.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from .entity_table import EntityTable


def hash_entity_ids(entity_ids: Sequence[str]) -> np.ndarray:
    """Hashes of ids, int64 [num_ids]; good for this process only."""
    return np.fromiter(map(hash, entity_ids), np.int64, len(entity_ids))


class EntityIdLookup:
    """Finds rows by entity id.

    Args:
        table: Table whose column entity_id is looked up.
    """

    def __init__(self, table: EntityTable) -> None:
        self._table = table
        hashes = np.empty(len(table), np.int64)
        start = 0
        for column in table.column("entity_id"):
            hashes[start : start + len(column)] = hash_entity_ids(column.to_pylist())
            start += len(column)
        self._order = np.argsort(hashes, kind="stable")
        self._sorted = hashes[self._order]

    def find(self, entity_ids: Sequence[str]) -> np.ndarray:
        """Rows of the ids, int64 [num_ids]; -1 where the id is unknown."""
        rows = np.full(len(entity_ids), -1, np.int64)
        hashes = hash_entity_ids(entity_ids)
        places = np.searchsorted(self._sorted, hashes)
        for i, (place, entity_id) in enumerate(zip(places.tolist(), entity_ids, strict=True)):
            while place < len(self._sorted) and self._sorted[place] == hashes[i]:
                row = int(self._order[place])
                if self._table.take(["entity_id"], [row])[0][0] == entity_id:
                    rows[i] = row
                    break
                place += 1
        return rows

    def duplicates(self) -> Iterator[tuple[int, int]]:
        """Pairs of rows with the same id: the first row that has it, and a later one."""
        equal = np.flatnonzero(self._sorted[1:] == self._sorted[:-1])
        if not equal.size:
            return
        for run in np.split(equal, np.flatnonzero(np.diff(equal) > 1) + 1):
            rows = np.sort(self._order[run[0] : run[-1] + 2])
            first_row: dict[str, int] = {}
            for row, entity_id in zip(rows.tolist(), self._table.take(["entity_id"], rows)[0], strict=True):
                if first_row.setdefault(entity_id, row) != row:
                    yield first_row[entity_id], row
