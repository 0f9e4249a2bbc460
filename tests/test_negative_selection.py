"""Filters on retrieved entities, with scores and ranks set by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from hf_blink.modeling.linking_types import MentionContext
from hf_blink.training.mention_retrieval import MentionBlock
from hf_blink.training.mining_settings import MiningSettings
from hf_blink.training.negative_selection import select_negatives


class StubBase:
    """Ten entities; the first five are the world "a"."""

    def __len__(self) -> int:
        return 10

    def world_rows(self, world: str) -> np.ndarray:
        assert world == "a"
        return np.arange(5)


def linker(logits: dict[int, float] | None = None):
    def rerank(contexts, rows, scores):
        return np.array([[(logits or {}).get(row, -np.inf) for row in line] for line in rows.tolist()])

    return SimpleNamespace(knowledge_base=StubBase(), rerank=rerank)


def block(scores, found, gold, *, ids=("m",), worlds=(None,)) -> MentionBlock:
    context = MentionContext("", "it", "")
    arrays = np.array(gold), np.array(scores, np.float32), np.array(found)
    return MentionBlock(0, list(ids), [context] * len(ids), list(worlds), *arrays)


# Gold: row 1 with the score 0.8.
BLOCK = block([[0.9, 0.8, 0.78, 0.7, 0.5, -np.inf]], [[3, 1, 2, 7, 4, -1]], [[1]])


def select(settings: dict, given: MentionBlock = BLOCK, logits=None, number: int = 0) -> list[list[int]]:
    return select_negatives(linker(logits), given, MiningSettings(**settings), number).tolist()


def test_the_nearest_that_are_not_gold_best_first():
    assert select({"num_negatives": 3}) == [[3, 2, 7]]
    assert select({"num_negatives": 6}) == [[3, 2, 7, 4, -1, -1]]
    assert select({"num_negatives": 8}) == [[3, 2, 7, 4, -1, -1, -1, -1]]


def test_ranks_count_without_gold():
    assert select({"num_negatives": 2, "range_min": 1}) == [[2, 7]]
    assert select({"num_negatives": 2, "range_min": 1, "range_max": 3, "absolute_margin": 0.05}) == [[7, -1]]


def test_margins_are_below_the_gold_score():
    assert select({"num_negatives": 3, "absolute_margin": 0.0}) == [[2, 7, 4]]
    assert select({"num_negatives": 3, "absolute_margin": 0.05}) == [[7, 4, -1]]
    assert select({"num_negatives": 3, "relative_margin": 0.2}) == [[4, -1, -1]]  # at most 0.64
    both = {"num_negatives": 3, "absolute_margin": 0.05, "relative_margin": 0.2}
    assert select(both) == [[4, -1, -1]]


def test_a_relative_margin_is_below_a_negative_gold_score_too():
    given = block([[-0.4, -0.45, -0.5, -0.7]], [[1, 2, 3, 4]], [[1]])
    assert select({"num_negatives": 3, "relative_margin": 0.2}, given) == [[3, 4, -1]]  # at most -0.48


def test_the_best_gold_entity_sets_the_margin_and_none_is_a_negative():
    given = block([[0.9, 0.8, 0.6, 0.5]], [[3, 1, 2, 7]], [[2, 1]])
    assert select({"num_negatives": 3, "absolute_margin": 0.1}, given) == [[7, -1, -1]]
    assert select({"num_negatives": 3}, given) == [[3, 7, -1]]


def test_what_the_cross_encoder_believes_to_be_gold_is_dropped():
    logits = {1: 2.0, 3: 5.0, 2: 1.5, 7: 0.0, 4: -1.0}
    assert select({"num_negatives": 3, "cross_encoder_margin": 0.0}, logits=logits) == [[2, 7, 4]]
    assert select({"num_negatives": 3, "cross_encoder_margin": 1.0}, logits=logits) == [[7, 4, -1]]


def test_random_ones_fill_their_share_from_the_world_without_gold_or_repeats():
    given = block([[0.9, 0.8], [0.9, 0.8]], [[3, 1], [3, 1]], [[1], [1]], ids=("m", "n"), worlds=("a", None))
    settings = {"num_negatives": 8, "random_share": 0.75}
    first, second = select(settings, given)
    assert first[0] == 3 and sorted(first[1:4]) == [0, 2, 4] and first[4:] == [-1] * 4
    assert second[0] == 3 and set(second[1:7]) <= {0, 2, 4, 5, 6, 7, 8, 9} and len(set(second[:7])) == 7


def test_random_ones_depend_on_mention_number_and_seed_alone():
    settings = {"num_negatives": 3, "random_share": 1.0}
    drawn = select(settings)
    twice = block([[0.1], [0.9]], [[5], [3]], [[1], [1]], ids=("other", "m"), worlds=(None, None))
    assert select(settings, twice)[1] == drawn[0], "of the mention's id, not of its place"
    assert select(settings, number=1) != drawn and select(settings | {"seed": 1}) != drawn
    assert select(settings, number=1) == select(settings, number=1)


@pytest.mark.parametrize("mention_id", [None, "m"])
def test_mentions_without_an_id_are_drawn_for_too(mention_id):
    given = block([[0.9]], [[3]], [[1]], ids=(mention_id,))
    assert -1 not in select({"num_negatives": 4, "random_share": 1.0}, given)[0]
