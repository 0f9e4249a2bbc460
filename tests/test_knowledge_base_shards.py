"""Tests of knowledge bases as parquet shards: round trips, the cache, and folders that must be refused."""

import gc
import logging
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hf_blink.modeling import knowledge_base_shards
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.linking_types import Entity

ENTITIES = [
    Entity(
        "Q90", "Paris", "capital of France", ("City of Light", "Paname"), "geo", "https://x/Q90", {"rank": 1}
    ),
    Entity("Q167646", "Paris", "son of Priam", (), "myth"),
    Entity("Q142", "France", "", ("République française",), "geo"),
    Entity("7", "Zürich 🏔", "a city"),
]


@pytest.fixture
def kb() -> KnowledgeBase:
    return KnowledgeBase.from_entities(ENTITIES)


def test_round_trip_through_parquet(tmp_path: Path, kb: KnowledgeBase) -> None:
    files = kb.save_pretrained(tmp_path / "kb")
    assert [file.name for file in files] == ["entities-00000-of-00001.parquet"]
    loaded = KnowledgeBase.from_pretrained(tmp_path / "kb", cache_dir=tmp_path / "cache")
    assert list(loaded) == ENTITIES
    assert loaded.worlds == kb.worlds
    assert loaded.fingerprint == kb.fingerprint
    loaded.save_pretrained(tmp_path / "again")
    assert [file.name for file in (tmp_path / "again").iterdir()] == ["entities-00000-of-00001.parquet"]


def test_second_load_maps_the_cached_table(
    tmp_path: Path, kb: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    kb.save_pretrained(tmp_path / "kb")
    KnowledgeBase.from_pretrained(tmp_path / "kb", cache_dir=tmp_path / "cache")
    monkeypatch.setattr(knowledge_base_shards, "_convert", lambda *args: pytest.fail("converted again"))
    assert list(KnowledgeBase.from_pretrained(tmp_path / "kb", cache_dir=tmp_path / "cache")) == ENTITIES


def test_damaged_cache_is_written_anew(
    tmp_path: Path, kb: KnowledgeBase, caplog: pytest.LogCaptureFixture
) -> None:
    kb.save_pretrained(tmp_path / "kb")
    path = KnowledgeBase.from_pretrained(tmp_path / "kb", cache_dir=tmp_path / "cache")._path
    path.write_bytes(path.read_bytes()[:-20])
    with caplog.at_level(logging.WARNING):
        assert list(KnowledgeBase.from_pretrained(tmp_path / "kb", cache_dir=tmp_path / "cache")) == ENTITIES
    assert "is damaged" in caplog.text


def test_default_cache_is_the_hugging_face_home(
    tmp_path: Path, kb: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    kb.save_pretrained(tmp_path / "kb")
    path = KnowledgeBase.from_pretrained(tmp_path / "kb")._path
    assert path.parent.parent == tmp_path / "home" / "hf_blink" / "knowledge_bases"


def test_unwritable_cache_falls_back_to_a_temporary_folder(
    tmp_path: Path, kb: KnowledgeBase, caplog: pytest.LogCaptureFixture
) -> None:
    kb.save_pretrained(tmp_path / "kb")
    (tmp_path / "file").write_text("no folder")
    with caplog.at_level(logging.WARNING):
        loaded = KnowledgeBase.from_pretrained(tmp_path / "kb", cache_dir=tmp_path / "file")
    assert "cannot be written" in caplog.text
    assert list(loaded) == ENTITIES
    folder = loaded._path.parent
    del loaded
    gc.collect()
    assert not folder.exists()


def test_several_shards_and_stale_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_blink.modeling.entity_table._BATCH_ROWS", 4)
    monkeypatch.setattr(knowledge_base_shards, "_SHARD_ROWS", 8)
    kb = KnowledgeBase.from_entities({"id": i, "title": f"t{i}"} for i in range(20))
    kb.save_pretrained(tmp_path / "kb")
    names = sorted(os.listdir(tmp_path / "kb"))
    assert names == [f"entities-0000{i}-of-00003.parquet" for i in range(3)]
    loaded = KnowledgeBase.from_pretrained(tmp_path / "kb", cache_dir=tmp_path / "cache")
    assert loaded.entity_ids(range(20)) == [str(i) for i in range(20)]
    KnowledgeBase.from_entities(ENTITIES).save_pretrained(tmp_path / "kb")
    assert os.listdir(tmp_path / "kb") == ["entities-00000-of-00001.parquet"]


def test_missing_and_mixed_shards_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"expected entities-00000-of-0000N.parquet in '.*', found none"
    ):
        KnowledgeBase.from_pretrained(tmp_path)
    (tmp_path / "knowledge_base").mkdir()
    with pytest.raises(FileNotFoundError, match=r"found none; name '.*knowledge_base', which has them"):
        KnowledgeBase.from_pretrained(tmp_path)  # a linker's folder
    monkeypatch.setattr("hf_blink.modeling.entity_table._BATCH_ROWS", 1)
    monkeypatch.setattr(knowledge_base_shards, "_SHARD_ROWS", 1)
    one, other = tmp_path / "one", tmp_path / "other"
    KnowledgeBase.from_entities(ENTITIES[:2]).save_pretrained(one)
    KnowledgeBase.from_entities(ENTITIES[2:]).save_pretrained(other)
    os.replace(other / "entities-00001-of-00002.parquet", one / "entities-00001-of-00002.parquet")
    with pytest.raises(ValueError, match="mixes shards of different saves"):
        KnowledgeBase.from_pretrained(one, cache_dir=tmp_path / "cache")
    with pytest.raises(FileNotFoundError, match=r"shard\(s\) \[1\] of 2 are missing"):
        KnowledgeBase.from_pretrained(other, cache_dir=tmp_path / "cache")
    (one / "entities-00000-of-00003.parquet").write_bytes(b"")
    with pytest.raises(ValueError, match=r"found sets of \[2, 3\] shards"):
        KnowledgeBase.from_pretrained(one, cache_dir=tmp_path / "cache")


def rewrite(folder: Path, **columns: pa.Array) -> None:
    """Changes columns of a saved knowledge base, keeping its stored fingerprint."""
    file = folder / "entities-00000-of-00001.parquet"
    table = pq.read_table(file)
    metadata = table.schema.metadata
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, values)
    pq.write_table(table.replace_schema_metadata(metadata), file)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("title", pa.array([1, 2, 3, 4]), "column 'title': expected string, got int64"),
        ("aliases", pa.array(["a", "b", "c", "d"]), "column 'aliases': expected list.*, got string"),
        ("title", pa.array(["a", None, "c", "d"]), "title"),
        ("title", pa.array(["a", "", "c", "d"]), "column 'title': expected texts that are not empty"),
        (
            "title",
            pa.array(["a", "b", "c", "d"]),
            "expected entities with the fingerprint .* the files were changed",
        ),
        (
            "aliases",
            pa.array([[None], [], [], []], pa.list_(pa.string())),
            "column 'aliases': expected no nulls",
        ),
    ],
)
def test_shards_with_other_content_are_refused(
    tmp_path: Path, kb: KnowledgeBase, column: str, values: pa.Array, message: str
) -> None:
    kb.save_pretrained(tmp_path / "kb")
    rewrite(tmp_path / "kb", **{column: values})
    with pytest.raises(ValueError, match=message):
        KnowledgeBase.from_pretrained(tmp_path / "kb", cache_dir=tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_shards_with_repeated_ids_are_refused(tmp_path: Path) -> None:
    kb = KnowledgeBase.from_entities(ENTITIES)
    kb.save_pretrained(tmp_path / "kb")
    file = tmp_path / "kb" / "entities-00000-of-00001.parquet"
    table = pq.read_table(file).replace_schema_metadata(None)
    pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), file)
    with pytest.raises(ValueError, match="row 4: field 'entity_id': expected an id of its own, got 'Q90'"):
        KnowledgeBase.from_pretrained(tmp_path / "kb", cache_dir=tmp_path / "cache")


