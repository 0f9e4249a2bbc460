"""The hash of a file, which the parts of a linker are known by."""

import hashlib
import os


def file_sha256(file: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, read in pieces: 64 hexadecimal digits."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
