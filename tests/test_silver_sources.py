import pytest

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.linking_types import Entity
from hf_blink.training import silver_sources
from hf_blink.training.entity_names import EntityNames, NameMatch
from hf_blink.training.silver_sources import in_descriptions, in_texts, own_occurrence

ENTITIES: list[dict] = [
    {
        "id": "puma",
        "title": "Puma",
        "description": "A cat. It fears the jaguar.",
        "aliases": ["puma"],
        "world": "animals",
    },
    {
        "id": "jaguar",
        "title": "Jaguar",
        "description": "A cat like the puma.",
        "aliases": ["jaguar"],
        "world": "animals",
    },
    {"id": "car", "title": "Jaguar", "description": "A car, no Puma.", "world": "firms"},
]
WORDS = [f"w{number}" for number in range(100)]


@pytest.fixture(scope="module")
def names() -> EntityNames:
    return EntityNames(KnowledgeBase.from_entities(ENTITIES))


def test_in_texts_gives_places_and_all_entities_of_the_name(names):
    texts: list = ["no name", {"text": "A Jaguar!", "world": "firms", "doc_id": "d"}, "Jaguar"]
    found = list(in_texts(names, iter(texts)))
    assert [(o.id, o.text[o.start : o.end], o.rows, o.world, o.doc_id) for o in found] == [
        ("text:1#2", "Jaguar", (2,), "firms", "d"),
        ("text:2#0", "Jaguar", (1, 2), None, None),
    ]
    assert {o.source for o in found} == {"texts"}


def test_in_texts_reads_one_text_after_the_other(names):
    read = []

    def texts():
        for number in range(3):
            read.append(number)
            yield "a puma"

    next(in_texts(names, texts()))
    assert read == [0]


@pytest.mark.parametrize("text", [3, {"title": "x"}, None, {"text": None}])
def test_in_texts_refuses_what_is_no_text(names, text):
    with pytest.raises(TypeError, match="text 1: expected a string or a mapping with text, got"):
        list(in_texts(names, ["fine", text]))


def test_in_texts_refuses_an_unknown_world(names):
    with pytest.raises(ValueError, match="text 0: expected a world .* 'animals', 'firms', got 'moons'"):
        list(in_texts(names, [{"text": "x", "world": "moons"}]))


def test_in_descriptions_finds_other_entities_of_the_same_world(names):
    found = list(in_descriptions(names, names.knowledge_base, seed=1))
    # The car's description names the puma, which is of another world; all are too short for a mention of their own.
    assert [(o.id, o.source, o.text[o.start : o.end], o.rows, o.doc_id) for o in found] == [
        ("puma#20", "descriptions", "jaguar", (1,), "puma"),
        ("jaguar#15", "descriptions", "puma", (0,), "jaguar"),
    ]


def own(description: str, matches=(), aliases=(), seed: int = 1):
    return own_occurrence(7, Entity("e", "Title", description, tuple(aliases)), list(matches), seed)


def test_own_occurrence_of_a_long_description_is_from_beyond_its_beginning(monkeypatch):
    monkeypatch.setattr(silver_sources, "PHRASES", 0.0)
    for seed in range(30):
        found = own(" ".join(WORDS), seed=seed)
        left, right = found.text[: found.start].split(), found.text[found.end :].split()
        assert (found.text[found.start : found.end], found.rows, found.source) == ("Title", (7,), "own")
        assert 4 <= len(left) <= 16 and 4 <= len(right) <= 16
        place = WORDS.index(right[0])
        assert place >= 44 and [*left, *right] == WORDS[place - len(left) : place + len(right)]


def test_own_occurrence_takes_a_place_where_the_description_names_it_and_another_name(monkeypatch):
    monkeypatch.setattr(silver_sources, "PHRASES", 0.0)
    text = "Title is a thing that is known for what it does."
    place = NameMatch(0, 5, (7,))
    assert own(text, [place]).text.startswith("Title is a thing that")
    swapped = own(text, [place], aliases=["Alias"])
    assert swapped.text.startswith("Alias is a thing that") and (swapped.start, swapped.end) == (0, 5)


def test_own_occurrence_prefers_a_late_place(monkeypatch):
    monkeypatch.setattr(silver_sources, "PHRASES", 0.0)
    text = " ".join(["Title", *WORDS[:50], "Title", *WORDS[50:]])
    late = text.rindex("Title")
    for seed in range(10):
        assert (
            own(text, [NameMatch(0, 5, (7,)), NameMatch(late, late + 5, (7,))], seed=seed)
            .text[:3]
            .startswith("w")
        )


def test_own_occurrence_may_be_a_phrase(monkeypatch):
    monkeypatch.setattr(silver_sources, "PHRASES", 1.0)
    for seed in range(30):
        found = own(" ".join(WORDS), seed=seed)
        phrase = found.text[found.start : found.end].split()
        assert 1 <= len(phrase) <= 4 and phrase[0] in WORDS[44:]
        assert found.text in " ".join(WORDS)


def test_own_occurrence_of_a_short_description_is_none():
    assert own("one two three four five six seven") is None
    assert own("") is None
    assert own("one two three four five six seven eight") is not None
