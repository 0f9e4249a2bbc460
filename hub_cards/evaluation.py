"""What was measured, as a card's table and in the two forms that the Hub reads.

`Evaluation.metrics` is the flat dictionary that `evaluate_linker` or `evaluate_documents` returns. A card shows it
as one table: a row over all mentions (micro), one over the worlds (macro), then the largest worlds; normalised and
unnormalised accuracy are columns of their own. For machines there are

* the `model-index` of the card's metadata, for every data set;
* `.eval_results/*.yaml`, which the Hub takes only for data sets that are registered with it as benchmarks and whose
  `eval.yaml` names the task. It refuses others, so an evaluation without a `Benchmark` gives no such file.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from huggingface_hub import EvalResult, EvalResultEntry, eval_result_entries_to_yaml
from huggingface_hub.utils import yaml_dump

from hf_blink.hub_cards.escaping import plain_line
from hf_blink.hub_cards.fields import Facts, mapping, matching, number

MOST_WORLDS = 20  # rows of worlds in a table

_COUNTS = (
    *("num_mentions", "num_nil", "num_entities", "num_worlds", "seconds"),
    *("num_documents", "num_incomplete", "num_links", "documents_per_second"),  # of evaluate_documents
)
_NAMES = {
    "mrr": "MRR",
    "accuracy_normalised": "accuracy, normalised",
    "accuracy_unnormalised": "accuracy, unnormalised",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "strong_precision": "precision, strong match",
    "strong_recall": "recall, strong match",
    "strong_f1": "F1, strong match",
    "weak_precision": "precision, weak match",
    "weak_recall": "recall, weak match",
    "weak_f1": "F1, weak match",
}
_METRIC = re.compile(rf"(recall@[1-9]\d*|{'|'.join(_NAMES)})(_macro)?")
_TASK = "entity-linking"


@dataclass(frozen=True, kw_only=True)
class MentionSet(Facts):
    """Labelled mentions that were trained on or measured.

    Args:
        name: how people call it.
        hub_id: its Hub name; None where it is not on the Hub.
    """

    name: str
    hub_id: str | None = None

    def __post_init__(self) -> None:
        self._check_text("name")
        self._check_optional_repo("hub_id")


@dataclass(frozen=True, kw_only=True)
class Benchmark(Facts):
    """A data set that is registered with the Hub as a benchmark.

    Args:
        dataset_id: its Hub name.
        task_id: the task that its `eval.yaml` names.
        metric: which of the metrics is the task's value.
    """

    dataset_id: str
    task_id: str
    metric: str = "accuracy_unnormalised"

    def __post_init__(self) -> None:
        self._check_repo("dataset_id")
        self._check_text("task_id", "metric")


@dataclass(frozen=True, kw_only=True)
class Evaluation(Facts):
    """The metrics on one set of mentions.

    Args:
        mentions: the labelled mentions.
        metrics: what `evaluate_linker`, or of mentions alone `evaluate_documents`, returned; shares between 0 and 1.
        split: part of the set, such as `test`.
        date: when it was measured, `2026-05-31`; None where that is not known.
        benchmark: where the Hub lists such results; None where it does not.
    """

    mentions: MentionSet
    metrics: Mapping[str, float]
    split: str | None = None
    date: str | None = None
    benchmark: Benchmark | None = None

    def __post_init__(self) -> None:
        self._nested("mentions", MentionSet)
        self._set("metrics", self._checked_metrics())
        if self.split is not None:
            self._check_text("split")
        if self.date is not None:
            matching(
                self.date, r"\d{4}-\d\d-\d\d(T[\d:.]+(Z|[+-]\d\d:\d\d)?)?", "2026-05-31", self._place("date")
            )
        if self.benchmark is not None:
            self._nested("benchmark", Benchmark)
            if self.benchmark.metric not in self.metrics:
                raise ValueError(
                    f"{self._place('benchmark')}: expected a metric among {', '.join(self.overall())}, got "
                    f"{self.benchmark.metric!r}"
                )

    def _checked_metrics(self) -> dict[str, float]:
        place = self._place("metrics")
        metrics = {
            key: number(value, f"{place}[{key!r}]") for key, value in mapping(self.metrics, place).items()
        }
        for key, value in metrics.items():
            name = key.rpartition("/")[2] if key.startswith("world/") else key
            if name in _COUNTS:
                continue
            if not _METRIC.fullmatch(name):
                raise ValueError(f"{place}: expected the keys of evaluate_linker, got {key!r}")
            if not 0 <= value <= 1:
                raise ValueError(f"{place}[{key!r}]: expected a share between 0 and 1, got {value}")
        if missing := [key for key in ("num_mentions", "num_entities") if key not in metrics]:
            raise ValueError(f"{place}: expected the keys of evaluate_linker, got no {', '.join(missing)}")
        return metrics

    def overall(self) -> dict[str, float]:
        """The metrics over all mentions and over the worlds, without counts and single worlds."""
        return {key: value for key, value in self.metrics.items() if _METRIC.fullmatch(key)}

    @property
    def dataset_type(self) -> str:
        """The set's identifier in a model index: its Hub name, or its own name in the letters of one."""
        return (
            self.mentions.hub_id
            or re.sub(r"[^\w.]+", "-", plain_line(self.mentions.name)).strip("-")
            or "mentions"
        )


