"""Reads entity records from where people keep them, one at a time, each with the place that an error should
name.

Every reader is a generator of `(Place, record)`; nothing is held but the record at hand (or one Arrow
batch). A place whose record could not even be read (invalid JSON, invalid UTF-8) yields the `RecordError`
in the record's stead, so that the rest of the file is still read and reported.
"""

import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import pyarrow as pa
import pyarrow.parquet as pq

from .entity_records import ROW_FIELDS, RecordError, show

_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
# One line is held in memory at once; a compressed file could otherwise unfold to a line of any length.
_MAX_LINE_BYTES = 64 * 2**20
_BATCH_ROWS = 1024


class Place(NamedTuple):
    """Where a record came from: "line" numbers count from 1 and "row" numbers from 0."""

    source: str
    unit: str
    number: int

    def __str__(self) -> str:
        return f"{self.source}, {self.unit} {self.number}"


Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def existing_files(paths: Paths, what: str = "entity") -> list[Path]:
    """One or several paths as a list.

    Args:
        paths: one path or several.
        what: what the files hold, for the error: "entity" or "mention".

    Raises:
        FileNotFoundError: if there is no such file; names it.
        ValueError: if no path was given.
    """
    many = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not many:
        raise ValueError(
            f"expected at least one {what} file, got an empty list of paths; name the files to read"
        )
    files = [Path(path) for path in many]
    for file in files:
        if not file.is_file():
            got = "a folder" if file.is_dir() else "nothing"
            raise FileNotFoundError(
                f"expected {_article(what)} {what} file at '{file}', got {got} (looked from '{Path.cwd()}'); correct the path"
            )
    return files


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def read_json_lines(paths: Paths, what: str = "entity") -> Iterator[tuple[Place, Any]]:
    """Reads records from files with one JSON object a line, plain or gzip-compressed.

    A byte order mark, Windows line ends and blank lines are passed over.

    Args:
        paths: one path or several.
        what: what the files hold, for errors: "entity" or "mention".

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a compressed file is damaged, or a file holds a table or a JSON array.
    """
    for file in existing_files(paths, what):
        with file.open("rb") as raw:
            packed = raw.peek(2).startswith(_GZIP)  # file names in a download cache have no suffix
            stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw) if packed else raw)
            try:
                yield from _lines_of(stream, str(file))
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise ValueError(
                    f"{file}: expected a complete gzip file, got a damaged one ({error}); download or compress it again"
                ) from error


def _lines_of(stream: BinaryIO, source: str) -> Iterator[tuple[Place, Any]]:
    number = 0
    while line := stream.readline(_MAX_LINE_BYTES + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(_BOM)
            _refuse_other_formats(line, source)
        place = Place(source, "line", number)
        if len(line) > _MAX_LINE_BYTES:
            while line and not line.endswith(b"\n"):
                line = stream.readline(_MAX_LINE_BYTES)
            yield place, RecordError("(whole line)", f"at most {_MAX_LINE_BYTES} bytes", "a longer line")
            continue
        if line.strip():
            yield place, _parse(line)


def _refuse_other_formats(first_line: bytes, source: str) -> None:
    """Raises one ValueError for a file of another format, of which every line would be a bad record."""
    start = first_line.lstrip()[:1]
    if source.lower().endswith((".csv", ".tsv")) and start != b"{":
        got, advice = "a table", f"read it with datasets.load_dataset('csv', data_files={source!r})['train']"
    elif first_line.startswith(b"PAR1"):
        got, advice = (
            "a parquet file",
            f"read it with datasets.load_dataset('parquet', data_files={source!r})['train']",
        )
    elif start == b"[" and first_line.strip()[1:].lstrip()[:1] in (b"", b"{"):
        got, advice = (
            "a JSON array",
            f"read it with datasets.load_dataset('json', data_files={source!r})['train']",
        )
    else:
        return
    raise ValueError(
        f"{source}: expected one JSON object a line, got {got}; {advice} (entities: KnowledgeBase.from_dataset), or "
        "write one object a line"
    )


def _parse(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        got = f"byte 0x{line[error.start]:02x} at byte {error.start} of the line"
        return RecordError("(whole line)", "UTF-8 text", got)
    except (ValueError, RecursionError) as error:
        return RecordError("(whole line)", "one JSON object", f"invalid JSON ({error})")


def read_parquet(paths: Paths) -> Iterator[tuple[Place, Any]]:
    """Reads records from parquet files with any of the known field names, batch by batch.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is not parquet, or is damaged.
    """
    for file in existing_files(paths):
        number = 0
        for batch in _parquet_batches(file):
            for record in batch.to_pylist():
                yield Place(str(file), "row", number), record
                number += 1


def _parquet_batches(file: Path) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(batch_size=_BATCH_ROWS):
                batch.validate(full=True)  # parquet may hold bytes that are no UTF-8
                yield batch
    except (pa.ArrowException, OSError) as error:  # Arrow reports a damaged footer as an OSError
        raise ValueError(f"{file}: expected a sound parquet file, got: {error}") from error


def read_dataset(dataset: Any) -> Iterator[tuple[Place, Any]]:
    """Reads records from a `datasets.Dataset` or `IterableDataset`, whatever output format is set on it.

    Raises:
        TypeError: if `dataset` is something else, such as a DatasetDict.
    """
    if not hasattr(dataset, "iter") or not hasattr(dataset, "with_format"):
        raise TypeError(
            f"expected a datasets.Dataset of entities, got {type(dataset).__name__}; "
            "of a DatasetDict, pass one split, such as dataset['train']"
        )
    number = 0
    for batch in dataset.with_format(None).iter(batch_size=_BATCH_ROWS):
        names = list(batch)
        for values in zip(*batch.values(), strict=True):
            yield Place("dataset", "row", number), dict(zip(names, values, strict=True))
            number += 1


def read_entities(entities: Iterable[Any]) -> Iterator[tuple[Place, Any]]:
    """Reads records from Entity objects (known by their attributes) or mappings."""
    for number, entity in enumerate(entities):
        place = Place("entities", "row", number)
        if isinstance(entity, Mapping):
            yield place, entity
        elif hasattr(entity, "entity_id") and hasattr(entity, "title"):
            yield place, {name: getattr(entity, name, None) for name in ROW_FIELDS}
        else:
            yield place, RecordError("(whole record)", "an Entity or a mapping", show(entity))
