"""Tests of the knowledge base: imports, look-ups, saving and loading."""

import copy
import gc
import gzip
import json
import logging
import os
import pickle
from pathlib import Path

import datasets
import numpy as np
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


def write_lines(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


# --- reading rows


def test_entities_come_back_as_they_went_in(kb: KnowledgeBase) -> None:
    assert len(kb) == 4
    assert list(kb) == ENTITIES
    assert kb[1] == ENTITIES[1]
    assert kb[-1] == ENTITIES[3]
    assert kb.entities([2, 0, 2]) == [ENTITIES[2], ENTITIES[0], ENTITIES[2]]
    assert kb.entities(np.array([3])) == [ENTITIES[3]]
    assert kb.entities([]) == []


def test_texts_names_and_ids(kb: KnowledgeBase) -> None:
    assert kb.texts(1, 3) == (["Paris", "France"], ["son of Priam", ""])
    assert kb.texts(4, 4) == ([], [])
    assert kb.texts_at([3, 0]) == (["Zürich 🏔", "Paris"], ["a city", "capital of France"])
    assert kb.names(0, 2) == [("Paris", ("City of Light", "Paname")), ("Paris", ())]
    assert kb.entity_ids([3, 1]) == ["7", "Q167646"]


def test_rows_of_ids(kb: KnowledgeBase) -> None:
    assert kb.entity_row("Q142") == 2
    found = kb.find_rows(["7", "unknown", "Q90", "Q90"])
    assert found.dtype == np.int64
    assert found.tolist() == [3, -1, 0, 0]
    assert kb.find_rows([]).tolist() == []
    assert "Q90" in kb
    assert "Q91" not in kb
    with pytest.raises(KeyError, match="no entity with the id 'Q91' among 4; ids look like 'Q90'"):
        kb.entity_row("Q91")


def test_worlds(kb: KnowledgeBase) -> None:
    assert kb.worlds == ["geo", "myth"]
    assert kb.world_rows("geo").tolist() == [0, 2]
    assert kb.world_rows("myth").dtype == np.int64
    with pytest.raises(KeyError, match="no entities of the world 'sport'; known worlds: 'geo', 'myth'"):
        kb.world_rows("sport")
    alone = KnowledgeBase.from_entities(ENTITIES[3:])
    assert alone.worlds == []
    with pytest.raises(KeyError, match="no entity names a world"):
        alone.world_rows("geo")


def test_rows_outside_are_refused(kb: KnowledgeBase) -> None:
    for row in (4, -5):
        with pytest.raises(IndexError, match=f"under 4, got {row}"):
            kb[row]
    with pytest.raises(IndexError, match="from 0 to 3, got 0 to 4"):
        kb.entities([0, 4])
    with pytest.raises(IndexError, match="from 0 to 3, got -1 to -1"):
        kb.texts_at([-1])
    with pytest.raises(IndexError, match="0 <= start <= stop <= 4, got 2 to 5"):
        kb.texts(2, 5)
    with pytest.raises(TypeError, match=r"integer entity rows.*find_rows"):
        kb.entities(["Q90"])  # type: ignore[list-item]


def test_many_batches_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_blink.modeling.entity_table._BATCH_ROWS", 7)
    kb = KnowledgeBase.from_entities({"id": i, "title": f"t{i}", "text": f"d{i}"} for i in range(100))
    assert kb.texts(5, 23) == ([f"t{i}" for i in range(5, 23)], [f"d{i}" for i in range(5, 23)])
    assert kb.texts_at(range(99, -1, -9))[0] == [f"t{i}" for i in range(99, -1, -9)]
    assert kb.find_rows([str(i) for i in range(100)]).tolist() == list(range(100))
    assert [entity.entity_id for entity in kb] == [str(i) for i in range(100)]


# --- imports


def test_from_jsonl_reads_blink_files(tmp_path: Path) -> None:
    path = tmp_path / "entity.jsonl"
    url = "https://en.wikipedia.org/wiki?curid=12"
    record = {"text": " Anarchism is a philosophy. ", "idx": url, "title": "Anarchism", "entity": "Anarchism"}
    entity = KnowledgeBase.from_jsonl(write_lines(path, record))[0]
    assert entity == Entity(url, "Anarchism", "Anarchism is a philosophy.")


def test_from_jsonl_reads_several_files_with_gzip_and_worlds(tmp_path: Path) -> None:
    plain = write_lines(tmp_path / "a.jsonl", {"id": "1", "name": "one", "world": "own"})
    packed = tmp_path / "b.jsonl.gz"
    packed.write_bytes(gzip.compress(b'{"id": "2", "label": "two", "synonyms": ["II"], "kind": "number"}\n'))
    kb = KnowledgeBase.from_jsonl([plain, str(packed)], world="given")
    assert list(kb) == [
        Entity("1", "one", world="own"),
        Entity("2", "two", aliases=("II",), world="given", metadata={"kind": "number"}),
    ]


def test_from_jsonl_tolerates_bom_crlf_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "entities.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": 1, "title": "one"}\r\n\r\n  \n{"id": 2, "title": "two"}')
    assert KnowledgeBase.from_jsonl(path).entity_ids([0, 1]) == ["1", "2"]


