"""Tests of reading and writing index files: round trips, and files that must be refused."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from hf_blink.modeling import index_storage
from hf_blink.modeling.entity_index import EntityIndex
from hf_blink.modeling.index_storage import read_index

VECTORS = np.array([[1, 0], [0, 1], [-1, 0], [2, 2]], np.float32)


@pytest.fixture(params=["flat", "hnsw"])
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    EntityIndex.from_vectors(VECTORS, kind=request.param).save_pretrained(tmp_path)
    return tmp_path


def edit(folder: Path, **changes: Any) -> None:
    """Changes fields of index.json."""
    file = folder / "index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def put(folder: Path, data: bytes) -> None:
    """Replaces index.faiss, with the right SHA-256 in index.json."""
    (folder / "index.faiss").write_bytes(data)
    edit(folder, sha256=hashlib.sha256(data).hexdigest())


def put_index(folder: Path, index: faiss.Index) -> None:
    put(folder, faiss.serialize_index(index).tobytes())


def test_description_says_what_is_in_the_file(saved: Path) -> None:
    content = json.loads((saved / "index.json").read_text())
    assert content.pop("kind") in ("flat", "hnsw")
    assert content.pop("sha256") == hashlib.sha256((saved / "index.faiss").read_bytes()).hexdigest()
    assert content == {
        "format_version": 1,
        "metric": "inner_product",
        "dimension": 2,
        "count": 4,
        "encoder_fingerprint": None,
        "knowledge_base_fingerprint": None,
        "faiss_version": faiss.__version__,
    }


def test_parser_limits_are_restored(saved: Path) -> None:
    def limits() -> tuple[int, int]:
        return faiss.get_deserialization_vector_byte_limit(), faiss.get_deserialization_loop_limit()

    before = limits()
    read_index(saved)
    assert limits() == before
    data = (saved / "index.faiss").read_bytes()
    put(saved, data[:60] + b"\xff" * (len(data) - 60))
    with pytest.raises(ValueError, match=r"index\.faiss: "):
        read_index(saved)
    assert limits() == before


def test_parser_sees_limits_of_the_size_of_the_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    read = faiss.read_index

    def spy(path: str) -> Any:
        seen.append(faiss.get_deserialization_vector_byte_limit())
        return read(path)

    monkeypatch.setattr(index_storage.faiss, "read_index", spy)
    read_index(saved)
    assert seen == [(saved / "index.faiss").stat().st_size]


def test_failed_write_leaves_the_old_index(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_full(index: Any, path: str) -> None:
        Path(path).write_bytes(b"half")
        raise RuntimeError("disk full")

    monkeypatch.setattr(index_storage.faiss, "write_index", disk_full)
    with pytest.raises(RuntimeError, match="disk full"):
        EntityIndex.from_vectors(VECTORS[:2]).save_pretrained(saved)
    assert len(EntityIndex.from_pretrained(saved)) == 4
    assert sorted(path.name for path in saved.iterdir()) == ["index.faiss", "index.json"]


def test_interrupted_save_is_noticed(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    kind = json.loads((saved / "index.json").read_text())["kind"]
    EntityIndex.from_vectors(VECTORS[::-1], kind=kind).save_pretrained(other)
    (saved / "index.faiss").write_bytes((other / "index.faiss").read_bytes())
    with pytest.raises(ValueError, match=r"expected the SHA-256 .* got .* damaged or of another save"):
        read_index(saved)


@pytest.mark.parametrize("name", ["index.json", "index.faiss"])
def test_missing_files_are_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"expected an entity index in '.*', found no {name}"):
        read_index(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "expected format_version 1, got 2; update hf_blink"),
        ({"format_version": "1"}, "format_version: expected an integer from 1"),
        ({"kind": "ivf"}, "kind: expected flat or hnsw, got 'ivf'"),
        ({"kind": ["flat"]}, r"kind: expected flat or hnsw, got \['flat'\]"),
        ({"metric": "l2"}, "metric: expected inner_product, got 'l2'"),
        ({"dimension": 0}, "dimension: expected an integer from 1 to 65536, got 0"),
        ({"dimension": 2.0}, "dimension: expected an integer .* got 2.0"),
        ({"dimension": True}, "dimension: expected an integer .* got True"),
        ({"count": -1}, "count: expected an integer from 1"),
        ({"count": 2**50}, "count: expected an integer from 1"),
        ({"count": None}, "count: expected an integer .* got None"),
        ({"count": 10**6}, "expected .* bytes for 1000000 x 2, got"),
        ({"sha256": None}, "sha256: expected 64 hexadecimal digits, got none"),
        ({"sha256": "0" * 64}, "expected the SHA-256 0{64} that index.json names"),
        ({"sha256": "../" * 20}, "sha256: expected 64 hexadecimal digits"),
        ({"encoder_fingerprint": 5}, "encoder_fingerprint: expected 64 hexadecimal digits or null, got 5"),
    ],
)
def test_wrong_descriptions_are_refused(saved: Path, changes: dict[str, Any], message: str) -> None:
    edit(saved, **changes)
    with pytest.raises(ValueError, match=message):
        read_index(saved)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 60_000, b'{"a": 1' + b" " * 70_000 + b"}"]
)
def test_descriptions_that_are_no_small_object_are_refused(saved: Path, text: bytes) -> None:
    (saved / "index.json").write_bytes(text)
    with pytest.raises(ValueError, match=r"index.json: expected a (small )?JSON object, got"):
        read_index(saved)


@pytest.mark.parametrize(
    "make",
    [
        lambda: faiss.IndexFlatL2(2),
        lambda: faiss.IndexHNSWFlat(2, 32, faiss.METRIC_L2),
        lambda: faiss.index_factory(2, "HNSW32_SQ8", faiss.METRIC_INNER_PRODUCT),
        lambda: faiss.IndexIDMap2(faiss.IndexFlatIP(2)),
        lambda: faiss.IndexScalarQuantizer(2, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT),
    ],
)
def test_other_classes_are_refused_before_they_are_parsed(
    saved: Path, make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make()
    index.train(VECTORS)
    if isinstance(index, faiss.IndexIDMap2):
        index.add_with_ids(VECTORS, np.arange(4))
    else:
        index.add(VECTORS)
    monkeypatch.setattr(index_storage.faiss, "read_index", lambda path: pytest.fail("was parsed"))
    monkeypatch.setattr(index_storage, "_file_sizes", lambda description: (0, 10**9))
    put_index(saved, index)
    with pytest.raises(ValueError, match=r"expected \(class, dimension, count, metric\) \(b'I.*', 2, 4, 0\)"):
        read_index(saved)


def test_hnsw_over_another_storage_is_refused(tmp_path: Path) -> None:
    EntityIndex.from_vectors(VECTORS, kind="hnsw").save_pretrained(tmp_path)
    index: Any = faiss.read_index(str(tmp_path / "index.faiss"))
    other = faiss.IndexScalarQuantizer(2, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    other.train(VECTORS)
    other.add(VECTORS)
    index.storage = other
    index.own_fields = False
    put_index(tmp_path, index)
    with pytest.raises(ValueError, match=r"index\.faiss: "):
        read_index(tmp_path)


def test_other_sizes_than_described_are_refused(saved: Path) -> None:
    data = (saved / "index.faiss").read_bytes()
    put(saved, data[:4] + (3).to_bytes(4, "little") + data[8:])
    with pytest.raises(ValueError, match=r"expected \(class, .* 2, 4, 0\) .* got \(b'I...', 3, 4, 0\)"):
        read_index(saved)
    put(saved, data[:8] + (2**50).to_bytes(8, "little") + data[16:])
    with pytest.raises(ValueError, match=r"got \(b'I...', 2, 1125899906842624, 0\)"):
        read_index(saved)


def test_truncated_and_replaced_files_are_refused(saved: Path) -> None:
    data = (saved / "index.faiss").read_bytes()
    put(saved, data[:-1])
    with pytest.raises(ValueError, match=r"index\.faiss: expected a sound FAISS file, the parser says"):
        read_index(saved)
    put(saved, b"")
    with pytest.raises(ValueError, match="bytes for 4 x 2, got 0; download or build it again"):
        read_index(saved)
    put(saved, b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    with pytest.raises(ValueError, match="got a Git LFS pointer"):
        read_index(saved)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_bad_vectors_in_a_file_are_refused(saved: Path, bad: float) -> None:
    data = (saved / "index.faiss").read_bytes()
    vectors = VECTORS.tobytes()
    assert data.count(vectors) == 1
    changed = VECTORS.copy()
    changed[2] = bad
    put(saved, data.replace(vectors, changed.tobytes()))
    with pytest.raises(ValueError, match=r"got 1 that are NaN, infinite or zero, at entity rows \[2\]"):
        read_index(saved)
