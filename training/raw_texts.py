"""Raw texts from files, one after the other: `.txt` with a text on each line, else JSON lines with `text`."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hf_blink.modeling.entity_readers import existing_files, read_json_lines

PathLike = str | os.PathLike[str]


def read_texts(paths: PathLike | Sequence[PathLike]) -> Iterator[dict[str, Any]]:
    """Reads texts; all files are looked for before the first text comes.

    Args:
        paths: file or files: `.txt`, UTF-8 with a text on each line, blank lines passed over; all others are JSON lines,
            plain or gzip-compressed, of `{"text"}`, with `world` and `doc_id` if known.

    Yields:
        Mappings with `text`, and `world` and `doc_id` where the line has them.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file that is not UTF-8, or a line without a text.
    """
    return _texts(existing_files(paths, "text"))


def _texts(files: list[Path]) -> Iterator[dict[str, Any]]:
    for file in files:
        yield from _lines(file) if file.suffix == ".txt" else _records(file)


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    try:
        with file.open(encoding="utf-8-sig") as stream:
            for line in stream:
                if text := line.strip():
                    yield {"text": text}
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: expected UTF-8 text, got {error}; convert the file") from error


def _records(file: Path) -> Iterator[dict[str, Any]]:
    for place, record in read_json_lines(file, "text"):
        if isinstance(record, ValueError):  # the line could not be read
            raise ValueError(f"{place}: {record}")
        if not isinstance(record, dict) or not isinstance(record.get("text"), str):
            raise ValueError(f'{place}: expected {{"text": "..."}}, got {record!r:.60}')
        for name in ("world", "doc_id"):
            if not isinstance(record.get(name), (str, type(None))):
                raise ValueError(f"{place}: expected {name} to be a string, got {record[name]!r:.60}")
        yield {name: record[name] for name in ("text", "world", "doc_id") if record.get(name) is not None}
