"""Catalogues and encodings of BLINK and ELQ: ids, addresses, worlds, memory, and what does not fit."""

import json
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
import torch

from hf_blink import KnowledgeBase, import_blink_encodings, import_blink_entities
from hf_blink.modeling import entity_table
from hf_blink.original_entities import ZESHEL_WORLDS, blink_address

LINES = [
    {"text": " Anarchism is…", "idx": "https://en.wikipedia.org/wiki?curid=12", "title": "Anarchism", "entity": "Anarchism"},
    {"text": " Autism.", "idx": "https://en.wikipedia.org/wiki?curid=25", "title": "Autism", "kb_idx": "Q38404"},
    {"text": "No address.", "title": "Albedo", "entity": "albedo (optics)"},
    {"text": "", "idx": "local-7", "title": "A"},
]  # fmt: skip


def written(file, lines):
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


@pytest.fixture
def catalogue(tmp_path) -> KnowledgeBase:
    return import_blink_entities(written(tmp_path / "entity.jsonl", LINES))


def test_a_line_becomes_an_entity(catalogue):
    anarchism, autism, albedo, local = catalogue
    assert (anarchism.entity_id, anarchism.title, anarchism.description) == (
        "12",
        "Anarchism",
        "Anarchism is…",
    )
    assert anarchism.url == "https://en.wikipedia.org/wiki?curid=12"
    assert anarchism.metadata == {"wikipedia_id": "12"}
    assert autism.metadata == {"wikipedia_id": "25", "wikidata_id": "Q38404"}
    assert (albedo.entity_id, albedo.url, albedo.metadata) == (
        "2",
        None,
        {"entity": "albedo (optics)"},
    )  # row 2
    assert (local.entity_id, local.url, local.description) == ("local-7", None, "")


def test_an_address_leads_back_to_the_same_id(catalogue):
    """An address that names no page would be read as the id."""
    assert [blink_address(entity) for entity in catalogue] == [
        "https://en.wikipedia.org/wiki?curid=12", "https://en.wikipedia.org/wiki?curid=25", "2", "local-7",
    ]  # fmt: skip
    others = KnowledgeBase.from_entities(
        [
            {"id": "Q42", "title": "a", "url": "https://example.org/a"},
            {"id": "Q43", "title": "b", "url": "https://en.wikipedia.org/wiki?curid=43"},
            {"id": "12", "title": "c", "url": "https://en.wikipedia.org/wiki/C", "wikipedia_id": "12"},
            {"id": "https://example.org/d", "title": "d", "url": "https://example.org/d"},
        ]
    )
    assert [blink_address(entity) for entity in others] == [
        "Q42", "Q43", "https://en.wikipedia.org/wiki?curid=12", "https://example.org/d",
    ]  # fmt: skip


def test_bad_lines_are_all_named(tmp_path):
    lines = [*LINES, {"text": "x", "idx": "y"}, {"text": "again", "idx": LINES[0]["idx"], "title": "B"}]
    with pytest.raises(
        ValueError, match=r"2 bad entity record\(s\)(.|\n)*line 5: field 'title'(.|\n)*line 6: .*'12', which"
    ):
        import_blink_entities(written(tmp_path / "entity.jsonl", lines))


def test_documents_become_worlds_in_blinks_order(tmp_path):
    for world in ("lego", "yugioh", "doctor_who", "a_world_of_ours"):
        lines = [{"document_id": f"{world}-{i}", "title": f"{world} {i}", "text": "text"} for i in range(2)]
        written(tmp_path / f"{world}.json", lines)
    found = import_blink_entities(tmp_path)
    assert [entity.world for entity in found][::2] == ["doctor_who", "lego", "yugioh", "a_world_of_ours"]
    assert found[2].entity_id == "lego-0"
    (tmp_path / "lego.json").write_text('{"document_id": 1}\n')
    with pytest.raises(ValueError, match=r"lego\.json, line 1: field 'document_id'"):
        import_blink_entities(tmp_path)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"expected an entity\.jsonl, or a folder with Zeshel's documents"
    ):
        import_blink_entities(tmp_path)
    with pytest.raises(FileNotFoundError, match="expected an entity file at"):
        import_blink_entities(tmp_path / "none.jsonl")


def test_encodings_are_a_matrix_of_the_catalogues_length(tmp_path, catalogue):
    vectors = torch.randn(4, 6)
    torch.save(vectors, tmp_path / "all.t7")
    found = import_blink_encodings(tmp_path / "all.t7", catalogue)
    np.testing.assert_array_equal(found, vectors.numpy())
    assert not found.flags.owndata  # a view of the mapped file
    torch.save(vectors[:3], tmp_path / "short.t7")
    with pytest.raises(
        ValueError, match="the encodings of 4 entities, as the catalogue has, got 3; they do not belong"
    ):
        import_blink_encodings(tmp_path / "short.t7", catalogue)


@pytest.mark.parametrize(
    ("content", "got"),
    [(torch.zeros(4, 5).long(), r"torch\.int64 \[4, 5\]"), (torch.zeros(4), r"\[4\]"), ([1], "list")],
)
def test_other_tensors_are_no_encodings(tmp_path, content, got):
    torch.save(content, tmp_path / "all.t7")
    with pytest.raises(ValueError, match=f"expected encodings.*got .*{got}; token ids"):
        import_blink_encodings(tmp_path / "all.t7")


def test_encodings_of_worlds_are_put_in_the_catalogues_rows(tmp_path, catalogue):
    records = [
        {"id": f"{world}{i}", "title": "t", "world": world} for world in ("lego", "fallout") for i in range(2)
    ]
    worlds = KnowledgeBase.from_entities(records)
    vectors = {
        ZESHEL_WORLDS.index(world): torch.full((2, 3), 1.0 + i) for i, world in enumerate(("lego", "fallout"))
    }
    torch.save(vectors, tmp_path / "all.t7")
    assert import_blink_encodings(tmp_path / "all.t7", worlds)[:, 0].tolist() == [1, 1, 2, 2]
    with pytest.raises(
        ValueError, match="got a dictionary, which is Zeshel's; name the folder of its documents"
    ):
        import_blink_encodings(tmp_path / "all.t7", catalogue)
    torch.save({13: vectors[13]}, tmp_path / "all.t7")
    with pytest.raises(
        ValueError, match=r"the 2 entities of the world 'fallout' \(number 2\), got none; leave the enc"
    ):
        import_blink_encodings(tmp_path / "all.t7", worlds)


ARROW = pa.proxy_memory_pool(pa.default_memory_pool())  # counts for itself, from 0; outlives what it gave


@pytest.fixture
def arrow_pool():
    """Arrow's allocations of a test."""
    usual = pa.default_memory_pool()
    pa.set_memory_pool(ARROW)
    yield ARROW
    pa.set_memory_pool(usual)


def test_memory_does_not_grow_with_the_texts(tmp_path, monkeypatch, arrow_pool):
    """8 MB of texts, 100 rows at a time: neither Python's objects nor Arrow's buffers come near them."""
    monkeypatch.setattr(entity_table, "_BATCH_ROWS", 100)
    lines = [
        {"text": f" {i}" + " word" * 800, "idx": f"wiki?curid={i}", "title": f"E{i}"} for i in range(2000)
    ]
    file = written(tmp_path / "entity.jsonl", lines)
    assert file.stat().st_size > 8e6
    del lines
    tracemalloc.start()
    try:
        found = import_blink_entities(file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found[999].title == "E999"
    assert peak < 2e6
    assert 4e5 < arrow_pool.max_memory() < 2e6  # a batch at least, which says that this pool was asked
