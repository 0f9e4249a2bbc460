"""What a run would do, told before hours are spent on it: `--dry_run true` of the training scripts.

    data:     entities, worlds, mentions, labels that the knowledge base lacks
    tokens:   how long the texts are, and how many are cut
    batches:  their size over all processes, steps, precision
    memory:   weights, gradients, optimizer, activations       from a few steps on the data, with random entities
    time:     of the steps, and of encoding the knowledge base    in the place of mined ones

Everything is read and checked as the run itself does it, so what the run would refuse is refused here, after the lines
that explain it. Nothing is written. With several processes all of them take part and process 0 speaks.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from datasets import Dataset

from hf_blink.modeling.batch_encoding import encode_entities
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.data_arguments import DataArguments, RecipeData
from hf_blink.training.mention_references import gold_rows_of, worlds_of
from hf_blink.training.process_shares import failing_together
from hf_blink.training.token_lengths import HEADER, MOST_SAMPLED, token_lengths
from hf_blink.training.trial_steps import Needs, needs_of

_BATCHES = 4  # of mentions that a trial draws from
_ENCODED = 256  # entities that are encoded to see how fast that is

Say = Callable[[str], Any]


@dataclass(frozen=True)
class Stage:
    """A part of a run that trains.

    Attributes:
        name: What it is called.
        args: Its arguments.
        make_trainer: Its trainer, given arguments and some of the mentions.
        times: How often it comes.
        compared: What a mention is compared with, for the reader.
    """

    name: str
    args: BlinkTrainingArguments
    make_trainer: Callable[[BlinkTrainingArguments, Dataset], Any]
    times: int = 1
    compared: str = ""


@dataclass(frozen=True)
class Plan:
    """The models of a run and its stages.

    Attributes:
        processor: Makes the windows.
        bi_encoder: Encodes the knowledge base.
        stages: What is trained, in order.
    """

    processor: Any
    bi_encoder: Any
    stages: Sequence[Stage]


def dry_run(
    data: DataArguments,
    training: BlinkTrainingArguments,
    plan_of: Callable[[RecipeData], Plan],
    say: Say = print,
) -> dict[str, Any]:
    """Says what a run would do; collective.

    Args:
        data: the recipe's files.
        training: its training arguments.
        plan_of: loads the models and gives the stages for the data.
        say: takes one line, or some, at a time.

    Returns:
        No metrics, as `main` of a script that measures nothing.

    Raises:
        ValueError: what the run would refuse.
        MemoryError: a step does not fit; says what to lower.
    """
    say = say if training.process_index == 0 else lambda _: None
    with failing_together("reading the data"):
        raw = data.read()
    for line in _data_lines(raw, data):
        say(line)
    found = data.prepared(raw, training.seed)
    say(f"  {'trained on':<20} {len(found.train):,} mentions of {_num_entities(found.train):,} entities")
    plan = plan_of(found)
    say(f"\n{HEADER}   (before cutting; of {MOST_SAMPLED:,} texts at most)")
    for lengths in token_lengths(plan.processor, found.knowledge_base, found.train, training.seed):
        say(str(lengths))
    seconds = 0.0
    for stage in plan.stages:
        steps = update_steps(stage.args, len(found.train))
        say("\n" + "\n".join(_batch_lines(stage, len(found.train), steps)))
        sample = _some(found.train, stage.args)
        needs = needs_of(partial(_trainer_of, stage, sample), stage.args)
        for line in _need_lines(needs, stage, steps):
            say(line)
        seconds += stage.times * steps * _update_seconds(needs, stage.args)
    encoding = _encoding_seconds(plan, found.knowledge_base, training)
    say(
        f"\n{'encoding all entities':<22} {_duration(encoding)}, for each mining or evaluation (measured on a part)"
    )
    say(f"{'all steps together':<22} {_duration(seconds)}, without mining, evaluation and saving")
    say("dry run: nothing was written")
    return {}


def update_steps(args: BlinkTrainingArguments, num_mentions: int) -> int:
    """Updates of the weights that a training makes."""
    if args.max_steps > 0:
        return args.max_steps
    return math.ceil(args.num_train_epochs * _epoch_steps(args, num_mentions))


def with_random_negatives(mentions: Dataset, knowledge_base: KnowledgeBase, count: int, seed: int) -> Dataset:
    """Mentions with `hard_negative_ids` drawn from their world, in the place of what mining would find.

    Args:
        mentions: labelled mentions.
        knowledge_base: the entities.
        count: entities a mention at most.
        seed: of the drawing.
    """
    drawn = [others for _, others in _gold_and_others(mentions, knowledge_base, count, seed)]
    return mentions.add_column("hard_negative_ids", list(map(knowledge_base.entity_ids, drawn)))


def with_random_candidates(
    mentions: Dataset, knowledge_base: KnowledgeBase, count: int, seed: int
) -> Dataset:
    """Mentions with `candidate_ids`, their scores and a teacher's, all zero; arguments as for `with_random_negatives`."""
    drawn = [[gold, *others] for gold, others in _gold_and_others(mentions, knowledge_base, count - 1, seed)]
    mentions = mentions.add_column("candidate_ids", list(map(knowledge_base.entity_ids, drawn)))
    for name in ("candidate_scores", "teacher_scores"):
        mentions = mentions.add_column(name, [[0.0] * len(rows) for rows in drawn])
    return mentions


def _gold_and_others(
    mentions: Dataset, knowledge_base: KnowledgeBase, count: int, seed: int
) -> Iterator[tuple[int, list[int]]]:
    draw = np.random.default_rng(seed)
    everything = np.arange(len(knowledge_base))
    known = set(knowledge_base.worlds)
    gold = gold_rows_of(mentions, knowledge_base)
    for world, right in zip(worlds_of(mentions), gold, strict=True):
        pool = knowledge_base.world_rows(world) if world in known else everything
        drawn = draw.choice(pool, min(len(pool), count + len(right)), replace=False).tolist()
        yield right[0], [row for row in drawn if row not in right][:count]


