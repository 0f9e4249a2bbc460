import pytest

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training.entity_names import EntityNames, name_key, names_of

ENTITIES = [
    {"id": "ny", "title": "New York", "aliases": ["NYC"], "world": "places"},
    {"id": "nyt", "title": "New York Times", "world": "papers"},
    {"id": "mercury-planet", "title": "Mercury (planet)", "world": "places"},
    {"id": "mercury-paper", "title": "Mercury (paper)", "world": "papers"},
    {"id": "zuerich", "title": "Zürich", "aliases": ["Straße"], "world": "places"},
]


@pytest.fixture(scope="module")
def names() -> EntityNames:
    return EntityNames(KnowledgeBase.from_entities(ENTITIES))


def found(names: EntityNames, text: str, world: str | None = None) -> list[tuple[str, tuple[int, ...]]]:
    return [(text[start:end], rows) for start, end, rows in names.matches(text, world)]


def test_names_of_an_entity_are_each_there_once_and_without_the_qualifier():
    assert names_of("Mercury (planet)", ("mercury", "Planet  Mercury")) == [
        "Mercury (planet)",
        "Mercury",
        "Planet  Mercury",
    ]
    assert names_of("(planet)", ()) == ["(planet)"]
    assert names_of("...", ("", "  ")) == ["..."]


def test_name_key_ignores_case_and_spaces():
    assert name_key(" New\tYORK ") == name_key("new york") == "new york"
    assert name_key(" ") == ""


def test_matches_take_the_longest_name_of_all_worlds(names):
    assert found(names, "the New York Times of NYC") == [("New York Times", (1,)), ("NYC", (0,))]


def test_a_name_of_another_world_neither_matches_nor_hides_one(names):
    assert found(names, "the New York Times of NYC", "places") == [("New York", (0,)), ("NYC", (0,))]
    assert found(names, "NYC", "papers") == []


def test_a_shared_name_gives_all_its_entities(names):
    assert found(names, "on Mercury (planet) and Mercury") == [
        ("Mercury (planet)", (2,)),
        ("Mercury", (2, 3)),
    ]
    assert found(names, "Mercury", "papers") == [("Mercury", (3,))]


def test_names_are_whole_words_in_any_script(names):
    assert found(names, "Zürichs ZÜRICH, STRASSE") == [("ZÜRICH", (4,)), ("STRASSE", (4,))]


def test_an_unknown_world_is_refused(names):
    with pytest.raises(KeyError, match="no entities of the world 'moons'; known worlds: 'papers', 'places'"):
        list(names.matches("Mercury", "moons"))


def test_without_worlds_those_of_texts_do_not_matter():
    names = EntityNames(KnowledgeBase.from_entities([{"id": "ny", "title": "New York"}]))
    assert found(names, "New York", "anything") == [("New York", (0,))]
