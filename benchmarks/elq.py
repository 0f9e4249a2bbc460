"""The one-pass linker on real data, against a detector of titles with a bi-encoder, alone and with a cross-encoder.

    OMP_NUM_THREADS=1 python benchmarks/elq.py --data DATA --sets questions wiki_ed --work WORK

Every stage runs in a process of its own and leaves a result with its settings in the work folder; the same command goes on
where an earlier one stopped, and a stage whose settings, or those of a stage before it, are others is run again. A set that
is finished is written to docs/results/elq.json, and docs/results.md is rendered, before the next set begins. This file
starts the stages and knows no torch, so that their peak memory is theirs alone.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # a checkout that is not installed, started as a script
    sys.path.insert(0, str(ROOT))

from benchmarks.elq_settings import STAGES, SYSTEMS, Settings, of_set  # noqa: E402
from benchmarks.elq_table import HEADER, cells  # noqa: E402
from benchmarks.result_files import RESULTS, about, render, write_json  # noqa: E402
from benchmarks.stages import (  # noqa: E402
    add_options,
    changed_options,
    drop,
    finished,
    from_options,
    run_child,
    settings_of,
    shown_path,
    stages_before,
)
from hf_blink.training.text_table import format_table  # noqa: E402

FILES = ("entities.jsonl.gz", "documents.jsonl.gz")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description="Measures the one-pass linker on real data.")
    made.add_argument("--data", type=Path, required=True, help="folder with one folder for each data set")
    made.add_argument("--sets", nargs="+", default=["questions", "wiki_ed"], help="data sets")
    made.add_argument("--work", type=Path, default=Path("runs/elq"), help="folder of the stages' results")
    made.add_argument("--results", type=Path, default=RESULTS, help="folder of elq.json")
    made.add_argument("--child", nargs=2, metavar=("SET", "STAGE"), help=argparse.SUPPRESS)
    add_options(made, Settings)
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what is missing; see the module's text."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(words)
    if options.child:
        _run_here(options, *options.child)
        return
    problems = []
    for name in options.sets:
        try:
            _measure(options, name, words)
        except SystemExit as problem:  # the other sets are measured all the same
            problems.append(str(problem))
    if problems:
        raise SystemExit("\n".join(problems))


def _measure(options: argparse.Namespace, name: str, words: list[str]) -> None:
    """Runs what is missing of a set, and writes its results beside those of other sets."""
    for file in FILES:
        if not (options.data / name / file).is_file():
            raise SystemExit(
                f"expected {file} in {options.data / name}, got no such file; check --data and --sets"
            )
    settings = of_set(from_options(options, Settings), name)
    for stage in STAGES:
        _run_if_missing(options, settings, name, stage, words)
    result = {"about": about(_command(options))} | _collected(options.work / name)
    print(f"\n{name}\n{format_table(HEADER, [cells(row) for row in result['rows']])}", flush=True)
    file = options.results / "elq.json"
    kept = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    write_json(file, kept | {name: result})
    print(f"\nwrote {os.path.relpath(file)} and {os.path.relpath(render(options.results))}", flush=True)


def _run_if_missing(
    options: argparse.Namespace, settings: Settings, name: str, stage: str, words: list[str]
) -> None:
    """Runs a stage that has no result of these settings, in a process of its own; what needs its result goes with it."""
    work = options.work / name
    result = finished(work, stage)
    if result is not None and result["settings"] == settings_of(STAGES, stage, settings):
        print(f"{name}: {stage} reused", flush=True)
        return
    drop(work, STAGES, stage)
    print(f"{name}: {stage} ...", flush=True)
    run_child(__file__, words, name, stage)
    result = finished(work, stage)
    if result is None:
        raise SystemExit(f"{name}: stage {stage} left no result")
    spent = f"{result['cpu_seconds']:.0f} s of CPU, peak {result['peak_memory_mb']:.0f} MB"
    print(f"{name}: {stage} done; {spent}", flush=True)


def _run_here(options: argparse.Namespace, name: str, stage: str) -> None:
    """The child's part."""
    from benchmarks.elq_stages import Run, run_stage

    settings = of_set(from_options(options, Settings), name)
    run_stage(Run(options.data / name, options.work / name, settings), stage)


def _collected(work: Path) -> dict[str, Any]:
    """A set's rows with what they cost, its sizes, and all settings."""
    found = {stage: finished(work, stage) or {} for stage in STAGES}
    rows = []
    for stage in SYSTEMS:
        training = [found[name] for name in stages_before(STAGES, stage)]
        costs = {"train_cpu_seconds": sum(result["cpu_seconds"] for result in training)}
        rows.append(found[stage]["row"] | costs | {"peak_memory_mb": found[stage]["peak_memory_mb"]})
    settings: dict[str, Any] = {}
    for result in found.values():
        settings |= result["settings"]
    names = ("date", "commit", "omp_num_threads", "seconds", "cpu_seconds", "peak_memory_mb")
    return {
        "data": {
            "documents": rows[0]["num_documents"],
            "mentions": rows[0]["num_mentions"],
            "nil": rows[0]["num_nil"],
            "entities": rows[0]["num_entities"],
            "train_documents": found["elq_in_batch"]["train_documents"],
            "dev_documents": rows[0]["num_dev_documents"],
        },
        "settings": settings,
        "stages": {stage: {key: result[key] for key in names} for stage, result in found.items()},
        "rows": rows,
    }


def _command(options: argparse.Namespace) -> str:
    """The command that repeats the run from nothing."""
    data, work = shown_path(options.data, "DATA"), shown_path(options.work, "WORK")
    words = ["python", "benchmarks/elq.py", "--data", data, "--sets", *options.sets, "--work", work]
    return " ".join([*words, *changed_options(from_options(options, Settings))])


if __name__ == "__main__":
    main()
