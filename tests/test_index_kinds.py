"""Tests of what an index kind means in FAISS."""

import threading

import faiss
import numpy as np
import pytest

from hf_blink.modeling.index_kinds import (
    build_faiss_index,
    fourcc,
    is_of_kind,
    refuse_bad_vectors,
    resolve_kind,
    search_faiss_index,
    stored_vectors,
)

VECTORS = np.array([[1, 0], [0, 1], [2, 2]], np.float32)


def test_auto_changes_at_a_million() -> None:
    assert resolve_kind("auto", 999_999) == "flat"
    assert resolve_kind("auto", 1_000_000) == "hnsw"
    assert resolve_kind("hnsw", 1) == "hnsw"
    with pytest.raises(ValueError, match="out of auto, flat, hnsw, got 'Flat'"):
        resolve_kind("Flat", 1)


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_built_index_is_of_its_kind_alone(kind: str) -> None:
    index = build_faiss_index(kind, VECTORS)
    assert is_of_kind(index, kind)
    assert not is_of_kind(index, "hnsw" if kind == "flat" else "flat")
    assert index.metric_type == faiss.METRIC_INNER_PRODUCT
    assert faiss.serialize_index(index)[:4].tobytes() == fourcc(kind)
    assert stored_vectors(index).tolist() == VECTORS.tolist()


def test_hnsw_has_the_settings_of_its_kind() -> None:
    index = build_faiss_index("hnsw", VECTORS)
    assert index.hnsw.nb_neighbors(1) == 32
    assert index.hnsw.efConstruction == 200


def test_other_metrics_are_of_no_kind() -> None:
    assert not is_of_kind(faiss.IndexFlatL2(2), "flat")
    assert not is_of_kind(faiss.IndexHNSWFlat(2, 32), "hnsw")


def test_flat_searches_at_once_share_and_restore_the_switch() -> None:
    before = faiss.cvar.distance_compute_blas_threshold
    index = build_faiss_index("flat", np.random.default_rng(0).standard_normal((2000, 8), dtype=np.float32))
    queries = np.random.default_rng(1).standard_normal((16, 8), dtype=np.float32)
    expected = search_faiss_index(index, queries, 5)[1].tolist()
    wrong: list[int] = []

    def search() -> None:
        for _ in range(20):
            if search_faiss_index(index, queries, 5)[1].tolist() != expected:
                wrong.append(1)

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert faiss.cvar.distance_compute_blas_threshold == before


def test_bad_vectors_are_named_by_entity_row() -> None:
    refuse_bad_vectors(VECTORS)
    bad = np.concatenate([VECTORS, [[0, 0], [np.nan, 0]]]).astype(np.float32)
    with pytest.raises(
        ValueError, match=r"got 2 that are NaN, infinite or zero, at entity rows \[103, 104\]"
    ):
        refuse_bad_vectors(bad, 100)
