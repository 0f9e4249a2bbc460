import pytest
import torch
from datasets import Dataset

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training import adaptation
from hf_blink.training.adaptation import AdaptationSettings, adapt, evenly_from_sources
from hf_blink.training.trainers import HardNegativeTrainer, InBatchTrainer

TEXTS = ["a big puma, the cougar, of the river", "nothing", "in paris"]


@pytest.fixture
def trainings(monkeypatch) -> list[tuple]:
    """What would be trained, instead of training it."""
    asked: list[tuple] = []

    def train_briefly(trainer_class, model, collator, dataset, **options):
        asked.append((trainer_class, dataset, options))
        return model

    monkeypatch.setattr(adaptation, "train_briefly", train_briefly)
    return asked


def small_catalogue() -> KnowledgeBase:
    return KnowledgeBase.from_entities(
        [
            {"id": "puma", "title": "big puma", "aliases": ["cougar"], "description": "A cat."},
            {"id": "toad", "title": "big toad", "description": "No cat and no cougar, but it can jump far."},
        ]
    )


def test_adapt_trains_the_encoder_and_says_on_what(bi_encoder, processor):
    before = bi_encoder.state_dict()["mention_encoder.embeddings.word_embeddings.weight"].clone()
    settings = AdaptationSettings(steps=50, batch_size=2, learning_rate=1e-2)
    adapted, done = adapt(
        bi_encoder, processor, small_catalogue(), TEXTS, settings=settings, progress=False, use_cpu=True
    )
    assert adapted is bi_encoder and not adapted.training
    after = adapted.state_dict()["mention_encoder.embeddings.word_embeddings.weight"]
    assert not torch.equal(before, after) and torch.isfinite(after).all()
    assert done.found == done.used == {"texts": 2, "descriptions": 1, "own": 1}
    assert done.steps == 6  # three passes over two batches, not 50
    assert done.train_seconds > 0 and done.preparation_seconds > 0


def test_adapt_is_the_same_again(tiny_encoder, processor):
    from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder

    weights: list[dict] = []
    for _ in range(2):
        model = BlinkBiEncoder.from_encoder(tiny_encoder)
        torch.manual_seed(len(weights))  # what ran before does not matter
        settings = AdaptationSettings(steps=3, batch_size=2)
        adapted, _ = adapt(
            model, processor, small_catalogue(), TEXTS, settings=settings, progress=False, use_cpu=True
        )
        weights.append(adapted.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_hard_negatives_are_entities_with_similar_names(bi_encoder, processor, trainings):
    adapt(bi_encoder, processor, small_catalogue(), TEXTS, progress=False)
    [(trainer_class, dataset, options)] = trainings
    assert trainer_class is HardNegativeTrainer and options["num_hard_negatives"] == 1
    negatives = {row["label_ids"][0]: row["hard_negative_ids"] for row in dataset.to_list()}
    assert negatives == {"puma": ["toad"], "toad": ["puma"]}


def test_without_hard_negatives_training_is_in_batch(bi_encoder, processor, trainings):
    settings = AdaptationSettings(num_hard_negatives=0)
    adapt(bi_encoder, processor, small_catalogue(), settings=settings, progress=False)
    [(trainer_class, dataset, _)] = trainings
    assert trainer_class is InBatchTrainer and "hard_negative_ids" not in dataset.column_names


def test_mined_steps_add_a_round_with_what_the_model_mines(bi_encoder, processor, trainings):
    settings = AdaptationSettings(steps=2, mined_steps=5, num_hard_negatives=0)
    _, done = adapt(bi_encoder, processor, small_catalogue(), TEXTS, settings=settings, progress=False)
    first, second = trainings
    assert (first[0], first[2]["max_steps"]) == (InBatchTrainer, 2)
    assert (second[0], second[2]["max_steps"]) == (HardNegativeTrainer, 3)  # three passes at most
    assert second[2]["num_hard_negatives"] == 1 and done.steps == 5
    assert {row["label_ids"][0]: row["hard_negative_ids"] for row in second[1].to_list()} == {
        "puma": ["toad"],
        "toad": ["puma"],
    }


def test_adapt_refuses_a_single_entity(bi_encoder, processor):
    one = KnowledgeBase.from_entities([{"id": "puma", "title": "Puma"}])
    with pytest.raises(ValueError, match="at least 2 entities to tell apart, got 1"):
        adapt(bi_encoder, processor, one, ["Puma"])


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [("steps", 0, 1), ("batch_size", 1, 2), ("num_hard_negatives", -1, 0), ("mined_steps", -1, 0)],
)
def test_settings_are_checked(name, value, least):
    with pytest.raises(ValueError, match=f"expected {name} of at least {least}, got {value}"):
        AdaptationSettings(**{name: value})


def test_evenly_from_sources_fills_up_from_the_larger_ones():
    sources = ["texts"] * 2 + ["own"] * 10 + ["descriptions"] * 10
    dataset = Dataset.from_dict({"id": list(range(22)), "source": sources})
    assert evenly_from_sources(dataset, 12)["id"][:] == [0, 1, *range(2, 7), *range(12, 17)]
    assert len(evenly_from_sources(dataset, 100)) == 22
    assert evenly_from_sources(dataset, 3)["source"][:] == ["texts", "own", "descriptions"]
