"""Entities come and go without a rebuild, and the linker links as if it had been built that way."""

import numpy as np
import pytest

from hf_blink.modeling.entity_index import EntityIndex
from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.knowledge_base import KnowledgeBase

NEW = [
    {"id": "lion", "title": "Lion", "description": "A cat of the savannah."},
    {"id": "ford", "title": "Ford", "description": "A maker of cars."},
]


def built(linker, entities, kind="flat") -> EntityLinker:
    return EntityLinker.from_knowledge_base(
        KnowledgeBase.from_entities(entities),
        linker.bi_encoder,
        processor=linker.processor,
        index_kind=kind,
        progress=False,
    )


def scores(linker) -> list:
    links = linker.link(["Lion, Puma, Ford and Paris"])[0]
    return [(link.mention.text, link.entity.entity_id, pytest.approx(link.score, abs=1e-6)) for link in links]


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_added_and_removed_entities_give_the_linker_of_a_new_build(linker, entities, kind):
    changed = built(linker, entities, kind)
    changed.link("Lion")  # makes the detector, which must not stay
    changed.add_entities(NEW)
    assert scores(built(linker, [*entities, *NEW], kind)) == scores(changed)
    assert {name for name, _, _ in scores(changed)} == {"Lion", "Puma", "Ford", "Paris"}
    changed.remove_entities(["puma-cat", "ford"])
    kept = [entity for entity in [*entities, *NEW] if entity["id"] not in ("puma-cat", "ford")]
    same = built(linker, kept, kind)
    assert scores(same) == scores(changed)
    assert changed.knowledge_base.fingerprint == same.knowledge_base.fingerprint
    rows = range(len(kept))
    assert np.allclose(changed.index.vectors(rows), same.index.vectors(rows), atol=1e-6)


def test_only_new_entities_are_encoded(linker, monkeypatch):
    encoded: list[int] = []
    encode = linker.bi_encoder.encode_entities

    def counted(input_ids, attention_mask):
        encoded.append(len(input_ids))
        return encode(input_ids, attention_mask)

    monkeypatch.setattr(linker.bi_encoder, "encode_entities", counted)
    linker.add_entities(NEW)
    linker.remove_entities(["lion"])
    assert sum(encoded) == 2


def test_a_replaced_entity_has_the_new_text(linker):
    linker.add_entities([{"id": "puma-cat", "title": "Puma", "description": "Another text."}], replace=True)
    assert len(linker.knowledge_base) == len(linker.index) == 6
    row = linker.knowledge_base.entity_row("puma-cat")
    assert row == 5 and linker.knowledge_base[row].description == "Another text."


def test_wrong_changes_leave_the_linker_as_it_was(linker, entities):
    before = linker.knowledge_base, linker.index
    with pytest.raises(ValueError, match=r"expected new entity ids, got 1 .*\(puma-cat\); pass replace=True"):
        linker.add_entities([*NEW, entities[2]])
    with pytest.raises(ValueError, match="title"):
        linker.add_entities([{"id": "x"}])
    with pytest.raises(KeyError, match="got 'x', 'y', 2 that it does not have; nothing was removed"):
        linker.remove_entities(["puma-cat", "x", "y"])
    with pytest.raises(ValueError, match="at least one entity to stay"):
        linker.remove_entities([entity["id"] for entity in entities])
    assert (linker.knowledge_base, linker.index) == before


def test_a_changed_linker_is_saved_and_loaded(linker, tmp_path):
    linker.add_entities(NEW)
    linker.save_pretrained(tmp_path / "linker")
    assert scores(EntityLinker.from_pretrained(tmp_path / "linker")) == scores(linker)
    assert len(EntityIndex.from_pretrained(tmp_path / "linker" / "entity_index")) == 8


def test_a_call_sees_the_entities_of_its_beginning(linker, monkeypatch):
    """Entities that go while a call runs, here between retrieval and decision, do not shift its rows."""
    expected = [(link.mention.text, link.entity.entity_id) for link in linker.link("Puma in Paris")]
    retrieve = EntityLinker.retrieve

    def retrieve_then_remove(self, *arguments):
        found = retrieve(self, *arguments)
        linker.remove_entities(["jaguar-cat"])
        return found

    monkeypatch.setattr(EntityLinker, "retrieve", retrieve_then_remove)
    assert [(link.mention.text, link.entity.entity_id) for link in linker.link("Puma in Paris")] == expected
    assert len(linker.knowledge_base) == 5
