"""A linker as a folder: the Hub layout, written all or nothing, and read back with checks.

    config.json, model.safetensors, tokenizer and processor files      the bi-encoder
    cross_encoder/{config.json, model.safetensors}                     where there is one
    entity_index/{index.faiss, index.json}
    knowledge_base/entities-*.parquet
    linker.json      format_version, settings, fingerprints, size and sha256 of every file

A save fills a folder beside the target and then swaps the two, so that a reader never meets half a linker; files of
others in the target (a README.md, a .git) stay. Only a new folder, an empty one or a linker's is ever replaced.
Fingerprints tie index, encoder and knowledge base together. Weights are read from safetensors alone, never unpickled.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from .entity_index import EntityIndex
from .folder_swap import swap_folder
from .knowledge_base import KnowledgeBase
from .linker_description import (
    CROSS_ENCODER,
    ENTITY_INDEX,
    KNOWLEDGE_BASE,
    LINKER_FILE,
    SETTINGS,
    check_files,
    listed_files,
    read_description,
    write_description,
)
from .modeling_blink_biencoder import BlinkBiEncoder
from .modeling_blink_crossencoder import BlinkCrossEncoder
from .processing_blink import BlinkProcessor

# What a fresh repository holds before its first linker (.cache is the Hub client's).
_BEFORE_A_LINKER = frozenset({"README.md", ".git", ".gitattributes", ".gitignore", ".cache"})
# All that a linker is read from; a repository may hold more (pickles, other frameworks' weights), which stays there.
_DOWNLOADED = ("*.json", "*.safetensors", "*.txt", "*.model", "*.faiss", "*.parquet")


def save_linker_parts(
    linker: Any, folder: str | os.PathLike[str], settings: dict[str, Any], encoder_fingerprint: str
) -> None:
    """Writes a linker's parts and `linker.json` to a folder, all or nothing.

    Args:
        linker: object with bi_encoder, processor, cross_encoder, index and knowledge_base.
        folder: the target; made if missing. Of a link, the folder that it leads to is filled.
        settings: the linker's own settings.
        encoder_fingerprint: of the bi-encoder and processor.

    Raises:
        ValueError: the target is a file, the working directory or a folder around it, or holds something else than a
            linker.
    """
    target = Path(folder).resolve()
    ours = _files_to_replace(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        staging.chmod(0o755)
        _write_parts(linker, staging)
        fingerprints = {
            "encoder_fingerprint": encoder_fingerprint,
            "knowledge_base_fingerprint": linker.knowledge_base.fingerprint,
        }
        write_description(staging, settings, fingerprints, has_cross_encoder=linker.cross_encoder is not None)
        swap_folder(staging, target, ours)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_save_folder(folder: str | os.PathLike[str]) -> None:
    """Refuses a folder that a linker cannot be saved in; to be asked before the long work whose result goes there.

    Raises:
        ValueError: as in `save_linker_parts`.
    """
    _files_to_replace(Path(folder).resolve())


def _files_to_replace(target: Path) -> set[str]:
    """Names of the files that an earlier save wrote to the target; refuses a target that is not a linker's."""
    working = Path.cwd().resolve()
    if target == working or target in working.parents:
        got = "the working directory" if target == working else "a folder around the working directory"
    elif not target.exists():
        return set()
    elif not target.is_dir():
        got = "a file"
    else:
        try:
            return listed_files(target)
        except (OSError, ValueError) as error:
            present = sorted(path.name for path in target.iterdir())
            if _BEFORE_A_LINKER.issuperset(present):
                return set()
            got = (
                f"a broken linker ({error})"
                if LINKER_FILE in present
                else f"one with {', '.join(present[:5])}"
            )
    raise ValueError(f"expected a new folder or a linker's, got {target}, {got}; choose another folder")


def _write_parts(linker: Any, folder: Path) -> None:
    linker.bi_encoder.save_pretrained(folder)
    linker.processor.save_pretrained(folder)
    if linker.cross_encoder is not None:
        linker.cross_encoder.save_pretrained(folder / CROSS_ENCODER)
    linker.index.save_pretrained(folder / ENTITY_INDEX)
    linker.knowledge_base.save_pretrained(folder / KNOWLEDGE_BASE)


def load_linker_parts(
    path: str | os.PathLike[str], *, cross_encoder: bool = True, **hub_options: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads a linker folder or Hub repository.

    Args:
        path: folder or Hub name.
        cross_encoder: False leaves the cross-encoder out.
        **hub_options: for `huggingface_hub.snapshot_download`.

    Returns:
        The constructor arguments of `EntityLinker` that are objects, and those that are settings.

    Raises:
        FileNotFoundError: no linker there, or a file of it is missing.
        ValueError: a damaged or changed file, parts that do not belong together, or a newer format.
    """
    folder = _local_folder(path, hub_options)
    description = read_description(folder)
    has_cross_encoder = description["has_cross_encoder"] and cross_encoder
    check_files(folder, description, skip=() if has_cross_encoder else (CROSS_ENCODER,))
    knowledge_base = KnowledgeBase.from_pretrained(folder / KNOWLEDGE_BASE)
    index = EntityIndex.from_pretrained(
        folder / ENTITY_INDEX,
        encoder_fingerprint=description["encoder_fingerprint"],
        knowledge_base_fingerprint=knowledge_base.fingerprint,
    )
    parts = {
        "bi_encoder": BlinkBiEncoder.from_pretrained(folder, use_safetensors=True),
        "processor": BlinkProcessor.from_pretrained(folder),
        "index": index,
        "knowledge_base": knowledge_base,
        "cross_encoder": BlinkCrossEncoder.from_pretrained(folder / CROSS_ENCODER, use_safetensors=True)
        if has_cross_encoder
        else None,
    }
    return parts, {name: description[name] for name in SETTINGS}


def _local_folder(path: str | os.PathLike[str], hub_options: dict[str, Any]) -> Path:
    if Path(path).is_dir():
        return Path(path)
    if Path(path).is_absolute() or str(path).startswith(".") or str(path).count("/") > 1:
        raise FileNotFoundError(f"expected a linker folder or a Hub name, got {path}, which is no folder")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(path), **{"allow_patterns": list(_DOWNLOADED), **hub_options}))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        reason = str(error).strip().splitlines()[0]
        raise FileNotFoundError(
            f"expected a linker: '{path}' is no folder here ({Path.cwd()}), and the Hub did not give it: {reason}"
        ) from error
