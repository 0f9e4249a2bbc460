"""Knowledge bases as parquet shards, the form in which they lie on the Hub.

`write_shards` writes `entities-00000-of-0000N.parquet`; each file names the fingerprint of the whole
content and its rows. `open_shards` turns them into a mapped Arrow file once: a cache folder is named by the
SHA-256 of the shards' bytes, so that a second load only hashes the files and maps the table.

What is trusted: nothing that a shard says about itself. Column types, nulls, UTF-8, repeated ids and the
fingerprint are checked while the cache file is written. The cache itself is trusted, like the rest of the
user's own cache folder: its fingerprint is taken as it stands. As the cache is keyed by the bytes of the
shards and not by the fingerprint that they claim, a repository cannot put its entities in another one's
place.
"""

import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .entity_import import refuse_empty, report_duplicates
from .entity_records import RecordProblems
from .entity_table import SCHEMA, ContentHasher, EntityTable, EntityTableWriter
from .file_hash import file_sha256
from .full_disk import naming_the_disk

logger = logging.getLogger(__name__)

FINGERPRINT_KEY = "hf_blink.fingerprint"
_ROWS_KEY = "hf_blink.rows"
_VERSION_KEY = "hf_blink.format_version"
FORMAT_VERSION = 1
_SHARD_ROWS = 500_000
_SHARD_BYTES = 2**30
_READ_ROWS = 4096
_SHARD_NAME = re.compile(r"entities-(\d{5})-of-(\d{5})\.parquet")
_TABLE_NAME = "entities.arrow"


class OpenedShards(NamedTuple):
    """The table file, and the temporary folder it lies in (None if it lies in a cache that stays)."""

    path: Path
    temporary_folder: Path | None


def write_shards(table: EntityTable, folder: str | os.PathLike[str], fingerprint: str) -> list[Path]:
    """Writes the table as parquet shards; shards of an earlier save are replaced.

    All shards are written under temporary names first, so a failure leaves the earlier save as it was.

    Returns:
        The files, in order.

    Raises:
        OSError: the disk is full; the earlier save is as it was.
    """
    advice = "free some space there or choose another folder; an older knowledge base is as it was"
    with naming_the_disk(folder, "the knowledge base", advice):
        Path(folder).mkdir(parents=True, exist_ok=True)
        return _write(table, Path(folder), fingerprint)


def _write(table: EntityTable, target: Path, fingerprint: str) -> list[Path]:
    plan = _plan(table)
    facts = {_VERSION_KEY: str(FORMAT_VERSION), FINGERPRINT_KEY: fingerprint, _ROWS_KEY: str(len(table))}
    files = [target / f"entities-{i:05d}-of-{len(plan):05d}.parquet" for i in range(len(plan))]
    with tempfile.TemporaryDirectory(prefix=".entities-", dir=target) as unfinished:
        for file, batches in zip(files, plan, strict=True):
            schema = SCHEMA.with_metadata(facts)
            with pq.ParquetWriter(
                Path(unfinished) / file.name, schema, compression="zstd", use_dictionary=["world"]
            ) as writer:
                for batch in batches:
                    writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
        for file in files:
            os.replace(Path(unfinished) / file.name, file)
    for old in target.iterdir():
        if _SHARD_NAME.fullmatch(old.name) and old not in files:
            old.unlink()
    return files


def _plan(table: EntityTable) -> list[list[pa.RecordBatch]]:
    """Batches of each shard."""
    plan: list[list[pa.RecordBatch]] = [[]]
    rows = size = 0
    for batch in table.batches:
        if plan[-1] and (rows + batch.num_rows > _SHARD_ROWS or size + batch.nbytes > _SHARD_BYTES):
            plan.append([])
            rows = size = 0
        plan[-1].append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
    return plan


def find_shards(folder: str | os.PathLike[str]) -> list[Path]:
    """The parquet shards of a folder, in order.

    Raises:
        FileNotFoundError: if there are none, or some are missing.
        ValueError: if shards of two saves lie side by side.
    """
    where = Path(folder)
    matches = [m for m in map(_SHARD_NAME.fullmatch, os.listdir(where) if where.is_dir() else []) if m]
    if not matches:
        inside = where / "knowledge_base"  # of a linker's folder
        advice = (
            f"name '{inside}', which has them"
            if inside.is_dir()
            else "write them with KnowledgeBase.save_pretrained"
        )
        raise FileNotFoundError(
            f"expected entities-00000-of-0000N.parquet in '{where}', found none; {advice}"
        )
    counts = {int(match[2]) for match in matches}
    if len(counts) > 1:
        raise ValueError(
            f"expected the shards of one save in '{where}', found sets of {sorted(counts)} shards"
        )
    found = {int(match[1]): match[0] for match in matches}
    missing = [i for i in range(counts.pop()) if i not in found]
    if missing:
        raise FileNotFoundError(
            f"'{where}': shard(s) {missing[:10]} of {len(found) + len(missing)} are missing; "
            "download the folder again"
        )
    return [where / found[i] for i in sorted(found)]


def open_shards(
    folder: str | os.PathLike[str], cache_dir: str | os.PathLike[str] | None = None
) -> OpenedShards:
    """Maps the table of a folder of shards, converting it first if the cache does not hold it.

    Args:
        folder: Folder that `write_shards` filled.
        cache_dir: Where converted tables are kept; None means `hf_blink/knowledge_bases` under HF_HOME.

    Raises:
        FileNotFoundError: if shards are missing.
        ValueError: if the shards do not hold what they should; names the file and the column.
        OSError: the disk is full; names the cache folder.
    """
    shards = find_shards(folder)
    key = _content_key(shards)
    place, temporary = _cache_place(cache_dir, key)
    file = place / _TABLE_NAME
    if file.is_file():
        try:
            EntityTable(file)
            return OpenedShards(file, temporary)
        except (ValueError, OSError) as error:
            logger.warning("'%s' is damaged (%s) and is written anew", file, error)
    try:
        advice = "free some space there, pass cache_dir= or set HF_HOME"
        with naming_the_disk(place, "the mapped form of the knowledge base", advice):
            _convert_atomically(shards, file)
        return OpenedShards(file, temporary)
    except BaseException:
        if temporary is not None:
            temporary.rmdir()
        raise


