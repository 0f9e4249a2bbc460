"""Entity ids and worlds of labelled mentions against a knowledge base."""

import pytest
from datasets import Dataset

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training.mention_references import (
    candidate_worlds,
    check_references,
    entity_rows,
    worlds_of,
)


def test_entity_rows_keep_the_order_of_the_ids(knowledge_base):
    assert entity_rows([["puma-cat", "jaguar-cat"], [], None, ["puma-cat"]], knowledge_base) == [
        [2, 0],
        [],
        [],
        [2],
    ]
    assert entity_rows([], knowledge_base) == []


def test_entity_rows_name_the_first_ten_unknown_ids_once_and_count_all(knowledge_base):
    ids = [["paris-fr", "x0"], ["x0"], *([f"x{number}"] for number in range(1, 12))]
    with pytest.raises(
        ValueError,
        match=r"expected candidate_ids .* of 6 entities, got 12 .*: 'x0', 'x1', .*'x9' and 2 more; ",
    ):
        entity_rows(ids, knowledge_base, "candidate_ids")


def test_candidate_worlds_are_those_of_the_mentions(knowledge_base):
    assert candidate_worlds(["animals", None], knowledge_base) == ["animals", None]
    with pytest.raises(ValueError, match="'animals', 'firms', 'places', got 1 that are not: 'moon'"):
        candidate_worlds(["animals", "moon", "moon"], knowledge_base)


def test_worlds_of_a_dataset_without_the_column():
    assert worlds_of(Dataset.from_dict({"mention": ["a", "b"]})) == [None, None]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label_ids": [["paris-fr"], ["nobody"]]}, "train: expected label_ids .*: 'nobody'"),
        (
            {"doc_id": ["a.jsonl:1", "a.jsonl:7"], "label_ids": [["paris-fr"], ["paris-fr", "nobody"]]},
            r"got 1 that are not: 'nobody' \('nobody' first in a.jsonl:7\); use",
        ),
        ({"label_ids": [["paris-fr"], []], "world": [None, "moon"]}, "train: expected worlds .*: 'moon'"),
        ({"label_ids": [[], []]}, "train: expected mentions with a gold entity, got 2 without"),
    ],
)
def test_check_references_names_the_dataset(knowledge_base, columns, message):
    with pytest.raises(ValueError, match=message):
        check_references(Dataset.from_dict(columns), knowledge_base, "train")


def test_check_references_refuses_worlds_where_no_entity_names_one():
    without = KnowledgeBase.from_entities([{"id": "a", "title": "A"}])
    columns = {"label_ids": [["a"], ["a"]], "world": [None, "moon"]}
    with pytest.raises(
        ValueError, match="dev: expected no worlds, .*got 'moon'; give the entities their world, or"
    ):
        check_references(Dataset.from_dict(columns), without, "dev")
    check_references(Dataset.from_dict(columns | {"world": [None, None]}), without, "dev")
