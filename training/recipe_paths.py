"""The files that a recipe names: all of them are there, and those of `dev` are neither trained on nor reported."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_OTHERS = {"train": "which is trained on", "evaluation": "which is reported"}


def check_paths(named: Mapping[str, Sequence[str]]) -> None:
    """Refuses paths that are not there.

    Args:
        named: files and folders by their key in the recipe.

    Raises:
        FileNotFoundError: a path is not there.
    """
    for name, paths in named.items():
        for path in paths:
            if not Path(path).exists():
                raise FileNotFoundError(
                    f"expected a file at {name}: {path}, got none; check the path in the recipe"
                )


def check_dev_apart(data: Any, use: str, what: str) -> None:
    """Refuses files that are in `dev` and in `train` or `evaluation`; two splits of one file are two files.

    Args:
        data: has `train`, `dev` and `evaluation`, lists of paths, and perhaps `train_split` and so on; None takes all splits.
        use: what is done with `dev`.
        what: is in the files.

    Raises:
        ValueError: a file is in two.
    """
    for name, other_use in _OTHERS.items():
        splits = {getattr(data, f"{part}_split", None) for part in ("dev", name)}
        if len(splits) == 2 and None not in splits:
            continue
        others = {Path(path).resolve() for path in getattr(data, name)}
        if both := [path for path in data.dev if Path(path).resolve() in others]:
            raise ValueError(
                f"expected other files in dev, {use}, than in {name}, {other_use}, got {', '.join(both)} in both; "
                f"divide the {what}, or leave dev out"
            )
