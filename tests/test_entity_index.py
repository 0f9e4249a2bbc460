"""Tests of building, searching and checking an entity index."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import faiss
import numpy as np
import pytest
import torch

from hf_blink.modeling import entity_index
from hf_blink.modeling.encoder_fingerprint import encoder_fingerprint
from hf_blink.modeling.entity_index import EntityIndex
from hf_blink.modeling.knowledge_base import KnowledgeBase

# Four entities; inner products with [1, 0] are 1, 0, -1, 2 and with [0, 1] they are 0, 1, 0, 2.
VECTORS = np.array([[1, 0], [0, 1], [-1, 0], [2, 2]], np.float32)
KINDS = ["flat", "hnsw"]


def random_vectors(count: int, dimension: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dimension), dtype=np.float32)


def brute_force(vectors: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    scores = queries @ vectors.T
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, rows, axis=1), rows


# --- search


@pytest.mark.parametrize("kind", KINDS)
def test_search_returns_inner_products_best_first(kind: str) -> None:
    index = EntityIndex.from_vectors(VECTORS, kind=kind)
    scores, rows = index.search(np.array([[1, 0], [0, 1]]), 2)
    assert (scores.dtype, rows.dtype) == (np.float32, np.int64)
    assert rows.tolist() == [[3, 0], [3, 1]]
    assert scores.tolist() == [[2, 1], [2, 1]]


@pytest.mark.parametrize("kind", KINDS)
def test_k_is_cut_to_the_number_of_entities(kind: str) -> None:
    index = EntityIndex.from_vectors(VECTORS, kind=kind)
    scores, rows = index.search(np.array([[1, 0]]), 10**9)
    assert rows.tolist() == [[3, 0, 1, 2]]
    assert scores.tolist() == [[2, 1, 0, -1]]


@pytest.mark.parametrize("kind", KINDS)
def test_search_can_be_restricted_to_rows(kind: str) -> None:
    index = EntityIndex.from_vectors(VECTORS, kind=kind)
    scores, rows = index.search(np.array([[1, 0], [0, 1]]), 5, rows=[2, 0, 2])
    assert rows.tolist() == [[0, 2], [0, 2]]
    assert scores.tolist() == [[1, -1], [0, 0]]
    assert index.search(np.array([[1, 0]]), 1, rows=np.array([1, 2]))[1].tolist() == [[1]]
    scores, rows = index.search(np.array([[1, 0]]), 3, rows=[])
    assert scores.shape == rows.shape == (1, 0)


def test_flat_search_equals_brute_force_for_one_query_and_for_batches() -> None:
    vectors, queries = random_vectors(500), random_vectors(40, seed=1)
    index = EntityIndex.from_vectors(vectors)
    expected_scores, expected_rows = brute_force(vectors, queries, 7)
    for batch in (1, 3, 40):
        scores, rows = index.search(queries[:batch], 7)
        assert rows.tolist() == expected_rows[:batch].tolist()
        np.testing.assert_allclose(scores, expected_scores[:batch], rtol=1e-5)


def test_hnsw_finds_nearly_all_that_flat_finds() -> None:
    vectors, queries = random_vectors(3000), random_vectors(50, seed=1)
    _, expected = brute_force(vectors, queries, 10)
    _, rows = EntityIndex.from_vectors(vectors, kind="hnsw").search(queries, 10)
    found = np.mean(
        [len(set(a) & set(b)) / 10 for a, b in zip(rows.tolist(), expected.tolist(), strict=True)]
    )
    assert found > 0.95


def test_hnsw_that_loses_entities_is_completed_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    def gives_up(index: Any, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        scores, rows = index.search(queries, k)
        scores[0, 2:], rows[0, 2:] = -np.inf, -1
        return scores, rows

    monkeypatch.setattr(entity_index, "search_faiss_index", gives_up)
    index = EntityIndex.from_vectors(VECTORS, kind="hnsw")
    scores, rows = index.search(np.array([[1, 0], [1, 0]]), 4)
    assert rows.tolist() == [[3, 0, 1, 2]] * 2
    assert scores.tolist() == [[2, 1, 0, -1]] * 2


def test_flat_search_leaves_the_switch_of_faiss_as_it_was() -> None:
    before = faiss.cvar.distance_compute_blas_threshold
    EntityIndex.from_vectors(VECTORS).search(np.ones((9, 2)), 1)
    assert faiss.cvar.distance_compute_blas_threshold == before


@pytest.mark.parametrize("kind", KINDS)
def test_no_queries_give_no_results(kind: str) -> None:
    index = EntityIndex.from_vectors(VECTORS, kind=kind)
    assert index.search(np.zeros((0, 2)), 3)[1].shape == (0, 3)
    assert index.search(np.zeros((0, 2)), 3, rows=[1, 2])[1].shape == (0, 2)


def test_wrong_queries_are_refused() -> None:
    index = EntityIndex.from_vectors(VECTORS)
    with pytest.raises(ValueError, match=r"expected query vectors of shape \[num_queries, 2\], got \[1, 3\]"):
        index.search(np.ones((1, 3)), 1)
    with pytest.raises(ValueError, match=r"\[num_queries, 2\], got \[2\]"):
        index.search(np.ones(2), 1)
    with pytest.raises(ValueError, match="finite query vectors, got NaN"):
        index.search(np.array([[np.nan, 1]]), 1)
    for k in (0, -1, True, 1.5, None):
        with pytest.raises(ValueError, match="expected k as an integer of at least 1, got"):
            index.search(np.ones((1, 2)), k)  # type: ignore[arg-type]
    with pytest.raises(IndexError, match="rows from 0 to 3, got 1 to 4"):
        index.search(np.ones((1, 2)), 1, rows=[1, 4])
    with pytest.raises(TypeError, match="integer entity rows"):
        index.search(np.ones((1, 2)), 1, rows=np.array([True, False]))


# --- build


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_come_back(kind: str) -> None:
    index = EntityIndex.from_vectors(VECTORS, kind=kind)
    assert (len(index), index.dimension, index.kind) == (4, 2, kind)
    vectors = index.vectors([3, 0])
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [[2, 2], [1, 0]]
    vectors[:] = 0  # a copy, not the index's own memory
    assert index.vectors(np.array([3])).tolist() == [[2, 2]]
    with pytest.raises(IndexError, match="from 0 to 3, got -1 to -1"):
        index.vectors([-1])


def test_auto_is_flat_for_few_and_hnsw_for_many(monkeypatch: pytest.MonkeyPatch) -> None:
    assert EntityIndex.from_vectors(VECTORS, kind="auto").kind == "flat"
    monkeypatch.setattr("hf_blink.modeling.index_kinds.AUTO_FLAT_BELOW", 4)
    assert EntityIndex.from_vectors(VECTORS[:3], kind="auto").kind == "flat"
    assert EntityIndex.from_vectors(VECTORS, kind="auto").kind == "hnsw"
    with pytest.raises(ValueError, match="expected an index kind out of auto, flat, hnsw, got 'ivf'"):
        EntityIndex.from_vectors(VECTORS, kind="ivf")


@pytest.mark.parametrize("bad", [[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0], [1e300, 1.0]])
def test_bad_vectors_are_refused(bad: list[float]) -> None:
    vectors = np.concatenate([VECTORS.astype(np.float64), [bad]])
    with pytest.raises(ValueError, match=r"got 1 that are NaN, infinite or zero, at entity rows \[4\]"):
        EntityIndex.from_vectors(vectors)


@pytest.mark.parametrize("shape", [(3,), (0, 2), (2, 0), (1, 2, 3)])
def test_wrong_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shape \[num_entities, embed_dim\], got \["):
        EntityIndex.from_vectors(np.ones(shape))


class FakeProcessor:
    def entity_settings(self) -> dict[str, Any]:
        return {"entity_length": 8}


class FakeModel:
    config = SimpleNamespace(entity_settings=lambda: {"pooling": "cls"})

    def entity_tower_state(self) -> dict[str, torch.Tensor]:
        return {"weight": torch.ones(2)}


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Puts a stand-in in the place of batch_encoding: title "t7" gets the vector [7 + 1, 1]; notes block sizes."""
    sizes: list[int] = []

    def encode_entities(
        model: Any, processor: Any, titles: Any, descriptions: Any, *, progress: Any
    ) -> np.ndarray:
        sizes.append(len(titles))
        assert descriptions == [title.replace("t", "d") for title in titles]
        progress(len(titles))
        return np.array([[int(title[1:]) + 1, 1] for title in titles], np.float32)

    module = ModuleType("batch_encoding")
    module.encode_entities = encode_entities  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hf_blink.modeling.batch_encoding", module)
    return sizes


