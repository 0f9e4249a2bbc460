"""Recall of the model that is being trained: all entities are encoded anew, shared by the processes, and searched exactly."""

import logging
from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from transformers import TrainingArguments

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training.evaluation import evaluate_linker
from hf_blink.training.shared_linker import shared_linker
from hf_blink.training.whole_weights import whole_model

logger = logging.getLogger(__name__)

CUTOFFS = (1, 4, 16, 64)


def recall_of(
    bi_encoder: Any, processor: Any, knowledge_base: KnowledgeBase, dataset: Dataset
) -> dict[str, float]:
    """`recall@1`, `@4`, `@16` and `@64` on labelled mentions, shares between 0 and 1; collective.

    Args:
        bi_encoder: the model; it is left in evaluation mode.
        processor: its processor.
        knowledge_base: the entities; those of a mention's world are its candidates.
        dataset: labelled mentions.
    """
    linker = shared_linker(knowledge_base, whole_model(bi_encoder), processor, progress=False)
    metrics = evaluate_linker(linker, dataset, recall_at=CUTOFFS, progress=False)
    return {f"recall@{k}": metrics[f"recall@{k}"] for k in CUTOFFS}


def check_dev(dev: Sequence[str], training: TrainingArguments) -> None:
    """Refuses to measure during training without mentions for it, before anything is read.

    Args:
        dev: the recipe's `dev` files.
        training: says with `eval_strategy` whether to measure.

    Raises:
        ValueError: `eval_strategy` without files; those of `evaluation` do not serve, since a figure on mentions that the
            model was chosen on is too good.
    """
    if not dev and measures(training):
        raise ValueError(
            "expected dev files in the recipe for eval_strategy or early_stopping_patience, got none; name mentions that "
            "are neither trained on nor in evaluation (a tenth of the training mentions, say), or leave these settings out"
        )


def warn_of_idle_dev(dev: Sequence[str], training: TrainingArguments) -> None:
    """Warns of files that nothing is done with, of a script that only measures on them.

    Args:
        dev: the recipe's `dev` files.
        training: says with `eval_strategy` whether to measure.
    """
    if dev and not measures(training) and training.process_index == 0:
        logger.warning(
            "dev is named and not used: nothing is measured during training, and the last model is the result; give "
            "early_stopping_patience or eval_strategy, or leave dev out"
        )


def dev_mentions(dev: Dataset | None, training: TrainingArguments) -> Dataset | None:
    """The mentions that a run is measured on while it trains: those of its `dev` files that have a gold entity.

    Args:
        dev: labelled mentions of the recipe; None where it names no files.
        training: says with `eval_strategy` whether to measure.

    Returns:
        The mentions; None measures nothing during training.
    """
    if dev is None or not measures(training):
        return None
    return dev.filter(lambda labels: len(labels) > 0, input_columns="label_ids")


def measures(training: TrainingArguments) -> bool:
    """Whether a run measures while it trains (`eval_strategy`, which early stopping sets)."""
    return str(getattr(training.eval_strategy, "value", training.eval_strategy)) != "no"
