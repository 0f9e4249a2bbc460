import pytest

from hf_blink.hub_cards.card_data import (
    BiEncoderCard,
    CrossEncoderCard,
    ElqCard,
    ElqLinkerCard,
    IndexCard,
    KnowledgeBaseCard,
    LinkerCard,
)
from hf_blink.hub_cards.metadata import card_metadata
from tests.hub_cards_examples import BASE, facts, training_run


def metadata(kind, **changes):
    return card_metadata(kind.from_dict({**facts(kind), **changes})).to_dict()


@pytest.mark.parametrize(
    ("kind", "pipeline_tag"),
    [
        (LinkerCard, "token-classification"),
        (BiEncoderCard, "feature-extraction"),
        (CrossEncoderCard, "text-ranking"),
        (ElqCard, "token-classification"),
        (ElqLinkerCard, "token-classification"),
        (IndexCard, None),
    ],
)
def test_models_name_library_task_and_licence(kind, pipeline_tag):
    data = metadata(kind)
    assert (data["library_name"], data.get("pipeline_tag")) == ("hf_blink", pipeline_tag)
    assert "entity-linking" in data["tags"]
    assert (data["license"], data["language"]) == ("mit", ["en"])


def test_base_models_and_datasets_come_from_the_training_runs():
    data = metadata(LinkerCard)
    assert (data["base_model"], data["datasets"]) == (BASE, ["org/mentions"])
    runs = [
        training_run(),
        {**training_run(), "base_model": "org/other"},
        {**training_run(), "base_model": None},
    ]
    assert metadata(LinkerCard, training=runs)["base_model"] == [BASE, "org/other"]


@pytest.mark.parametrize("training", [None, []])
def test_nothing_is_named_where_nothing_is_known(training):
    data = metadata(LinkerCard, training=training, evaluations=[], language=[])
    assert not {"base_model", "datasets", "metrics", "model-index", "language", "license_name"} & set(data)


def test_metrics_are_the_hubs_names():
    assert metadata(LinkerCard)["metrics"] == ["recall", "accuracy"]
    (model,) = metadata(LinkerCard)["model-index"]
    assert model["name"] == "my-linker_1.0"


def test_a_linker_names_its_recipes():
    assert metadata(LinkerCard)["tags"] == ["entity-linking", "blink", "faiss"]
    assert metadata(ElqLinkerCard)["tags"] == ["entity-linking", "elq", "blink", "faiss"]


def test_an_index_names_its_entities():
    assert metadata(IndexCard)["datasets"] == ["org/entities"]
    assert "datasets" not in metadata(IndexCard, knowledge_base=None)


def test_an_own_licence_has_name_and_link():
    licence = {"license": "other", "license_name": "my\nown", "license_link": "LICENSE"}
    assert licence | {"license_name": "my own"} == {
        name: value for name, value in metadata(LinkerCard, **licence).items() if name.startswith("license")
    }


@pytest.mark.parametrize(
    ("count", "size"), [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**8, "n>10M")]
)
def test_a_knowledge_base_names_its_files_and_size(count, size):
    entities = {**facts(KnowledgeBaseCard)["knowledge_base"], "num_entities": count, "worlds": {}}
    data = metadata(KnowledgeBaseCard, knowledge_base=entities)
    assert data["size_categories"] == [size]
    (config,) = data["configs"]
    assert config["data_files"] == [{"split": "train", "path": "entities-*.parquet"}]
    assert data["task_ids"] == ["entity-linking-retrieval"]