def test_build_encodes_in_blocks_and_records_fingerprints(
    encoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entity_index, "_ENCODED_ROWS", 4)
    kb = KnowledgeBase.from_entities({"id": i, "title": f"t{i}", "text": f"d{i}"} for i in range(10))
    index = EntityIndex.build(FakeModel(), FakeProcessor(), kb, progress=False)
    assert encoded == [4, 4, 2]
    assert index.vectors(range(10)).tolist() == [[i + 1, 1] for i in range(10)]
    assert index.kind == "flat"
    assert index.knowledge_base_fingerprint == kb.fingerprint
    assert index.encoder_fingerprint == encoder_fingerprint(FakeModel(), FakeProcessor())


def test_build_names_the_rows_of_bad_vectors(encoded: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entity_index, "_ENCODED_ROWS", 2)
    encode = sys.modules["hf_blink.modeling.batch_encoding"].encode_entities
    monkeypatch.setattr(
        sys.modules["hf_blink.modeling.batch_encoding"],
        "encode_entities",
        lambda *args, **options: encode(*args, **options) * (np.nan if len(encoded) > 1 else 1),
    )
    kb = KnowledgeBase.from_entities({"id": i, "title": f"t{i}", "text": f"d{i}"} for i in range(4))
    with pytest.raises(ValueError, match=r"at entity rows \[2, 3\]"):
        EntityIndex.build(FakeModel(), FakeProcessor(), kb, progress=False)


