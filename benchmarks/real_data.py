"""Trains and evaluates on real data, stage by stage: BM25, exact names, untuned, in-batch, hard negatives, cross-encoder.

    python benchmarks/real_data.py --data DATA --sets annoctr mdn --work runs/real_data

Every stage runs in a process of its own and leaves a result in the work folder; the same command goes on where an earlier
one stopped. `--redo STAGE` repeats a stage and drops what came after it. When all stages of a set are there,
docs/results/real_data.json and docs/results.md are written. This file starts the stages and knows no torch, so that their
peak memory is theirs alone.
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

from benchmarks.real_data_settings import STAGES, Settings, settings_of  # noqa: E402
from benchmarks.real_data_tables import cells, has_worlds, header  # noqa: E402
from benchmarks.result_files import RESULTS, about, render, write_json  # noqa: E402
from benchmarks.stages import (  # noqa: E402
    add_options,
    changed_options,
    drop,
    finished,
    from_options,
    run_child,
    shown_path,
    stages_before,
)
from hf_blink.training.text_table import format_table  # noqa: E402

FILES = ("entities.jsonl.gz", "mentions_train.jsonl.gz", "mentions_val.jsonl.gz")
NOTES = (
    "Candidates are all entities of the mention's world (of the whole catalogue where there are no worlds). Shares are "
    "over mentions (micro) if not marked; the two marked columns are means over worlds, or over gold entities where a "
    "set has no worlds.",
    "The row + cross-encoder shows the final ranking: its first {num_candidates} candidates are in the cross-encoder's "
    "order, the others follow in the bi-encoder's, so its R@{num_candidates} and R@64 are the bi-encoder's.",
    "Unnormalised: the share of all mentions whose first candidate is right. Normalised: the same over the mentions whose "
    "gold entity is among the candidates that are ranked: the first 64, in the last row the reranked {num_candidates}.",
    "Train s: all training up to that row, mining of hard negatives and candidates included, without evaluation. Link s: "
    "all held-out mentions, entities encoded before. Peak MB: the larger peak of the row's training and linking processes.",
    "Seconds are of the machine as it was, which often did other work besides: upper bounds.",
    "Stages of earlier runs are reused: date, commit and threads above are the last run's, `stages` in real_data.json has "
    "each stage's own.",
)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description="Trains and evaluates on real data, stage by stage.")
    made.add_argument("--data", type=Path, required=True, help="folder with one folder for each data set")
    made.add_argument(
        "--sets", nargs="+", default=["annoctr", "mdn"], help="data sets (default: annoctr mdn)"
    )
    made.add_argument(
        "--work", type=Path, default=Path("runs/real_data"), help="folder for the stages' results"
    )
    made.add_argument(
        "--results", type=Path, default=RESULTS, help="folder of real_data.json (default: docs/results)"
    )
    made.add_argument(
        "--only", nargs="+", choices=STAGES, default=list(STAGES), metavar="STAGE", help=", ".join(STAGES)
    )
    made.add_argument(
        "--redo", nargs="+", choices=STAGES, default=[], metavar="STAGE", help="stages to repeat"
    )
    made.add_argument("--child", nargs=2, metavar=("SET", "STAGE"), help=argparse.SUPPRESS)
    add_options(made, Settings)
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what is missing; see the module's text."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(words)
    if options.child:
        run_here(options, *options.child)
        return
    settings = from_options(options, Settings)
    check_data(options)
    for name in options.sets:
        for stage in options.redo:
            drop(options.work / name, STAGES, stage)
        check_finished(options.work / name, settings)
    for name in options.sets:
        for stage in STAGES:
            if stage in options.only:
                run_if_missing(options, name, stage, words)
    finish(options, settings)


def check_data(options: argparse.Namespace) -> None:
    """Stops before any work when a file is missing."""
    for name in options.sets:
        for file in FILES:
            if not (options.data / name / file).is_file():
                raise SystemExit(
                    f"expected {file} in {options.data / name}, got no such file; check --data and --sets"
                )


def check_finished(work: Path, settings: Settings) -> None:
    """Refuses results of other settings, which would stand in one table with new ones."""
    for stage in STAGES:
        if (result := finished(work, stage)) is None:
            continue
        expected, got = settings_of(stage, settings), result["settings"]
        if changed := {name: got.get(name) for name, value in expected.items() if got.get(name) != value}:
            raise SystemExit(
                f"{work.name}, stage {stage}: expected a result with {', '.join(f'{n} {expected[n]}' for n in changed)}, "
                f"got {', '.join(map(str, changed.values()))}; repeat it with --redo {stage}, or take another --work"
            )


def run_if_missing(options: argparse.Namespace, name: str, stage: str, words: list[str]) -> None:
    """Runs a stage that has no result yet, in a process of its own, and prints one line about it."""
    work = options.work / name
    result = finished(work, stage)
    done = "reused" if result is not None else "done"
    if result is None:
        for before in STAGES[stage].after:
            if finished(work, before) is None:
                raise SystemExit(
                    f"{name}: stage {stage} needs the result of {before}, which is not there; run it first"
                )
        print(f"{name}: {stage} ...", flush=True)
        run_child(__file__, words, name, stage)
        result = finished(work, stage)
        if result is None:
            raise SystemExit(f"{name}: stage {stage} left no result")
    print(f"{name}: {stage} {done}; {summary(result)}", flush=True)


def run_here(options: argparse.Namespace, name: str, stage: str) -> None:
    """The child's part."""
    from benchmarks.real_data_stages import Run, run_stage

    run_stage(Run(options.data / name, options.work / name, from_options(options, Settings)), stage)


