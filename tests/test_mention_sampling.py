"""Samples of mentions: equally from worlds, not too many of an entity."""

from collections import Counter

import pytest
from datasets import Dataset

from hf_blink.training.mention_sampling import balanced_over_worlds, capped_per_entity


def dataset(**sizes: int) -> Dataset:
    rows = [(world, number) for world, size in sizes.items() for number in range(size)]
    return Dataset.from_list(
        [
            {
                "id": f"{world}{number}",
                "world": None if world == "none" else world,
                "label_ids": [f"e{number % 3}"],
            }
            for world, number in rows
        ]
    )


def test_every_world_gives_the_same_and_small_ones_all_they_have():
    whole = dataset(a=2, b=50, c=30, none=20)
    for seed in range(3):
        sample = balanced_over_worlds(whole, 32, seed)
        assert Counter(sample["world"]) == {"a": 2, "b": 10, "c": 10, None: 10}
        assert len(set(sample["id"])) == 32
    assert balanced_over_worlds(whole, 32, 1)["id"][:] == balanced_over_worlds(whole, 32, 1)["id"][:]
    assert set(balanced_over_worlds(whole, 32, 1)["id"]) != set(balanced_over_worlds(whole, 32, 2)["id"])


def test_the_size_is_exact_where_it_does_not_divide():
    counts = Counter(balanced_over_worlds(dataset(a=9, b=9, c=9), 11, 0)["world"])
    assert sorted(counts.values()) == [3, 4, 4]
    assert len(balanced_over_worlds(dataset(a=2, b=3), 99, 0)) == 5
    without = dataset(a=9).remove_columns("world")
    assert len(balanced_over_worlds(without, 4, 0)) == 4


def test_no_entity_has_more_mentions_than_the_cap():
    whole = dataset(a=30)
    capped = capped_per_entity(whole, 4, 0)
    assert Counter(labels[0] for labels in capped["label_ids"]) == {"e0": 4, "e1": 4, "e2": 4}
    assert capped["id"][:] == sorted(capped["id"], key=lambda name: int(name[1:])), (
        "in the order of the dataset"
    )
    assert set(capped["id"]) != set(capped_per_entity(whole, 4, 1)["id"])


def test_a_mention_with_two_gold_entities_counts_for_both():
    rows = [{"id": str(i), "label_ids": ["x", "y"]} for i in range(3)] + [{"id": "3", "label_ids": ["y"]}]
    capped = capped_per_entity(Dataset.from_list(rows), 2, 0)
    assert max(Counter(label for labels in capped["label_ids"] for label in labels).values()) == 2


def test_sizes_below_one_are_refused():
    with pytest.raises(ValueError, match="num_mentions of at least 1, got 0"):
        balanced_over_worlds(dataset(a=2), 0, 0)
    with pytest.raises(ValueError, match="max_mentions_per_entity of at least 1, got 0"):
        capped_per_entity(dataset(a=2), 0, 0)
