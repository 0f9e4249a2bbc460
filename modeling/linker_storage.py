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

from .encoder_kinds import load_encoder, load_processor
from .entity_index import EntityIndex
from .folder_swap import swap_folder
from .full_disk import naming_the_disk
from .hub_transfer import local_folder, snapshot
from .knowledge_base import KnowledgeBase
from .linker_description import (
    CROSS_ENCODER,
    ENTITY_INDEX,
    KNOWLEDGE_BASE,
    LINKER_FILE,
    SETTINGS,
    check_files,
    listed_files,
    parse_reference,
    read_description,
    write_description,
)
from .modeling_blink_crossencoder import BlinkCrossEncoder
from .travelling_code import add_linker_code, refuse_code_elsewhere

# What a fresh repository holds before its first linker (.cache is the Hub client's).
_BEFORE_A_LINKER = frozenset({"README.md", ".git", ".gitattributes", ".gitignore", ".cache"})
# All that a linker is read from; a repository may hold more (pickles, other frameworks' weights, pictures), which stays
# there. The code comes along, so that what was loaded can be saved whole.
_TOKENIZER = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "*.model")
_DOWNLOADED = (
    *(
        "config.json",
        "processor_config.json",
        "model*.safetensors",
        "model.safetensors.index.json",
        *_TOKENIZER,
    ),
    *(LINKER_FILE, "*.py", "requirements.txt", f"{CROSS_ENCODER}/*.json", f"{CROSS_ENCODER}/*.safetensors"),
    *(f"{ENTITY_INDEX}/index.*", f"{KNOWLEDGE_BASE}/entities-*.parquet"),
)
_PART_FILES = {ENTITY_INDEX: ("index.faiss", "index.json"), KNOWLEDGE_BASE: ("entities-*.parquet",)}
_REPO_TYPES = {ENTITY_INDEX: "model", KNOWLEDGE_BASE: "dataset"}


def save_linker_parts(
    linker: Any,
    folder: str | os.PathLike[str],
    settings: dict[str, Any],
    encoder_fingerprint: str,
    elsewhere: dict[str, str] | None = None,
) -> None:
    """Writes a linker's parts and `linker.json` to a folder, all or nothing.

    Args:
        linker: object with bi_encoder, processor, cross_encoder, index and knowledge_base.
        folder: the target; made if missing. Of a link, the folder that it leads to is filled.
        settings: the linker's own settings.
        encoder_fingerprint: of the bi-encoder and processor.
        elsewhere: parts that are named (`{"entity_index": "user/name@commit"}`) and not written.

    Raises:
        ValueError: the target is a file, the working directory or a folder around it, or holds something else than a
            linker.
        OSError: the disk is full; an older linker is as it was.
    """
    target = Path(folder).resolve()
    ours = _files_to_replace(target)
    advice = "free some space there or choose another folder; an older linker is as it was"
    with naming_the_disk(folder, "the linker", advice):
        _replace(linker, target, ours, settings, encoder_fingerprint, elsewhere or {})


def _replace(
    linker: Any,
    target: Path,
    ours: set[str],
    settings: dict[str, Any],
    encoder_fingerprint: str,
    elsewhere: dict[str, str],
) -> None:
    """Fills a folder beside the target and swaps the two."""
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        staging.chmod(0o755)
        _write_parts(linker, staging, elsewhere)
        add_linker_code(staging, CROSS_ENCODER, linker.origin)
        fingerprints = {
            "encoder_fingerprint": encoder_fingerprint,
            "knowledge_base_fingerprint": linker.knowledge_base.fingerprint,
        }
        with_cross_encoder = linker.cross_encoder is not None
        write_description(
            staging, settings, fingerprints, has_cross_encoder=with_cross_encoder, elsewhere=elsewhere
        )
        swap_folder(staging, target, ours)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_save_folder(folder: str | os.PathLike[str]) -> set[str]:
    """Refuses a folder that a linker cannot be saved in; to be asked before the long work whose result goes there.

    Returns:
        The names of the files of a linker that is there, which go when another takes its place.

    Raises:
        ValueError: as in `save_linker_parts`.
    """
    return _files_to_replace(Path(folder).resolve())


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


def _write_parts(linker: Any, folder: Path, elsewhere: dict[str, str]) -> None:
    linker.bi_encoder.save_pretrained(folder)
    linker.processor.save_pretrained(folder)
    if linker.cross_encoder is not None:
        linker.cross_encoder.save_pretrained(folder / CROSS_ENCODER)
    for name, part in ((ENTITY_INDEX, linker.index), (KNOWLEDGE_BASE, linker.knowledge_base)):
        if name not in elsewhere:
            part.save_pretrained(folder / name)


def load_linker_parts(
    path: str | os.PathLike[str], *, cross_encoder: bool = True, **hub_options: Any
) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """Reads a linker folder or Hub repository.

    Args:
        path: folder or Hub name.
        cross_encoder: False leaves the cross-encoder out; it is not downloaded either.
        **hub_options: for `huggingface_hub.snapshot_download`: `revision`, `token`, `cache_dir`, `local_files_only`.

    Returns:
        The folder, and the constructor arguments of `EntityLinker`: those that are objects, and settings.

    Raises:
        FileNotFoundError: no linker there, or a file of it is missing.
        ValueError: a damaged or changed file, parts that do not belong together, code elsewhere, or a newer format.
    """
    left_out = {} if cross_encoder else {"ignore_patterns": [f"{CROSS_ENCODER}/*"]}
    folder = local_folder(path, "a linker", _DOWNLOADED, **left_out, **hub_options)
    description = read_description(folder)
    has_cross_encoder = description["has_cross_encoder"] and cross_encoder
    check_files(folder, description, skip=() if has_cross_encoder else (CROSS_ENCODER,))
    refuse_code_elsewhere(folder, CROSS_ENCODER)
    knowledge_base = KnowledgeBase.from_pretrained(
        _part_folder(folder, KNOWLEDGE_BASE, description, hub_options), cache_dir=hub_options.get("cache_dir")
    )
    index = EntityIndex.from_pretrained(
        _part_folder(folder, ENTITY_INDEX, description, hub_options),
        encoder_fingerprint=description["encoder_fingerprint"],
        knowledge_base_fingerprint=knowledge_base.fingerprint,
    )
    parts = {
        "bi_encoder": load_encoder(folder),
        # Not the tokenizer either needs code from the repository; without this, transformers would stop and ask.
        "processor": load_processor(folder, trust_remote_code=False),
        "index": index,
        "knowledge_base": knowledge_base,
        "cross_encoder": BlinkCrossEncoder.from_pretrained(folder / CROSS_ENCODER, use_safetensors=True)
        if has_cross_encoder
        else None,
    }
    return folder, parts, {name: description[name] for name in SETTINGS}


def _part_folder(folder: Path, part: str, description: dict[str, Any], hub_options: dict[str, Any]) -> Path:
    """Where a part lies: in the linker's folder, or in a repository of its own at the commit that linker.json names."""
    reference = description.get("elsewhere", {}).get(part)
    if reference is None:
        return folder / part
    repo_id, commit = parse_reference(reference)
    options = hub_options | {"revision": commit, "repo_type": _REPO_TYPES[part]}
    return snapshot(repo_id, f"the {part} of the linker", _PART_FILES[part], **options)
