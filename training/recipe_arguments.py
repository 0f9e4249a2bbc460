"""A recipe: a YAML file of settings, any of which the command line overrides.

    accelerate launch -m hf_blink.training.train_biencoder recipe.yaml --per_device_train_batch_size 64

The keys of the file and the options are the fields of the script's dataclasses and of `BlinkTrainingArguments`.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser

from hf_blink.modeling.configuration_blink import saved_model_type
from hf_blink.training.process_shares import leave_processes


def parse_recipe(argument_classes: Sequence[type], arguments: Sequence[str] | None = None) -> tuple[Any, ...]:
    """Reads a recipe file and its overrides.

    Args:
        argument_classes: dataclasses whose fields are the keys.
        arguments: `[recipe.yaml] [--key value ...]`; None takes the command line.

    Returns:
        One object for each class.

    Raises:
        FileNotFoundError: no such recipe.
        ValueError: a key or an option that no class has, or a file that is no mapping.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    recipe = given.pop(0) if given and not given[0].startswith("-") else None
    parser = HfArgumentParser(list(argument_classes))  # type: ignore[arg-type]
    options = [] if recipe is None else _recipe_options(Path(recipe), argument_classes)
    _refuse_unknown_options(given, _names(argument_classes))
    *parsed, left = parser.parse_args_into_dataclasses([*options, *given], return_remaining_strings=True)
    if left:
        raise ValueError(
            f"expected --option value pairs, got also {' '.join(left)}; --help lists the options"
        )
    return tuple(parsed)


def given_settings(arguments: Any, names: Sequence[str]) -> dict[str, Any]:
    """The values of those of the fields that are not None, which means: not given."""
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}


def refuse_other_settings(given: Mapping[str, Any], saved: Any, base_model: str) -> None:
    """Refuses settings of a new model where a saved one is trained on, which keeps its own.

    Args:
        given: the recipe's settings, by name.
        saved: the loaded configuration or processor, with attributes of these names.
        base_model: where the saved one is, for the error.

    Raises:
        ValueError: a setting differs; names all that do.
    """
    differences = [
        f"{name}: {value!r} (saved: {getattr(saved, name)!r})"
        for name, value in given.items()
        if getattr(saved, name) != value
    ]
    if differences:
        raise ValueError(
            f"expected the settings that the saved model {base_model} has, got {', '.join(differences)}; "
            "leave the keys out, or start from a plain encoder"
        )


def check_trained(bi_encoder: str, cross_encoder: str | None) -> None:
    """Refuses other models than a trained bi-encoder, and a trained cross-encoder where one is named.

    Raises:
        ValueError: one of them is another kind of model.
    """
    paths = {"bi_encoder": bi_encoder, "cross_encoder": cross_encoder}
    for name, path in paths.items():
        kind = f"blink-{name.replace('_', '')}"
        if path is not None and (found := saved_model_type(path)) != kind:
            raise ValueError(f"expected a trained {kind} at {name}: {path}, got {found}; train one first")


def run_script(main: Callable[[], Any]) -> None:
    """Runs a training script's `main`, and leaves the other processes.

    Wrong input, a loss that is no number and too little memory end it with the message alone on stderr and exit code 2,
    Ctrl-C with 130.
    """
    try:
        _check_installed()
        main()
        leave_processes()
    except KeyboardInterrupt:
        sys.stderr.write(
            f"{Path(sys.argv[0]).stem}: interrupted; the same command with --resume true goes on\n"
        )
        sys.exit(130)
    except (ValueError, OSError, FloatingPointError, MemoryError) as error:
        sys.stderr.write(f"{Path(sys.argv[0]).stem}: {error}\n")
        leave_processes(failed=True)
        sys.exit(2)


def _check_installed() -> None:
    """Refuses a start in the folder that holds a clone, where Python takes the clone for the package, without its code."""
    if getattr(sys.modules["hf_blink"], "__file__", None) is None:
        raise ValueError(
            f"expected the package hf_blink, got the folder {Path.cwd() / 'hf_blink'}, which hides it; start somewhere else"
        )


def _recipe_options(path: Path, argument_classes: Sequence[type]) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(
            f"expected a recipe at {path}, got no file; see hf_blink/training/recipes for examples"
        )
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"expected YAML in {path}, got {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"expected key: value lines in {path}, got {type(values).__name__}")
    known = _names(argument_classes)
    if unknown := sorted(str(key) for key in values if key not in known):
        raise ValueError(
            f"expected keys that the script knows in {path}, got {', '.join(_with_guess(key, known) for key in unknown)}; "
            "--help lists them"
        )
    options = []
    for key, value in values.items():
        if value is not None and value != []:  # `key: null` and `key: []` keep the default
            options += [f"--{key}", *map(_option, value if isinstance(value, list) else [value])]
    return options


def _names(argument_classes: Sequence[type]) -> set[str]:
    return {item.name for argument_class in argument_classes for item in fields(argument_class)}


def _refuse_unknown_options(words: Sequence[str], known: set[str]) -> None:
    """Before anything is parsed: `--name`, `--na-me` and `--no_name` are options, the beginning of a name is none."""
    given = [word[2:].partition("=")[0].replace("-", "_") for word in words if word.startswith("--")]
    unknown = [name for name in given if not {name, name.removeprefix("no_")} & {*known, "help"}]
    if unknown:
        guessed = ", ".join(f"--{_with_guess(name, known, before='--')}" for name in unknown)
        raise ValueError(f"expected options that the script knows, got {guessed}; --help lists them")


def _with_guess(key: str, known: set[str], before: str = "") -> str:
    close = get_close_matches(key, sorted(known), n=1)
    return f"{key} (did you mean {before}{close[0]}?)" if close else key


def _option(value: Any) -> str:
    """A value as the command line takes it: mappings (`lr_scheduler_kwargs`) and lists in lists as JSON."""
    return json.dumps(value) if isinstance(value, (dict, list)) else str(value)
