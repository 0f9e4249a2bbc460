"""Files of a training run that appear whole or not at all, also when the process or the machine stops."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def flush_disks() -> None:
    """Waits until what was written is on the disks, before what it replaces is removed, or a file says that it is there."""
    if hasattr(os, "sync"):  # Windows has none
        os.sync()


@contextmanager
def written_whole(file: Path) -> Iterator[IO[bytes]]:
    """A stream whose file appears under its name only when all of it is on the disk.

    Its unfinished name is random: processes of two machines may have one process id.
    """
    handle, part = tempfile.mkstemp(prefix=f"{file.name}.", suffix=".part", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(part, 0o644)  # temporary files are the owner's alone
        os.replace(part, file)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
