"""Training for a fixed time: phases that share a budget of seconds, and a learning rate that follows the time used.

The budget counts CPU seconds of the process (all threads), so that other programs on the machine do not change a result;
`clock="wall"` counts seconds, for an accelerator. Encoding and mining count. A teacher's scores do not: they are computed
once for a data set and kept, whatever student learns from them.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from datasets import Dataset
from transformers import TrainerCallback, set_seed

from benchmarks.ablation_arms import MODEL_KEYS, NAMES, TRAINING_KEYS, Arm
from hf_blink.modeling.batch_encoding import encode_mentions
from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.collators import BiEncoderCollator
from hf_blink.training.dataset_readers import contexts_of
from hf_blink.training.distillation import TEACHER_SCORES, DistillationCollator, DistillationTrainer
from hf_blink.training.hard_negatives import mine_candidates, mine_hard_negatives
from hf_blink.training.trainers import HardNegativeTrainer, InBatchTrainer

CHUNK = 32  # mentions that go through the model at once
WARMUP = 0.1  # share of each phase
MINED = 2  # hard negatives a mention, of those that are mined for it
_ENDLESS = 1_000_000  # steps; the budget ends the training
Clock = Literal["cpu", "wall"]


class Budget:
    """Seconds to train for.

    Args:
        seconds: of the whole training.
        clock: see the module's text.
    """

    def __init__(self, seconds: float, clock: Clock = "cpu"):
        self.seconds = seconds
        self._now = time.process_time if clock == "cpu" else time.perf_counter
        self._started = self._now()
        self._free = 0.0

    @property
    def used(self) -> float:
        """Share of the budget that is used, from 0 on."""
        return (self._now() - self._started - self._free) / self.seconds

    def free(self) -> "_Free":
        """A context whose time does not count; it has the seconds it took as `seconds`."""
        return _Free(self)


@dataclass
class _Free:
    budget: Budget
    seconds: float = 0.0

    def __enter__(self) -> "_Free":
        self._begun = self.budget._now()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = self.budget._now() - self._begun
        self.budget._free += self.seconds


class _Phase(TrainerCallback):
    """Ends a phase in time. The rate warms up in each phase and falls linearly over the whole budget."""

    def __init__(self, budget: Budget, end: float, peak: float):
        self.budget, self.begin, self.end, self.peak = budget, budget.used, end, peak

    def on_pre_optimizer_step(
        self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any
    ) -> None:
        used = self.budget.used
        warm = (used - self.begin) / max(WARMUP * (self.end - self.begin), 1e-9)
        for group in optimizer.param_groups:
            group["lr"] = self.peak * min(1.0, warm) * max(0.0, 1.0 - used)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_training_stop |= self.budget.used >= self.end


@dataclass
class Data:
    """What arms train on.

    Args:
        mentions: labelled, in random order.
        knowledge_base: all entities.
        mined: what is mined of them: the mentions' entities and others.
        base_model: encoder to start from.
        window: tokens of a mention window and of an entity text.
        mined_mentions: how many mentions a mining is for.
        teacher: scores candidates for distillation; None where no arm needs it.
        seed: of new weights and of batches.
    """

    mentions: Dataset
    knowledge_base: KnowledgeBase
    mined: KnowledgeBase
    base_model: str
    window: int
    mined_mentions: int
    teacher: "Teacher | None"
    seed: int


class Teacher:
    """A trained linker of two stages: scores candidates whoever found them.

    Args:
        folder: of the linker, which knows all entities of the data set.
    """

    def __init__(self, folder: Path):
        self.linker = EntityLinker.from_pretrained(str(folder))

    def scores(self, mentions: Dataset, candidate_ids: list[list[str]]) -> list[np.ndarray]:
        """The final score of each mention's candidates: the cross-encoder's and, as far as it weighs them, the bi-encoder's."""
        linker = self.linker
        contexts = contexts_of(mentions.to_list())
        rows = np.full((len(contexts), max(map(len, candidate_ids))), -1, np.int64)
        for number, ids in enumerate(candidate_ids):
            rows[number, : len(ids)] = linker.knowledge_base.find_rows(ids)
        vectors = encode_mentions(linker.bi_encoder, linker.processor, contexts)
        retrieval = np.full(rows.shape, -np.inf, np.float32)
        for number, ids in enumerate(candidate_ids):
            retrieval[number, : len(ids)] = linker.index.vectors(rows[number, : len(ids)]) @ vectors[number]
        logits = linker.rerank(contexts, rows, retrieval)
        if logits is None:
            raise ValueError("expected a linker with a cross-encoder as the teacher, got one without")
        return [logits[number, : len(ids)] for number, ids in enumerate(candidate_ids)]


