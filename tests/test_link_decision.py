"""Tests of scores, probabilities and decisions, with numbers by hand."""

import numpy as np
import pytest

from hf_blink.modeling.link_decision import check_settings, decide_links, softmax
from hf_blink.modeling.linking_types import Mention

MENTION = Mention(0, 5, "paris")


def test_softmax_by_hand():
    logits = np.array([[0.0, np.log(3.0), -np.inf], [1000.0, 1000.0, 1000.0]], dtype=np.float32)
    assert softmax(logits) == pytest.approx(np.array([[0.25, 0.75, 0.0], [1 / 3] * 3]), abs=1e-6)


def links(knowledge_base, rerank, **changed):
    rows = np.array([[4, 5, -1]])
    retrieval = np.array([[0.2, 0.2 - 0.05 * np.log(3.0), -np.inf]], dtype=np.float32)
    options = {"temperature": 0.05, "top_k": 3, "threshold": 0.0, **changed}
    return list(decide_links([MENTION], knowledge_base, rows, retrieval, rerank, **options))


def test_retrieval_scores_are_divided_by_the_temperature(knowledge_base):
    link = links(knowledge_base, None)[0]
    assert [c.entity.entity_id for c in link.candidates] == ["paris-fr", "paris-tx"]
    assert [c.score for c in link.candidates] == pytest.approx([0.75, 0.25], abs=1e-6)
    assert link.retrieval_score == pytest.approx(0.2) and link.rerank_score is None


def test_rerank_scores_decide_where_there_are_some(knowledge_base):
    rerank = np.array([[0.0, np.log(4.0), 9.0]], dtype=np.float32)
    link = links(knowledge_base, rerank)[0]
    assert [c.entity.entity_id for c in link.candidates] == ["paris-tx", "paris-fr"]
    assert [c.score for c in link.candidates] == pytest.approx([0.8, 0.2], abs=1e-6)


def test_top_k_cuts_candidates_and_leaves_probabilities(knowledge_base):
    link = links(knowledge_base, None, top_k=1)[0]
    assert len(link.candidates) == 1 and link.score == pytest.approx(0.75, abs=1e-6)


def test_a_score_under_the_threshold_is_nil(knowledge_base):
    assert links(knowledge_base, None, threshold=0.7)[0].entity is not None
    link = links(knowledge_base, None, threshold=0.8)[0]
    assert link.nil and link.entity is None and link.score == pytest.approx(0.75, abs=1e-6)


def test_check_settings_names_the_setting():
    check_settings(1, 0)
    for candidates in (0, 1.0, True, None, "1"):
        with pytest.raises(ValueError, match="expected top_k as an integer of at least 1, got"):
            check_settings(candidates, 0.5, name="top_k")
    for threshold in (-0.1, 1.1, float("nan"), True, None, "0"):
        with pytest.raises(ValueError, match="expected a threshold between 0 and 1"):
            check_settings(1, threshold)
