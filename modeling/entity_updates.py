"""Entities added to a linker, and taken out of it, without encoding the others again.

Both make a new knowledge base and a new index from the old ones and leave the old ones as they are, so that a failure
leaves the linker whole. Kept entities keep their order; new ones come last.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from .batch_encoding import encode_entities
from .entity_index import EntityIndex
from .index_kinds import refuse_bad_vectors
from .knowledge_base import KnowledgeBase

_SHOWN_IDS = 5


def with_entities(
    linker: Any, entities: Iterable[Any], *, replace: bool
) -> tuple[KnowledgeBase, EntityIndex]:
    """The linker's entities and the given ones.

    Args:
        linker: object with bi_encoder, processor, index and knowledge_base.
        entities: Entity objects or mappings, as in `KnowledgeBase.from_entities`, or a knowledge base.
        replace: whether an entity of the same id is replaced; otherwise it is an error.

    Raises:
        ValueError: an id that is there already, or bad records.
    """
    added = KnowledgeBase.from_entities(entities)
    ids = added.entity_ids(range(len(added)))
    known = linker.knowledge_base.find_rows(ids) >= 0
    if known.any() and not replace:
        some = ", ".join(ids[row] for row in np.flatnonzero(known)[:_SHOWN_IDS])
        raise ValueError(
            f"expected new entity ids, got {int(known.sum())} that the knowledge base has ({some}); "
            "pass replace=True (--replace)"
        )
    kept = _rows_without(linker.knowledge_base, [ids[row] for row in np.flatnonzero(known)])
    vectors = encode_entities(linker.bi_encoder, linker.processor, *added.texts(0, len(added)))
    refuse_bad_vectors(vectors)
    knowledge_base = KnowledgeBase.from_entities(chain(_entities(linker.knowledge_base, kept), added))
    return knowledge_base, linker.index.updated(kept, vectors, knowledge_base.fingerprint)


def without_entities(linker: Any, entity_ids: Sequence[str]) -> tuple[KnowledgeBase, EntityIndex]:
    """The linker's entities but those.

    Raises:
        KeyError: an id that the knowledge base does not have.
        ValueError: none would be left.
    """
    known = linker.knowledge_base.find_rows(list(entity_ids)) >= 0
    if unknown := [entity_id for entity_id, found in zip(entity_ids, known, strict=True) if not found]:
        raise KeyError(
            f"expected ids of the knowledge base, got {', '.join(map(repr, unknown[:10]))}, {len(unknown)} that it does not "
            "have; nothing was removed"
        )
    kept = _rows_without(linker.knowledge_base, entity_ids)
    if not kept.size:
        raise ValueError(
            "expected at least one entity to stay, got the ids of all; a linker needs something to link to"
        )
    knowledge_base = KnowledgeBase.from_entities(_entities(linker.knowledge_base, kept))
    nothing = np.zeros((0, linker.index.dimension), np.float32)
    return knowledge_base, linker.index.updated(kept, nothing, knowledge_base.fingerprint)


def _rows_without(knowledge_base: KnowledgeBase, entity_ids: Sequence[str]) -> np.ndarray:
    return np.delete(np.arange(len(knowledge_base)), knowledge_base.find_rows(list(entity_ids)))


def _entities(knowledge_base: KnowledgeBase, rows: np.ndarray) -> Iterable[Any]:
    step = 1024
    for start in range(0, len(rows), step):
        yield from knowledge_base.entities(rows[start : start + step])
