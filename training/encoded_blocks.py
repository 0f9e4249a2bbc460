"""A folder of encoded entities: blocks of vectors as .npy files, and a manifest that says whose vectors they are.

The digest of the manifest is in the blocks' names, so that blocks of two encoders never mix, whatever happens to the
manifest. A file appears whole or not at all, nothing is pickled, and blocks are read memory-mapped.
"""

import hashlib
import json
import logging
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from hf_blink.training.process_shares import Bounds
from hf_blink.training.whole_files import written_whole

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
VECTORS = "vectors"  # folder of the blocks in that of a run which mines, until what was mined is in its file
_FORMAT_VERSION = 1


@dataclass(frozen=True)
class ShardManifest:
    """What the blocks of a folder are.

    Attributes:
        encoder_fingerprint: of the encoder that makes the vectors.
        knowledge_base_fingerprint: of the knowledge base.
        num_entities: rows of the knowledge base.
        embed_dim: length of a vector.
        block_size: rows of a block; the last has the rest.
    """

    encoder_fingerprint: str
    knowledge_base_fingerprint: str
    num_entities: int
    embed_dim: int
    block_size: int

    def block_file(self, folder: Path, bounds: Bounds) -> Path:
        """Where a block lies."""
        digest = hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:12]
        return folder / f"rows-{bounds[0]:012d}-{bounds[1]:012d}-{digest}.npy"


def write_block(file: Path, vectors: np.ndarray) -> None:
    """Writes a block, whole or not at all, also when the machine stops."""
    with written_whole(file) as stream:
        np.save(stream, vectors, allow_pickle=False)


def open_block(folder: Path, manifest: ShardManifest, bounds: Bounds) -> np.ndarray | None:
    """A block as a memory-mapped array; None where there is no file, or no whole block in it, which is logged."""
    expected = (bounds[1] - bounds[0], manifest.embed_dim)
    file = manifest.block_file(folder, bounds)
    if not file.exists():
        return None
    try:
        block = np.lib.format.open_memmap(file, mode="r")
    except (OSError, ValueError, EOFError) as error:
        logger.warning("%s is no whole block of vectors (%s); it must be encoded again", file, error)
        return None
    if block.shape != expected or block.dtype != np.float32 or not block.flags.c_contiguous:
        logger.warning("%s: expected float32 %s, got %s %s", file, expected, block.dtype, block.shape)
        return None
    return block


def open_folder(folder: Path, manifest: ShardManifest) -> None:
    """Makes the folder with its manifest, or checks that it is of the same work.

    Raises:
        ValueError: it is of another.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / MANIFEST).exists():
        facts = {"format_version": _FORMAT_VERSION, **asdict(manifest)}
        with written_whole(folder / MANIFEST) as stream:
            stream.write(json.dumps(facts, indent=2).encode())
    found = asdict(read_manifest(folder))
    different = [name for name, value in asdict(manifest).items() if found[name] != value]
    if different:
        listed = "; ".join(
            f"{name}: {found[name]} there, {getattr(manifest, name)} now" for name in different
        )
        raise ValueError(
            f"expected {folder} to hold vectors of this encoder and knowledge base, got others ({listed}); name another "
            "folder, or remove this one to encode anew"
        )


def read_manifest(folder: Path) -> ShardManifest:
    """The manifest of a folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or of a newer format.
    """
    file = folder / MANIFEST
    if not file.is_file():
        raise FileNotFoundError(
            f"expected {MANIFEST} of an encoded knowledge base in {folder}, got none; encode the entities into it first"
        )
    advice = "remove the folder and encode anew"
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        version = values.pop("format_version")
        manifest = ShardManifest(**values)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{file}: expected the facts of encoded blocks, got something else ({error}); {advice}"
        ) from None
    sizes = (version, manifest.num_entities, manifest.embed_dim, manifest.block_size)
    if not all(type(size) is int and size > 0 for size in sizes) or version > _FORMAT_VERSION:
        raise ValueError(
            f"{file}: expected positive sizes and format_version {_FORMAT_VERSION}, got (format_version, num_entities, "
            f"embed_dim, block_size) = {sizes}; {advice}"
        )
    return manifest


def remove_blocks(folder: Path) -> None:
    """Removes what encoding wrote; the folder too, unless something else is in it. Several processes may at once."""
    patterns = ("rows-*.npy", "*.part", MANIFEST)
    # There is no folder, or another process or machine removes it at this moment; what stays is never taken for other vectors.
    with suppress(OSError):
        for file in [file for pattern in patterns for file in folder.glob(pattern)]:
            file.unlink(missing_ok=True)
    with suppress(OSError):  # there is no folder, or something else in it
        folder.rmdir()