@dataclass
class Trained:
    """A trained arm.

    Attributes:
        model: the bi-encoder, in evaluation mode.
        processor: its processor.
        mentions_seen: in all steps, repetitions counted.
        steps: of the optimizer.
        mining_seconds: of them, by the budget's clock.
        teacher_seconds: not of them.
        train_seconds: by the budget's clock.
        final_losses: of each phase, its mean.
    """

    model: Any
    processor: Any
    mentions_seen: int = 0
    steps: int = 0
    mining_seconds: float = 0.0
    teacher_seconds: float = 0.0
    train_seconds: float = 0.0
    final_losses: list[float] = field(default_factory=list)


def train_arm(arm: Arm, data: Data, seconds: float, clock: Clock = "cpu") -> Trained:
    """Trains an arm from the base model for so many seconds."""
    processor = BlinkProcessor.from_base(
        data.base_model, mention_length=data.window, entity_length=data.window
    )
    set_seed(data.seed)
    vocab_size = len(processor.tokenizer)
    model = BlinkBiEncoder.from_encoder(data.base_model, vocab_size=vocab_size, **arm.part(MODEL_KEYS))
    trained = Trained(model, processor)
    budget = Budget(seconds, clock)
    end = 0.0
    for number, (kind, share) in enumerate(arm.phases):
        end += share
        parts = _prepared(kind, number, trained, data, budget)
        negatives = arm.values[NAMES] if kind == "in_batch" else MINED
        _train(trained, parts, arm, negatives, (budget, min(end, 1.0)), data.seed + number)
    trained.train_seconds = budget.used * seconds
    trained.model = model.eval()
    return trained


def _prepared(
    kind: str, number: int, trained: Trained, data: Data, budget: Budget
) -> tuple[Any, Any, Dataset]:
    """The trainer's class, its collator and its data, mined with the model as it is."""
    if kind == "in_batch":
        trainer_class = (
            HardNegativeTrainer if "hard_negative_ids" in data.mentions.column_names else InBatchTrainer
        )
        return trainer_class, BiEncoderCollator(trained.processor, data.knowledge_base), data.mentions
    begun = budget.used
    order = np.random.default_rng((data.seed, number)).permutation(len(data.mentions))
    mentions = data.mentions.select(order[: data.mined_mentions].tolist())
    options = {"processor": trained.processor, "index_kind": "flat", "progress": False}
    linker = EntityLinker.from_knowledge_base(data.mined, trained.model, **options)
    if kind == "hard":
        mined = mine_hard_negatives(linker, mentions, num_negatives=10, progress=False)
    else:
        mined = mine_candidates(linker, mentions, num_candidates=4, progress=False)
    trained.mining_seconds += (budget.used - begun) * budget.seconds
    if kind == "hard":
        return HardNegativeTrainer, BiEncoderCollator(trained.processor, data.knowledge_base), mined
    if data.teacher is None:
        raise ValueError("expected a teacher for distillation, got none; give Data a Teacher")
    with budget.free() as free:
        found = data.teacher.scores(mined, list(mined["candidate_ids"]))
        mined = mined.add_column(TEACHER_SCORES, [scores.tolist() for scores in found])
    trained.teacher_seconds += free.seconds
    return DistillationTrainer, DistillationCollator(trained.processor, data.knowledge_base), mined


def _train(
    trained: Trained,
    parts: tuple[Any, Any, Dataset],
    arm: Arm,
    negatives: int,
    until: tuple[Budget, float],
    seed: int,
) -> None:
    """A phase: trains in place and counts."""
    trainer_class, collator, dataset = parts
    values = arm.part(TRAINING_KEYS)
    with TemporaryDirectory() as folder:
        arguments = BlinkTrainingArguments(
            folder,
            per_device_train_batch_size=arm.batch_size,
            gradient_cache_chunk=CHUNK if arm.batch_size > CHUNK else 0,
            max_steps=_ENDLESS,
            lr_scheduler_type="constant",  # _Phase sets the rate
            num_hard_negatives=negatives,
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            seed=seed,
            **values,
        )
        trainer = trainer_class(trained.model, arguments, collator, dataset)
        trainer.add_callback(_Phase(*until, values["learning_rate"]))
        result = trainer.train()
    trained.steps += result.global_step
    trained.mentions_seen += result.global_step * min(arm.batch_size, len(dataset))
    trained.final_losses.append(float(result.training_loss))
