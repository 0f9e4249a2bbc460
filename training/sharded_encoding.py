"""The knowledge base encoded by several processes, or machines, into one folder, and made into an index from there.

    every process:   own share of entity rows -> blocks -> rows-<first>-<after last>-<digest>.npy, each written whole
    process 0:       all blocks, memory-mapped -> index

The folder must be one that all processes see (of a shared disk, with several machines). `manifest.json` binds it to one
encoder and one knowledge base, and the digest in the blocks' names to the manifest. A block that is there is not
computed again, so a killed run goes on where it stopped, also with another number of processes.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from hf_blink.modeling.batch_encoding import encode_entities
from hf_blink.modeling.encoder_fingerprint import encoder_fingerprint
from hf_blink.modeling.encoder_limits import check_fits
from hf_blink.modeling.entity_index import EntityIndex
from hf_blink.modeling.index_kinds import refuse_bad_vectors, resolve_kind
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training.encoded_blocks import (
    ShardManifest,
    open_block,
    open_folder,
    read_manifest,
    write_block,
)
from hf_blink.training.process_shares import (
    Bounds,
    blocks,
    exchange_rows,
    failing_together,
    process_place,
    share_bounds,
)

BLOCK_SIZE = 2048  # entities; their texts and token ids are in memory at once, and a killed run loses no more


def encode_entities_sharded(
    bi_encoder: Any,
    processor: Any,
    knowledge_base: KnowledgeBase,
    folder: str | os.PathLike[str],
    *,
    process_index: int = 0,
    num_processes: int = 1,
    block_size: int = BLOCK_SIZE,
    progress: bool = True,
) -> None:
    """Encodes this process's share of the entities into the folder; blocks that are there already are kept.

    Args:
        bi_encoder: a [`BlinkBiEncoder`]; works where it is.
        processor: its processor.
        knowledge_base: the entities.
        folder: seen by all processes; made if missing.
        process_index: number of this process, from 0.
        num_processes: how many processes share the work.
        block_size: entities of a block.
        progress: show a progress bar, in process 0.

    Raises:
        ValueError: the folder is of another encoder, knowledge base or block size; a vector is NaN, infinite or zero;
            no such process; or an empty knowledge base.
    """
    if not 0 <= process_index < num_processes:
        raise ValueError(
            f"expected process_index from 0 to {num_processes - 1} of {num_processes} processes, got {process_index}"
        )
    share = share_bounds(len(knowledge_base), block_size, num_processes)[process_index]
    _check_encodable(bi_encoder, processor, knowledge_base)
    manifest = _manifest(bi_encoder, processor, knowledge_base, block_size)
    target = Path(folder)
    open_folder(target, manifest)
    shown = progress and process_index == 0
    total = share[1] - share[0]
    encode = partial(_encode_block, bi_encoder, processor, knowledge_base)
    with tqdm(total=total, desc=_title(num_processes), unit=" entities", disable=not shown) as bar:
        for bounds in blocks(share, block_size):
            _kept_block(target, manifest, bounds, encode, bar.update)
    # Again: at the same moment another process may have been started with other data.
    open_folder(target, manifest)


def merge_shards(folder: str | os.PathLike[str], *, kind: str = "auto") -> EntityIndex:
    """Makes the index of a folder that all processes have finished; one process calls it.

    Vectors pass through a memory-mapped file beside the blocks, so that memory holds only the index itself.

    Args:
        folder: of `encode_entities_sharded`.
        kind: of the index, see `EntityIndex.build`.

    Raises:
        FileNotFoundError: no manifest there, or blocks are missing; names their rows.
        ValueError: a damaged manifest or block, an unknown kind, or a vector that is NaN, infinite or zero.
    """
    source = Path(folder)
    manifest = read_manifest(source)
    resolve_kind(kind, manifest.num_entities)
    places = list(blocks((0, manifest.num_entities), manifest.block_size))
    missing = [bounds for bounds in places if open_block(source, manifest, bounds) is None]
    if missing:
        rows = ", ".join(f"{start} to {stop - 1}" for start, stop in missing[:10])
        more = f" and {len(missing) - 10} blocks more" if len(missing) > 10 else ""
        raise FileNotFoundError(
            f"expected the vectors of all {manifest.num_entities} entities in {source}, got none for the rows "
            f"{rows}{more}; start the encoding again with the same folder, which goes on where it stopped"
        )
    merged = source / f"merged.{os.getpid()}.part"
    try:
        vectors = np.lib.format.open_memmap(
            merged, mode="w+", dtype=np.float32, shape=(manifest.num_entities, manifest.embed_dim)
        )
        for start, stop in places:  # opened one by one: each open block would hold a file descriptor
            vectors[start:stop] = open_block(source, manifest, (start, stop))
        return EntityIndex.from_vectors(
            vectors,
            kind=kind,
            encoder_fingerprint=manifest.encoder_fingerprint,
            knowledge_base_fingerprint=manifest.knowledge_base_fingerprint,
        )
    finally:
        merged.unlink(missing_ok=True)


def build_shared_index(
    bi_encoder: Any,
    processor: Any,
    knowledge_base: KnowledgeBase,
    *,
    kind: str = "flat",
    folder: str | os.PathLike[str] | None = None,
    block_size: int = BLOCK_SIZE,
    progress: bool = True,
) -> EntityIndex:
    """The index of all entities in every process, each having encoded its share; vectors are sent.

    Collective. Each process holds all vectors, twice while its index is made. The result does not depend on the number
    of processes.

    Args:
        bi_encoder: a [`BlinkBiEncoder`], with the same weights in every process; works where it is.
        processor: its processor.
        knowledge_base: the entities, the same in every process.
        kind: of the index, see `EntityIndex.build`.
        folder: where each process keeps the blocks that it encoded, so that a killed run that is started again encodes the
            others alone; blocks of another encoder or knowledge base do not count. `remove_blocks` removes it when the
            vectors have served. None keeps nothing.
        block_size: entities that are in memory as texts and token ids.
        progress: show a progress bar, in process 0.

    Raises:
        ValueError: a vector is NaN, infinite or zero, an unknown kind, or an empty knowledge base.
    """
    index, count = process_place()
    shares = share_bounds(len(knowledge_base), block_size, count)
    start, stop = shares[index]
    vectors = np.empty((len(knowledge_base), bi_encoder.config.embed_dim), np.float32)
    shown = progress and index == 0
    with failing_together("encoding entities"):
        resolve_kind(kind, len(knowledge_base))
        _check_encodable(bi_encoder, processor, knowledge_base)
        manifest = _manifest(bi_encoder, processor, knowledge_base, block_size)
        encode = partial(_encode_block, bi_encoder, processor, knowledge_base)
        with tqdm(total=stop - start, desc=_title(count), unit=" entities", disable=not shown) as bar:
            for bounds in blocks((start, stop), block_size):
                block = _kept_block(folder, manifest, bounds, encode, bar.update)
                vectors[bounds[0] : bounds[1]] = block
    exchange_rows(vectors, shares)
    return EntityIndex.from_vectors(
        vectors,
        kind=kind,
        encoder_fingerprint=manifest.encoder_fingerprint,
        knowledge_base_fingerprint=manifest.knowledge_base_fingerprint,
    )


def _manifest(
    bi_encoder: Any, processor: Any, knowledge_base: KnowledgeBase, block_size: int
) -> ShardManifest:
    return ShardManifest(
        encoder_fingerprint(bi_encoder, processor),
        knowledge_base.fingerprint,
        len(knowledge_base),
        bi_encoder.config.embed_dim,
        block_size,
    )


def _kept_block(
    folder: str | os.PathLike[str] | None,
    manifest: ShardManifest,
    bounds: Bounds,
    encode: Callable[[Bounds, Callable[[int], Any]], np.ndarray],
    progress: Callable[[int], Any],
) -> np.ndarray:
    """A block of the folder, or encoded and put there; without a folder encoded."""
    if folder is None:
        return encode(bounds, progress)
    kept = open_block(Path(folder), manifest, bounds)
    if kept is not None:
        progress(bounds[1] - bounds[0])
        return kept
    vectors = encode(bounds, progress)
    file = manifest.block_file(Path(folder), bounds)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_block(file, vectors)
    return vectors


def _title(num_processes: int) -> str:
    return "Encoding entities" + (f" (process 0 of {num_processes})" if num_processes > 1 else "")


def _check_encodable(bi_encoder: Any, processor: Any, knowledge_base: KnowledgeBase) -> None:
    check_fits(processor, bi_encoder)
    if not len(knowledge_base):
        raise ValueError("expected a knowledge base with at least one entity, got an empty one")


def _encode_block(
    bi_encoder: Any,
    processor: Any,
    knowledge_base: KnowledgeBase,
    bounds: Bounds,
    progress: Callable[[int], Any],
) -> np.ndarray:
    """Vectors of a block of entities, float32 `[num_rows, embed_dim]`."""
    vectors = encode_entities(bi_encoder, processor, *knowledge_base.texts(*bounds), progress=progress)
    refuse_bad_vectors(vectors, bounds[0])
    return vectors
