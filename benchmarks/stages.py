"""Stages of a benchmark: what each one needs, the settings that its result depends on, and the results that are there.

A stage's result is `<work>/<stage>.json`, written when the stage is finished, with `settings`: its own and those of all
stages before it. A benchmark's settings are a dataclass of `setting`s, each an option of the command line with its name.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    Args:
        after: the stages whose results it needs.
        settings: the settings that it depends on, besides those of the stages before it.
    """

    after: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()


Stages = Mapping[str, Stage]
DEFAULT_ENCODER = "all-MiniLM-L6-v2"
_FOLDER = " (folder "  # between a folder's name and the digest of its path


def setting(default: Any, text: str) -> Any:
    """A field of a dataclass of settings, with its help."""
    return field(default=default, metadata={"help": text})


def settings_of(stages: Stages, stage: str, settings: Any) -> dict[str, Any]:
    """The settings that a stage's result depends on, those of the stages before it included."""
    found: dict[str, Any] = {}
    for before in stages[stage].after:
        found |= settings_of(stages, before, settings)
    found |= {name: getattr(settings, name) for name in stages[stage].settings}
    if "base_model" in found:
        found["base_model"] = encoder_name(settings.base_model)
    return found


def encoder_name(base_model: str) -> str:
    """The encoder to start from, as results name it: no two encoders have one name, and no path of this machine is told.

    Args:
        base_model: folder, Hub name, or empty for the default encoder.

    Returns:
        The default's name, a Hub name as it is, or a folder's own name with a digest of its whole path.
    """
    if not base_model or not Path(base_model).is_dir():
        return base_model or DEFAULT_ENCODER
    folder = Path(base_model).resolve()
    return f"{folder.name}{_FOLDER}{hashlib.sha256(str(folder).encode()).hexdigest()[:12]})"


def shown_encoder(name: str) -> str:
    """What `encoder_name` gave, for a page: without the digest."""
    return name.partition(_FOLDER)[0]


def stages_before(stages: Stages, stage: str) -> list[str]:
    """The stages whose results this one needs, directly or not, each once, the first one first."""
    found: dict[str, None] = {}
    for before in stages[stage].after:
        found |= dict.fromkeys([*stages_before(stages, before), before])
    return list(found)


def stages_after(stages: Stages, stage: str) -> list[str]:
    """The stages that need the result of this one, directly or not."""
    return [name for name in stages if stage in stages_before(stages, name)]


def add_options(parser: argparse.ArgumentParser, kind: Any) -> None:
    """One option for each setting of a dataclass."""
    for one in fields(kind):
        name, text = "--" + one.name.replace("_", "-"), one.metadata["help"]
        assert one.default is not MISSING
        if isinstance(one.default, bool):
            parser.add_argument(name, action=argparse.BooleanOptionalAction, default=one.default, help=text)
        else:
            shown = f"{text} (default: {one.default})" if one.default != "" else text
            parser.add_argument(name, type=type(one.default), default=one.default, help=shown)


def from_options(options: argparse.Namespace, kind: Any) -> Any:
    """The settings of a parsed command line, as the dataclass `kind`."""
    return kind(**{one.name: getattr(options, one.name) for one in fields(kind)})


def changed_options(settings: Any) -> list[str]:
    """The command-line words of the settings that are not the default; an absolute path shows as its last part."""
    words = []
    for one in fields(settings):
        value = getattr(settings, one.name)
        if value != one.default:
            name = "--" + one.name.replace("_", "-")
            shown = Path(value).name if isinstance(value, str) and Path(value).is_absolute() else str(value)
            switch = name if value else name.replace("--", "--no-", 1)
            words += [switch] if isinstance(value, bool) else [name, shown]
    return words


def shown_path(path: Path, name: str) -> str:
    """A path as it was given; an absolute one, which is of this machine alone, shows as a name."""
    return name if path.is_absolute() else path.as_posix()


def finished(work: Path, stage: str) -> dict[str, Any] | None:
    """The result of a stage; None if it has not been run."""
    file = work / f"{stage}.json"
    if not file.is_file():
        return None
    result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return result


def drop(work: Path, stages: Stages, stage: str) -> None:
    """Removes the results of a stage and of all that need it, those that need it first."""
    for name in (*reversed(stages_after(stages, stage)), stage):
        (work / f"{name}.json").unlink(missing_ok=True)
        (work / f"{name}.training.json").unlink(missing_ok=True)
        shutil.rmtree(work / name, ignore_errors=True)


def run_child(file: str, words: Sequence[str], name: str, stage: str) -> None:
    """Starts a benchmark's file again for one stage of one set.

    Raises:
        SystemExit: the stage failed.
    """
    command = [sys.executable, file, *words, "--child", name, stage]
    if status := subprocess.run(command, check=False).returncode:
        raise SystemExit(
            f"{name}: stage {stage} ended with exit status {status}; finished stages are kept, the same command goes on"
        )
