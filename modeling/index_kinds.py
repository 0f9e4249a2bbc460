"""Which FAISS index a kind means, and how it is built and searched. All kinds score by inner product.

* `flat` (IndexFlatIP): exact; 4 bytes a dimension and entity; time grows with the number of entities.
* `hnsw` (IndexHNSWFlat, 32 links): approximate and much faster on millions of entities; some 270 bytes an
  entity more, and minutes to build where flat takes seconds.
* `auto`: flat below `AUTO_FLAT_BELOW` entities, hnsw from there on.

Both keep the vectors as they are, so either can answer exactly for a subset of rows.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import faiss
import numpy as np

KINDS = ("flat", "hnsw")
# A flat search over a million vectors of 384 dimensions takes about 60 ms for one query, and 3 ms a query in
# batches: less than the cross-encoder that follows.
AUTO_FLAT_BELOW = 1_000_000
HNSW_LINKS = 32
MOST_LINKS = 128  # of graphs that others built, such as BLINK's
_HNSW_CONSTRUCTION = 200
_HNSW_SEARCH = 128
_MATRIX_QUERIES = 6
_FOURCC = {"flat": b"IxFI", "hnsw": b"IHNf"}
_CHECKED_ROWS = 65_536


def resolve_kind(kind: str, count: int) -> str:
    """The kind that is built for `count` entities.

    Raises:
        ValueError: if there is no such kind.
    """
    if kind == "auto":
        return "flat" if count < AUTO_FLAT_BELOW else "hnsw"
    if kind not in KINDS:
        raise ValueError(f"expected an index kind out of auto, {', '.join(KINDS)}, got {kind!r}")
    return kind


def fourcc(kind: str) -> bytes:
    """The four bytes that a FAISS file of this kind begins with."""
    return _FOURCC[kind]


def build_faiss_index(kind: str, vectors: np.ndarray) -> Any:
    """An index over float32 [num_entities, embed_dim]; row i of the index is row i of the vectors."""
    dimension = vectors.shape[1]
    if kind == "flat":
        index: Any = faiss.IndexFlatIP(dimension)
    else:
        index = faiss.IndexHNSWFlat(dimension, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _HNSW_CONSTRUCTION
    index.add(vectors)
    return index


def settings_of_index(index: Any) -> dict[str, int]:
    """The parameters that an index was built with and is searched with."""
    if not isinstance(index, faiss.IndexHNSWFlat):
        return {}
    graph: Any = index.hnsw
    breadth = max(_HNSW_SEARCH, graph.efSearch)
    return {"links": graph.nb_neighbors(1), "efConstruction": graph.efConstruction, "efSearch": breadth}


def faiss_copy(index: Any) -> Any:
    """A copy in memory, which can grow without the index."""
    flat: Any = index if isinstance(index, faiss.IndexFlat) else faiss.downcast_index(index.storage)
    if getattr(flat.codes, "is_owned", True):
        return faiss.clone_index(index)
    return faiss.deserialize_index(faiss.serialize_index(index))  # a clone would share the mapped file


def is_of_kind(index: Any, kind: str) -> bool:
    """Whether a FAISS index (and what it stores its vectors in) is what `build_faiss_index` makes."""
    if kind == "flat":
        storage = index if type(index) in (faiss.IndexFlat, faiss.IndexFlatIP) else None
    else:
        storage = _hnsw_storage(index) if type(index) is faiss.IndexHNSWFlat else None
    return storage is not None and all(
        part.metric_type == faiss.METRIC_INNER_PRODUCT
        and (part.d, part.ntotal) == (index.d, index.ntotal)
        and part.is_trained
        for part in (index, storage)
    )


def _hnsw_storage(index: Any) -> Any:
    storage = faiss.downcast_index(index.storage) if index.storage is not None else None
    return storage if type(storage) in (faiss.IndexFlat, faiss.IndexFlatIP) else None


def stored_vectors(index: Any) -> np.ndarray:
    """The vectors of an index, float32 [num_entities, embed_dim]: a view, valid while the index lives."""
    flat: Any = index if isinstance(index, faiss.IndexFlat) else faiss.downcast_index(index.storage)
    return faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(flat.ntotal, flat.d)


def search_faiss_index(index: Any, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Searches the whole index.

    Args:
        index: Index of either kind.
        queries: float32 [num_queries, embed_dim], in C order.
        k: Results a query, at most the number of entities.

    Returns:
        Scores float32 and rows int64, both [num_queries, k], best first; hnsw may find less than k
        and fills up with row -1.
    """
    if isinstance(index, faiss.IndexHNSWFlat):
        breadth = max(2 * k, _HNSW_SEARCH, index.hnsw.efSearch)  # BLINK's files ask for 256
        settings = faiss.SearchParametersHNSW(efSearch=breadth)  # type: ignore[attr-defined]
        return index.search(queries, k, params=settings)
    with _batch_threshold(queries.shape[1]):
        return index.search(queries, k)


class _BatchThreshold:
    """Makes FAISS score batches of 6 queries and more by matrix product; by itself it scans up to hundreds.

    That is 4 to 7 times faster for batches of 32. The switch is a variable of the process: it is set while any
    flat search runs, and restored after the last one. Other users of FAISS who meet it get equal results.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._searches = 0
        self._usual = 0

    @contextmanager
    def __call__(self, dimension: int) -> Iterator[None]:
        with self._lock:
            if self._searches == 0:
                self._usual = faiss.cvar.distance_compute_blas_threshold
            self._searches += 1
            faiss.cvar.distance_compute_blas_threshold = _MATRIX_QUERIES * dimension
        try:
            yield
        finally:
            with self._lock:
                self._searches -= 1
                if self._searches == 0:
                    faiss.cvar.distance_compute_blas_threshold = self._usual


_batch_threshold = _BatchThreshold()


def refuse_bad_vectors(vectors: np.ndarray, first_row: int = 0) -> None:
    """Checks that vectors can be compared: NaN hides an entity for ever, zero is as near to everything.

    Args:
        vectors: float32 [num_vectors, embed_dim].
        first_row: Entity row of the first vector.

    Raises:
        ValueError: if one is NaN, infinite or zero; names the first entity rows.
    """
    bad: list[int] = []
    for start in range(0, len(vectors), _CHECKED_ROWS):
        block = vectors[start : start + _CHECKED_ROWS]
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.einsum("ij,ij->i", block, block)
        bad += (np.flatnonzero(~(np.isfinite(squares) & (squares > 0))) + start + first_row).tolist()
    if bad:
        raise ValueError(
            f"expected entity vectors that are finite and not zero, got {len(bad)} that are NaN, infinite or "
            f"zero, at entity rows {bad[:10]}; check the encoder's weights and those entities' texts"
        )
