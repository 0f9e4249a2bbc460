"""`linker.json`: what a linker folder says about itself, and the checks that it is true.

    format_version               refused when newer than this file knows
    num_candidates, threshold    the linker's own settings
    has_cross_encoder            whether `cross_encoder/` belongs to it
    elsewhere                    parts in repositories of their own: {"entity_index": "user/name@commit", ...}
    encoder_fingerprint, knowledge_base_fingerprint
    files                        name -> {size, sha256} of every other file of the linker

The file may be a stranger's, so every field's shape is checked once, here, before anything is read because of it.
"""

import json
import re
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

from .file_hash import file_sha256
from .link_decision import check_settings

FORMAT_VERSION = 1
LINKER_FILE = "linker.json"
CROSS_ENCODER, ENTITY_INDEX, KNOWLEDGE_BASE = "cross_encoder", "entity_index", "knowledge_base"
SETTINGS = ("num_candidates", "threshold")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_HEX_DIGITS = frozenset("0123456789abcdef")
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_REFERENCE = re.compile(rf"({_NAME}/{_NAME})@([0-9a-f]{{40}})")


def parse_reference(reference: str) -> tuple[str, str]:
    """Repository and commit of `user/name@commit`.

    Raises:
        ValueError: it is something else; a branch can change, so a commit it must be.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ValueError(
            f"expected user/name@commit with a commit of 40 hexadecimal digits, got {reference!r}"
        )
    return match[1], match[2]


def write_description(
    folder: Path,
    settings: dict[str, Any],
    fingerprints: dict[str, str],
    *,
    has_cross_encoder: bool,
    elsewhere: dict[str, str] | None = None,
) -> None:
    """Writes `linker.json` beside the finished parts of a linker."""
    files = {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": file_sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    description = {
        "format_version": FORMAT_VERSION,
        **settings,
        "has_cross_encoder": has_cross_encoder,
        **fingerprints,
        **({"elsewhere": elsewhere} if elsewhere else {}),
        "files": files,
    }
    (folder / LINKER_FILE).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def read_description(folder: Path) -> dict[str, Any]:
    """Reads and checks `linker.json`.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no JSON, of a newer format, or a field has a wrong shape; names the field.
    """
    file = folder / LINKER_FILE
    if not file.is_file():
        raise FileNotFoundError(
            f"expected a linker in {folder}, got no {LINKER_FILE}; "
            "write one with EntityLinker.save_pretrained or `hf-blink build`"
        )
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected JSON in {file}, got {error}; save the linker again") from None
    version = description.get("format_version") if isinstance(description, dict) else None
    if not _is_count(version) or not 1 <= version <= FORMAT_VERSION:
        raise ValueError(
            f"expected format_version 1 to {FORMAT_VERSION} in {file}, got {version!r}; upgrade hf_blink"
        )
    if fault := _fault(description):
        raise ValueError(f"{file}: {fault}; save or download the linker again")
    return description


def listed_files(folder: Path) -> set[str]:
    """Names of all files that a linker's save wrote to the folder.

    Raises:
        FileNotFoundError, ValueError: there is no linker, see `read_description`.
    """
    return {LINKER_FILE, *read_description(folder)["files"]}


def check_files(folder: Path, description: dict[str, Any], *, skip: tuple[str, ...] = ()) -> None:
    """Every listed file is there and unchanged; index and knowledge base check their own contents.

    Args:
        folder: the linker's folder.
        description: what `read_description` gave.
        skip: parts (sub-folders) that are not going to be read.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file has another size or other content.
    """
    for name, record in description["files"].items():
        path = folder / name
        part = name.split("/")[0]
        if part in skip or name.endswith(".py"):  # code is not read from here
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


def _fault(description: dict[str, Any]) -> str | None:
    """The first field of a wrong shape, in words; None where all are right."""
    try:
        check_settings(description.get("num_candidates"), description.get("threshold"))
    except ValueError as error:
        return str(error)
    if not isinstance(description.get("has_cross_encoder"), bool):
        return f"expected has_cross_encoder as true or false, got {description.get('has_cross_encoder')!r}"
    if not _is_sha256(description.get("encoder_fingerprint")):
        return f"expected encoder_fingerprint as 64 hexadecimal digits, got {description.get('encoder_fingerprint')!r}"
    return _fault_of_elsewhere(description.get("elsewhere", {})) or _fault_of_files(
        description.get("files"), description["has_cross_encoder"]
    )


def _fault_of_elsewhere(elsewhere: Any) -> str | None:
    if not isinstance(elsewhere, dict) or not set(elsewhere) <= {ENTITY_INDEX, KNOWLEDGE_BASE}:
        return (
            f"expected elsewhere with {ENTITY_INDEX} or {KNOWLEDGE_BASE} as keys, got {str(elsewhere)[:80]}"
        )
    for part, reference in elsewhere.items():
        try:
            parse_reference(str(reference))
        except ValueError as error:
            return f"elsewhere[{part!r}]: {error}"
    return None


def _fault_of_files(files: Any, has_cross_encoder: bool) -> str | None:
    if not isinstance(files, dict):
        return f"expected files as an object of name: {{size, sha256}}, got {str(files)[:80]!r}"
    for name, record in files.items():
        if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute() or "\\" in name:
            return f"expected file names inside the linker, got {name!r}"
        sizes = record if isinstance(record, dict) else {}
        if not _is_count(sizes.get("size")) or not _is_sha256(sizes.get("sha256")):
            return (
                f"expected files[{name!r}] as {{size: bytes, sha256: 64 hexadecimal digits}}, got {record!r}"
            )
    for folder in ("", CROSS_ENCODER + "/") if has_cross_encoder else ("",):
        if folder + "config.json" not in files:
            return f"expected {folder}config.json among files, got none"
        if not any(folder + weights in files for weights in _WEIGHTS):
            return f"expected {folder}model.safetensors among files, got none"
    return None


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= _HEX_DIGITS
