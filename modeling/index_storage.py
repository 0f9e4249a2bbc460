"""An index as a folder: `index.faiss`, FAISS's own format, and `index.json`, which says what must be in it.

Reading a stranger's FAISS file runs a large C++ parser, so as much as possible is settled before it starts:
index.json is checked field by field, the file must have its SHA-256 and a size that fits the entity count,
and its head must name the one index class that the kind means, with the same dimension, count and metric.
The parser then runs under byte limits, and what comes out is compared again. Nothing is ever unpickled.
index.json is written last, so an interrupted save leaves a pair that does not match, and is refused.
"""

import json
import os
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faiss

from .file_hash import file_sha256
from .full_disk import naming_the_disk
from .index_kinds import KINDS, MOST_LINKS, fourcc, is_of_kind, refuse_bad_vectors, stored_vectors

FORMAT_VERSION = 1
INDEX_FILE = "index.faiss"
DESCRIPTION_FILE = "index.json"
METRIC = "inner_product"
_MAX_DIMENSION = 65_536
_MAX_COUNT = 2**40
_MAX_DESCRIPTION_BYTES = 65_536
# fourcc, d, ntotal, two unused numbers, is_trained, metric
_HEAD = struct.Struct("<4siqqq?i")
_SPARE_BYTES = 2**20


@dataclass(frozen=True)
class IndexDescription:
    """What index.json says of an index.

    Attributes:
        kind: One of `index_kinds.KINDS`.
        dimension: Length of the vectors.
        count: Number of entities.
        encoder_fingerprint: Of the encoder that made the vectors; None if not recorded.
        knowledge_base_fingerprint: Of the knowledge base; None if not recorded.
    """

    kind: str
    dimension: int
    count: int
    encoder_fingerprint: str | None
    knowledge_base_fingerprint: str | None


def write_index(index: faiss.Index, description: IndexDescription, folder: str | os.PathLike[str]) -> None:
    """Writes index.faiss and index.json; each appears whole or not at all.

    Raises:
        OSError: the disk is full; an older index is as it was.
    """
    target = Path(folder)
    advice = "free some space there or choose another folder; an older index is as it was"
    with naming_the_disk(folder, "the entity index", advice):
        target.mkdir(parents=True, exist_ok=True)
        _write(index, description, target)


def _write(index: faiss.Index, description: IndexDescription, target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".index-", dir=target) as unfinished:
        data, facts = Path(unfinished) / INDEX_FILE, Path(unfinished) / DESCRIPTION_FILE
        faiss.write_index(index, str(data))
        content = {
            "format_version": FORMAT_VERSION,
            "metric": METRIC,
            **asdict(description),
            "faiss_version": faiss.__version__,
            "sha256": file_sha256(data),
        }
        facts.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        os.replace(data, target / INDEX_FILE)
        os.replace(facts, target / DESCRIPTION_FILE)


def read_index(folder: str | os.PathLike[str]) -> tuple[faiss.Index, IndexDescription]:
    """Reads an index with all checks.

    Raises:
        FileNotFoundError: if one of the two files is missing.
        ValueError: if index.json or index.faiss is not what `write_index` writes.
    """
    source = Path(folder)
    for name in (DESCRIPTION_FILE, INDEX_FILE):
        if not (source / name).is_file():
            raise FileNotFoundError(
                f"expected an entity index in '{source}', found no {name}; "
                "write one with EntityIndex.save_pretrained"
            )
    description, digest = _read_description(source / DESCRIPTION_FILE)
    file = source / INDEX_FILE
    _check_file(file, description, digest)
    with parser_limits(file.stat().st_size):
        try:
            index = faiss.read_index(str(file))
        except (RuntimeError, MemoryError) as error:
            raise ValueError(
                f"{file}: expected a sound FAISS file, the parser says: {_first_line(error)}"
            ) from error
    if not is_of_kind(index, description.kind) or (index.d, index.ntotal) != (
        description.dimension,
        description.count,
    ):
        raise ValueError(
            f"{file}: expected a {description.kind} index of {description.count} x {description.dimension} "
            f"by inner product, got a {type(index).__name__} of {index.ntotal} x {index.d}; "
            "build the index again"
        )
    try:
        refuse_bad_vectors(stored_vectors(index))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    return index, description


