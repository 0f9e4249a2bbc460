"""Recall of the model that is being trained: all entities are encoded anew, by all processes together, and searched exactly."""

from typing import Any

from datasets import Dataset

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training.evaluation import evaluate_linker
from hf_blink.training.shared_linker import shared_linker

CUTOFFS = (1, 4, 16, 64)


def recall_of(
    bi_encoder: Any, processor: Any, knowledge_base: KnowledgeBase, dataset: Dataset
) -> dict[str, float]:
    """`recall@1`, `@4`, `@16` and `@64` on labelled mentions, shares between 0 and 1; collective, see process_shares.

    Args:
        bi_encoder: the model; it is left in evaluation mode.
        processor: its processor.
        knowledge_base: the entities; those of a mention's world are its candidates.
        dataset: labelled mentions.
    """
    linker = shared_linker(knowledge_base, bi_encoder, processor, progress=False)
    metrics = evaluate_linker(linker, dataset, recall_at=CUTOFFS, progress=False)
    return {f"recall@{k}": metrics[f"recall@{k}"] for k in CUTOFFS}
