"""Reads the index files of BLINK and ELQ as indexes of ours: inner product, row i for entity i, vectors left on disk.

The originals' `faiss_*_index.pkl` are no pickles but FAISS's own files:

    IndexFlatIP(d)                 both: taken as it is
    IndexHNSWFlat(d + 1, L2)       BLINK: each vector e got one more number, sqrt(phi - |e|^2), so that all have the length
                                   sqrt(phi) and the nearest by L2 is the best by inner product: |q - e|^2 = phi + |q|^2 - 2 q.e
    IndexHNSWFlat(d, IP)           ELQ: taken as it is
    IndexIVFFlat(d, IP)            ELQ: its vectors become a flat index

BLINK's trick is undone without building the graph anew: its last column is dropped, and the same graph searched by
inner product visits the same entities in the same order, since the two scores differ by a constant a query.

As everywhere in this package, the head of a file is compared before FAISS's parser runs, and the parser runs under byte
limits.
"""

import os
import struct
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from hf_blink.modeling.entity_index import EntityIndex
from hf_blink.modeling.full_disk import naming_the_disk
from hf_blink.modeling.index_kinds import refuse_bad_vectors, stored_vectors
from hf_blink.modeling.index_storage import IndexDescription, parser_limits
from hf_blink.original_files import existing_file

# Class, d, ntotal, two unused numbers, is_trained, metric: what every FAISS file begins with.
_HEAD = struct.Struct("<4siqqq?i")
_CLASSES = {b"IxFI": "flat", b"IxF2": "flat", b"IHNf": "hnsw", b"IwFl": "ivfflat"}
_FORM = {
    "flat": (faiss.IndexFlatIP,),
    "hnsw": (faiss.IndexHNSWFlat,),
    "ivfflat": (faiss.IndexIVFFlat,),
}
_UNUSED = 1 << 20
_BLOCK_ROWS = 16_384
_SAME_LENGTH = 1e-3  # relative; the originals computed the additional number in float32


def import_blink_index(
    path: str | os.PathLike[str],
    dimension: int,
    *,
    count: int | None = None,
    encoder_fingerprint: str | None = None,
    knowledge_base_fingerprint: str | None = None,
    scratch: str | os.PathLike[str] | None = None,
) -> EntityIndex:
    """Reads BLINK's or ELQ's FAISS file as an index by inner product; its vectors stay on disk.

    Args:
        path: `faiss_flat_index.pkl`, `faiss_hnsw_index.pkl` or ELQ's `faiss_ivfflat_index.pkl`.
        dimension: of the encoder's vectors.
        count: number of entities; None leaves that unchecked.
        encoder_fingerprint: of the encoder that made it; without it, a linker refuses the index.
        knowledge_base_fingerprint: of its entities, likewise.
        scratch: folder with room for a copy of the vectors; None is the system's for temporary files.

    Raises:
        FileNotFoundError, ValueError: see `read_original_index`.
    """
    folder = None if scratch is None else os.fspath(scratch)
    kind, index = read_original_index(path, dimension, count, folder)
    description = IndexDescription(
        kind, dimension, index.ntotal, encoder_fingerprint, knowledge_base_fingerprint
    )
    return EntityIndex(index, description)


def read_original_index(
    path: str | os.PathLike[str], dimension: int, count: int | None = None, scratch: str | None = None
) -> tuple[str, Any]:
    """Reads an index file of BLINK or ELQ.

    Args:
        path: `faiss_flat_index.pkl`, `faiss_hnsw_index.pkl` or `faiss_ivfflat_index.pkl`.
        dimension: of the encoder's vectors; it tells BLINK's graph from ELQ's.
        count: number of entities; None leaves that unchecked.
        scratch: folder with room for a copy of the vectors, which is taken for BLINK's graph and for an ivfflat index;
            None is the system's folder for temporary files.

    Returns:
        The kind, "flat" or "hnsw", and a FAISS index by inner product. Its vectors are mapped from disk: nothing can be
        added to it before it has been saved and read again.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no FAISS file, of another kind, dimension or number of entities, or damaged.
    """
    file = existing_file(path, "a FAISS index")
    found = _checked_head(file, dimension, count)
    with parser_limits(file.stat().st_size):
        try:
            index = faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC)
        except (RuntimeError, MemoryError) as error:
            first = (str(error).splitlines() or [""])[0][:200]
            raise ValueError(f"{file}: expected a sound FAISS file, the parser says: {first}") from error
    if type(index) not in _FORM[found]:
        raise ValueError(f"{file}: expected a {found} index, got a {type(index).__name__}")
    if found == "flat":
        refuse_bad_vectors(stored_vectors(index))
        return "flat", index
    if found == "ivfflat":
        return "flat", mapped_index(_ivf_blocks(index), index.ntotal, index.d, scratch)
    if index.metric_type == faiss.METRIC_L2:
        return "hnsw", _by_inner_product(file, index, scratch)
    refuse_bad_vectors(stored_vectors(index))
    return "hnsw", index