# --- fingerprints, save and load


@pytest.mark.parametrize("kind", KINDS)
def test_saved_index_answers_the_same(tmp_path: Path, kind: str) -> None:
    vectors, queries = random_vectors(200), random_vectors(20, seed=1)
    index = EntityIndex.from_vectors(vectors, kind=kind, encoder_fingerprint="a" * 64)
    index.save_pretrained(tmp_path / "index")
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == ["index.faiss", "index.json"]
    loaded = EntityIndex.from_pretrained(tmp_path / "index", encoder_fingerprint="a" * 64)
    assert (loaded.kind, len(loaded), loaded.dimension) == (kind, 200, 16)
    assert (loaded.encoder_fingerprint, loaded.knowledge_base_fingerprint) == ("a" * 64, None)
    for got, expected in zip(loaded.search(queries, 5), index.search(queries, 5), strict=True):
        assert got.tolist() == expected.tolist()
    assert loaded.vectors(range(200)).tolist() == vectors.tolist()


def test_other_encoder_or_knowledge_base_is_refused(tmp_path: Path) -> None:
    index = EntityIndex.from_vectors(
        VECTORS, encoder_fingerprint="a" * 64, knowledge_base_fingerprint="b" * 64
    )
    index.check(encoder_fingerprint="a" * 64, knowledge_base_fingerprint="b" * 64)
    index.check()
    index.save_pretrained(tmp_path)
    message = (
        "another encoder: expected the fingerprint c{64}, the index names a{64}; rebuild .* `hf-blink build`"
    )
    with pytest.raises(ValueError, match=message):
        EntityIndex.from_pretrained(tmp_path, encoder_fingerprint="c" * 64)
    with pytest.raises(
        ValueError, match=r"another knowledge base: expected the fingerprint c{64}, the index names b{64}"
    ):
        EntityIndex.from_pretrained(tmp_path, knowledge_base_fingerprint="c" * 64)
    with pytest.raises(ValueError, match="the index names None"):
        EntityIndex.from_vectors(VECTORS).check(encoder_fingerprint="a" * 64)
