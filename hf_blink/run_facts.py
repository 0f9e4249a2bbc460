"""What training runs left in their folders, as a card tells it: settings, curves, metrics.

`runs_of` reads the output folder of a training script, `evaluation_of` the metrics that it or `hf-blink evaluate` wrote.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_HUB_NAME = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
_SHOWN_ARGUMENTS = (
    "learning_rate", "per_device_train_batch_size", "num_train_epochs", "max_steps", "warmup_ratio", "seed", "bf16",
    "mention_length", "entity_length", "mention_pooling", "entity_pooling", "similarity", "temperature",
    "name_negatives", "num_hard_negatives", "mined_negatives", "num_candidates", "pooling", "retrieval_weight",
)  # fmt: skip
_OF_DISTILLATION = ("distillation_alpha", "distillation_temperature", "distillation_loss")


def runs_of(folder: Path) -> list[dict[str, Any]]:
    """The runs in an output folder of a training script: one for each round of a bi-encoder.

    Raises:
        FileNotFoundError: no finished run there.
    """
    recipe = read_json(folder / "recipe.json", "the output folder of a training script")
    records = [
        file for file in (*sorted(folder.glob("round_*/round.json")), folder / "round.json") if file.is_file()
    ]
    if not records:
        raise FileNotFoundError(
            f"expected a finished training run in {folder}, got no round.json; resume the run"
        )
    names = (*_SHOWN_ARGUMENTS, *(_OF_DISTILLATION if "cross_encoder" in recipe else ()))
    shown = {name: recipe[name] for name in names if recipe.get(name) is not None}
    facts = []
    for number, file in enumerate(records):
        record = json.loads(file.read_text(encoding="utf-8"))
        facts.append(
            {
                "title": _title(number, recipe),
                "base_model": hub_name(recipe, "bi_encoder" if "cross_encoder" in recipe else "base_model"),
                "datasets": [{"name": Path(str(name)).name} for name in recipe.get("train", [])],
                "arguments": shown,
                "losses": record.get("losses", []),
                "recalls": record.get("recalls", []),
            }
        )
    return facts


def evaluation_of(name: str, file: Path, task: str | None = None) -> dict[str, Any]:
    """Metrics of `evaluate_linker` from a JSON file, as a card's evaluation.

    Args:
        name: what the mentions are called, with `:split` behind it if they are a part; a name like `user/data` is the
            Hub's.
        file: the metrics.
        task: where the set is a registered benchmark of the Hub, its task, perhaps with `:metric` behind it.

    Raises:
        ValueError: a benchmark without a Hub name.
    """
    name, _, split = name.partition(":")
    mentions = {"name": name, "hub_id": name if _HUB_NAME.fullmatch(name) else None}
    return {
        "benchmark": None if task is None else _benchmark(mentions, task),
        "mentions": mentions,
        "split": split or None,
        "metrics": _shown_metrics(read_json(file, "metrics of `hf-blink evaluate --out`")),
    }


def _shown_metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    """Without what a card's table has no place for: NIL counted in, and how a threshold was fitted."""
    apart = ("with_nil/", "dev_", "joint_threshold")
    return {name: value for name, value in metrics.items() if not name.startswith(apart)}


def _benchmark(mentions: dict[str, str | None], task: str) -> dict[str, str]:
    if mentions["hub_id"] is None:
        raise ValueError(
            f"expected a benchmark's Hub name (user/dataset) as the name of its metrics, got {mentions['name']!r}"
        )
    task_id, _, metric = task.partition(":")
    return {"dataset_id": mentions["hub_id"], "task_id": task_id} | ({"metric": metric} if metric else {})


def hub_name(recipe: Mapping[str, Any], setting: str) -> str | None:
    """The Hub name of a model in a run's settings; None where it was a folder when the run began."""
    name = str(recipe.get(setting) or "")
    return name if _HUB_NAME.fullmatch(name) and setting not in recipe.get("local_folders", ()) else None


def _title(number: int, recipe: Mapping[str, Any]) -> str:
    """The training script is known by the models that its recipe names."""
    if "span_head" in recipe:
        return "ELQ with hard negatives, frozen entities" if number else "ELQ, in-batch negatives"
    if "cross_encoder" in recipe:
        return "Bi-encoder distilled from a cross-encoder"
    if "bi_encoder" in recipe:
        return "Cross-encoder on mined candidates"
    return (
        f"Bi-encoder with mined hard negatives, round {number}"
        if number
        else "Bi-encoder, in-batch negatives"
    )


def read_json(file: Path, what: str) -> Any:
    """What a file of JSON holds.

    Args:
        file: the file.
        what: what it should be, for the error.

    Raises:
        FileNotFoundError: there is none.
        ValueError: no JSON.
    """
    if not file.is_file():
        raise FileNotFoundError(f"expected {what}, got no {file}")
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"expected JSON in {file}, got {error}") from None