def _read_description(file: Path) -> tuple[IndexDescription, str]:
    """What index.json says, and the SHA-256 of index.faiss."""
    try:
        with file.open("rb") as stream:
            content = json.loads(stream.read(_MAX_DESCRIPTION_BYTES).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: expected a small JSON object, got something else ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file}: expected a JSON object, got {type(content).__name__}")
    version = _integer(file, content, "format_version", 1, 2**31)
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{file}: expected format_version {FORMAT_VERSION}, got {version}; update hf_blink to read it"
        )
    _choice(file, content, "metric", (METRIC,))
    description = IndexDescription(
        kind=_choice(file, content, "kind", KINDS),
        dimension=_integer(file, content, "dimension", 1, _MAX_DIMENSION),
        count=_integer(file, content, "count", 1, _MAX_COUNT),
        encoder_fingerprint=_fingerprint(file, content, "encoder_fingerprint"),
        knowledge_base_fingerprint=_fingerprint(file, content, "knowledge_base_fingerprint"),
    )
    digest = _fingerprint(file, content, "sha256")
    if digest is None:
        raise ValueError(f"{file}, sha256: expected 64 hexadecimal digits, got none")
    return description, digest


def _integer(file: Path, content: dict[str, Any], name: str, low: int, high: int) -> int:
    value = content.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{file}, {name}: expected an integer from {low} to {high}, got {_show(value)}")
    return value


def _choice(file: Path, content: dict[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value = content.get(name)
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{file}, {name}: expected {' or '.join(choices)}, got {_show(value)}")
    return value


def _fingerprint(file: Path, content: dict[str, Any], name: str) -> str | None:
    value = content.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        raise ValueError(f"{file}, {name}: expected 64 hexadecimal digits or null, got {_show(value)}")
    return value


def _show(value: Any) -> str:
    return repr(value)[:60]


def _check_file(file: Path, description: IndexDescription, digest: str) -> None:
    """Everything that can be known of index.faiss before it is parsed."""
    with file.open("rb") as stream:
        head = stream.read(_HEAD.size)
    if head.startswith(b"version https://git-lfs"):
        raise ValueError(f"{file}: expected a FAISS file, got a Git LFS pointer; download the file itself")
    least, most = _file_sizes(description)
    size = file.stat().st_size
    if not least <= size <= most:
        raise ValueError(
            f"{file}: expected {least} to {most} bytes for {description.count} x {description.dimension}, "
            f"got {size}; download or build it again"
        )
    code, dimension, count, _, _, _, metric = _HEAD.unpack(head)
    expected = (
        fourcc(description.kind),
        description.dimension,
        description.count,
        faiss.METRIC_INNER_PRODUCT,
    )
    if (code, dimension, count, metric) != expected:
        raise ValueError(
            f"{file}: expected (class, dimension, count, metric) {expected} as {DESCRIPTION_FILE} says, "
            f"got {(code, dimension, count, metric)}; build the index again"
        )
    found = file_sha256(file)
    if found != digest:
        raise ValueError(
            f"{file}: expected the SHA-256 {digest} that {DESCRIPTION_FILE} names, got {found}; "
            "the file is damaged or of another save, download or build it again"
        )


def _file_sizes(description: IndexDescription) -> tuple[int, int]:
    """Least and greatest size in bytes that index.faiss can have."""
    vectors = description.count * description.dimension * 4
    if description.kind == "flat":
        return vectors + _HEAD.size, vectors + 1024
    # An entity has two sets of links on the lowest layer, less than one on average above, a level and an offset.
    graph = description.count * (4 * (2 * MOST_LINKS + MOST_LINKS) + 12)
    return vectors + _HEAD.size, vectors + graph + _SPARE_BYTES


_limits_lock = threading.Lock()


@contextmanager
def parser_limits(size: int) -> Iterator[None]:
    """Keeps FAISS's parser from allocating more than the file can fill; the limits are the process's."""
    with _limits_lock:
        before = faiss.get_deserialization_vector_byte_limit(), faiss.get_deserialization_loop_limit()
        faiss.set_deserialization_vector_byte_limit(size)
        faiss.set_deserialization_loop_limit(size)
        try:
            yield
        finally:
            faiss.set_deserialization_vector_byte_limit(before[0])
            faiss.set_deserialization_loop_limit(before[1])


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
