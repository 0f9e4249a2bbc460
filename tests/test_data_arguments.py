"""The data of a recipe: read once, checked whole, before anything is trained."""

import json
from pathlib import Path
from typing import Any

import pytest

from hf_blink.training.data_arguments import DataArguments


def write_lines(file: Path, *records: dict) -> str:
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(file)


def mention(label: str | None, **fields: str) -> dict:
    return {"context_left": "", "mention": "it", "context_right": "", "label_id": label, **fields}


@pytest.fixture
def entity_file(tmp_path, entities) -> str:
    return write_lines(tmp_path / "entities.jsonl", *entities)


def test_load_leaves_nil_out_of_training_and_takes_a_random_part(tmp_path, entity_file):
    train = write_lines(tmp_path / "train.jsonl", mention(None), *[mention("paris-fr")] * 5)
    evaluation = write_lines(tmp_path / "evaluation.jsonl", mention(None), mention("puma-cat"))
    data = DataArguments([entity_file], [train], evaluation=[evaluation], max_train_mentions=3).load(seed=1)
    assert (len(data.knowledge_base), len(data.train)) == (6, 3)
    assert data.train["label_ids"][:] == [["paris-fr"]] * 3
    assert (
        data.evaluation is not None and len(data.evaluation) == 2
    )  # evaluate_linker counts the NIL mentions
    assert data.dev is None
    data = DataArguments([entity_file], [train], dev=[evaluation]).load(seed=1)
    assert data.evaluation is None and data.dev is not None and len(data.dev) == 2


def test_a_part_is_balanced_over_worlds_and_capped_for_entities(tmp_path, entity_file):
    animals = [mention("puma-cat", world="animals")] * 9
    places = [mention(label, world="places") for label in ("paris-fr", "paris-tx") for _ in range(9)]
    train = write_lines(tmp_path / "train.jsonl", *animals, *places)
    balanced = DataArguments([entity_file], [train], max_train_mentions=8, balance_worlds=True).load(1).train
    assert sorted(balanced["world"]) == ["animals"] * 4 + ["places"] * 4
    capped = DataArguments([entity_file], [train], max_mentions_per_entity=2).load(seed=1).train
    assert sorted(labels[0] for labels in capped["label_ids"]) == [
        "paris-fr", "paris-fr", "paris-tx", "paris-tx", "puma-cat", "puma-cat"
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["train", "dev", "evaluation"])
def test_one_wrong_gold_id_or_world_is_found_at_the_start(tmp_path, entity_file, name):
    good = write_lines(tmp_path / "good.jsonl", mention("paris-fr"))
    for record, message in (
        (mention("nobody"), f"{name}: expected label_ids .* got 1 that are not: 'nobody'"),
        (mention("paris-fr", world="moon"), f"{name}: expected worlds .*: 'moon'"),
    ):
        bad = write_lines(tmp_path / "bad.jsonl", *[mention("paris-fr")] * 9, record)
        files: dict[str, Any] = {"train": [good], name: [bad]}
        with pytest.raises(ValueError, match=message):
            DataArguments([entity_file], **files).load(seed=1)


def test_zeshel_documents_are_the_entities(tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    for world in ("lego", "muppets", "unused"):
        documents = [
            {"document_id": f"{world}-1", "title": "Frog", "text": "The green Frog sings ."},
            {"document_id": f"{world}-2", "title": "Pig", "text": "A Pig ."},
        ]
        write_lines(folder / f"{world}.json", *documents)

    def line(world: str) -> dict:
        return {
            "mention_id": f"m-{world}",
            "corpus": world,
            "context_document_id": f"{world}-1",
            "label_document_id": f"{world}-2",
            "text": "frog",
            "start_index": 2,
            "end_index": 2,
        }

    train = write_lines(tmp_path / "train.json", line("muppets"))
    evaluation = write_lines(tmp_path / "val.json", line("lego"))
    data = DataArguments(train=[train], evaluation=[evaluation], reader="zeshel", documents=str(folder)).load(
        1
    )
    assert data.knowledge_base.entity_ids(range(4)) == ["lego-1", "lego-2", "muppets-1", "muppets-2"]
    assert data.knowledge_base.worlds == ["lego", "muppets"]
    assert data.train["context_left"][:] == ["The green"]
    assert data.evaluation is not None and data.evaluation["label_ids"][:] == [["lego-2"]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": []}, "got no train"),
        ({"entities": []}, "got no entities"),
        ({"max_train_mentions": -1}, "max_train_mentions of at least 0"),
        ({"max_mentions_per_entity": -1}, "max_mentions_per_entity of at least 0"),
        ({"balance_worlds": True}, "max_train_mentions with balance_worlds: true, got 0"),
        ({"documents": "."}, "documents with reader: zeshel alone, got reader: common"),
        ({"reader": "zeshel"}, "expected documents and no entities"),
        ({"reader": "zeshel", "documents": "."}, "and no entities with reader: zeshel"),
    ],
)
def test_settings_that_do_not_fit_are_refused(entity_file, change, message):
    values = {"entities": [entity_file], "train": [entity_file], **change}
    with pytest.raises(ValueError, match=message):
        DataArguments(**values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": ["missing.jsonl"]}, "train: missing.jsonl"),
        ({"dev": ["missing.jsonl"]}, "dev: missing.jsonl"),
        ({"reader": "zeshel", "documents": "nowhere", "entities": []}, "documents: nowhere"),
    ],
)
def test_a_missing_file_is_refused_when_the_processes_know_each_other(entity_file, change, message):
    """Not before: the processes that have the file would wait for the one that has stopped."""
    data = DataArguments(**{"entities": [entity_file], "train": [entity_file], **change})
    with pytest.raises(FileNotFoundError, match=message):
        data.load(1)


def test_what_the_model_is_chosen_on_is_not_what_is_reported(tmp_path, entity_file):
    mentions, other = (write_lines(tmp_path / name, mention("paris-fr")) for name in ("a.jsonl", "b.jsonl"))
    (tmp_path / "x").mkdir()
    files: dict[str, Any] = {"entities": [entity_file], "train": [mentions]}
    with pytest.raises(
        ValueError, match=r"expected other files in dev.* than in eval.*got \S+b.jsonl in both; divide the"
    ):
        DataArguments(**files, dev=[other], evaluation=[mentions, str(tmp_path / "x" / ".." / "b.jsonl")])
    with pytest.raises(
        ValueError,
        match=r"expected other files in dev, which the model is chosen on, than in train, .*a.jsonl",
    ):
        DataArguments(**files, dev=[other, mentions])
    DataArguments(**files, dev=[other], evaluation=[mentions])