def _checked_head(file: Path, dimension: int, count: int | None) -> str:
    """The kind of the file, after everything that its first bytes tell has been compared."""
    with file.open("rb") as stream:
        head = stream.read(_HEAD.size)
    code = head[:4]
    if len(head) < _HEAD.size or code not in _CLASSES:
        pickled = "a pickle, which is not read here" if head.startswith(b"\x80") else f"a file of {code!r}"
        raise ValueError(
            f"{file}: expected an index that faiss.write_index wrote (IndexFlatIP, IndexHNSWFlat or IndexIVFFlat, as BLINK "
            f"and ELQ do, whatever their files are called), got {pickled}; index the encodings instead (--encodings)"
        )
    _, found_dimension, found_count, _, _, _, metric = _HEAD.unpack(head)
    kind = _CLASSES[code]
    augmented = kind == "hnsw" and metric == faiss.METRIC_L2
    if metric != faiss.METRIC_INNER_PRODUCT and not augmented:
        raise ValueError(
            f"{file}: expected an index by inner product, or BLINK's HNSW by L2, got a {kind} index of the metric {metric}"
        )
    expected = dimension + augmented
    if found_dimension != expected:
        more = " (one more than the encoder's, BLINK's HNSW)" if augmented else ""
        raise ValueError(
            f"{file}: expected vectors of {expected} dimensions{more}, got {found_dimension}; the index is another encoder's"
        )
    if count is not None and found_count != count:
        raise ValueError(
            f"{file}: expected an index of {count} entities, as the catalogue has, got {found_count}; they do not belong "
            "together"
        )
    return kind


def _by_inner_product(file: Path, augmented: Any, scratch: str | None) -> Any:
    """The same graph over the vectors without their additional number."""
    vectors = stored_vectors(augmented)
    lengths = [(block * block).sum(axis=1, dtype=np.float64) for block in vector_blocks(vectors)]
    squares = np.concatenate(lengths)
    if not (squares > 0).all() or np.ptp(squares) > _SAME_LENGTH * squares.max():
        raise ValueError(
            f"{file}: expected BLINK's HNSW index, whose {augmented.d}-dimensional vectors all have one length, got lengths "
            f"from {squares.min() ** 0.5:.4g} to {squares.max() ** 0.5:.4g}; index the encodings instead (--encodings)"
        )
    dimension = augmented.d - 1
    storage = mapped_index(
        (block[:, :-1] for block in vector_blocks(vectors)), len(vectors), dimension, scratch
    )
    index = faiss.IndexHNSWFlat(dimension, augmented.hnsw.nb_neighbors(1), faiss.METRIC_INNER_PRODUCT)
    index.hnsw = augmented.hnsw
    if hasattr(index.hnsw, "is_similarity"):
        index.hnsw.is_similarity = True
    index.storage, index.own_fields, index.ntotal = storage, True, storage.ntotal
    storage.this.disown()  # the graph owns it now
    return index


def mapped_index(
    blocks: Iterable[np.ndarray], count: int, dimension: int, scratch: str | os.PathLike[str] | None = None
) -> Any:
    """A flat index by inner product whose vectors stay on disk, in a file without a name.

    Args:
        blocks: float32 `[num_rows, dimension]`, together `count` rows.
        count: number of vectors.
        dimension: of the vectors.
        scratch: folder for the file; None is the system's.

    Raises:
        ValueError: a vector is NaN, infinite or zero.
        OSError: the disk is full.
    """
    folder = os.fspath(scratch or tempfile.gettempdir())
    with (
        naming_the_disk(folder, "a copy of the vectors", "free some space there"),
        tempfile.TemporaryDirectory(prefix=".vectors-", dir=folder, ignore_cleanup_errors=True) as unfinished,
    ):
        file = Path(unfinished) / "vectors.faiss"
        row = 0
        with file.open("wb") as stream:
            metric = faiss.METRIC_INNER_PRODUCT
            stream.write(_HEAD.pack(b"IxFI", dimension, count, _UNUSED, _UNUSED, True, metric))
            stream.write(struct.pack("<Q", count * dimension))
            for block in blocks:
                contiguous = np.ascontiguousarray(block, np.float32)
                refuse_bad_vectors(contiguous, row)
                stream.write(contiguous.data)
                row += len(contiguous)
        return faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC)  # stays mapped when the name is gone


def vector_blocks(vectors: Any) -> Iterable[np.ndarray]:
    """A matrix of NumPy or torch, mapped perhaps, in blocks of rows."""
    for start in range(0, len(vectors), _BLOCK_ROWS):
        yield np.asarray(vectors[start : start + _BLOCK_ROWS])


def _ivf_blocks(index: Any) -> Iterable[np.ndarray]:
    index.make_direct_map()
    for start in range(0, index.ntotal, _BLOCK_ROWS):
        yield index.reconstruct_n(start, min(_BLOCK_ROWS, index.ntotal - start))
