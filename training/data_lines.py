"""What a recipe's files hold, in lines for the reader of a dry run: entities, worlds, mentions, labels that are unknown."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from datasets import Dataset

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training.mention_references import worlds_of

_PARTS = ("train", "dev", "evaluation")


def mention_lines(raw: Any, data: Any) -> Iterator[str]:
    """Lines about labelled mentions.

    Args:
        raw: the [`RecipeData`] as it was read.
        data: the [`DataArguments`] that it was read with.
    """
    yield from _entity_lines(raw.knowledge_base)
    for name, mentions in _given_parts(raw):
        labels = _labels_text(mentions["label_ids"], worlds_of(mentions), raw.knowledge_base)
        yield f"  {f'{_title(name)} mentions':<20} {len(mentions):,}{labels}"
    yield from _limit_lines(data, ("max_mentions_per_entity", "max_train_mentions", "balance_worlds"))


def document_lines(raw: Any, documents: Any) -> Iterator[str]:
    """Lines about documents and their mentions.

    Args:
        raw: the [`DocumentData`] as it was read.
        documents: the [`DocumentArguments`] that it was read with.
    """
    yield from _entity_lines(raw.knowledge_base)
    for name, part in _given_parts(raw):
        mentions = [mention["label_ids"] for row in part["mentions"] for mention in row]
        yield f"  {f'{_title(name)} documents':<20} {len(part):,}, {complete_text(part)}"
        labels = _labels_text(mentions, part["world"], raw.knowledge_base)
        yield f"  {'  their mentions':<20} {len(mentions):,}{labels}"
    yield from _limit_lines(documents, ("max_train_documents",))


def complete_text(texts: Dataset) -> str:
    """How many of some texts have all their mentions annotated, as far as the files say."""
    return (
        f"{sum(flag is not False for flag in texts['complete']):,} of them complete (all mentions annotated)"
    )


def num_entities(labels: Iterable[Sequence[str]]) -> int:
    """How many different entities the mentions with these labels mean."""
    return len({label for ids in labels for label in ids})


def _title(part: str) -> str:
    return "training" if part == "train" else part


def _given_parts(raw: Any) -> Iterator[tuple[str, Dataset]]:
    yield from ((name, part) for name in _PARTS if (part := getattr(raw, name)) is not None)


def _entity_lines(knowledge_base: KnowledgeBase) -> Iterator[str]:
    yield "data"
    yield f"  {'entities':<20} {len(knowledge_base):,}{_worlds_text(knowledge_base)}"


def _limit_lines(data: Any, names: Sequence[str]) -> Iterator[str]:
    if given := [f"{name} {getattr(data, name)}" for name in names if getattr(data, name)]:
        yield f"  {'limited by':<20} {', '.join(given)}"


def _worlds_text(knowledge_base: KnowledgeBase) -> str:
    sizes = sorted((len(knowledge_base.world_rows(world)), world) for world in knowledge_base.worlds)
    if not sizes:
        return ", no worlds"
    (least, small), (most, large) = sizes[0], sizes[-1]
    return f" in {len(sizes):,} worlds, from {least:,} ({small}) to {most:,} ({large})"


def _labels_text(
    label_ids: Iterable[Sequence[str] | None], worlds: Iterable[str | None], knowledge_base: KnowledgeBase
) -> str:
    labels = [ids or [] for ids in label_ids]
    distinct = sorted({label for ids in labels for label in ids})
    rows = np.asarray(knowledge_base.find_rows(distinct))
    unknown = {label for label, row in zip(distinct, rows, strict=True) if row < 0}
    wrong = sum(1 for ids in labels if not unknown.isdisjoint(ids))
    count = len({world for world in worlds if world is not None})
    return (
        f"{f' in {count:,} worlds' if count else ''}; label not in the knowledge base: {wrong:,}; without label (NIL): "
        f"{sum(1 for ids in labels if not ids):,}"
    )
