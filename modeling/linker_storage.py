"""A linker as a folder: the Hub layout, written all or nothing, and read back with checks.

    config.json, model.safetensors, tokenizer and processor files      the bi-encoder
    cross_encoder/{config.json, model.safetensors}                     where there is one
    entity_index/{index.faiss, index.json}
    knowledge_base/entities-*.parquet
    linker.json      format_version, settings, fingerprints, size and sha256 of every file

A save fills a folder beside the target and then swaps the two, so that a reader never meets half a linker; files of
others in the target (a README.md) are carried over. Fingerprints tie index, encoder and knowledge base together.
"""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from .entity_index import EntityIndex
from .knowledge_base import KnowledgeBase
from .modeling_blink_biencoder import BlinkBiEncoder
from .modeling_blink_crossencoder import BlinkCrossEncoder
from .processing_blink import BlinkProcessor

FORMAT_VERSION = 1
LINKER_FILE = "linker.json"
CROSS_ENCODER, ENTITY_INDEX, KNOWLEDGE_BASE = "cross_encoder", "entity_index", "knowledge_base"
_SETTINGS = ("num_candidates", "threshold")


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_linker_parts(
    linker: Any, folder: str | Path, settings: dict[str, Any], encoder_fingerprint: str
) -> None:
    """Writes a linker's parts and `linker.json` to a folder, all or nothing.

    Args:
        linker: object with bi_encoder, processor, cross_encoder, index and knowledge_base.
        folder: the target; made if missing.
        settings: the linker's own settings.
        encoder_fingerprint: of the bi-encoder and processor.

    Raises:
        ValueError: the target is a file.
    """
    target = Path(folder).absolute()
    if target.exists() and not target.is_dir():
        raise ValueError(f"expected a folder to save the linker in, got the file {folder}")
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        _write_parts(linker, staging)
        files = {
            path.relative_to(staging).as_posix(): {"size": path.stat().st_size, "sha256": file_sha256(path)}
            for path in sorted(staging.rglob("*"))
            if path.is_file()
        }
        description = {
            "format_version": FORMAT_VERSION,
            **settings,
            "has_cross_encoder": linker.cross_encoder is not None,
            "encoder_fingerprint": encoder_fingerprint,
            "knowledge_base_fingerprint": linker.knowledge_base.fingerprint,
            "files": files,
        }
        (staging / LINKER_FILE).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        _carry_over_foreign_files(target, staging)
        staging.chmod(0o755)
        _swap(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_parts(linker: Any, folder: Path) -> None:
    linker.bi_encoder.save_pretrained(folder)
    linker.processor.save_pretrained(folder)
    if linker.cross_encoder is not None:
        linker.cross_encoder.save_pretrained(folder / CROSS_ENCODER)
    linker.index.save_pretrained(folder / ENTITY_INDEX)
    linker.knowledge_base.save_pretrained(folder / KNOWLEDGE_BASE)


def _carry_over_foreign_files(target: Path, staging: Path) -> None:
    """Copies files of the target that no linker wrote there."""
    if not target.is_dir():
        return
    old = target / LINKER_FILE
    ours = (
        {LINKER_FILE, *json.loads(old.read_text(encoding="utf-8")).get("files", {})}
        if old.is_file()
        else set()
    )
    for path in target.rglob("*"):
        name = path.relative_to(target).as_posix()
        if path.is_file() and name not in ours and not (staging / name).exists():
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, staging / name)


def _swap(staging: Path, target: Path) -> None:
    if not target.exists():
        os.replace(staging, target)
        return
    old = staging.with_name(staging.name + "-old")
    os.replace(target, old)
    try:
        os.replace(staging, target)
    except OSError:
        os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def load_linker_parts(
    path: str | Path, *, cross_encoder: bool = True, **hub_options: Any
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
    description = _read_description(folder)
    has_cross_encoder = bool(description.get("has_cross_encoder")) and cross_encoder
    _check_files(folder, description, skip=() if has_cross_encoder else (CROSS_ENCODER,))
    knowledge_base = KnowledgeBase.from_pretrained(folder / KNOWLEDGE_BASE)
    index = EntityIndex.from_pretrained(
        folder / ENTITY_INDEX,
        encoder_fingerprint=description.get("encoder_fingerprint"),
        knowledge_base_fingerprint=knowledge_base.fingerprint,
    )
    parts = {
        "bi_encoder": BlinkBiEncoder.from_pretrained(folder),
        "processor": BlinkProcessor.from_pretrained(folder),
        "index": index,
        "knowledge_base": knowledge_base,
        "cross_encoder": BlinkCrossEncoder.from_pretrained(folder / CROSS_ENCODER)
        if has_cross_encoder
        else None,
    }
    return parts, {name: description[name] for name in _SETTINGS if name in description}


def _local_folder(path: str | Path, hub_options: dict[str, Any]) -> Path:
    if Path(path).is_dir():
        return Path(path)
    if Path(path).is_absolute() or str(path).startswith(".") or str(path).count("/") > 1:
        raise FileNotFoundError(f"expected a linker folder or a Hub name, got {path}, which is no folder")
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(str(path), **hub_options))


def _read_description(folder: Path) -> dict[str, Any]:
    file = folder / LINKER_FILE
    if not file.is_file():
        raise FileNotFoundError(
            f"expected a linker in {folder}, got no {LINKER_FILE}; "
            "write one with EntityLinker.save_pretrained or `hf-blink build`"
        )
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"expected JSON in {file}, got {error}; save the linker again") from None
    version = description.get("format_version") if isinstance(description, dict) else None
    if not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION:
        raise ValueError(
            f"expected format_version 1 to {FORMAT_VERSION} in {file}, got {version!r}; upgrade hf_blink"
        )
    return description


def _check_files(folder: Path, description: dict[str, Any], skip: tuple[str, ...]) -> None:
    """Every listed file is there and unchanged; index and knowledge base check their own contents."""
    for name, record in description.get("files", {}).items():
        path = folder / name
        part = name.split("/")[0]
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise ValueError(f"expected file names inside the linker in {LINKER_FILE}, got {name!r}")
        if part in skip:
            continue
        if not path.is_file():
            raise FileNotFoundError(
                f"expected the file {name} in {folder}, got none; save or download the linker again"
            )
        same = path.stat().st_size == record["size"]
        if same and part not in (ENTITY_INDEX, KNOWLEDGE_BASE):
            same = file_sha256(path) == record["sha256"]
        if not same:
            raise ValueError(
                f"expected {name} in {folder} as it was saved, got other content; save or download the linker again"
            )
