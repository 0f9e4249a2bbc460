"""One linker of a model in training, made by all processes of a run together, and what they check before they use it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from datasets import Dataset

from hf_blink.modeling.encoder_fingerprint import encoder_fingerprint
from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training.mention_retrieval import mentions_digest
from hf_blink.training.process_shares import check_agreement, process_place
from hf_blink.training.sharded_encoding import build_shared_index


def shared_linker(
    knowledge_base: KnowledgeBase,
    bi_encoder: Any,
    processor: Any,
    *,
    cross_encoder: Any = None,
    folder: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> EntityLinker:
    """A linker with an exact index in every process, each having encoded its share of the entities; collective.

    Args:
        knowledge_base: the entities, the same in every process.
        bi_encoder: a [`BlinkBiEncoder`], the same in every process; works where it is.
        processor: its processor.
        cross_encoder: of the linker.
        folder: keeps encoded blocks for a run that is killed and started again; see `build_shared_index`.
        progress: show a progress bar, in process 0.

    Raises:
        ValueError: processes with different encoders or knowledge bases, or a vector that is NaN, infinite or zero.
    """
    if process_place()[1] > 1:
        facts = {
            "number of entities": len(knowledge_base),
            "knowledge base fingerprint": knowledge_base.fingerprint,
            "encoder fingerprint": encoder_fingerprint(bi_encoder, processor),
        }
        check_agreement("encoding entities", facts)
    index = build_shared_index(bi_encoder, processor, knowledge_base, folder=folder, progress=progress)
    return EntityLinker(bi_encoder, processor, index, knowledge_base, cross_encoder=cross_encoder)


def check_same_work(
    knowledge_base: KnowledgeBase, dataset: Dataset, settings: Mapping[str, Any], what: str = "mining"
) -> None:
    """Refuses processes that are about to work on different data, or with different settings; collective.

    Args:
        knowledge_base: the entities.
        dataset: labelled mentions.
        settings: of the work, by the name that an error shows.
        what: the work, for the error.

    Raises:
        ValueError: they differ, in every process.
    """
    if process_place()[1] > 1:
        facts = {
            "number of mentions": len(dataset),
            "fingerprint of the mentions": mentions_digest(dataset),
            "knowledge base fingerprint": knowledge_base.fingerprint,
            **settings,
        }
        check_agreement(what, facts)


@contextmanager
def modes_kept(*models: Any) -> Iterator[None]:
    """Gives every module of the models its train/eval mode back afterwards."""
    before = [
        (module, module.training) for model in models if model is not None for module in model.modules()
    ]
    try:
        yield
    finally:
        for module, training in before:
            module.training = training
