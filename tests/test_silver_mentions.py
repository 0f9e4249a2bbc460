from collections import Counter

import pytest

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training import silver_mentions as module
from hf_blink.training import silver_sources
from hf_blink.training.silver_mentions import SILVER_FEATURES, count_sources, silver_mentions

ENTITIES = [
    {"id": "puma", "title": "Puma", "description": "A cat. It fears the Jaguar.", "aliases": ["Cougar"]},
    {"id": "jaguar-cat", "title": "Jaguar", "description": "A cat like the Cougar."},
    {"id": "jaguar-car", "title": "Jaguar", "description": "A car."},
    {"id": "bank", "title": "First National Bank", "description": "A bank."},
]
TEXTS = ["The Puma slept.", "A Jaguar passed.", "They went to the First National Bank on Monday."]


@pytest.fixture(scope="module")
def catalogue() -> KnowledgeBase:
    return KnowledgeBase.from_entities(ENTITIES)


def shown(dataset) -> set[tuple]:
    return {(row["source"], row["mention"], tuple(row["label_ids"])) for row in dataset.to_list()}


def test_mentions_have_the_schema_of_labelled_ones_and_exact_windows(catalogue):
    dataset = silver_mentions(catalogue, TEXTS, varied=0.0)
    assert dataset.features == SILVER_FEATURES
    row = next(row for row in dataset.to_list() if row["mention"] == "First National Bank")
    assert row == {
        "id": "text:2#17",
        "context_left": "They went to the ",
        "mention": "First National Bank",
        "context_right": " on Monday.",
        "label_ids": ["bank"],
        "world": None,
        "doc_id": None,
        "source": "texts",
    }


def test_ambiguous_names_are_dropped(catalogue):
    dataset = silver_mentions(catalogue, TEXTS, varied=0.0)
    assert shown(dataset) == {
        ("texts", "Puma", ("puma",)),
        ("texts", "First National Bank", ("bank",)),
        ("descriptions", "Cougar", ("puma",)),
    }
    assert count_sources(dataset) == {"texts": 2, "descriptions": 1, "own": 0}


def test_ambiguous_names_are_weighted_by_the_chance_of_a_guess(catalogue):
    texts = [f"{number} Jaguar" for number in range(400)]
    dataset = silver_mentions(catalogue, texts, ambiguous="weight", max_per_name=400, max_per_entity=400)
    ambiguous = [row for row in dataset.to_list() if row["mention"] == "Jaguar"]
    assert {tuple(row["label_ids"]) for row in ambiguous} == {("jaguar-cat", "jaguar-car")}
    assert 160 <= len(ambiguous) <= 240  # one in two of 400 and one, four standard deviations at most


def test_the_catalogue_alone_is_enough(catalogue):
    assert shown(silver_mentions(catalogue, varied=0.0)) == {("descriptions", "Cougar", ("puma",))}


def test_the_result_depends_on_the_seed_alone(catalogue):
    texts = [f"{number} Puma {number}" for number in range(50)]
    first, again = (silver_mentions(catalogue, iter(texts), seed=1).to_list() for _ in range(2))
    assert first == again != silver_mentions(catalogue, texts, seed=2).to_list()


def test_names_and_entities_have_so_many_mentions_at_most(catalogue):
    texts = [f"{number} Puma or Cougar" for number in range(50)]
    by_name = Counter(silver_mentions(catalogue, texts, varied=0.0, max_per_name=3)["mention"])
    assert by_name == {"Puma": 3, "Cougar": 3}
    by_entity = silver_mentions(catalogue, texts, max_per_name=30, max_per_entity=5)
    assert Counter(label for labels in by_entity["label_ids"] for label in labels) == {"puma": 5}
    # A sample of all texts, not the first ones.
    numbers = [int(row_id[5:].partition("#")[0]) for row_id in by_entity["id"] if row_id.startswith("text")]
    assert max(numbers) > 10


def test_mentions_in_own_descriptions_are_bounded(monkeypatch):
    monkeypatch.setattr(module, "MOST_OWN", 4)
    words = " ".join(f"w{number}" for number in range(10))
    entities = ({"id": str(n), "title": f"name{n}", "description": words} for n in range(20))
    assert count_sources(silver_mentions(KnowledgeBase.from_entities(entities)))["own"] == 4


def test_lower_case_words_that_are_everywhere_are_no_names():
    entities = KnowledgeBase.from_entities(
        [{"id": "to", "title": "to"}, {"id": "paris", "title": "Paris"}, {"id": "fetch", "title": "fetch"}]
    )
    texts = [f"go to {'Paris' if number % 2 else 'fetch()'}" for number in range(21)]
    # 21 documents are more than 20 and more than 2 %: "to"; "fetch" is in 11.
    assert set(silver_mentions(entities, texts)["mention"]) == {"Paris", "fetch"}
    assert "to" in silver_mentions(entities, texts[:20])["mention"]


def test_varied_names_are_other_names_or_lack_a_word(catalogue):
    mentions = silver_mentions(catalogue, TEXTS, varied=1.0)["mention"]
    assert "Cougar" in mentions and "Puma" in mentions  # each for the other
    shorter = next(mention for mention in mentions if mention not in ("Cougar", "Puma"))
    assert shorter in ("National Bank", "First Bank", "First National")


def test_world_is_that_of_the_entities():
    entities = [
        {"id": "1", "title": "Puma", "description": "A cat.", "world": "animals"},
        {"id": "2", "title": "Audi", "description": "No Puma.", "world": "firms"},
        {"id": "3", "title": "Volvo", "description": "Not an Audi.", "world": "firms"},
    ]
    rows = silver_mentions(KnowledgeBase.from_entities(entities), ["A Puma."]).to_list()
    assert {(row["mention"], row["world"]) for row in rows} == {("Audi", "firms"), ("Puma", "animals")}


def test_own_mentions_keep_their_label_where_the_name_is_shared(monkeypatch):
    monkeypatch.setattr(silver_sources, "PHRASES", 0.0)
    text = "Mercury is one of several things that have this very name."
    entities = [{"id": str(n), "title": "Mercury", "description": text} for n in range(2)]
    rows = silver_mentions(KnowledgeBase.from_entities(entities)).to_list()
    assert sorted((row["source"], row["mention"], *row["label_ids"]) for row in rows) == [
        ("own", "Mercury", "0"),
        ("own", "Mercury", "1"),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ambiguous": "keep"}, "ambiguous to be one of drop, weight, got 'keep'"),
        ({"max_per_name": 0}, "max_per_name and max_per_entity of at least 1, got 0 and 16"),
        ({"max_per_entity": 0}, "at least 1, got 8 and 0"),
        ({"varied": 1.5}, "a share from 0 to 1, got 1.5"),
    ],
)
def test_wrong_options_are_refused(catalogue, options, message):
    with pytest.raises(ValueError, match=message):
        silver_mentions(catalogue, **options)


def test_a_catalogue_without_any_name_in_it_is_refused():
    entities = KnowledgeBase.from_entities([{"id": "1", "title": "Puma"}])
    with pytest.raises(ValueError, match="expected names of the 1 entities .* got none; give longer"):
        silver_mentions(entities, ["nothing here"])
