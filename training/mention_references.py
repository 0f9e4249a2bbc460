"""What labelled mentions refer to in a knowledge base: entity ids as rows, worlds as the pools of their candidates."""

from collections.abc import Sequence

import numpy as np
from datasets import Dataset

from hf_blink.modeling.knowledge_base import KnowledgeBase

_SHOWN = 10


def entity_rows(
    id_lists: Sequence[Sequence[str] | None],
    knowledge_base: KnowledgeBase,
    column: str = "label_ids",
    names: Sequence[str] | None = None,
) -> list[list[int]]:
    """Rows in the knowledge base of each mention's entity ids.

    Args:
        id_lists: the column's value for each mention; None is an empty list.
        knowledge_base: where the entities are.
        column: name of the column, for the error.
        names: of the mentions or documents, for the error; of those without an id, their file and line.

    Returns:
        A list of rows for each mention, in the order of its ids; NIL mentions have none.

    Raises:
        ValueError: ids that the knowledge base does not have; names the first ten and their number.
    """
    distinct = list(dict.fromkeys(entity_id for ids in id_lists for entity_id in ids or ()))
    row_of = dict(zip(distinct, np.asarray(knowledge_base.find_rows(distinct)).tolist(), strict=True))
    unknown = [entity_id for entity_id, row in row_of.items() if row < 0]
    if unknown:
        first = _first_place(unknown[0], id_lists, names)
        raise ValueError(
            f"expected {column} that are in the knowledge base of {len(knowledge_base)} entities, got {len(unknown)} "
            f"that are not: {_shown(unknown)}{first}; use the knowledge base that the labels belong to, add those "
            "entities, or leave their mentions out"
        )
    return [[row_of[entity_id] for entity_id in ids or ()] for ids in id_lists]


def _first_place(
    entity_id: str, id_lists: Sequence[Sequence[str] | None], names: Sequence[str] | None
) -> str:
    if names is None:
        return ""
    place = next(name for name, ids in zip(names, id_lists, strict=True) if entity_id in (ids or ()))
    return f" ({entity_id!r} first in {place})"


def gold_rows_of(dataset: Dataset, knowledge_base: KnowledgeBase) -> list[list[int]]:
    """Rows of the gold entities of a dataset's mentions or documents; an error says which has an unknown one."""
    column = next((name for name in ("id", "doc_id") if name in dataset.column_names), None)
    names = None if column is None else list(dataset[column])
    return entity_rows(list(dataset["label_ids"]), knowledge_base, names=names)


def candidate_worlds(
    worlds: Sequence[str | None], knowledge_base: KnowledgeBase
) -> Sequence[str | None] | None:
    """The world that each mention's candidates are from; None = the whole knowledge base for all mentions.

    Args:
        worlds: the world of each mention; None there is the whole knowledge base.
        knowledge_base: where the entities are; without worlds, those of the mentions do not matter.

    Raises:
        ValueError: worlds that no entity of the knowledge base is in, where others are.
    """
    known = set(knowledge_base.worlds)
    if not known:
        return None
    unknown = sorted({world for world in worlds if world is not None} - known)
    if unknown:
        raise ValueError(
            f"expected worlds that are in the knowledge base, {_shown(sorted(known))}, got {len(unknown)} that are "
            f"not: {_shown(unknown)}; correct the mentions or the entities"
        )
    return worlds


def worlds_of(dataset: Dataset) -> list[str | None]:
    """The world of each mention; None for all where the dataset has no such column."""
    return list(dataset["world"]) if "world" in dataset.column_names else [None] * len(dataset)


def check_references(dataset: Dataset, knowledge_base: KnowledgeBase, name: str) -> None:
    """Checks the gold entities and worlds of a whole dataset, so that none of them stops a run after hours.

    Args:
        dataset: labelled mentions.
        knowledge_base: where the entities are.
        name: what the recipe calls the dataset, for the error.

    Raises:
        ValueError: gold entities or worlds that the knowledge base lacks, also where none of its entities names a world,
            or no mention with a gold entity.
    """
    try:
        rows = gold_rows_of(dataset, knowledge_base)
        candidate_worlds(worlds_of(dataset), knowledge_base)
        _refuse_worlds_of_none(worlds_of(dataset), knowledge_base)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if not any(rows):
        raise ValueError(
            f"{name}: expected mentions with a gold entity, got {len(rows)} without; check the labels of its files"
        )


def _refuse_worlds_of_none(worlds: Sequence[str | None], knowledge_base: KnowledgeBase) -> None:
    """Refuses worlds where no entity names one: all entities would be candidates, which is not what the labels say."""
    named = sorted({world for world in worlds if world is not None})
    if named and not knowledge_base.worlds:
        raise ValueError(
            f"expected no worlds, as no entity of the knowledge base names one, got {_shown(named)}; give the entities "
            "their world, or leave it out where all entities are candidates"
        )


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(repr(name) for name in names[:_SHOWN]) + more
