"""Pushes a linker: one commit with everything, or index and knowledge base first where they have repositories of their own."""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import CommitInfo, hf_hub_download

from .hub_transfer import HubTarget, push_folder, room_to_stage
from .linker_description import ENTITY_INDEX, KNOWLEDGE_BASE, LINKER_FILE, parse_reference

LARGEST_INDEX = 40 * 10**9  # bytes; the Hub takes single files of at most 50 GB through git LFS


def push_linker(
    linker: Any,
    target: HubTarget,
    repositories: dict[str, str | None],
    save: Callable[[Path, dict[str, str]], None],
) -> CommitInfo:
    """Pushes a linker.

    Args:
        linker: object with `index` and `knowledge_base`.
        target: the linker's repository.
        repositories: of each part, `user/name` to push it to, `user/name@commit` where it is already, or None.
        save: writes the linker to a folder, without the parts that are elsewhere.
    """
    if 4 * len(linker.index) * linker.index.dimension > LARGEST_INDEX:
        defaults = {
            ENTITY_INDEX: f"{target.repo_id}-index",
            KNOWLEDGE_BASE: f"{target.repo_id}-knowledge-base",
        }
        repositories = {part: repositories[part] or name for part, name in defaults.items()}
    objects = {ENTITY_INDEX: linker.index, KNOWLEDGE_BASE: linker.knowledge_base}
    elsewhere = {
        part: _reference(objects[part], name, target)
        for part, name in repositories.items()
        if name is not None
    }
    with TemporaryDirectory(prefix="hf_blink_push_") as temporary:
        folder = Path(temporary) / "linker"
        with room_to_stage():
            save(folder, elsewhere)
        return push_folder(folder, target, stale=lambda present: _older_files(target, present), about=linker)


def _reference(part: Any, name: str, target: HubTarget) -> str:
    """Where a part is, `user/name@commit`; pushes it if the name has no commit."""
    if "@" in name:
        _check_same(part, *parse_reference(name), target.token)
        return name
    options = {"private": target.private, "commit_message": target.commit_message, "token": target.token}
    commit = part.push_to_hub(name, **options)
    return f"{name}@{commit.oid}"


def _check_same(part: Any, repo_id: str, commit: str, token: str | None) -> None:
    """Refuses a part that is named and is another one than the linker's."""
    there = type(part).from_pretrained(repo_id, revision=commit, token=token)
    names = ("fingerprint", "encoder_fingerprint", "knowledge_base_fingerprint")
    if any(getattr(there, name, None) != getattr(part, name, None) for name in names):
        raise ValueError(
            f"expected the linker's own {type(part).__name__} in {repo_id}@{commit}, got one of other entities or weights; "
            "name the commit that it was pushed to, or leave the commit out to push it"
        )


def _older_files(target: HubTarget, present: list[str]) -> list[str]:
    """The files of the linker that is in the repository now; none where there is no linker, or no readable one."""
    if LINKER_FILE not in present:
        return []
    revision, token = target.revision, target.token
    file = hf_hub_download(target.repo_id, LINKER_FILE, revision=revision, token=token)
    try:
        return list(json.loads(Path(file).read_text(encoding="utf-8"))["files"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
