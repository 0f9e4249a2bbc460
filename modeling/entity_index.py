"""The entity index: finds the entities whose vectors are nearest to a mention's, by inner product.

Row i of the index is row i of the knowledge base. An index remembers the fingerprints of the encoder and
the knowledge base that it was built from, and `check` refuses others: vectors of another encoder would rank
at random without any error. A search can be restricted to rows (a world); it is then exact for every kind
of index. Kinds are described in `index_kinds`, files in `index_storage`.
"""

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Self

import numpy as np
from tqdm.auto import tqdm

from .entity_rows import as_rows
from .exact_search import exact_search
from .hub_transfer import HubTarget, local_folder, push_saved
from .index_kinds import (
    build_faiss_index,
    faiss_copy,
    refuse_bad_vectors,
    resolve_kind,
    search_faiss_index,
    settings_of_index,
    stored_vectors,
)
from .index_storage import DESCRIPTION_FILE, INDEX_FILE, IndexDescription, read_index, write_index

# Texts and token ids of this many entities are in memory at once; sorting by length pays within such a block.
_ENCODED_ROWS = 8192
INDEX_FILES = (INDEX_FILE, DESCRIPTION_FILE)


class EntityIndex:
    """Vectors of all entities, searchable; made by `build`, `from_vectors` or `from_pretrained`.

    Args:
        faiss_index: What `index_kinds.build_faiss_index` made.
        description: Kind, sizes and fingerprints.
    """

    def __init__(self, faiss_index: Any, description: IndexDescription) -> None:
        self._faiss_index = faiss_index
        self._description = description

    @classmethod
    def build(
        cls, model: Any, processor: Any, knowledge_base: Any, *, kind: str = "auto", progress: bool = True
    ) -> Self:
        """Encodes every entity of a knowledge base and indexes the vectors.

        Args:
            model: Bi-encoder.
            processor: Its processor.
            knowledge_base: The entities.
            kind: "flat", "hnsw" or "auto" (by the number of entities).
            progress: Show a progress bar.

        Raises:
            ValueError: if the kind is unknown, or a vector is NaN, infinite or zero.
        """
        from .batch_encoding import encode_entities  # an index is loaded and searched without torch
        from .encoder_fingerprint import encoder_fingerprint

        count = len(knowledge_base)
        kind = resolve_kind(kind, count)
        fingerprint = encoder_fingerprint(model, processor)
        vectors: np.ndarray | None = None
        with tqdm(total=count, desc="Encoding entities", unit=" entities", disable=not progress) as bar:
            for start in range(0, count, _ENCODED_ROWS):
                titles, descriptions = knowledge_base.texts(start, min(start + _ENCODED_ROWS, count))
                block = encode_entities(model, processor, titles, descriptions, progress=bar.update)
                refuse_bad_vectors(block, start)
                if vectors is None:
                    vectors = np.empty((count, block.shape[1]), np.float32)
                vectors[start : start + len(block)] = block
        if vectors is None:
            raise ValueError("expected a knowledge base with at least one entity, got an empty one")
        return cls.from_vectors(
            vectors,
            kind=kind,
            encoder_fingerprint=fingerprint,
            knowledge_base_fingerprint=knowledge_base.fingerprint,
        )

    @classmethod
    def from_vectors(
        cls,
        vectors: np.ndarray,
        *,
        kind: str = "flat",
        encoder_fingerprint: str | None = None,
        knowledge_base_fingerprint: str | None = None,
    ) -> Self:
        """Indexes vectors that are already there.

        Args:
            vectors: [num_entities, embed_dim], row i for entity row i; kept as float32.
            kind: "flat", "hnsw" or "auto".
            encoder_fingerprint: Of the encoder that made them; without it, a linker refuses the index.
            knowledge_base_fingerprint: Of the knowledge base, likewise.

        Raises:
            ValueError: if the shape is wrong, or a vector is NaN, infinite or zero.
        """
        with np.errstate(over="ignore"):
            matrix = np.ascontiguousarray(vectors, dtype=np.float32)
        if matrix.ndim != 2 or 0 in matrix.shape:
            raise ValueError(f"expected vectors of shape [num_entities, embed_dim], got {list(matrix.shape)}")
        refuse_bad_vectors(matrix)
        kind = resolve_kind(kind, len(matrix))
        description = IndexDescription(
            kind, matrix.shape[1], len(matrix), encoder_fingerprint, knowledge_base_fingerprint
        )
        return cls(build_faiss_index(kind, matrix), description)

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str],
        *,
        encoder_fingerprint: str | None = None,
        knowledge_base_fingerprint: str | None = None,
        **hub_options: Any,
    ) -> Self:
        """Reads a folder that `save_pretrained` wrote, or a repository that `push_to_hub` made.

        Args:
            path: Folder or Hub name with index.faiss and index.json.
            encoder_fingerprint: The index must be of this encoder; None leaves that unchecked.
            knowledge_base_fingerprint: The index must be of this knowledge base; None leaves that unchecked.
            **hub_options: `revision`, `token`, `cache_dir`, `local_files_only`.

        Raises:
            FileNotFoundError: if there is no such folder or repository, or a file is missing.
            ValueError: if a file is damaged or unsafe, or a fingerprint differs.
        """
        index = cls(*read_index(local_folder(path, "an entity index", INDEX_FILES, **hub_options)))
        index.check(
            encoder_fingerprint=encoder_fingerprint, knowledge_base_fingerprint=knowledge_base_fingerprint
        )
        return index

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Writes index.faiss and index.json; each replaces an older one whole."""
        write_index(self._faiss_index, self._description, folder)

    def push_to_hub(self, repo_id: str, **target: Any) -> Any:
        """Uploads the index as one commit to a repository of its own; options and errors as in `EntityLinker.push_to_hub`."""
        return push_saved(self, HubTarget(repo_id, **target))

    def check(
        self, *, encoder_fingerprint: str | None = None, knowledge_base_fingerprint: str | None = None
    ) -> None:
        """Refuses an encoder or a knowledge base that the index was not built from; None is not compared.

        Raises:
            ValueError: if a fingerprint differs, or the index does not record it.
        """
        pairs = (
            ("encoder", self.encoder_fingerprint, encoder_fingerprint),
            ("knowledge base", self.knowledge_base_fingerprint, knowledge_base_fingerprint),
        )
        for name, recorded, given in pairs:
            if given is not None and given != recorded:
                raise ValueError(
                    f"the index was built with another {name}: expected the fingerprint {given}, "
                    f"the index names {recorded}; rebuild it with EntityIndex.build or `hf-blink build`"
                )

    @property
    def kind(self) -> str:
        """ "flat" or "hnsw"."""
        return self._description.kind

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return self._description.dimension

    @property
    def faiss_index(self) -> Any:
        """The FAISS index itself, to be read; row i is entity row i."""
        return self._faiss_index

    @property
    def settings(self) -> dict[str, int]:
        """What it was built with and is searched with; empty for flat."""
        return settings_of_index(self._faiss_index)

    @property
    def encoder_fingerprint(self) -> str | None:
        """Fingerprint of the encoder that made the vectors; None if not recorded."""
        return self._description.encoder_fingerprint

    @property
    def knowledge_base_fingerprint(self) -> str | None:
        """Fingerprint of the knowledge base; None if not recorded."""
        return self._description.knowledge_base_fingerprint

    def __len__(self) -> int:
        return self._description.count

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.kind}, {len(self)} entities x {self.dimension})"

    def vectors(self, rows: Iterable[int] | np.ndarray) -> np.ndarray:
        """Vectors of entity rows, float32 [num_rows, embed_dim].

        Raises:
            IndexError: if a row is outside the index.
        """
        return stored_vectors(self._faiss_index)[as_rows(rows, len(self))]  # a list of rows gives a copy

    def updated(self, kept: np.ndarray, vectors: np.ndarray, knowledge_base_fingerprint: str) -> Self:
        """An index of some of the rows and of new vectors after them; this one stays as it is.

        Where all rows stay, a graph grows by the new ones and is not built anew.

        Args:
            kept: rows that stay, in ascending order.
            vectors: new vectors, [num_new, embed_dim], of the encoder that made the others.
            knowledge_base_fingerprint: of the knowledge base that has the rows of the new index.
        """
        description = replace(
            self._description,
            count=len(kept) + len(vectors),
            knowledge_base_fingerprint=knowledge_base_fingerprint,
        )
        if len(kept) == len(self):
            grown = faiss_copy(self._faiss_index)
            grown.add(np.ascontiguousarray(vectors, np.float32))
            return type(self)(grown, description)
        everything = np.concatenate([self.vectors(kept), vectors.astype(np.float32)])
        return type(self)(build_faiss_index(self.kind, everything), description)

    def search(
        self, vectors: np.ndarray, k: int, *, rows: Iterable[int] | np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The nearest entities of each query.

        Args:
            vectors: Mention vectors [num_queries, embed_dim].
            k: Results a query; cut to the number of (allowed) entities.
            rows: Only these entity rows are allowed; None allows all.

        Returns:
            Inner products float32 and entity rows int64, both [num_queries, k], best first.

        Raises:
            ValueError: if k < 1, the shape is wrong or a query is not finite.
            IndexError: if a row is outside the index.
        """
        queries = self._queries(vectors)
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
            raise ValueError(f"expected k as an integer of at least 1, got {k!r}")
        if rows is not None:
            allowed = np.unique(as_rows(rows, len(self)))
            return exact_search(
                stored_vectors(self._faiss_index), queries, min(int(k), len(allowed)), allowed
            )
        k = min(int(k), len(self))
        if not len(queries):
            return np.zeros((0, k), np.float32), np.zeros((0, k), np.int64)
        scores, found = search_faiss_index(self._faiss_index, queries, k)
        incomplete = np.flatnonzero(
            (found < 0).any(axis=1)
        )  # a graph search may end before it has met k entities
        if incomplete.size:
            everything = np.arange(len(self))
            stored = stored_vectors(self._faiss_index)
            scores[incomplete], found[incomplete] = exact_search(stored, queries[incomplete], k, everything)
        return scores, found

    def _queries(self, vectors: np.ndarray) -> np.ndarray:
        queries = np.ascontiguousarray(vectors, dtype=np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.dimension:
            raise ValueError(
                f"expected query vectors of shape [num_queries, {self.dimension}], got {list(queries.shape)}"
            )
        if not np.isfinite(queries).all():
            raise ValueError(
                "expected finite query vectors, got NaN or infinity; check the encoder's weights and input"
            )
        return queries
