"""Batches: what shares one, how many there are, and that they are the same again."""

from collections import Counter
from itertools import chain
from typing import Any

import pytest

from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.batch_sampling import (
    BatchPlan,
    EntityBatchSampler,
    check_batch_fits,
    epoch_at,
    steps_of_pass,
    updates_of_pass,
    updates_of_training,
)

# 12 mentions of world a (6 entities, twice each), 6 of world b (3 entities, twice each)
LABELS = [[f"a{i % 6}"] for i in range(12)] + [[f"b{i % 3}"] for i in range(6)]
WORLDS = ["a"] * 12 + ["b"] * 6


def steps_of(sampler):
    """The global batches: the batches of all processes of a step together."""
    batches, number = list(sampler), sampler.plan.num_processes
    return [list(chain(*batches[i : i + number])) for i in range(0, len(batches), number)]


@pytest.mark.parametrize("processes", [1, 3])
def test_batches_are_of_one_world_and_have_no_entity_twice(processes):
    plan = BatchPlan(3 // processes, processes, seed=5)
    sampler = EntityBatchSampler(LABELS, WORLDS, plan)
    steps = steps_of(sampler)
    assert len(list(sampler)) == len(sampler) == 6 * processes
    assert sorted(chain(*steps)) == list(range(18)), "every mention once"
    assert all(len(batch) == plan.batch_size for batch in sampler)
    for step in steps:
        assert len({LABELS[mention][0] for mention in step}) == 3
        assert len({WORLDS[mention] for mention in step}) == 1


def test_batches_across_worlds_where_that_is_wanted():
    steps = steps_of(EntityBatchSampler(LABELS, WORLDS, BatchPlan(3, same_world=False, seed=5)))
    assert any(len({WORLDS[mention] for mention in step}) == 2 for step in steps)


def test_mentions_with_several_gold_entities_share_none():
    labels = [["x", "y"], ["y"], ["x"], ["z"], ["v"], ["w"], ["t"]] * 6
    sampler = EntityBatchSampler(labels, None, BatchPlan(2, seed=1))
    steps = steps_of(sampler)
    clashes = [step for step in steps if set(labels[step[0]]) & set(labels[step[1]])]
    assert len(clashes) <= 2, "only where nothing else is left"
    blind = steps_of(EntityBatchSampler(labels, None, BatchPlan(2, unique_entities=False, seed=1)))
    assert len([step for step in blind if set(labels[step[0]]) & set(labels[step[1]])]) > 2


def test_a_frequent_entity_fills_the_last_batches_and_not_the_others():
    labels = [["often"]] * 20 + [[f"e{i}"] for i in range(60)]
    steps = steps_of(EntityBatchSampler(labels, None, BatchPlan(4, seed=2)))
    assert sorted(chain(*steps)) == list(range(80))
    repeated = [step for step in steps if Counter(labels[m][0] for m in step)["often"] > 1]
    assert len(repeated) <= 2


def test_the_last_batch_is_completed_or_dropped():
    whole = steps_of(EntityBatchSampler(LABELS[:10], None, BatchPlan(4, seed=3)))
    assert [len(step) for step in whole] == [4, 4, 4]
    assert set(chain(*whole)) == set(range(10))
    dropped = EntityBatchSampler(LABELS[:10], None, BatchPlan(4, drop_last=True, seed=3))
    assert [len(step) for step in steps_of(dropped)] == [4, 4] and len(dropped) == 2
    few = EntityBatchSampler(LABELS[:2], None, BatchPlan(2, 4, seed=3))
    assert [len(batch) for batch in few] == [2, 2, 2, 2]


def test_epochs_differ_and_each_is_the_same_again():
    sampler, again = (EntityBatchSampler(LABELS, WORLDS, BatchPlan(3, seed=7)) for _ in range(2))
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first
    again.set_epoch(1)
    assert list(again) == list(sampler)
    again.set_epoch(0)
    assert list(again) == first
    assert list(EntityBatchSampler(LABELS, WORLDS, BatchPlan(3, seed=8))) != first


def test_short_epochs_go_on_where_the_last_one_ended():
    whole = EntityBatchSampler(LABELS, WORLDS, BatchPlan(3, seed=7))
    passes = []
    for number in range(2):
        whole.set_epoch(number)
        passes += list(whole)
    short = EntityBatchSampler(LABELS, WORLDS, BatchPlan(3, seed=7, steps=4))
    parts = []
    for number in range(3):
        short.set_epoch(number)
        assert len(list(short)) == len(short) == 4
        parts += list(short)
    assert parts == passes


def test_updates_are_those_of_the_trainer(tmp_path):
    def updates(num_mentions: int = 41, **options) -> tuple[int, int]:
        fixed: dict[str, Any] = {"use_cpu": True, "per_device_train_batch_size": 4, "num_train_epochs": 1.5}
        args = BlinkTrainingArguments(str(tmp_path), **{**fixed, **options})
        return updates_of_pass(args, num_mentions), updates_of_training(args, num_mentions)

    assert updates() == (11, 17)
    assert updates(dataloader_drop_last=True) == (10, 15)
    assert updates(gradient_accumulation_steps=3) == (4, 6)
    assert updates(max_steps=5) == (11, 5)
    assert updates(3, dataloader_drop_last=True) == (1, 2), "what the trainer makes of too few"
    for count, drop_last in ((41, False), (41, True), (40, False), (40, True)):
        plan = BatchPlan(2, 2, drop_last=drop_last)
        labels = [[str(number)] for number in range(count)]
        assert steps_of_pass(count, plan) == len(steps_of(EntityBatchSampler(labels, None, plan)))


def test_epoch_at_counts_updates():
    assert [epoch_at(step, 3, 1) for step in range(7)] == [0, 0, 0, 1, 1, 1, 2]
    assert [epoch_at(step, 5, 2) for step in range(7)] == [0, 0, 0, 1, 1, 1, 2]


def test_wrong_plans_and_batches_larger_than_the_entities_are_refused():
    with pytest.raises(ValueError, match="expected batch_size of at least 1, got 0"):
        BatchPlan(0)
    with pytest.raises(ValueError, match="a world for each, got 18 mentions and 1 worlds"):
        EntityBatchSampler(LABELS, ["a"], BatchPlan(2))
    with pytest.raises(ValueError, match="got 0 mentions and no worlds"):
        EntityBatchSampler([], None, BatchPlan(2))
    with pytest.raises(ValueError, match="expected at least 20 mentions for one batch of 20 in each of 1"):
        EntityBatchSampler(LABELS, None, BatchPlan(20, drop_last=True))
    check_batch_fits(BatchPlan(3, 3), 9)
    check_batch_fits(BatchPlan(30, unique_entities=False), 9)
    with pytest.raises(ValueError, match="a batch of at most 9 mentions.* got 5 in each of 2 processes"):
        check_batch_fits(BatchPlan(5, 2), 9)
