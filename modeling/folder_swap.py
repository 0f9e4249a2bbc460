"""Puts a finished folder in the place of an older one, all or nothing, and leaves what others keep there.

    1. the new folder lies beside the target, complete
    2. target -> aside, new -> target             two renames, so nobody meets half a folder
    3. aside/README.md, aside/.git ... -> target   whatever the old save did not write is moved, never copied
    4. aside is removed

When a step fails, the steps before it are undone in reverse and the old folder is back as it was. Moving keeps empty
folders, links, times and permissions of foreign files; a copy would not.
"""

import os
import shutil
from collections.abc import Collection
from pathlib import Path

Move = tuple[Path, Path]  # from, to


def swap_folder(new: Path, target: Path, ours: Collection[str]) -> None:
    """Replaces `target` by `new`, which lies beside it; foreign files of the target stay where they are.

    Args:
        new: the complete new folder; it has moved away afterwards.
        target: the folder to replace, or the name of a folder that does not exist yet.
        ours: names of the files that the earlier save wrote to the target, with `/`, relative to it; they go.

    Raises:
        OSError: a rename failed; the target is as it was.
    """
    if not target.exists():
        os.rename(new, target)
        return
    shutil.copymode(target, new)
    aside = new.with_name(new.name + "-old")
    done: list[Move] = []
    try:
        _move(target, aside, done)
        _move(new, target, done)
        _move_foreign(aside, target, "", ours, done)
    except BaseException:
        for source, destination in reversed(done):
            os.rename(destination, source)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _move(source: Path, destination: Path, done: list[Move]) -> None:
    os.rename(source, destination)
    done.append((source, destination))


def _move_foreign(old: Path, new: Path, prefix: str, ours: Collection[str], done: list[Move]) -> None:
    """Moves what is not ours; a folder that holds files of ours, or that is there already, is merged file by file."""
    for entry in sorted(old.iterdir()):
        name = prefix + entry.name
        place = new / entry.name
        is_folder = entry.is_dir() and not entry.is_symlink()
        if is_folder and (place.is_dir() or any(file.startswith(name + "/") for file in ours)):
            _move_foreign(entry, place, name + "/", ours, done)
        elif name not in ours and not os.path.lexists(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            _move(entry, place, done)
