"""Tests of the records that the parts of the linker exchange."""

import dataclasses
import pickle

import pytest

from hf_blink.modeling.linking_types import Candidate, Entity, EntityLink, Mention, MentionContext

PARIS = Entity("Q90", "Paris", "capital of France", ("City of Light",), metadata={"rank": 1})


def test_entity_defaults_are_empty() -> None:
    entity = Entity("Q90", "Paris")
    assert (entity.description, entity.aliases, entity.world, entity.url) == ("", (), None, None)
    assert entity.metadata == {}


def test_entity_is_frozen_and_hashable_in_spite_of_metadata() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PARIS.title = "London"  # type: ignore[misc]
    assert len({PARIS, dataclasses.replace(PARIS)}) == 1
    assert dataclasses.replace(PARIS, metadata={}) != PARIS


def test_records_survive_pickling() -> None:
    candidate = Candidate(PARIS, 0.5, None, 1.0)
    link = EntityLink(Mention(0, 5, "Paris"), PARIS, 1.0, False, 0.5, None, (candidate,))
    assert pickle.loads(pickle.dumps(link)) == link
    assert pickle.loads(pickle.dumps(MentionContext("a", "b", "c"))) == MentionContext("a", "b", "c")


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (3, 3), (5, 2)])
def test_mention_refuses_impossible_spans(start: int, end: int) -> None:
    with pytest.raises(ValueError, match=rf"0 <= start < end .* got start={start}, end={end}"):
        Mention(start, end, "x")


def test_entity_link_refuses_a_contradiction() -> None:
    with pytest.raises(ValueError, match="entity=None exactly when nil=True, got nil=True, entity='Q90'"):
        EntityLink(Mention(0, 5, "Paris"), PARIS, 0.1, True, None, None)
    with pytest.raises(ValueError, match="got nil=False, entity=None"):
        EntityLink(Mention(0, 5, "Paris"), None, 0.1, False, None, None)


def test_the_joint_score_of_a_candidate_counts_the_mention() -> None:
    candidates = (Candidate(PARIS, 0.5, None, 0.8), Candidate(PARIS, 0.4, None, 0.2))
    given = EntityLink(Mention(0, 5, "Paris"), PARIS, 0.8, False, 0.5, None, candidates)
    found = dataclasses.replace(given, score=0.4, mention_score=0.5)
    assert [given.joint_score(candidate) for candidate in candidates] == [0.8, 0.2]
    assert [found.joint_score(candidate) for candidate in candidates] == [found.score, 0.1]
