"""Tests of finding rows by id, with colliding hashes."""

import numpy as np
import pytest

from hf_blink.modeling.knowledge_base import KnowledgeBase


def test_hash_collisions_are_no_duplicates(monkeypatch: pytest.MonkeyPatch) -> None:
    lookup = "hf_blink.modeling.entity_id_lookup.hash_entity_ids"
    monkeypatch.setattr(lookup, lambda ids: np.array([len(text) for text in ids], np.int64))
    kb = KnowledgeBase.from_entities({"id": i, "title": "t"} for i in range(30))
    assert kb.find_rows(["3", "29", "99", "777"]).tolist() == [3, 29, -1, -1]
    with pytest.raises(
        ValueError, match=r"1 bad entity record.*\n.*row 2:.*got '5', which entities, row 0 has"
    ):
        KnowledgeBase.from_entities({"id": i, "title": "t"} for i in ("5", "6", "5"))
