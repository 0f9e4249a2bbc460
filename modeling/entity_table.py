"""The table behind a knowledge base: an Arrow file on disk that is mapped, not read.

`EntityTableWriter` streams rows into an Arrow IPC file, one record batch at a time. `EntityTable` maps such
a file: opening it costs the same for ten rows and for ten million, processes share its pages, and only the
rows that are asked for become Python objects. `ContentHasher` fingerprints what decides vectors and ids
(entity_id, title, description of each row, in order), independent of how the rows are cut into batches.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa

from .entity_records import ROW_FIELDS, EntityRow
from .entity_rows import as_rows

SCHEMA = pa.schema(
    [
        pa.field("entity_id", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("description", pa.string(), nullable=False),
        pa.field("aliases", pa.list_(pa.string()), nullable=False),
        pa.field("world", pa.string()),
        pa.field("url", pa.string()),
        pa.field("metadata", pa.string(), nullable=False),
    ]
)
_FINGERPRINTED = ("entity_id", "title", "description")
# A batch is the unit of writing: it fits in memory, far under the 2 GiB that Arrow's offsets can count.
_BATCH_ROWS = 8192
_BATCH_CHARACTERS = 16 * 2**20


class ContentHasher:
    """SHA-256 over entity_id, title and description of rows that arrive in batches.

    Per column, the lengths (bytes of UTF-8) and the texts go into two hashes of their own; together they
    determine every row, and neither sees where a batch ends.
    """

    def __init__(self) -> None:
        self._rows = 0
        self._hashes = [(hashlib.sha256(), hashlib.sha256()) for _ in _FINGERPRINTED]

    def update(self, batch: pa.RecordBatch) -> None:
        """Adds the rows of a batch in the layout of `SCHEMA` (no nulls in the three columns)."""
        self._rows += batch.num_rows
        if not batch.num_rows:
            return
        for name, (lengths, texts) in zip(_FINGERPRINTED, self._hashes, strict=True):
            column = batch.column(name)
            _, offset_buffer, text_buffer = column.buffers()
            offsets = np.frombuffer(offset_buffer, np.int32)[column.offset : column.offset + len(column) + 1]
            lengths.update(np.diff(offsets).astype("<i8").data)
            if text_buffer is not None:
                texts.update(memoryview(text_buffer)[offsets[0] : offsets[-1]])

    def hexdigest(self) -> str:
        """The fingerprint: 64 hexadecimal digits."""
        whole = hashlib.sha256(f"hf_blink knowledge base 1, {self._rows} rows\n".encode())
        for lengths, texts in self._hashes:
            whole.update(lengths.digest() + texts.digest())
        return whole.hexdigest()


class EntityTableWriter:
    """Writes rows to an Arrow IPC file; a context manager.

    Args:
        path: File to write; it is overwritten.
        metadata: Kept in the file's schema, such as the fingerprint.
    """

    def __init__(self, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> None:
        self._schema = SCHEMA.with_metadata(dict(metadata)) if metadata else SCHEMA
        self._sink = pa.OSFile(os.fspath(path), "wb")
        self._writer = pa.ipc.new_file(self._sink, self._schema)
        self._rows: list[EntityRow] = []
        self._characters = 0

    def write(self, row: EntityRow) -> None:
        """Adds one row."""
        self._rows.append(row)
        self._characters += (
            len(row.title) + len(row.description) + len(row.metadata) + sum(map(len, row.aliases))
        )
        if len(self._rows) >= _BATCH_ROWS or self._characters >= _BATCH_CHARACTERS:
            self._flush()

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Adds the rows of a batch that already has the columns of `SCHEMA`."""
        self._flush()
        if batch.num_rows:
            self._writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=self._schema))

    def _flush(self) -> None:
        if not self._rows:
            return
        columns = zip(*self._rows, strict=True)
        arrays = [pa.array(values, field.type) for values, field in zip(columns, self._schema, strict=True)]
        self._rows, self._characters = [], 0
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._flush()
            self._writer.close()
        finally:
            self._sink.close()


class EntityTable:
    """Read access to a mapped Arrow file of entities.

    Args:
        path: File that `EntityTableWriter` wrote.

    Raises:
        ValueError: if the file has other columns, or is no Arrow file (pyarrow.ArrowInvalid is a ValueError).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        reader = pa.ipc.open_file(pa.memory_map(os.fspath(path)))
        if not reader.schema.equals(SCHEMA):
            raise ValueError(f"{path}: expected the columns {SCHEMA.names}, got {reader.schema.names}")
        self.metadata: dict[str, str] = {
            key.decode(): value.decode() for key, value in (reader.schema.metadata or {}).items()
        }
        self.batches: list[pa.RecordBatch] = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        # starts[b] = first row of batch b; the last entry is the number of rows.
        self._starts = np.cumsum([0] + [batch.num_rows for batch in self.batches])
        self._columns = [dict(zip(ROW_FIELDS, batch.columns, strict=True)) for batch in self.batches]

    def content_fingerprint(self) -> str:
        """SHA-256 over entity_id, title and description of all rows, in order (`ContentHasher`)."""
        hasher = ContentHasher()
        for batch in self.batches:
            hasher.update(batch)
        return hasher.hexdigest()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def column(self, name: str) -> Iterator[pa.Array]:
        """The column in pieces, one per batch."""
        return (columns[name] for columns in self._columns)

    def slice(self, name: str, start: int, stop: int) -> list[Any]:
        """Values of the rows start to stop (exclusive), as Python objects.

        Raises:
            IndexError: if the range leaves the table.
        """
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"expected rows with 0 <= start <= stop <= {len(self)}, got {start} to {stop}")
        values: list[Any] = []
        batch = int(np.searchsorted(self._starts, start, side="right")) - 1
        while start < stop:
            end = min(stop, int(self._starts[batch + 1]))
            first = start - int(self._starts[batch])
            values += self._columns[batch][name].slice(first, end - start).to_pylist()
            start, batch = end, batch + 1
        return values

    def take(self, names: Sequence[str], rows: Iterable[int] | np.ndarray) -> list[list[Any]]:
        """Values of the rows, in the order of `rows`: one list for each name.

        Raises:
            IndexError: if a row is outside the table.
        """
        wanted = as_rows(rows, len(self))
        batches = np.searchsorted(self._starts, wanted, side="right") - 1
        places = list(zip(batches.tolist(), (wanted - self._starts[batches]).tolist(), strict=True))
        return [[self._columns[batch][name][row].as_py() for batch, row in places] for name in names]
