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
    assert neighbours.nearest([0], 10) == [1, 2]
    assert neighbours.nearest([0], 1) == [1]
    assert neighbours.nearest([0, 1], 10) == [2]
    assert neighbours.nearest([3], 10) == [] and neighbours.nearest([4], 10) == [] == neighbours.nearest(
        [], 10
    )


def test_rarity_is_that_in_the_world():
    """log(1 + 42 / 2) = 3.1 for zeta, 2 log(1 + 42 / 21) = 2.2 for red and blue; other worlds change nothing."""
    titles = [
        "red blue zeta",
        "zeta",
        *(f"red blue {i}" for i in range(20)),
        *(f"other{i}" for i in range(20)),
    ]
    entities = [{"id": str(i), "title": title, "world": "a"} for i, title in enumerate(titles)]
    more = [{"id": f"b{i}", "title": f"thing{i}", "world": "b"} for i in range(5000)]
    for made in (entities, [*entities, *more]):
        found = NameNeighbours(KnowledgeBase.from_entities(made)).nearest([0], 3)
        assert found[0] == 1


def test_several_gold_entities_are_all_looked_up(catalogue):
    dataset = Dataset.from_dict({"label_ids": [["date", "map-get"]]})
    assert set(add_name_neighbours(dataset, catalogue)["hard_negative_ids"][0]) == {"set-add", "map-add"}


def test_words_in_too_many_names_are_passed_over_but_namesakes_are_found(catalogue, monkeypatch):
    monkeypatch.setattr(name_neighbours, "_MOST_ENTITIES", 2)
    assert NameNeighbours(catalogue).nearest([0], 10) == [1]
    titles = ["John Smith", "john  SMITH", "John A", "John B", "A Smith", "B Smith"]
    people = KnowledgeBase.from_entities({"id": str(i), "title": title} for i, title in enumerate(titles))
    assert NameNeighbours(people).nearest([0], 10) == [1], "john and smith are in four names each"


def test_words_of_underscores_and_letters_are_words():
    entities = KnowledgeBase.from_entities(
        [
            {"id": "1", "title": "__proto__"},
            {"id": "2", "title": "Object.__proto__"},
            {"id": "3", "title": "___"},
        ]
    )
    assert (
        NameNeighbours(entities).nearest([0], 10) == [1] and NameNeighbours(entities).nearest([2], 10) == []
    )


def test_the_names_of_wanted_entities_alone_are_kept(catalogue):
    every, some = NameNeighbours(catalogue), NameNeighbours(catalogue, [2])
    assert (
        some.nearest([2], 10)
        == every.nearest([2], 10)
        == NameNeighbours(catalogue, [2, 2, 3]).nearest([2], 10)
    )
    assert {word for _, word in some._rows} == {"map", "get", "method", "map get method"}


def test_ties_are_broken_by_the_seed():
    entities = KnowledgeBase.from_entities({"id": str(i), "title": f"name{i} shared"} for i in range(50))
    first, again, other = (NameNeighbours(entities, seed=seed).nearest([0], 5) for seed in (1, 1, 2))
    assert first == again != other


def test_add_name_neighbours_leaves_all_gold_entities_out(catalogue, caplog):
    dataset = Dataset.from_dict({"label_ids": [["set-add"], ["set-add", "map-add"], ["date"], []]})
    with caplog.at_level("INFO"):
        added = add_name_neighbours(dataset, catalogue, num_negatives=2)
    assert "no entity with a similar name for 2 of 4 mentions" in caplog.text
    assert added["hard_negative_ids"][:] == [["map-add", "map-get"], ["map-get"], [], []]
    assert add_name_neighbours(added, catalogue, num_negatives=1)["hard_negative_ids"][0] == ["map-add"]


def test_add_name_neighbours_refuses_wrong_input(catalogue):
    dataset = Dataset.from_dict({"label_ids": [["moon"]]})
    with pytest.raises(ValueError, match="num_negatives of at least 1, got 0"):
        add_name_neighbours(dataset, catalogue, num_negatives=0)
    with pytest.raises(ValueError, match="label_ids that are in the knowledge base"):
        add_name_neighbours(dataset, catalogue)
