"""FAISS files of BLINK and ELQ as indexes of ours: kinds told apart, BLINK's additional dimension undone."""

import struct
from pathlib import Path

import faiss
import numpy as np
import pytest

from hf_blink.modeling.entity_index import EntityIndex
from hf_blink.modeling.index_kinds import is_of_kind, stored_vectors
from hf_blink.modeling.index_storage import IndexDescription
from hf_blink.original_indexes import mapped_index, read_original_index, vector_blocks

DIM, COUNT = 12, 300


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.standard_normal((COUNT, DIM)) * rng.uniform(0.2, 3, (COUNT, 1))).astype(np.float32)


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((20, DIM)).astype(np.float32)


def augmented(vectors: np.ndarray) -> np.ndarray:
    """BLINK's additional number: all vectors get the length of the longest."""
    squares = (vectors**2).sum(axis=1)
    return np.hstack([vectors, np.sqrt(np.maximum(squares.max() - squares, 0))[:, None]]).astype(np.float32)


def blink_hnsw(vectors: np.ndarray):
    index = faiss.IndexHNSWFlat(DIM + 1, 16)
    index.hnsw.efConstruction, index.hnsw.efSearch = 200, 256
    index.add(augmented(vectors))
    return index


def elq_hnsw(vectors: np.ndarray):
    index = faiss.IndexHNSWFlat(DIM, 16, faiss.METRIC_INNER_PRODUCT)
    index.add(vectors)
    return index


def flat(vectors: np.ndarray):
    index = faiss.IndexFlatIP(DIM)
    index.add(vectors)
    return index


def elq_ivf(vectors: np.ndarray):
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(DIM), DIM, 4, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    return index


def written(index, folder: Path) -> Path:
    faiss.write_index(index, str(folder / "faiss_index.pkl"))
    return folder / "faiss_index.pkl"


@pytest.mark.parametrize(
    ("make", "kind"), [(flat, "flat"), (blink_hnsw, "hnsw"), (elq_hnsw, "hnsw"), (elq_ivf, "flat")]
)
def test_every_original_becomes_an_index_by_inner_product(tmp_path, vectors, queries, make, kind):
    found, index = read_original_index(written(make(vectors), tmp_path), DIM, COUNT, scratch=str(tmp_path))
    assert found == kind
    assert is_of_kind(index, kind)
    np.testing.assert_array_equal(stored_vectors(index), vectors)
    assert [path.name for path in tmp_path.iterdir()] == ["faiss_index.pkl"]  # the copy has no name
    entity_index = EntityIndex(index, IndexDescription(kind, DIM, COUNT, None, None))
    scores, rows = entity_index.search(queries, 5)
    np.testing.assert_allclose(
        scores, np.take_along_axis(queries @ vectors.T, rows, axis=1), rtol=1e-4, atol=1e-5
    )


def test_the_graph_of_blink_finds_the_same_entities_as_before(tmp_path, vectors, queries):
    original = blink_hnsw(vectors)
    _, index = read_original_index(written(original, tmp_path), DIM)
    distances, expected = original.search(np.hstack([queries, np.zeros((20, 1), np.float32)]), 10)
    index.hnsw.efSearch = original.hnsw.efSearch
    scores, rows = index.search(queries, 10)
    np.testing.assert_array_equal(rows, expected)
    phi = (vectors**2).sum(axis=1).max()
    undone = (phi + (queries**2).sum(axis=1, keepdims=True) - distances) / 2
    np.testing.assert_allclose(scores, undone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", [flat, blink_hnsw, elq_ivf])
def test_a_mapped_index_is_saved_and_grows(tmp_path, vectors, queries, make):
    kind, mapped = read_original_index(written(make(vectors), tmp_path), DIM)
    index = EntityIndex(mapped, IndexDescription(kind, DIM, COUNT, None, None))
    grown = index.updated(np.arange(COUNT), queries, "f" * 64)
    np.testing.assert_array_equal(grown.vectors([0, COUNT]), np.stack([vectors[0], queries[0]]))
    index.save_pretrained(tmp_path / "index")
    reloaded = EntityIndex.from_pretrained(tmp_path / "index")
    np.testing.assert_array_equal(reloaded.search(queries, 7)[1], index.search(queries, 7)[1])


def test_mapped_index_takes_blocks_of_a_strided_matrix(tmp_path, vectors):
    wide = np.repeat(vectors[:, None, :], 3, axis=1)[:, 1, :]
    index = mapped_index(vector_blocks(wide), COUNT, DIM, tmp_path)
    np.testing.assert_array_equal(stored_vectors(index), vectors)


def test_mapped_index_refuses_nan_and_names_the_row(tmp_path, vectors):
    bad = vectors.copy()
    bad[7, 0] = np.nan
    with pytest.raises(ValueError, match=r"NaN, infinite or zero, at entity rows \[7\]"):
        mapped_index(vector_blocks(bad), COUNT, DIM, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "dimension", "count", "message"),
    [
        (flat, DIM + 1, COUNT, "expected vectors of 13 dimensions, got 12; the index is another encoder's"),
        (elq_hnsw, DIM - 1, COUNT, "expected vectors of 11 dimensions, got 12"),
        (blink_hnsw, DIM + 1, COUNT, r"expected vectors of 14 dimensions \(one more than the encoder's.*\), got 13"),
        (flat, DIM, COUNT + 1, "expected an index of 301 entities, as the catalogue has, got 300"),
        (lambda _: faiss.IndexFlatL2(DIM), DIM, None, "expected an index by inner product, or BLINK's HNSW by L2"),
        (lambda _: faiss.IndexLSH(DIM, 8), DIM, None, "an index that faiss.write_index wrote"),
    ],
)  # fmt: skip
def test_other_indexes_are_refused(tmp_path, vectors, make, dimension, count, message):
    with pytest.raises(ValueError, match=message):
        read_original_index(written(make(vectors), tmp_path), dimension, count)


def test_a_graph_by_l2_without_blinks_dimension_is_refused(tmp_path, vectors):
    index = faiss.IndexHNSWFlat(DIM, 16)
    index.add(vectors)
    with pytest.raises(
        ValueError, match="whose 12-dimensional vectors all have one length, got lengths from"
    ):
        read_original_index(written(index, tmp_path), DIM - 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x04\x95" + b"." * 99, "got a pickle, which is not read here; index the encodings instead"),
        (b"", "got a file of b''"),
        (b"IxFI", "got a file of b'IxFI'"),
        (struct.pack("<4siqqq?iQ", b"IxFI", DIM, COUNT, 0, 0, True, 0, 2**50), "the parser says"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path, content, message):
    (tmp_path / "faiss_index.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_original_index(tmp_path / "faiss_index.pkl", DIM)


def test_a_cut_index_is_refused(tmp_path, vectors):
    file = written(blink_hnsw(vectors), tmp_path)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="expected a sound FAISS file"):
        read_original_index(file, DIM)
