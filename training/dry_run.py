"""What a run would do, told before hours are spent on it: `--dry_run true` of the training scripts.

    data:     entities, worlds, mentions, labels that the knowledge base lacks
    tokens:   how long the texts are, and how many are cut
    batches:  their size over all processes, steps, precision
    memory:   weights, gradients, optimizer, activations       from a few steps on the data, with random entities
    time:     of the steps, and of encoding the knowledge base    in the place of mined ones

Everything is read and checked as the run itself does it, so what the run would refuse is refused here, after the lines
that explain it. Nothing is written. With several processes all of them take part and process 0 speaks.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from datasets import Dataset

from hf_blink.modeling.batch_encoding import encode_entities
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.batch_sampling import updates_of_pass, updates_of_training
from hf_blink.training.data_arguments import DataArguments, RecipeData
from hf_blink.training.data_lines import mention_lines, num_entities
from hf_blink.training.mention_references import gold_rows_of, worlds_of
from hf_blink.training.process_shares import failing_together
from hf_blink.training.token_lengths import HEADER, MOST_SAMPLED, TokenLengths, token_lengths
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
        unit: What a batch is of.
        remarks: More lines for the reader.
    """

    name: str
    args: BlinkTrainingArguments
    make_trainer: Callable[[BlinkTrainingArguments, Dataset], Any]
    times: int = 1
    compared: str = ""
    unit: str = "mentions"
    remarks: Sequence[str] = ()


@dataclass(frozen=True)
class Plan:
    """The models of a run and its stages.

    Attributes:
        processor: Makes the windows.
        bi_encoder: Encodes the knowledge base.
        stages: What is trained, in order.
        encoded: When the knowledge base is encoded, for the reader.
        apart_from: What takes time beside the steps, for the reader.
    """

    processor: Any
    bi_encoder: Any
    stages: Sequence[Stage]
    encoded: str = "for each mining or evaluation"
    apart_from: str = "mining, evaluation and saving"


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
    say = say_once(say, training)
    with failing_together("reading the data"):
        raw = data.read()
    for line in mention_lines(raw, data):
        say(line)
    found = data.prepared(raw, training.seed)
    entities = num_entities(found.train["label_ids"])
    say(f"  {'trained on':<20} {len(found.train):,} mentions of {entities:,} entities")
    plan = plan_of(found)
    lengths = token_lengths(plan.processor, found.knowledge_base, found.train, training.seed)
    return try_plan(plan, lengths, found, training, say)


def say_once(say: Say, training: BlinkTrainingArguments) -> Say:
    """Speaks in process 0 alone."""
    return say if training.process_index == 0 else lambda _: None


def try_plan(
    plan: Plan, lengths: Iterable[TokenLengths], found: Any, training: BlinkTrainingArguments, say: Say
) -> dict[str, Any]:
    """Says how long the texts are, tries the stages, and says what they need; collective.

    Args:
        plan: the models and stages.
        lengths: of the texts.
        found: has the `knowledge_base`, and `train` with a row for each mention, or text, of a batch.
        training: of the whole training.
        say: takes one line, or some, at a time.

    Returns:
        No metrics.

    Raises:
        MemoryError: a step does not fit; says what to lower.
    """
    say(f"\n{HEADER}   (before cutting; of {MOST_SAMPLED:,} texts at most)")
    for some in lengths:
        say(str(some))
    seconds = 0.0
    for stage in plan.stages:
        steps = updates_of_training(stage.args, len(found.train))
        say("\n" + "\n".join(_batch_lines(stage, len(found.train), steps)))
        sample = _some(found.train, stage.args)
        needs = needs_of(partial(_trainer_of, stage, sample), stage.args)
        for line in _need_lines(needs, stage, steps):
            say(line)
        seconds += stage.times * steps * _update_seconds(needs, stage.args)
    encoding = _encoding_seconds(plan, found.knowledge_base, training)
    say(f"\n{'encoding all entities':<22} {_duration(encoding)}, {plan.encoded} (measured on a part)")
    say(f"{'all steps together':<22} {_duration(seconds)}, without {plan.apart_from}")
    say("dry run: nothing was written")
    return {}


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


def _batch_lines(stage: Stage, num_mentions: int, steps: int) -> list[str]:
    args = stage.args
    size, processes, parts = args.train_batch_size, args.world_size, args.gradient_accumulation_steps
    precision = {"no": "float32"}.get(args.mixed_precision, f"{args.mixed_precision}, weights in float32")
    return [
        stage.name + (f", {stage.times} times" if stage.times > 1 else ""),
        f"  {'batch':<12} {size:,} {stage.unit} x {processes} processes x {parts} accumulated = {size * processes * parts:,}"
        " a step",
        f"  {'against':<12} {stage.compared}",
        f"  {'steps':<12} {updates_of_pass(args, num_mentions):,} an epoch, {steps:,} in all",
        f"  {'precision':<12} {precision}, on {args.device.type}",
        *stage.remarks,
    ]


def _need_lines(needs: Needs, stage: Stage, steps: int) -> Iterator[str]:
    part = "a part" if stage.args.gradient_cache_chunk else "a full batch"
    yield (
        f"  {'memory':<12} {size_text(needs.total)} a process: weights {size_text(needs.weights)} "
        f"({needs.parameters:,} numbers, {needs.trained:,} trained), gradients {size_text(needs.gradients)}, "
        f"optimizer {size_text(needs.optimizer)} (all counted); "
        f"activations of {part} {size_text(needs.activations)} (measured)"
    )
    if needs.peak is not None:
        yield f"  {'GPU':<12} {size_text(needs.peak)} allocated at most (measured)"
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


def size_text(count: int) -> str:
    """A number of bytes for the reader."""
    return f"{count / 2**30:,.2f} GiB" if count >= 2**30 else f"{count / 2**20:,.1f} MiB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"about {seconds:.2g} s"
    return f"about {seconds / 60:.0f} min" if seconds < 7200 else f"about {seconds / 3600:.1f} h"