def summary(result: dict[str, Any]) -> str:
    """One line about a stage."""
    row = result.get("row", {})
    shares = [f"R@{k} {100 * row[f'recall@{k}']:.1f}" for k in (1, 64) if row]
    seconds = [
        f"{part} {result[f'{part}_seconds']:.0f} s"
        for part in ("mining", "train", "index")
        if f"{part}_seconds" in result
    ]
    linking = [f"link {row['link_seconds']:.1f} s"] if row else []
    return ", ".join([*shares, *seconds, *linking, f"peak {result['peak_memory_mb']:.0f} MB"])


def finish(options: argparse.Namespace, settings: Settings) -> None:
    """Prints the tables; writes the result file with the sets that are complete, beside those of earlier runs."""
    results = {name: collected(options.work / name, settings) for name in options.sets}
    for name, result in results.items():
        if result["rows"]:
            by_world = has_worlds(result)
            table = format_table(header(by_world), [cells(row, by_world) for row in result["rows"]])
            print(
                f"\n{name}: {result['data']['entities']} entities, {result['data']['mentions']} mentions\n{table}"
            )
    complete = {name: result for name, result in results.items() if "final" in result}
    if missing := [name for name in results if name not in complete]:
        print(
            f"\nnot all stages have been run for {', '.join(missing)}: the result file keeps what it has of them"
        )
    if complete:
        file = options.results / "real_data.json"
        kept = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        facts = {"about": about(command(options, settings))}
        write_json(file, kept | {name: facts | result for name, result in complete.items()})
        print(f"\nwrote {os.path.relpath(file)} and {os.path.relpath(render(options.results))}")


def command(options: argparse.Namespace, settings: Settings) -> str:
    """The command that repeats the run from nothing."""
    data, work = (
        shown_path(folder, name) for folder, name in ((options.data, "DATA"), (options.work, "WORK"))
    )
    words = ["python", "benchmarks/real_data.py", "--data", data, "--sets", *options.sets, "--work", work]
    return " ".join([*words, *changed_options(settings)])


def collected(work: Path, settings: Settings) -> dict[str, Any]:
    """A data set's rows in the order of the stages, and `final` when all of them are there."""
    stages = {stage: found for stage in STAGES if (found := finished(work, stage)) is not None}
    rows = [_row(stage, stages) for stage, result in stages.items() if "row" in result]
    result: dict[str, Any] = {"rows": rows}
    if not rows:
        return result
    worlds = sorted(rows[0].get("worlds", {}))
    result["data"] = {
        "entities": rows[0]["num_entities"],
        "mentions": rows[0]["num_mentions"],
        "gold_entities": rows[0]["num_gold_entities"],
        "worlds": ", ".join(worlds),
    }
    result["settings"] = {
        name: value for stage in stages for name, value in stages[stage]["settings"].items()
    }
    result["notes"] = [note.format(num_candidates=settings.num_candidates) for note in NOTES]
    result["stages"] = {
        stage: {name: value for name, value in result.items() if name != "row" and not name.startswith("top")}
        for stage, result in stages.items()
    }
    if len(stages) == len(STAGES):
        sample = stages["evaluate"][f"top{settings.sample_candidates}_sample"]
        result["final"] = {k: v for k, v in rows[-1].items() if k != "worlds"} | {"top64_sample": sample}
    return result


def _row(stage: str, stages: dict[str, Any]) -> dict[str, Any]:
    """A stage's row with the cost of what the system needs: training adds up over the stages, memory does not."""
    chain = [stage, *reversed(stages_before(STAGES, stage))]
    spent = [stages[name] for name in chain if name in stages]
    trained = sum(result.get("train_seconds", 0) + result.get("mining_seconds", 0) for result in spent)
    # The cross-encoder is trained, and weighed, in stages without rows.
    own = spent[:3] if stage == "evaluate" else spent[:1]
    peak = max(result["peak_memory_mb"] for result in own)
    costs = {"train_seconds": trained, "stage_train_seconds": 0.0, "peak_memory_mb": peak}
    costs["stage_train_seconds"] = sum(r.get("train_seconds", 0) + r.get("mining_seconds", 0) for r in own)
    return stages[stage]["row"] | costs


if __name__ == "__main__":
    main()