def _convert_atomically(shards: list[Path], file: Path) -> None:
    """Two processes may do this at once: each writes a file of its own, and the last one stays."""
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=file.parent) as unfinished:
        _convert(shards, Path(unfinished) / file.name)
        os.replace(Path(unfinished) / file.name, file)


def _content_key(shards: list[Path]) -> str:
    key = hashlib.sha256(f"table {FORMAT_VERSION}\n".encode())
    for shard in shards:
        key.update(bytes.fromhex(file_sha256(shard)))
    return key.hexdigest()


def _cache_place(cache_dir: str | os.PathLike[str] | None, key: str) -> tuple[Path, Path | None]:
    """Folder for the converted table, and the same again if it is a temporary one."""
    if cache_dir is None:
        from huggingface_hub import constants

        cache_dir = Path(constants.HF_HOME) / "hf_blink" / "knowledge_bases"
    place = Path(cache_dir) / key
    if (place / _TABLE_NAME).is_file():
        return place, None
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            return place, None
    except OSError as error:
        temporary = Path(tempfile.mkdtemp(prefix="hf_blink_entities_"))
        logger.warning(
            "the cache folder '%s' cannot be written (%s); the entities are unpacked to '%s' "
            "for this run only, pass cache_dir to keep them",
            place, error, temporary,
        )  # fmt: skip
        return temporary, temporary


def _convert(shards: list[Path], path: Path) -> None:
    """Writes the mapped form of the shards, checking everything on the way."""
    facts = [_facts(shard) for shard in shards]
    if any(fact != facts[0] for fact in facts):
        raise ValueError(
            f"'{shards[0].parent}' mixes shards of different saves; download or save the folder again"
        )
    hasher, named = ContentHasher(), facts[0].get(FINGERPRINT_KEY)
    with EntityTableWriter(path, {FINGERPRINT_KEY: named} if named else None) as writer:
        for shard in shards:
            for batch in _checked_batches(shard):
                hasher.update(batch)
                writer.write_batch(batch)
    if named is not None and named != hasher.hexdigest():
        raise ValueError(
            f"'{shards[0].parent}': expected entities with the fingerprint {named} that the shards name, got "
            f"{hasher.hexdigest()}; the files were changed: use KnowledgeBase.from_parquet, save anew"
        )
    table, problems = EntityTable(path), RecordProblems()
    report_duplicates(table, lambda row: f"{shards[0].parent}, row {row}", problems)
    problems.raise_if_any()
    refuse_empty(table)


def _facts(shard: Path) -> dict[str, str]:
    """What a shard says about its save; refuses formats that this version does not know."""
    try:
        schema = pq.read_schema(shard)
    except (pa.ArrowException, OSError) as error:  # Arrow reports a damaged footer as an OSError
        raise ValueError(
            f"{shard}: expected a parquet file, got a damaged or different one ({error})"
        ) from error
    found = {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, value in (schema.metadata or {}).items()
        if key.startswith(b"hf_blink.")
    }
    version = found.get(_VERSION_KEY, str(FORMAT_VERSION))
    if version != str(FORMAT_VERSION):
        raise ValueError(
            f"{shard}: expected format_version {FORMAT_VERSION}, got {version}; update hf_blink to read it"
        )
    for name in SCHEMA.names:
        if name not in schema.names or not _same_type(schema.field(name).type, SCHEMA.field(name).type):
            got = schema.field(name).type if name in schema.names else "no such column"
            raise ValueError(
                f"{shard}, column '{name}': expected {SCHEMA.field(name).type}, got {got}; "
                "read parquet files of your own with KnowledgeBase.from_parquet"
            )
    return found


def _same_type(one: pa.DataType, other: pa.DataType) -> bool:
    if pa.types.is_list(one) and pa.types.is_list(other):  # the name of a list's items is of no account
        return bool(one.value_type == other.value_type)
    return bool(one == other)


def _checked_batches(shard: Path) -> Iterator[pa.RecordBatch]:
    """Batches of a shard in the layout of `SCHEMA`, each checked."""
    try:
        with pq.ParquetFile(shard) as parquet:
            for batch in parquet.iter_batches(batch_size=_READ_ROWS, columns=SCHEMA.names):
                arrays = [batch.column(field.name).cast(field.type) for field in SCHEMA]
                checked = pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)
                checked.validate(full=True)  # offsets in range, valid UTF-8, no nulls where SCHEMA has none
                _refuse_gaps(checked, shard)
                yield checked
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{shard}: expected a sound parquet file of entities, got: {error}") from error


def _refuse_gaps(batch: pa.RecordBatch, shard: Path) -> None:
    for field in SCHEMA:
        column = batch.column(field.name)
        nulls = column.null_count if not field.nullable else 0
        if field.name == "aliases":
            nulls += column.flatten().null_count
        if nulls:
            raise ValueError(f"{shard}, column '{field.name}': expected no nulls, got {nulls}")
        if field.name in ("entity_id", "title") and pc.any(pc.equal(column, "")).as_py():
            raise ValueError(
                f"{shard}, column '{field.name}': expected texts that are not empty, got an empty one"
            )
