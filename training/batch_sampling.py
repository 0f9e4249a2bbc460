"""Which mentions share a batch: of one world, and none with the gold entity of another.

In-batch negatives are the other mentions' gold entities. They teach most when they come from the mention's own world
(Sun et al. 2022; MVD draws every batch so), and a gold entity that is drawn twice is a column that is lost. So a global
batch, which is the batches of all processes of one step, is filled like this:

1. Mentions are shuffled, and divided by world.
2. Within a world, mentions are taken in turn into the batch; one whose gold entity is there already waits for the next.
3. What remains of the worlds when no full batch without repetition can be made any more fills batches across worlds,
   and at last, where distinct entities have run out, with repetitions, which the loss masks.
4. Batches are shuffled. The last one is completed with mentions of the pass, or left out with `drop_last`.

Everything follows from seed and pass number, so that a resumed run draws what the uninterrupted one would have.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import Sampler
from transformers import TrainerCallback

_LOOK_BACK = 4  # waiting mentions that are looked at for a batch, in batches


@dataclass(frozen=True)
class BatchPlan:
    """How batches are made.

    Attributes:
        batch_size: Mentions of a process in a step.
        num_processes: Processes that step together.
        same_world: Whether a batch has mentions of one world, as long as there are enough.
        unique_entities: Whether a batch has no gold entity twice, as long as there are enough.
        drop_last: Whether the last, incomplete batch of a pass is left out.
        steps: Steps of an epoch; None is one pass over the mentions. The next epoch goes on where the last one ended.
        seed: Of the order.

    Raises:
        ValueError: A number below 1.
    """

    batch_size: int
    num_processes: int = 1
    same_world: bool = True
    unique_entities: bool = True
    drop_last: bool = False
    steps: int | None = None
    seed: int = 42

    def __post_init__(self) -> None:
        for name in ("batch_size", "num_processes", "steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"expected {name} of at least 1, got {value}")

    @property
    def global_size(self) -> int:
        """Mentions of all processes in a step."""
        return self.batch_size * self.num_processes


def plan_of(args: Any) -> BatchPlan:
    """The plan that [`BlinkTrainingArguments`] ask for."""
    return BatchPlan(
        batch_size=args.train_batch_size,
        num_processes=args.world_size,
        same_world=args.same_world_batches,
        unique_entities=args.unique_entities,
        drop_last=args.dataloader_drop_last,
        seed=args.seed if args.data_seed is None else args.data_seed,
    )


def steps_of_pass(num_mentions: int, plan: BatchPlan) -> int:
    """Steps that it takes to see every mention, or all but an incomplete last batch with `drop_last`."""
    whole, rest = divmod(num_mentions, plan.global_size)
    return whole if plan.drop_last or not rest else whole + 1


def updates_of_pass(args: Any, num_mentions: int) -> int:
    """Updates of the weights in one pass, each of `gradient_accumulation_steps` steps, the last one of those that are left."""
    return max(1, _updates(steps_of_pass(num_mentions, plan_of(args)), args.gradient_accumulation_steps))


def updates_of_training(args: Any, num_mentions: int) -> int:
    """Updates of the weights that a training makes: `max_steps`, or those of `num_train_epochs` passes."""
    if args.max_steps > 0:
        return args.max_steps
    return math.ceil(args.num_train_epochs * updates_of_pass(args, num_mentions))


def _updates(steps: int, accumulation: int) -> int:
    return -(-steps // accumulation)


class EntityBatchSampler(Sampler[list[int]]):
    """Yields the batches of process 0, 1, ... of the first step, then those of the second, as accelerate deals them out.

    Args:
        label_ids: Gold entity ids of each mention.
        worlds: World of each mention, or None.
        plan: How batches are made.

    Raises:
        ValueError: No mentions, other than one world a mention, or `drop_last` with less than one batch.
    """

    def __init__(
        self, label_ids: Sequence[Sequence[str]], worlds: Sequence[str | None] | None, plan: BatchPlan
    ):
        if not label_ids or (worlds is not None and len(worlds) != len(label_ids)):
            raise ValueError(
                f"expected mentions, and a world for each, got {len(label_ids)} mentions and "
                f"{'no' if worlds is None else len(worlds)} worlds"
            )
        if plan.drop_last and len(label_ids) < plan.global_size:
            raise ValueError(
                f"expected at least {plan.global_size} mentions for one batch of {plan.batch_size} in each of "
                f"{plan.num_processes} processes, got {len(label_ids)}; use a smaller batch or keep the last one"
            )
        numbers: dict[str, int] = {}
        self._labels = [tuple(numbers.setdefault(label, len(numbers)) for label in ids) for ids in label_ids]
        self._worlds = [None] * len(label_ids) if worlds is None or not plan.same_world else list(worlds)
        self.num_entities = len(numbers)
        self.plan = plan
        self.batch_size = plan.batch_size  # accelerate compares the batches' lengths with it
        self.drop_last = False  # what remains has been seen to: accelerate drops and adds nothing
        self.epoch = 0

    @property
    def steps_of_a_pass(self) -> int:
        """Steps that it takes to see every mention."""
        return steps_of_pass(len(self._labels), self.plan)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self.plan.steps or self.steps_of_a_pass

    def __len__(self) -> int:
        return self.steps * self.plan.num_processes

    def set_epoch(self, epoch: int) -> None:
        """Chooses the batches of an epoch, counted from 0."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        size = self.plan.batch_size
        for batch in self._global_batches():
            for start in range(0, len(batch), size):
                yield batch[start : start + size]

    def _global_batches(self) -> Iterator[list[int]]:
        first = self.epoch * self.steps
        step = first
        while step < first + self.steps:
            number, place = divmod(step, self.steps_of_a_pass)
            for batch in self._batches_of_pass(number)[place : place + first + self.steps - step]:
                yield batch
                step += 1

    def _batches_of_pass(self, number: int) -> list[list[int]]:
        draw = np.random.default_rng((self.plan.seed, number))
        order = draw.permutation(len(self._labels)).tolist()
        members: dict[Any, list[int]] = {}
        for mention in order:
            members.setdefault(self._worlds[mention], []).append(mention)
        batches, rest = [], []
        for mentions in members.values():
            full, remaining = self._distinct_batches(mentions)
            batches += full
            rest += remaining
        full, rest = self._distinct_batches([rest[i] for i in draw.permutation(len(rest))])
        batches += full
        size = self.plan.global_size
        batches += [rest[start : start + size] for start in range(0, len(rest), size)]
        if len(batches[-1]) < size:
            last = batches.pop()
            if not self.plan.drop_last:
                batches.append(self._completed(last, order))
        return [batches[i] for i in draw.permutation(len(batches))]

    def _distinct_batches(self, mentions: Sequence[int]) -> tuple[list[list[int]], list[int]]:
        """Full batches without a repeated gold entity, and the mentions that are left."""
        size, stream, waiting = self.plan.global_size, iter(mentions), deque[int]()
        batches: list[list[int]] = []
        while True:
            batch: list[int] = []
            seen: set[int] = set()
            passed: list[int] = []
            for _ in range(min(len(waiting), _LOOK_BACK * size)):
                if len(batch) == size:
                    break
                self._take(waiting.popleft(), batch, seen, passed)
            while len(batch) < size and (mention := next(stream, None)) is not None:
                self._take(mention, batch, seen, passed)
            waiting.extendleft(reversed(passed))
            if len(batch) < size:
                return batches, [*batch, *waiting]
            batches.append(batch)

    def _take(self, mention: int, batch: list[int], seen: set[int], passed: list[int]) -> None:
        labels = self._labels[mention]
        if self.plan.unique_entities and not seen.isdisjoint(labels):
            passed.append(mention)
            return
        batch.append(mention)
        seen.update(labels)

    def _completed(self, batch: list[int], order: Sequence[int]) -> list[int]:
        """A batch made full with mentions of the pass, of other gold entities where there are any."""
        size = self.plan.global_size
        taken, seen = set(batch), {label for mention in batch for label in self._labels[mention]}
        passed: list[int] = []
        batch = list(batch)
        for mention in order:
            if len(batch) < size and mention not in taken:
                self._take(mention, batch, seen, passed)
        while len(batch) < size:
            batch += (passed or list(order))[: size - len(batch)]
        return batch


class EpochOfSampler(TrainerCallback):
    """Tells the sampler which epoch begins; accelerate's wrappers do not pass it on to it after a resume."""

    def __init__(self, sampler: EntityBatchSampler):
        self.sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.sampler.set_epoch(
            epoch_at(state.global_step, self.sampler.steps, args.gradient_accumulation_steps)
        )


def epoch_at(global_step: int, steps: int, accumulation: int) -> int:
    """The epoch that an update step is in, where an epoch has so many steps, some of which make an update."""
    return global_step // _updates(steps, accumulation)


def check_batch_fits(plan: BatchPlan, num_entities: int) -> None:
    """Refuses batches that cannot be without repetition, whatever is drawn.

    Fewer gold entities than that are no error: what is repeated is masked.

    Args:
        plan: How batches are made.
        num_entities: Entities of the knowledge base.

    Raises:
        ValueError: A global batch has more mentions than there are entities.
    """
    if plan.unique_entities and plan.global_size > num_entities:
        raise ValueError(
            f"expected a batch of at most {num_entities} mentions, the number of entities, got {plan.batch_size} in each of "
            f"{plan.num_processes} processes; use a smaller per_device_train_batch_size, or --unique_entities false to "
            "train with repeated, masked entities"
        )
