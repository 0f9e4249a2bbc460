"""Parts of a set of mentions: equally from every world, and not too many of one entity."""

from collections import Counter

import numpy as np
from datasets import Dataset

from hf_blink.training.mention_references import worlds_of


def balanced_over_worlds(dataset: Dataset, num_mentions: int, seed: int) -> Dataset:
    """A random sample with as equal a part of every world as there is; small worlds give all they have.

    Mentions without a world count as one world.

    Args:
        dataset: labelled mentions.
        num_mentions: size of the sample; all mentions, in random order, where there are no more.
        seed: of the choice.

    Raises:
        ValueError: `num_mentions` below 1.
    """
    if num_mentions < 1:
        raise ValueError(f"expected num_mentions of at least 1, got {num_mentions}")
    random = np.random.default_rng(seed)
    groups: dict[str | None, list[int]] = {}
    for position, world in enumerate(worlds_of(dataset)):
        groups.setdefault(world, []).append(position)
    names = sorted(groups, key=lambda world: (world is not None, world))
    # Smallest worlds first: what one cannot give is shared out among those that follow.
    order = sorted(random.permutation(len(names)).tolist(), key=lambda number: len(groups[names[number]]))
    chosen: list[int] = []
    left = min(num_mentions, len(dataset))
    for done, number in enumerate(order):
        group = groups[names[number]]
        take = min(len(group), left // (len(order) - done))
        chosen += random.choice(group, take, replace=False).tolist()
        left -= take
    return dataset.select(random.permutation(chosen))


def capped_per_entity(dataset: Dataset, max_mentions_per_entity: int, seed: int) -> Dataset:
    """A random part in which no gold entity has more than so many mentions, in the order of the dataset.

    A mention with several gold entities counts for each of them.

    Args:
        dataset: labelled mentions.
        max_mentions_per_entity: of one entity at most.
        seed: of the choice.

    Raises:
        ValueError: `max_mentions_per_entity` below 1.
    """
    if max_mentions_per_entity < 1:
        raise ValueError(f"expected max_mentions_per_entity of at least 1, got {max_mentions_per_entity}")
    labels = list(dataset["label_ids"])
    mentions_of: Counter[str] = Counter()
    kept = []
    for position in np.random.default_rng(seed).permutation(len(labels)).tolist():
        if all(mentions_of[label] < max_mentions_per_entity for label in labels[position]):
            mentions_of.update(set(labels[position]))
            kept.append(position)
    return dataset.select(sorted(kept))
