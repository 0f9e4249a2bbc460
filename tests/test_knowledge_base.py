"""Tests of the knowledge base: its constructors and look-ups, and the file behind it."""

import copy
import gc
import gzip
import json
import pickle
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

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
