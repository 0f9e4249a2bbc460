"""The knowledge base: the entities that mentions are linked to, in a fixed order, on disk.

Rows lie in a memory-mapped Arrow file (`entity_table`), so a knowledge base of millions of entities opens
at once and its texts stay out of memory until they are asked for. `entity_row` is an integer position,
`entity_id` the string id; the entity index uses the same rows. Knowledge bases are imported from JSON
lines, parquet, datasets or Python objects, and saved as parquet shards, which is also their form on the
Hub.
"""

import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from .entity_id_lookup import EntityIdLookup
from .entity_import import import_records
from .entity_readers import Paths, Place, read_dataset, read_entities, read_json_lines, read_parquet
from .entity_records import ROW_FIELDS
from .entity_rows import as_rows
from .entity_table import EntityTable
from .file_hash import file_sha256
from .full_disk import naming_the_disk
from .hub_transfer import HubTarget, local_folder, push_saved
from .knowledge_base_shards import FINGERPRINT_KEY, open_shards, write_shards
from .linking_types import Entity

_READ_ROWS = 1024


class KnowledgeBase:
    """Entities in rows; made by one of the `from_…` constructors.

    Args:
        table_path: Arrow file that `EntityTableWriter` wrote.
        owned_folder: Temporary folder that is removed with this object; None if the file stays.
    """

    def __init__(
        self, table_path: str | os.PathLike[str], *, owned_folder: str | os.PathLike[str] | None = None
    ) -> None:
        self._open(Path(table_path))
        if owned_folder is not None:
            weakref.finalize(self, _remove_folder, os.fspath(owned_folder), os.getpid())

    def _open(self, path: Path) -> None:
        self._path = path
        self._table = EntityTable(path)
        self._fingerprint = self._table.metadata.get(FINGERPRINT_KEY)
        self._lookup: EntityIdLookup | None = None
        self._world_codes: tuple[list[str], np.ndarray] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A copy in another process maps the same file; it owns no folder, and hashes the ids anew.
        return {"path": self._path, "fingerprint": self._fingerprint}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._open(state["path"])
        self._fingerprint = state["fingerprint"]

    @classmethod
    def from_jsonl(
        cls, paths: Paths, *, world: str | None = None, cache_dir: str | os.PathLike[str] | None = None
    ) -> Self:
        """Reads entities from files with one JSON object a line, plain or gzip-compressed.

        Args:
            paths: One path or several. Known fields: id / entity_id / idx, title / name / label / entity,
                description / text, aliases / synonyms, world, url; all others go to `metadata`.
            world: World of entities that name none.
            cache_dir: Where the Arrow file is kept; None means a temporary folder.

        Raises:
            FileNotFoundError: if a file is missing.
            ValueError: if records are bad (one error for all of them), or there are none.
            OSError: if the disk of the Arrow file is full.
        """
        return cls.from_records(read_json_lines(paths), world, cache_dir)

    @classmethod
    def from_parquet(
        cls, paths: Paths, *, world: str | None = None, cache_dir: str | os.PathLike[str] | None = None
    ) -> Self:
        """Reads entities from parquet files; fields and errors as in `from_jsonl`."""
        return cls.from_records(read_parquet(paths), world, cache_dir)

    @classmethod
    def from_dataset(
        cls, dataset: Any, *, world: str | None = None, cache_dir: str | os.PathLike[str] | None = None
    ) -> Self:
        """Reads entities from a `datasets.Dataset`; fields and errors as in `from_jsonl`.

        Raises:
            TypeError: if `dataset` has no rows of its own, such as a DatasetDict.
        """
        return cls.from_records(read_dataset(dataset), world, cache_dir)

    @classmethod
    def from_entities(
        cls,
        entities: Iterable[Any],
        *,
        world: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Takes Entity objects or mappings; fields and errors as in `from_jsonl`."""
        return cls.from_records(read_entities(entities), world, cache_dir)

    @classmethod
    def from_records(
        cls,
        records: Iterable[tuple[Place, Any]],
        world: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Takes what a reader of `entity_readers` yields, records with their places; the rest as in `from_jsonl`."""
        if cache_dir is not None:
            Path(cache_dir).mkdir(parents=True, exist_ok=True)
        advice = "free some space there or pass cache_dir= with another folder"
        folder = tempfile.mkdtemp(prefix="hf_blink_entities_", dir=cache_dir)
        try:
            file = Path(folder) / "entities.arrow"
            with naming_the_disk(Path(folder).parent, "the entities", advice):
                import_records(records, file, world)
            if cache_dir is None:
                return cls(file, owned_folder=folder)
            # Named by its content, so that the same entities again take no further space.
            kept = Path(cache_dir) / f"entities-{file_sha256(file)}.arrow"
            os.replace(file, kept)
            shutil.rmtree(folder)
            return cls(kept)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str],
        *,
        cache_dir: str | os.PathLike[str] | None = None,
        repo_type: str = "dataset",
        **hub_options: Any,
    ) -> Self:
        """Opens a folder that `save_pretrained` wrote, or a repository that `push_to_hub` made.

        Args:
            path: Folder or Hub name with `entities-….parquet`.
            cache_dir: Where the mapped form of the shards is kept, and what is downloaded; None means the Hugging Face
                cache. If that cannot be written, a temporary folder is used and a warning is logged.
            repo_type: Of the repository: `dataset` or `model`.
            **hub_options: `revision`, `token`, `local_files_only`.

        Raises:
            FileNotFoundError: if there is no such folder or repository, or shards are missing.
            ValueError: if a shard is damaged or holds something else.
        """
        options = {"repo_type": repo_type, "cache_dir": cache_dir, **hub_options}
        folder = local_folder(path, "a knowledge base", ("entities-*.parquet",), **options)
        table, temporary = open_shards(folder, cache_dir)
        return cls(table, owned_folder=temporary)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Writes parquet shards `entities-00000-of-0000N.parquet`, replacing those of an earlier save.

        Returns:
            The files that were written.
        """
        return write_shards(self._table, folder, self.fingerprint)

    def push_to_hub(self, repo_id: str, *, repo_type: str = "dataset", **target: Any) -> Any:
        """Uploads the shards as one commit to a repository of their own, where people can look at them as a data set.

        Options and errors as in `EntityLinker.push_to_hub`; `load_dataset(repo_id)` reads it without hf_blink.
        """
        return push_saved(self, HubTarget(repo_id, repo_type, **target), older="entities-*.parquet")

    @property
    def fingerprint(self) -> str:
        """SHA-256 over entity_id, title and description of all rows, in order."""
        if self._fingerprint is None:
            self._fingerprint = self._table.content_fingerprint()
        return self._fingerprint

    def __len__(self) -> int:
        return len(self._table)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} entities)"

    def __getitem__(self, row: int) -> Entity:
        if not -len(self) <= row < len(self):
            raise IndexError(f"expected an entity row under {len(self)}, got {row}")
        return self.entities([row % len(self)])[0]

    def __iter__(self) -> Iterator[Entity]:
        for start in range(0, len(self), _READ_ROWS):
            yield from self.entities(range(start, min(start + _READ_ROWS, len(self))))

    def __contains__(self, entity_id: object) -> bool:
        return isinstance(entity_id, str) and bool(self.find_rows([entity_id])[0] >= 0)

    def entities(self, rows: Iterable[int] | np.ndarray) -> list[Entity]:
        """The entities of the rows, in the order of `rows`."""
        wanted = as_rows(rows, len(self))
        columns = self._table.take(ROW_FIELDS, wanted)
        return [
            Entity(entity_id, title, description, tuple(aliases), world, url, self._metadata(text, row))
            for row, entity_id, title, description, aliases, world, url, text in zip(
                wanted.tolist(), *columns, strict=True
            )
        ]

    def _metadata(self, text: str, row: int) -> dict[str, Any]:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise ValueError(f"entity row {row}, metadata: expected a JSON object, got {text[:60]!r}")
        return value

    def entity_row(self, entity_id: str) -> int:
        """Row of an entity id.

        Raises:
            KeyError: if there is no such entity.
        """
        row = int(self.find_rows([entity_id])[0])
        if row < 0:
            some_id = self.entity_ids([0])[0]
            raise KeyError(
                f"no entity with the id {entity_id!r} among {len(self)}; ids look like {some_id!r}"
            )
        return row

    def find_rows(self, entity_ids: Sequence[str]) -> np.ndarray:
        """Rows of entity ids, int64 [num_ids]; -1 where an id is unknown."""
        if self._lookup is None:
            self._lookup = EntityIdLookup(self._table)
        return self._lookup.find(entity_ids)

    def entity_ids(self, rows: Iterable[int] | np.ndarray) -> list[str]:
        """Entity ids of the rows."""
        return self._table.take(["entity_id"], rows)[0]

    def texts(self, start: int, stop: int) -> tuple[list[str], list[str]]:
        """Titles and descriptions of the rows start to stop (exclusive)."""
        return self._table.slice("title", start, stop), self._table.slice("description", start, stop)

    def texts_at(self, rows: Iterable[int] | np.ndarray) -> tuple[list[str], list[str]]:
        """Titles and descriptions of the rows."""
        titles, descriptions = self._table.take(["title", "description"], rows)
        return titles, descriptions

    def names(self, start: int, stop: int) -> list[tuple[str, tuple[str, ...]]]:
        """Title and aliases of the rows start to stop (exclusive)."""
        aliases = self._table.slice("aliases", start, stop)
        return list(zip(self._table.slice("title", start, stop), map(tuple, aliases), strict=True))

    @property
    def worlds(self) -> list[str]:
        """The worlds that entities name, sorted; empty in a knowledge base without worlds."""
        return list(self._worlds()[0])

    def world_rows(self, world: str) -> np.ndarray:
        """Rows of a world's entities in ascending order, int64 [num_rows].

        Raises:
            KeyError: if no entity is of that world.
        """
        names, codes = self._worlds()
        if world not in names:
            known = ", ".join(map(repr, names[:10])) or "none, as no entity names a world"
            raise KeyError(f"no entities of the world {world!r}; known worlds: {known}")
        return np.flatnonzero(codes == names.index(world)).astype(np.int64)

    def _worlds(self) -> tuple[list[str], np.ndarray]:
        """Sorted world names, and each row's position among them, int32 [num_entities] (-1 = no world)."""
        if self._world_codes is None:
            pieces = pa.chunked_array(list(self._table.column("world")), pa.string())
            names = sorted(name for name in pieces.unique().to_pylist() if name is not None)
            codes = [pa.compute.index_in(piece, pa.array(names, pa.string())) for piece in pieces.chunks]
            filled = [piece.fill_null(-1).to_numpy(zero_copy_only=False) for piece in codes]
            self._world_codes = names, np.concatenate(filled)
        return self._world_codes


def _remove_folder(folder: str, process: int) -> None:
    if os.getpid() == process:  # a forked worker holds a copy of the object, and the file is not its own
        shutil.rmtree(folder, ignore_errors=True)
