"""Adapting a bi-encoder to a catalogue without labels: training on silver mentions, each against entities called alike.

    silver mentions -> as many as the steps need, evenly from all sources -> in-batch training, in which each mention
    brings entities with similar names as hard negatives

The hard negatives come from names (`add_name_neighbours`) and cost no encoding of the catalogue. `mined_steps` adds a second
round, whose hard negatives the model mines itself.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from datasets import Dataset

from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training.collators import BiEncoderCollator
from hf_blink.training.hard_negatives import mine_hard_negatives
from hf_blink.training.name_neighbours import NEIGHBOURS, add_name_neighbours
from hf_blink.training.short_training import train_briefly
from hf_blink.training.silver_mentions import SOURCES, count_sources, silver_mentions
from hf_blink.training.silver_sources import Text
from hf_blink.training.trainers import HardNegativeTrainer, InBatchTrainer

MOST_PASSES = 3  # over the same mentions, so that a small catalogue is not learned by heart


@dataclass(frozen=True)
class AdaptationSettings:
    """How `adapt` trains; the defaults are for minutes on a CPU.

    Args:
        steps: training steps, here and in the second round fewer where that would be more than three passes over the
            mentions.
        batch_size: mentions a step.
        learning_rate: peak; linear warm-up and decay.
        num_hard_negatives: entities with similar names that join the batch for each mention; 0 for none.
        mined_steps: further steps with hard negatives that the model mines; encodes the whole catalogue.
        ambiguous: "drop" or "weight"; see `silver_mentions`.
        seed: of all choices.
    """

    steps: int = 30
    batch_size: int = 24
    learning_rate: float = 1.5e-4
    num_hard_negatives: int = 1
    mined_steps: int = 0
    ambiguous: str = "drop"
    seed: int = 13

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch_size", 2), ("num_hard_negatives", 0), ("mined_steps", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"expected {name} of at least {least}, got {getattr(self, name)}")


@dataclass(frozen=True)
class Adaptation:
    """What `adapt` did.

    Attributes:
        found: silver mentions of each source that were found, of those kept under the bounds a name and an entity.
        used: how many of them were trained on.
        steps: training steps.
        preparation_seconds: of finding the mentions.
        train_seconds: of training, mining included.
    """

    found: dict[str, int]
    used: dict[str, int]
    steps: int
    preparation_seconds: float
    train_seconds: float


def adapt(
    bi_encoder: Any,
    processor: Any,
    knowledge_base: KnowledgeBase,
    texts: Iterable[Text] | None = None,
    *,
    settings: AdaptationSettings | None = None,
    progress: bool = True,
    **options: Any,
) -> tuple[Any, Adaptation]:
    """Trains a bi-encoder on a catalogue and raw texts, without labels.

    Args:
        bi_encoder: a [`BlinkBiEncoder`]; it is trained in place.
        processor: its [`BlinkProcessor`].
        knowledge_base: the catalogue.
        texts: raw texts about its entities; see `silver_mentions`. None uses the descriptions alone.
        settings: how to train; None takes the defaults.
        progress: show progress bars.
        **options: further [`BlinkTrainingArguments`], such as `use_cpu`.

    Returns:
        The bi-encoder, on the CPU and in evaluation mode, and what was done.

    Raises:
        ValueError: fewer than two entities, or no silver mention.
    """
    settings = settings or AdaptationSettings()
    if len(knowledge_base) < 2:
        raise ValueError(
            f"expected at least 2 entities to tell apart, got {len(knowledge_base)}; an encoder cannot be adapted to them"
        )
    started = time.perf_counter()
    mentions = silver_mentions(
        knowledge_base, texts, ambiguous=settings.ambiguous, seed=settings.seed, progress=progress
    )
    chosen = evenly_from_sources(mentions, (settings.steps + settings.mined_steps) * settings.batch_size)
    found = time.perf_counter()
    steps = _train_rounds(
        bi_encoder, (processor, knowledge_base), chosen, settings, {"progress": progress, **options}
    )
    seconds = (found - started, time.perf_counter() - found)
    return bi_encoder, Adaptation(count_sources(mentions), count_sources(chosen), steps, *seconds)


def _train_rounds(
    bi_encoder: Any,
    parts: tuple[Any, KnowledgeBase],
    dataset: Dataset,
    settings: AdaptationSettings,
    options: dict[str, Any],
) -> int:
    """Trains in place with hard negatives by name, then with mined ones; the number of steps that it took."""
    options = {
        "per_device_train_batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "num_hard_negatives": settings.num_hard_negatives,
        "seed": settings.seed,
        **options,
    }
    most = MOST_PASSES * ceil(len(dataset) / settings.batch_size)
    steps, mined_steps = min(settings.steps, most), min(settings.mined_steps, most)
    _train(bi_encoder, parts, dataset, steps, options)
    if mined_steps:
        processor, knowledge_base = parts
        linker = EntityLinker.from_knowledge_base(
            knowledge_base, bi_encoder, processor=processor, progress=options["progress"]
        )
        dataset = mine_hard_negatives(linker, dataset, progress=options["progress"])
        options["num_hard_negatives"] = max(1, settings.num_hard_negatives)
        _train(bi_encoder, parts, dataset, mined_steps, options)
    return steps + mined_steps


def _train(
    bi_encoder: Any, parts: tuple[Any, KnowledgeBase], dataset: Dataset, steps: int, options: dict[str, Any]
) -> None:
    """Trains with hard negatives of the dataset's own, or of names, or with none."""
    trainer_class: Any = HardNegativeTrainer
    if not options["num_hard_negatives"]:
        trainer_class = InBatchTrainer
    elif "hard_negative_ids" not in dataset.column_names:
        count = max(NEIGHBOURS, options["num_hard_negatives"])
        dataset = add_name_neighbours(dataset, parts[1], num_negatives=count, seed=options["seed"])
    collator = BiEncoderCollator(*parts)
    train_briefly(trainer_class, bi_encoder, collator, dataset, max_steps=steps, **options)


def evenly_from_sources(dataset: Dataset, most: int) -> Dataset:
    """The first mentions of each source, in the order of the dataset: as even a share of each as it has mentions for.

    Args:
        dataset: silver mentions.
        most: mentions in all.
    """
    sources = np.array(dataset["source"])
    places = sorted((np.flatnonzero(sources == source) for source in SOURCES), key=len)
    taken: list[int] = []
    for number, of_source in enumerate(places):
        share = (most - len(taken)) // (len(places) - number)
        taken += of_source[:share].tolist()
    return dataset.select(sorted(taken))