def test_damaged_and_newer_shards_are_refused(tmp_path: Path, kb: KnowledgeBase) -> None:
    kb.save_pretrained(tmp_path / "kb")
    file = tmp_path / "kb" / "entities-00000-of-00001.parquet"
    table = pq.read_table(file)
    newer = dict(table.schema.metadata) | {b"hf_blink.format_version": b"2"}
    pq.write_table(table.replace_schema_metadata(newer), file)
    with pytest.raises(ValueError, match="expected format_version 1, got 2; update hf_blink"):
        KnowledgeBase.from_pretrained(tmp_path / "kb", cache_dir=tmp_path / "cache")
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(ValueError, match="expected a parquet file, got a damaged or different one"):
        KnowledgeBase.from_pretrained(tmp_path / "kb", cache_dir=tmp_path / "cache")


def test_invalid_utf8_in_a_shard_is_refused(tmp_path: Path, kb: KnowledgeBase) -> None:
    kb.save_pretrained(tmp_path / "kb")
    raw = pa.array([b"\xff", b"b", b"c", b"d"]).cast(pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 4, raw.buffers())
    rewrite(tmp_path / "kb", description=broken)
    with pytest.raises(ValueError, match=r"(?i)utf"):
        KnowledgeBase.from_pretrained(tmp_path / "kb", cache_dir=tmp_path / "cache")


def test_every_damaged_footer_is_a_value_error(tmp_path: Path, kb: KnowledgeBase) -> None:
    kb.save_pretrained(tmp_path / "kb")
    file = tmp_path / "kb" / "entities-00000-of-00001.parquet"
    data = file.read_bytes()
    refused = 0
    for place in range(len(data) - 200, len(data), 3):
        file.write_bytes(data[:place] + b"\xff\xff" + data[place + 2 :])
        for load in (
            lambda: KnowledgeBase.from_parquet(file),
            lambda: KnowledgeBase.from_pretrained(file.parent, cache_dir=tmp_path / "cache"),
        ):
            try:
                load()
            except ValueError as error:
                assert str(file.parent) in str(error)
                refused += 1
    assert refused > 20


def test_failed_save_leaves_the_earlier_one(
    tmp_path: Path, kb: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    kb.save_pretrained(tmp_path)
    before = (tmp_path / "entities-00000-of-00001.parquet").read_bytes()

    class DiskFull(pq.ParquetWriter):
        def write_batch(self, *args: object, **options: object) -> None:
            raise OSError("disk full")

    monkeypatch.setattr(knowledge_base_shards.pq, "ParquetWriter", DiskFull)
    with pytest.raises(OSError, match="disk full"):
        KnowledgeBase.from_entities(ENTITIES[:1]).save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["entities-00000-of-00001.parquet"]
    assert (tmp_path / "entities-00000-of-00001.parquet").read_bytes() == before