class ResultTable(NamedTuple):
    """A table of metrics; see `result_table`.

    Attributes:
        columns: Names of the metrics.
        rows: Name of the row, number of its mentions (None over worlds) and one share for each column (None where
            there is none).
        left_out: How many worlds are in no row.
    """

    columns: list[str]
    rows: list[tuple[str, float | None, list[float | None]]]
    left_out: int


def result_table(metrics: Mapping[str, float]) -> ResultTable:
    """One table of all metrics: micro, macro where there are worlds, then the worlds with most mentions."""
    keys = [key for key in metrics if _METRIC.fullmatch(key) and not key.endswith("_macro")]
    worlds = _worlds(metrics)
    rows = [("all mentions (micro)", "", "")]
    rows += [("mean of the worlds (macro)", "", "_macro")] if worlds else []
    rows += [(f"world {world}", f"world/{world}/", "") for world in worlds[:MOST_WORLDS]]
    return ResultTable(
        [_NAMES.get(key, key) for key in keys],
        [
            (
                name,
                metrics.get(f"{before}num_mentions{after}"),
                [metrics.get(f"{before}{key}{after}") for key in keys],
            )
            for name, before, after in rows
        ],
        max(0, len(worlds) - MOST_WORLDS),
    )


def _worlds(metrics: Mapping[str, float]) -> list[str]:
    """The worlds, those with most mentions first."""
    names = {key[len("world/") :].rpartition("/")[0] for key in metrics if key.startswith("world/")}
    return sorted(names, key=lambda name: (-metrics.get(f"world/{name}/num_mentions", 0), name))


def eval_results(evaluations: Iterable[Evaluation]) -> list[EvalResult]:
    """The metrics over all mentions and over the worlds, for the model index; `metric_type` is evaluate_linker's key."""
    return [
        EvalResult(
            task_type=_TASK,
            task_name="Entity Linking",
            dataset_type=evaluation.dataset_type,
            dataset_name=plain_line(evaluation.mentions.name),
            dataset_split=None if evaluation.split is None else plain_line(evaluation.split),
            dataset_args={name: evaluation.metrics[name] for name in ("num_mentions", "num_entities")},
            metric_type=key,
            metric_value=value,
            metric_name=metric_name(key),
        )
        for evaluation in evaluations
        for key, value in evaluation.overall().items()
    ]


def metric_name(key: str) -> str:
    """A metric as people call it: `mrr_macro` gives "MRR (macro)"."""
    plain = key.removesuffix("_macro")
    return _NAMES.get(plain, plain) + (" (macro)" if key.endswith("_macro") else "")


def benchmark_files(evaluations: Iterable[Evaluation]) -> dict[str, str]:
    """The `.eval_results/*.yaml` of the evaluations on registered benchmarks: path in the repository to text."""
    entries: dict[str, list[EvalResultEntry]] = {}
    for evaluation in evaluations:
        if evaluation.benchmark is None:
            continue
        benchmark = evaluation.benchmark
        path = f".eval_results/{benchmark.dataset_id.replace('/', '_')}.yaml"
        entries.setdefault(path, []).append(
            EvalResultEntry(
                dataset_id=benchmark.dataset_id,
                task_id=plain_line(benchmark.task_id),
                value=evaluation.metrics[benchmark.metric],
                date=evaluation.date,
                notes=_notes(evaluation.metrics, benchmark.metric),
            )
        )
    return {
        path: yaml_dump(eval_result_entries_to_yaml(of_path), sort_keys=False)
        for path, of_path in entries.items()
    }


def _notes(metrics: Mapping[str, Any], key: str) -> str:
    entities, mentions = int(metrics["num_entities"]), int(metrics["num_mentions"])
    return f"{metric_name(key)}; share of {mentions} mentions, candidates out of all {entities} entities"
