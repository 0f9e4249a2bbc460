"""Tests of the two ranking stages."""

import numpy as np
import pytest

from hf_blink.modeling.candidate_ranking import check_worlds, rerank, retrieve
from hf_blink.modeling.entity_index import EntityIndex
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.linking_types import MentionContext

CONTEXTS = [MentionContext("A", "jaguar", "slept"), MentionContext("", "paris", "")]


@pytest.fixture
def index(bi_encoder, processor, knowledge_base):
    return EntityIndex.build(bi_encoder, processor, knowledge_base, kind="flat", progress=False)


def test_retrieve_gives_the_nearest_of_all_entities_or_of_the_world(
    bi_encoder, processor, knowledge_base, index
):
    parts = (bi_encoder, processor, index, knowledge_base)
    mentions = bi_encoder.encode_mentions(**processor.process_mentions(CONTEXTS)).detach().numpy()
    expected = mentions @ index.vectors(range(6)).T
    scores, rows = retrieve(*parts, CONTEXTS, 3)
    assert rows.tolist() == np.argsort(-expected, axis=1)[:, :3].tolist()
    assert scores == pytest.approx(-np.sort(-expected, axis=1)[:, :3], abs=1e-5)
    scores, rows = retrieve(*parts, CONTEXTS, 3, ["firms", None])
    assert set(rows[0].tolist()) == {1, 3, -1} and scores[0, 2] == -np.inf
    assert rows[1].tolist() == np.argsort(-expected[1])[:3].tolist()


def test_retrieve_is_no_wider_than_the_index(bi_encoder, processor, knowledge_base, index):
    scores, rows = retrieve(bi_encoder, processor, index, knowledge_base, CONTEXTS, 10**12)
    assert scores.shape == rows.shape == (2, 6)


def test_check_worlds_names_the_known_ones():
    many = KnowledgeBase.from_entities([{"id": i, "title": "x", "world": f"w{i:02d}"} for i in range(20)])
    check_worlds(many, [None, "w00", "w19"])
    with pytest.raises(ValueError, match=r"\('w00', .*'w09'\), got 'w20'; None searches all"):
        check_worlds(many, ["w00", "w20"])
    with pytest.raises(ValueError, match=r"\(none, as no entity names a world\), got 'w'"):
        check_worlds(KnowledgeBase.from_entities([{"id": 1, "title": "x"}]), ["w"])


def test_rerank_scores_are_the_cross_encoders_forward_plus_weighted_retrieval(
    processor, knowledge_base, cross_encoder
):
    contexts = [MentionContext("a", "jaguar", "in the forest"), MentionContext("", "paris", "")]
    rows = np.array([[0, 3, -1], [5, 4, 2]])
    scores = np.array([[0.5, 0.25, -np.inf], [0.1, 0.2, 0.3]], dtype=np.float32)
    windows, _ = processor.mention_windows(contexts)
    entities = processor.entity_windows(*knowledge_base.texts(0, 6))
    pair = processor.process_pairs([windows[1]], [entities[4]])
    alone = cross_encoder(**{name: value.unsqueeze(0) for name, value in pair.items()}).scores.item()
    plain = rerank(cross_encoder, processor, knowledge_base, contexts, rows, scores, 0.05)
    assert plain[1, 1] == pytest.approx(alone, abs=1e-5)
    assert plain[0, 2] == -np.inf
    cross_encoder.config.retrieval_weight = 0.5
    weighted = rerank(cross_encoder, processor, knowledge_base, contexts, rows, scores, 0.05)
    assert weighted[0, 1] == pytest.approx(plain[0, 1] + 0.5 * 0.25 / 0.05, abs=1e-4)
