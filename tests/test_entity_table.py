"""Tests of the mapped table and its fingerprint, seen through the knowledge base."""

from pathlib import Path

import pyarrow as pa
import pytest

from hf_blink.modeling.entity_records import normalise_record
from hf_blink.modeling.entity_table import ContentHasher, EntityTable, EntityTableWriter
from hf_blink.modeling.knowledge_base import KnowledgeBase


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


def test_many_batches_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_blink.modeling.entity_table._BATCH_ROWS", 7)
    kb = KnowledgeBase.from_entities({"id": i, "title": f"t{i}", "text": f"d{i}"} for i in range(100))
    assert kb.texts(5, 23) == ([f"t{i}" for i in range(5, 23)], [f"d{i}" for i in range(5, 23)])
    assert kb.texts_at(range(99, -1, -9))[0] == [f"t{i}" for i in range(99, -1, -9)]
    assert kb.find_rows([str(i) for i in range(100)]).tolist() == list(range(100))
    assert [entity.entity_id for entity in kb] == [str(i) for i in range(100)]


def test_other_columns_are_refused(tmp_path: Path) -> None:
    with (
        pa.OSFile(str(tmp_path / "other.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, pa.schema({"id": pa.string()})),
    ):
        pass
    with pytest.raises(ValueError, match=r"expected the columns \['entity_id', .*\], got \['id'\]"):
        EntityTable(tmp_path / "other.arrow")


def test_large_rows_start_a_new_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_blink.modeling.entity_table._BATCH_CHARACTERS", 100)
    with EntityTableWriter(tmp_path / "table.arrow", {"key": "value"}) as writer:
        for i in range(5):
            writer.write(normalise_record({"id": i, "title": "t", "text": "d" * 60}))
    table = EntityTable(tmp_path / "table.arrow")
    assert [batch.num_rows for batch in table.batches] == [2, 2, 1]
    assert table.metadata == {"key": "value"}
    assert table.take(["entity_id"], [4, 0]) == [["4", "0"]]


def test_fingerprint_of_a_slice_is_that_of_its_rows(tmp_path: Path) -> None:
    with EntityTableWriter(tmp_path / "table.arrow") as writer:
        for i in range(5):
            writer.write(normalise_record({"id": i, "title": f"é{i}"}))
    batch = EntityTable(tmp_path / "table.arrow").batches[0]
    whole, parts = ContentHasher(), ContentHasher()
    whole.update(batch)
    for part in (batch.slice(0, 0), batch.slice(0, 2), batch.slice(2)):
        parts.update(part)
    assert whole.hexdigest() == parts.hexdigest()
