"""A full disk is one clear error, whatever library met it, and leaves no half-written text file.

Python and Arrow raise an OSError with a number, FAISS a RuntimeError and safetensors an error of its own, whose texts
alone say why. `naming_the_disk` turns them all into one OSError that names the folder and what to do.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

# A full disk, a full quota, and a file that is larger than the disk or the process may hold.
_NUMBERS = tuple(getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG") if hasattr(errno, name))


@contextmanager
def naming_the_disk(folder: str | os.PathLike[str], what: str, advice: str) -> Iterator[None]:
    """Within it, an error of a full disk says where it was, what was to be written and what to do.

    Args:
        folder: the folder as its user named it.
        what: what was to be written, such as "the linker".
        advice: what to do, and what has become of an older copy.

    Raises:
        OSError: the disk is full; its `errno` says how.
    """
    try:
        yield
    except Exception as error:
        number = _number(error)
        if number is None:
            raise
        full = OSError(
            f"expected room for {what} in {os.fspath(folder)}, got: {os.strerror(number)}; {advice}"
        )
        full.errno = number  # the message stays as it is: there is no `strerror` beside it
        raise full from error


def write_text_whole(file: str | os.PathLike[str], text: str, what: str) -> None:
    """Writes a UTF-8 text file that appears whole, in the place of an older one, or not at all.

    Args:
        file: the file; of a link, the file that it leads to. What is no plain file (`/dev/stdout`) is written to.
        text: its content.
        what: what it is, for the error, such as "the page".

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    if Path(file).exists() and not Path(file).is_file():
        Path(file).write_text(text, encoding="utf-8")
        return
    target = Path(file).resolve()
    advice = "free some space there or name another file; an older one is as it was"
    with (
        naming_the_disk(target.parent, what, advice),
        TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as unfinished,
    ):
        new = Path(unfinished) / target.name
        new.write_text(text, encoding="utf-8")
        if target.exists():
            new.chmod(target.stat().st_mode)
        os.replace(new, target)


def check_place(file: str | os.PathLike[str], what: str) -> None:
    """Checks, before long work, that a file can be written where it is to be.

    Raises:
        OSError: its folder is not there or cannot be written, or a folder has its name.
    """
    path = Path(file)
    if path.is_dir():
        raise IsADirectoryError(f"expected a file for {what}, got the folder {path}; name a file in it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"expected a folder for {what}, got no folder {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(
            f"expected a folder for {what} that can be written, got {path.parent}; name another"
        )


def _number(error: BaseException) -> int | None:
    """Why the disk took no more; None for an error of another kind."""
    if isinstance(error, OSError):
        return error.errno if error.errno in _NUMBERS else None
    text = str(error)
    for number in _NUMBERS:  # "(os error 28)" is how Rust's libraries end such a text
        if os.strerror(number) in text or f"(os error {number})" in text:
            return number
    return None
