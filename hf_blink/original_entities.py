"""Catalogues and encodings of BLINK and ELQ as knowledge bases and vectors of ours.

    entity.jsonl         {"text", "idx": "https://en.wikipedia.org/wiki?curid=12", "title", "entity"(, "kb_idx": "Q42")}
                         one entity a line; the line's number, from 0, is the row of encodings and index
    <world>.json         Zeshel's documents, one file a world
    all_entities.t7      float32 [num_entities, embed_dim]; of Zeshel a dictionary from the world's number to such

An entity's id becomes its Wikipedia page id ("12"), which is also what BLINK's mention files call it; the whole address
stays in `url`, and both ids are fields of the metadata: `wikipedia_id` and `wikidata_id`. Lines are streamed to disk.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_blink.modeling.entity_readers import Place, read_json_lines
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.original_files import read_checkpoint
from hf_blink.training.zeshel_documents import read_documents

_PAGE_ID = "curid="
# BLINK numbers Zeshel's worlds in this order: 8 of training, 4 of validation, 4 of test.
ZESHEL_WORLDS = (
    "american_football", "doctor_who", "fallout", "final_fantasy", "military", "pro_wrestling", "starwars",
    "world_of_warcraft", "coronation_street", "muppets", "ice_hockey", "elder_scrolls", "forgotten_realms", "lego",
    "star_trek", "yugioh",
)  # fmt: skip
_PathLike = str | os.PathLike[str]


def import_blink_entities(path: _PathLike, *, cache_dir: _PathLike | None = None) -> KnowledgeBase:
    """Reads BLINK's or ELQ's `entity.jsonl`, or Zeshel's documents, in constant memory.

    Args:
        path: the file, plain or .gz; or a folder of Zeshel's `<world>.json`, which become worlds of the knowledge base, in
            BLINK's order.
        cache_dir: where the mapped table is kept; None means a temporary folder.

    Raises:
        FileNotFoundError: there is no such file, or no document in the folder.
        ValueError: bad records, all in one error, or an id that comes twice.
        OSError: the disk is full.
    """
    records = _documents(Path(path)) if Path(path).is_dir() else _catalogue(path)
    return KnowledgeBase.from_records(records, cache_dir=cache_dir)


def _catalogue(path: _PathLike) -> Iterator[tuple[Place, Any]]:
    for row, (place, record) in enumerate(read_json_lines(path)):
        yield place, _entity(record, row) if isinstance(record, dict) else record


def _entity(record: dict[str, Any], row: int) -> dict[str, Any]:
    """A line of entity.jsonl in our fields."""
    entity = {name: value for name, value in record.items() if name not in ("idx", "kb_idx")}
    address, wikidata_id = record.get("idx"), record.get("kb_idx")
    metadata = dict(record["metadata"]) if isinstance(record.get("metadata"), Mapping) else {}
    entity_id: Any = str(row) if address is None else address
    if isinstance(address, str):
        if (page_id := _page_id(address)) is not None:
            entity_id = metadata["wikipedia_id"] = page_id
        if "://" in address:
            entity["url"] = address
    if wikidata_id:
        metadata["wikidata_id"] = wikidata_id
    return entity | {"entity_id": entity_id, "metadata": metadata}


def _page_id(address: str) -> str | None:
    """The Wikipedia page that an address names."""
    number = address.rpartition(_PAGE_ID)[2].strip()
    return str(int(number)) if _PAGE_ID in address and number.isdecimal() else None


def blink_address(entity: Any) -> str:
    """What `idx` says of an entity, so that the import finds the same id: Wikipedia's address, or the id itself.

    An address of another kind would become the id, and BLINK finds a page's number behind `curid=` alone.
    """
    if entity.url and (_page_id(entity.url) or entity.url) == entity.entity_id:
        return str(entity.url)
    if entity.metadata.get("wikipedia_id") == entity.entity_id:
        return f"https://en.wikipedia.org/wiki?{_PAGE_ID}{entity.entity_id}"
    return str(entity.entity_id)


def _documents(folder: Path) -> Iterator[tuple[Place, Any]]:
    files = {file.stem: file for file in sorted(folder.glob("*.json"))}
    if not files:
        raise FileNotFoundError(
            f"expected an entity.jsonl, or a folder with Zeshel's documents as <world>.json, got {folder} without any"
        )
    for world in (
        *(name for name in ZESHEL_WORLDS if name in files),
        *sorted(set(files) - set(ZESHEL_WORLDS)),
    ):
        yield from read_documents(world, files[world])


def import_blink_encodings(path: _PathLike, knowledge_base: KnowledgeBase | None = None) -> np.ndarray:
    """Reads vectors of entities, mapped from disk: 24 GB of them take no memory until they are used.

    Args:
        path: `all_entities_large.t7`, or a file of `cand_encode_path`.
        knowledge_base: its entities, which the vectors must fit; needed for a dictionary of worlds, whose vectors are put
            in its order (and are read).

    Returns:
        float32 `[num_entities, embed_dim]`. Do not write to it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: something else in the file, or another number of entities.
    """
    found = read_checkpoint(path, "the entities' encodings")
    if isinstance(found, dict):
        found = _world_by_world(path, found, knowledge_base)
    if not isinstance(found, torch.Tensor) or found.ndim != 2 or not found.is_floating_point():
        got = (
            f"{found.dtype} {list(found.shape)}" if isinstance(found, torch.Tensor) else type(found).__name__
        )
        raise ValueError(
            f"{os.fspath(path)}: expected encodings, float32 [num_entities, embed_dim], got {got}; token ids of entities "
            "and mined candidates are other files"
        )
    if knowledge_base is not None and len(found) != len(knowledge_base):
        raise ValueError(
            f"{os.fspath(path)}: expected the encodings of {len(knowledge_base)} entities, as the catalogue has, got "
            f"{len(found)}; they do not belong together"
        )
    return found.detach().to(torch.float32).numpy()


def _world_by_world(path: _PathLike, found: dict[Any, Any], knowledge_base: KnowledgeBase | None) -> Any:
    """The vectors of Zeshel's worlds as one matrix, in the rows of the knowledge base."""
    if knowledge_base is None or not knowledge_base.worlds:
        raise ValueError(
            f"{os.fspath(path)}: expected one matrix of encodings, got a dictionary, which is Zeshel's; name the folder of its "
            "documents as the entities"
        )
    matrix: torch.Tensor | None = None
    for world in knowledge_base.worlds:
        number = ZESHEL_WORLDS.index(world) if world in ZESHEL_WORLDS else -1
        vectors, rows = found.get(number), knowledge_base.world_rows(world)
        if not isinstance(vectors, torch.Tensor) or vectors.ndim != 2 or len(vectors) != len(rows):
            got = list(vectors.shape) if isinstance(vectors, torch.Tensor) else "none"
            raise ValueError(
                f"{os.fspath(path)}: expected encodings of the {len(rows)} entities of the world {world!r} (number {number}), "
                f"got {got}; leave the encodings out to encode the entities anew"
            )
        if matrix is None:
            matrix = torch.empty(len(knowledge_base), vectors.shape[1])
        matrix[torch.from_numpy(rows)] = vectors.float()
    return matrix