def test_from_jsonl_reports_all_bad_rows_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    lines = [
        b'{"id": "1", "title": "good"}',
        b'{"title": "no id"}',
        b'{"id": "2"}',
        b'{"id": "3", "title": ',
        b'{"id": "4", "title": "\xff"}',
        b'{"id": 1.5, "title": "x"}',
        b'["5", "x"]',
        b'{"id": "1", "title": "again"}',
    ]
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(ValueError) as caught:
        KnowledgeBase.from_jsonl(path)
    report = str(caught.value)
    assert report.startswith("7 bad entity record(s):\n")
    assert (
        f"{path}, line 2: field 'entity_id / id / idx': expected a string or an integer, got nothing"
        in report
    )
    assert "line 3: field 'title': expected a string that is not empty, got nothing" in report
    assert "line 4: field '(whole line)': expected one JSON object, got invalid JSON" in report
    assert "line 5: field '(whole line)': expected UTF-8 text, got byte 0xff at byte 22" in report
    assert "line 6: field 'entity_id / id / idx': expected a string or an integer, got float 1.5" in report
    assert "line 7: field '(whole record)': expected an object with named fields, got list" in report
    assert (
        f"line 8: field 'entity_id': expected an id of its own, got '1', which {path}, line 1 has" in report
    )


def test_from_jsonl_lists_ten_problems_and_counts_all(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "bad.jsonl", *({"id": i} for i in range(25)))
    with pytest.raises(ValueError, match=r"25 bad entity record\(s\), the first 10 are") as caught:
        KnowledgeBase.from_jsonl(path)
    assert str(caught.value).count("line ") == 10


def test_duplicates_across_files_name_both_places(tmp_path: Path) -> None:
    one = write_lines(tmp_path / "one.jsonl", {"id": "a", "title": "A"}, {"id": "b", "title": "B"})
    two = write_lines(
        tmp_path / "two.jsonl",
        {"id": "c", "title": "C"},
        {"id": "b", "title": "B"},
        {"id": "b", "title": "B"},
    )
    with pytest.raises(ValueError) as caught:
        KnowledgeBase.from_jsonl([one, two])
    report = str(caught.value)
    assert (
        f"{two}, line 2: field 'entity_id': expected an id of its own, got 'b', which {one}, line 2 has"
        in report
    )
    assert f"{two}, line 3" in report


def test_hash_collisions_are_no_duplicates(monkeypatch: pytest.MonkeyPatch) -> None:
    lookup = "hf_blink.modeling.entity_id_lookup.hash_entity_ids"
    monkeypatch.setattr(lookup, lambda ids: np.array([len(text) for text in ids], np.int64))
    kb = KnowledgeBase.from_entities({"id": i, "title": "t"} for i in range(30))
    assert kb.find_rows(["3", "29", "99", "777"]).tolist() == [3, 29, -1, -1]
    with pytest.raises(
        ValueError, match=r"1 bad entity record.*\n.*row 2:.*got '5', which entities, row 0 has"
    ):
        KnowledgeBase.from_entities({"id": i, "title": "t"} for i in ("5", "6", "5"))


def test_missing_empty_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file of entities at '.*nowhere.jsonl'"):
        KnowledgeBase.from_jsonl(tmp_path / "nowhere.jsonl")
    (tmp_path / "empty.jsonl").write_bytes(b"\n")
    with pytest.raises(ValueError, match="at least one entity, got an empty knowledge base"):
        KnowledgeBase.from_jsonl(tmp_path / "empty.jsonl")
    with pytest.raises(ValueError, match="at least one file"):
        KnowledgeBase.from_jsonl([])
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"id": 1, "title": "x"}\n' * 1000)[:-12])
    with pytest.raises(ValueError, match=r"cut.jsonl.gz: expected a complete gzip file, got a damaged one"):
        KnowledgeBase.from_jsonl(tmp_path / "cut.jsonl.gz")


