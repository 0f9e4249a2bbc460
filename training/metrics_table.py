"""Metrics as a terminal shows them: links of documents by how they are matched, everything else a line each."""

import re
from collections.abc import Mapping
from typing import Any

from hf_blink.training.text_table import format_table

_RECALL = re.compile(r"recall@(\d+)")
_FIGURES = (
    "precision",
    "recall",
    "f1",
)  # of a match, weak or strong, over all links and as a mean over documents
_HEADER = ("match", "mentions", "precision", "recall", "F1", "macro precision", "macro recall", "macro F1")


def metrics_table(metrics: Mapping[str, Any]) -> str:
    """Lays out the flat dict of `evaluate_linker`, `evaluate_documents` or a training script.

    Args:
        metrics: by name; those of single worlds are left out.

    Returns:
        One table, or two with an empty line between them; no final line break.
    """
    overall = {name: value for name, value in metrics.items() if not name.startswith("world/")}
    tables = []
    if "strong_f1" in overall:
        tables.append(format_table(_HEADER, _matches(overall)))
        overall = {name: value for name, value in overall.items() if not _is_of_a_match(name)}
    tables.append(format_table(("metric", "value"), telling_metrics(overall)))
    return "\n\n".join(tables)


def telling_metrics(metrics: Mapping[str, Any], *, every_recall: bool = False) -> list[tuple[str, Any]]:
    """The metrics that say something: no mean over worlds where there is none, no recall at all entities.

    Args:
        metrics: by name.
        every_recall: recall at as many candidates as there are entities, or more, too.
    """
    silent = {name for name in metrics if name.endswith("_macro") and not metrics.get("num_worlds", 1)}
    if not every_recall and "num_entities" in metrics:
        ranks = {name: int(found[1]) for name in metrics if (found := _RECALL.fullmatch(name))}
        silent |= {name for name, k in ranks.items() if k > 1 and k >= metrics["num_entities"]}
    return [item for item in metrics.items() if not {item[0], item[0].removesuffix("_macro")} & silent]


def _matches(metrics: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    names = [f"{figure}{mean}" for mean in ("", "_macro") for figure in _FIGURES]
    kinds = {"in-KB": "", "with NIL": "with_nil/"}
    return [
        (match, kind, *(metrics.get(f"{prefix}{match}_{name}") for name in names))
        for match in ("weak", "strong")
        for kind, prefix in kinds.items()
    ]


def _is_of_a_match(name: str) -> bool:
    match, _, figure = name.removeprefix("with_nil/").partition("_")
    return match in ("weak", "strong") and figure.removesuffix("_macro") in _FIGURES