def _trainer_of(stage: Stage, sample: Dataset, args: BlinkTrainingArguments) -> Any:
    return stage.make_trainer(args, sample)


def _data_lines(raw: RecipeData, data: DataArguments) -> Iterator[str]:
    knowledge_base = raw.knowledge_base
    yield "data"
    yield f"  {'entities':<20} {len(knowledge_base):,}{_worlds_text(knowledge_base)}"
    for name in ("train", "dev", "evaluation"):
        mentions = getattr(raw, name)
        if mentions is not None:
            label = f"{name.replace('train', 'training')} mentions"
            yield f"  {label:<20} {len(mentions):,}{_labels_text(mentions, knowledge_base)}"
    limits = ("max_mentions_per_entity", "max_train_mentions", "balance_worlds")
    given = [f"{name} {getattr(data, name)}" for name in limits if getattr(data, name)]
    if given:
        yield f"  {'limited by':<20} {', '.join(given)}"


def _worlds_text(knowledge_base: KnowledgeBase) -> str:
    sizes = sorted((len(knowledge_base.world_rows(world)), world) for world in knowledge_base.worlds)
    if not sizes:
        return ", no worlds"
    (least, small), (most, large) = sizes[0], sizes[-1]
    return f" in {len(sizes):,} worlds, from {least:,} ({small}) to {most:,} ({large})"


def _labels_text(mentions: Dataset, knowledge_base: KnowledgeBase) -> str:
    labels = [ids or [] for ids in mentions["label_ids"]]
    distinct = sorted({label for ids in labels for label in ids})
    rows = np.asarray(knowledge_base.find_rows(distinct))
    unknown = {label for label, row in zip(distinct, rows, strict=True) if row < 0}
    wrong = sum(1 for ids in labels if not unknown.isdisjoint(ids))
    worlds = len({world for world in worlds_of(mentions) if world is not None})
    return (
        f"{f' in {worlds:,} worlds' if worlds else ''}; label not in the knowledge base: {wrong:,}; without label (NIL): "
        f"{sum(1 for ids in labels if not ids):,}"
    )


def _num_entities(mentions: Dataset) -> int:
    return len({label for ids in mentions["label_ids"] for label in ids})


def _epoch_steps(args: BlinkTrainingArguments, num_mentions: int) -> int:
    share = num_mentions / (args.train_batch_size * args.world_size)
    batches = math.floor(share) if args.dataloader_drop_last else math.ceil(share)
    return max(1, math.ceil(batches / args.gradient_accumulation_steps))


def _batch_lines(stage: Stage, num_mentions: int, steps: int) -> list[str]:
    args = stage.args
    size, processes, parts = args.train_batch_size, args.world_size, args.gradient_accumulation_steps
    precision = {"no": "float32"}.get(args.mixed_precision, f"{args.mixed_precision}, weights in float32")
    return [
        stage.name + (f", {stage.times} times" if stage.times > 1 else ""),
        f"  {'batch':<12} {size:,} mentions x {processes} processes x {parts} accumulated = {size * processes * parts:,}"
        " a step",
        f"  {'against':<12} {stage.compared}",
        f"  {'steps':<12} {_epoch_steps(args, num_mentions):,} an epoch, {steps:,} in all",
        f"  {'precision':<12} {precision}, on {args.device.type}",
    ]


def _need_lines(needs: Needs, stage: Stage, steps: int) -> Iterator[str]:
    cached = stage.args.gradient_cache_chunk
    yield (
        f"  {'memory':<12} {_size(needs.total)} a process: weights {_size(needs.weights)} ({needs.parameters:,} numbers, "
        f"{needs.trained:,} trained), gradients {_size(needs.gradients)}, optimizer {_size(needs.optimizer)} (all counted); "
        f"activations of {'a part' if cached else 'a full batch'} {_size(needs.activations)} (measured)"
    )
    if needs.peak is not None:
        yield f"  {'GPU':<12} {_size(needs.peak)} allocated at most (measured)"
    each = _update_seconds(needs, stage.args)
    yield f"  {'time':<12} {each:.3g} s a step (measured), {_duration(steps * each)} for {steps:,} steps"


def _update_seconds(needs: Needs, args: BlinkTrainingArguments) -> float:
    return needs.seconds * args.gradient_accumulation_steps


def _some(mentions: Dataset, args: BlinkTrainingArguments) -> Dataset:
    """A few batches of mentions, at random."""
    count = _BATCHES * args.train_batch_size * args.world_size
    return mentions.shuffle(seed=args.seed).select(range(min(count, len(mentions))))


def _encoding_seconds(plan: Plan, knowledge_base: KnowledgeBase, args: BlinkTrainingArguments) -> float:
    """Seconds for all entities, shared by the processes."""
    rows = np.random.default_rng(args.seed).permutation(len(knowledge_base))[:_ENCODED]
    texts = knowledge_base.texts_at(rows)
    model = plan.bi_encoder.to(args.device)
    encode_entities(model, plan.processor, *(part[:8] for part in texts))
    begun = time.perf_counter()
    encode_entities(model, plan.processor, *texts)
    return (time.perf_counter() - begun) / len(rows) * len(knowledge_base) / args.world_size


def _size(count: int) -> str:
    return f"{count / 2**30:,.2f} GiB" if count >= 2**30 else f"{count / 2**20:,.1f} MiB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"about {seconds:.2g} s"
    return f"about {seconds / 60:.0f} min" if seconds < 7200 else f"about {seconds / 3600:.1f} h"