def test_an_endless_line_is_reported_and_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_blink.modeling.entity_readers._MAX_LINE_BYTES", 50)
    path = write_lines(tmp_path / "long.jsonl", {"id": 1, "title": "x" * 200}, {"id": 2})
    with pytest.raises(
        ValueError, match=r"2 bad.*\n.*line 1: .*at most 50 bytes, got a longer line\n.*line 2"
    ):
        KnowledgeBase.from_jsonl(path)


def test_from_dataset_and_from_parquet_agree(tmp_path: Path, kb: KnowledgeBase) -> None:
    columns = {"idx": [1, 2], "name": ["one", "two"], "text": ["I", None], "rank": [0.5, None]}
    expected = [Entity("1", "one", "I", metadata={"rank": 0.5}), Entity("2", "two")]
    pq.write_table(pa.table(columns), tmp_path / "mine.parquet")
    dataset = datasets.Dataset.from_dict(columns)
    assert list(KnowledgeBase.from_parquet(tmp_path / "mine.parquet")) == expected
    assert list(KnowledgeBase.from_dataset(dataset)) == expected
    assert list(KnowledgeBase.from_dataset(dataset.with_format("numpy"))) == expected
    assert list(KnowledgeBase.from_dataset(dataset.to_iterable_dataset())) == expected
    kb.save_pretrained(tmp_path / "saved")
    assert list(KnowledgeBase.from_parquet(sorted((tmp_path / "saved").iterdir()))) == ENTITIES


def test_from_dataset_asks_for_one_split() -> None:
    split = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"id": ["1"], "title": ["x"]})})
    with pytest.raises(
        TypeError, match=r"expected a datasets.Dataset .* got DatasetDict.*dataset\['train'\]"
    ):
        KnowledgeBase.from_dataset(split)


# --- the file behind it


def test_temporary_files_go_with_the_object() -> None:
    kb = KnowledgeBase.from_entities(ENTITIES)
    folder = kb._path.parent
    assert folder.is_dir()
    del kb
    gc.collect()
    assert not folder.exists()


def test_failed_imports_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bad entity record"):
        KnowledgeBase.from_entities([{"id": "1"}], cache_dir=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_cache_dir_keeps_one_file_per_content(tmp_path: Path) -> None:
    for _ in range(2):
        kb = KnowledgeBase.from_entities(ENTITIES, cache_dir=tmp_path)
        assert list(kb) == ENTITIES
        del kb
        gc.collect()
    assert len(list(tmp_path.iterdir())) == 1


def test_copies_and_pickles_read_the_same_file(kb: KnowledgeBase) -> None:
    kb.find_rows(["7"])
    for other in (pickle.loads(pickle.dumps(kb)), copy.deepcopy(kb)):
        assert list(other) == ENTITIES
        assert other.find_rows(["7"]).tolist() == [3]
        path = other._path
        del other
        gc.collect()
        assert path.exists()


# --- fingerprint


def test_fingerprint_depends_on_ids_titles_descriptions_and_order() -> None:
    def of(*rows: tuple[str, str, str], **more: str) -> str:
        return KnowledgeBase.from_entities(
            {"id": row[0], "title": row[1], "description": row[2]} | more for row in rows
        ).fingerprint

    base = of(("1", "ab", "c"), ("2", "d", ""))
    assert len(base) == 64
    assert base == of(("1", "ab", "c"), ("2", "d", ""), url="https://x")
    others = [
        of(("1", "a", "bc"), ("2", "d", "")),
        of(("2", "d", ""), ("1", "ab", "c")),
        of(("1", "ab", "c")),
        of(("1", "ab", ""), ("2", "d", "c")),
        of(("1", "ab", "c"), ("3", "d", "")),
    ]
    assert len({base, *others}) == len(others) + 1


def test_fingerprint_does_not_depend_on_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [{"id": i, "title": f"t{i}é", "text": "d" * (i % 5)} for i in range(50)]
    whole = KnowledgeBase.from_entities(records)
    monkeypatch.setattr("hf_blink.modeling.entity_table._BATCH_ROWS", 7)
    pieces = KnowledgeBase.from_entities(records)
    assert len(whole._table.batches) == 1
    assert len(pieces._table.batches) == 8
    assert whole.fingerprint == pieces.fingerprint


# --- save and load


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
