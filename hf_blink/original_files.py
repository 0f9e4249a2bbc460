"""Reads the files that BLINK and ELQ were published as: torch pickles, and settings as JSON or as a Python dictionary.

    .bin, .t7             torch.load(weights_only=True, mmap=True): tensors are views of the file, nothing else is built
    the same before 1.6   torch's older form cannot be mapped by torch; a file of one tensor is, all the same: its shape and
                          place are read without its data, and NumPy maps the rest
    .json, _params.txt    a JSON object, or ELQ's one line of Python, read as a literal

Pickles are read nowhere else in this package. A pickle that asks for more than tensors, numbers, texts and plain
containers is refused before anything in it runs.
"""

import ast
import json
import os
import pickle
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

_ZIP = b"PK\x03\x04"
_FAISS = (b"IxFI", b"IxF2", b"IHNf", b"IwFl")  # what the originals' FAISS files begin with
_LFS = b"version https://git-lfs"
_MOST_SETTINGS = 2**20
_NUMEL = np.dtype("<i8")  # stands before the data of each storage in torch's older form
_ADVICE = "Weights only load failed"  # goes on with how to run the file's code, which is not our advice
# What torch.load raises for files that it cannot read; a cut archive is an OSError.
_UNREADABLE = (pickle.UnpicklingError, EOFError, RuntimeError, AttributeError, KeyError, ValueError, OSError)
_BLOCKED = re.compile(r"GLOBAL (\S+)")


def existing_file(path: str | os.PathLike[str], what: str) -> Path:
    """A path as a file that is there.

    Args:
        path: the file.
        what: what is expected in it, with its article, such as "the bi-encoder's weights".

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is the placeholder of a file in Git LFS.
    """
    file = Path(path)
    if not file.is_file():
        got = "a folder" if file.is_dir() else "nothing"
        raise FileNotFoundError(
            f"expected {what} at '{file}', got {got} (looked from '{Path.cwd()}'); correct the path"
        )
    with file.open("rb") as stream:
        if stream.read(len(_LFS)) == _LFS:
            raise ValueError(f"expected {what} at '{file}', got a Git LFS pointer; download the file itself")
    return file


def read_checkpoint(path: str | os.PathLike[str], what: str) -> Any:
    """What `torch.save` wrote, on the CPU and mapped where that can be: memory is taken by what is used of it.

    Args:
        path: a file of `torch.save`, of any version.
        what: what is expected in it, for errors, such as "the bi-encoder's weights".

    Returns:
        A tensor, or dictionaries and lists of tensors. Do not write to them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, of another kind, or asks for code.
    """
    file = existing_file(path, what)
    with file.open("rb") as stream:
        magic = stream.read(len(_ZIP))
        zipped = magic == _ZIP
        if magic in _FAISS:
            raise ValueError(f"expected {what} in '{file}', got a FAISS index; give it to --index (index=)")
        stream.seek(0)
        try:
            if zipped:
                return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
            return _older_form(file, stream)
        except _UNREADABLE as error:
            raise ValueError(_explained(file, what, error)) from error


def _older_form(file: Path, stream: BinaryIO) -> Any:
    """A file of torch before 1.6: pickles, then the data of each storage."""
    with FakeTensorMode():  # shapes and places alone; no data is read
        found = torch.load(stream, map_location="cpu", weights_only=True)
    if not isinstance(found, FakeTensor):  # several storages, of weights: they are read
        stream.seek(0)
        return torch.load(stream, map_location="cpu", weights_only=True)
    dtype = np.dtype(str(found.dtype).removeprefix("torch."))
    start = stream.tell()
    (numel,) = np.frombuffer(stream.read(_NUMEL.itemsize), _NUMEL).tolist()
    size = start + _NUMEL.itemsize + numel * dtype.itemsize
    if numel * dtype.itemsize != found.untyped_storage().nbytes() or file.stat().st_size < size:
        raise RuntimeError(f"expected {size} bytes, got {file.stat().st_size}; the file is not complete")
    mapped = np.memmap(file, dtype, "c", start + _NUMEL.itemsize, (numel,))  # copy on write: the file stays
    return torch.from_numpy(mapped).as_strided(found.shape, found.stride(), found.storage_offset())


def _explained(file: Path, what: str, error: Exception) -> str:
    text = str(error)
    if blocked := _BLOCKED.search(text):
        return (
            f"expected {what} in '{file}' as plain tensors, got a pickle that asks for {blocked[1]}, which is code; "
            "nothing of it was run. Save the tensors alone, torch.save(model.state_dict(), ...), where the file was made"
        )
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(_ADVICE)]
    first = (lines or [type(error).__name__])[0][:200]
    return (
        f"expected {what} in '{file}', written by torch.save, got a file that is damaged, cut or of another kind "
        f"({first}); download it again"
    )


def read_settings(path: str | os.PathLike[str], what: str) -> dict[str, Any]:
    """The parameters of a model: a JSON object, or a Python dictionary of literals as ELQ writes it.

    Args:
        path: the file.
        what: what is expected in it, for errors, such as "the bi-encoder's settings".

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: neither form, or larger than a megabyte.
    """
    file = existing_file(path, what)
    with file.open("rb") as stream:
        data = stream.read(_MOST_SETTINGS + 1)
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(data.decode("utf-8").strip()) if len(data) <= _MOST_SETTINGS else None
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, dict) and all(isinstance(name, str) for name in found):
            return found
    raise ValueError(
        f"expected {what} in '{file}', a JSON object or one line with a Python dictionary, got something else; name the "
        ".json (BLINK) or the _params.txt (ELQ) that came with the weights"
    )


def setting(settings: dict[str, Any], name: str, kind: type, default: Any) -> Any:
    """One of the settings.

    Args:
        settings: what `read_settings` gave.
        name: of the setting.
        kind: `int`, `bool` or `str`.
        default: where it is missing or null; `...` stands for none.

    Raises:
        ValueError: it is missing and has no default, or is of another type.
    """
    value = settings.get(name)
    if value is None and default is not ...:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        got = "nothing" if value is None else f"{value!r:.60}"
        raise ValueError(
            f"expected the setting '{name}' to be of type {kind.__name__}, got {got}; these may be the settings of "
            "another model"
        )
    return value
