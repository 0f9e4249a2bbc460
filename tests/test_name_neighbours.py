import pytest
from datasets import Dataset

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training import name_neighbours
from hf_blink.training.name_neighbours import NameNeighbours, add_name_neighbours

ENTITIES = [
    {"id": "set-add", "title": "Set.add() method", "aliases": ["add()"], "world": "js"},
    {"id": "map-add", "title": "Map.add() method", "aliases": ["add()"], "world": "js"},
    {"id": "map-get", "title": "Map.get() method", "world": "js"},
    {"id": "date", "title": "Date", "world": "js"},
    {"id": "add-css", "title": "add()", "world": "css"},
]


@pytest.fixture(scope="module")
def catalogue() -> KnowledgeBase:
    return KnowledgeBase.from_entities(ENTITIES)


def test_rarer_shared_words_count_more_and_other_worlds_not_at_all(catalogue):
    neighbours = NameNeighbours(catalogue)
    # Words of set-add: set, add (2 entities), method (3). map-add shares add and method, map-get method alone.
    assert neighbours.nearest(0, 10) == [1, 2]
    assert neighbours.nearest(0, 1) == [1]
    assert neighbours.nearest(0, 10, without=[1]) == [2]
    assert neighbours.nearest(3, 10) == [] and neighbours.nearest(4, 10) == []


def test_words_in_too_many_names_are_passed_over(catalogue, monkeypatch):
    monkeypatch.setattr(name_neighbours, "_MOST_ENTITIES", 2)
    assert NameNeighbours(catalogue).nearest(0, 10) == [1]


def test_ties_are_broken_by_the_seed():
    entities = KnowledgeBase.from_entities({"id": str(i), "title": f"name{i} shared"} for i in range(50))
    first, again, other = (NameNeighbours(entities, seed).nearest(0, 5) for seed in (1, 1, 2))
    assert first == again != other


def test_add_name_neighbours_leaves_all_gold_entities_out(catalogue):
    dataset = Dataset.from_dict({"label_ids": [["set-add"], ["set-add", "map-add"], ["date"], []]})
    added = add_name_neighbours(dataset, catalogue, num_negatives=2)
    assert added["hard_negative_ids"][:] == [["map-add", "map-get"], ["map-get"], [], []]
    assert add_name_neighbours(added, catalogue, num_negatives=1)["hard_negative_ids"][0] == ["map-add"]


def test_add_name_neighbours_refuses_wrong_input(catalogue):
    dataset = Dataset.from_dict({"label_ids": [["moon"]]})
    with pytest.raises(ValueError, match="num_negatives of at least 1, got 0"):
        add_name_neighbours(dataset, catalogue, num_negatives=0)
    with pytest.raises(ValueError, match="label_ids that are in the knowledge base"):
        add_name_neighbours(dataset, catalogue)
