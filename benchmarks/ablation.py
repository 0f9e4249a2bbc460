"""What each step of the training recipe brings: arms that switch one thing on each, with equal time, on unseen mentions.

    OMP_NUM_THREADS=1 python benchmarks/real_data.py --data DATA --sets annoctr mdn --work WORK
    OMP_NUM_THREADS=1 python benchmarks/ablation.py --data DATA --sets annoctr mdn --work WORK

All arms start from the same encoder, see the same training mentions, train for the same CPU seconds and are measured on the
same held-out mentions. The second stage of the two arms that are measured with one, which is the teacher of the distilled
arm too, is the two-stage linker that benchmarks/real_data.py leaves in its work folder; its training mentions are of
documents that no arm sees. An arm that is done is not repeated: the same command goes on where an earlier one stopped.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # a checkout that is not installed, started as a script
    sys.path.insert(0, str(ROOT))

from benchmarks.ablation_arms import ARMS, Arm  # noqa: E402
from benchmarks.ablation_table import HEADER, arms_of, cells, picture  # noqa: E402
from benchmarks.intervals import resampled  # noqa: E402
from benchmarks.real_data_run import Run  # noqa: E402
from benchmarks.real_data_settings import Settings  # noqa: E402
from benchmarks.result_files import (  # noqa: E402
    RESULTS,
    about,
    hardware,
    render,
    today,
    write_json,
    write_text,
)
from benchmarks.stages import encoder_name  # noqa: E402
from hf_blink.training.text_table import format_table  # noqa: E402

RERANKED = 16  # candidates of the second stage
TEACHER = "cross_encoder.json"  # of benchmarks/real_data.py, in the work folder of a set
OPTIONS = (
    "seconds", "clock", "window", "train_mentions", "mined_entities", "mined_mentions", "mentions", "seed",
)  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description="Measures what each step of the training recipe brings.")
    made.add_argument("--data", type=Path, required=True, help="folder with one folder for each data set")
    made.add_argument("--sets", nargs="+", default=["annoctr", "mdn"], help="data sets")
    made.add_argument(
        "--work", type=Path, required=True, help="work folder of benchmarks/real_data.py; arms go there, too"
    )
    made.add_argument("--seconds", type=float, default=600, help="training of an arm (default: 600)")
    made.add_argument(
        "--clock", choices=["cpu", "wall"], default="cpu", help="CPU seconds of all threads, or seconds"
    )
    made.add_argument(
        "--arms", nargs="+", metavar="ARM", help="only these, by their keys in ablation.json (default: all)"
    )
    made.add_argument("--window", type=int, default=64, help="tokens of a window and of an entity text")
    made.add_argument("--train-mentions", type=int, default=3000, help="training mentions, drawn at random")
    made.add_argument(
        "--mined-entities",
        type=int,
        default=2500,
        help="entities of the training side: gold ones and random others",
    )
    made.add_argument("--mined-mentions", type=int, default=640, help="mentions that a mining is for")
    made.add_argument("--mentions", type=int, default=300, help="held-out mentions, drawn at random")
    made.add_argument("--seed", type=int, default=13, help="of draws, new weights and batches")
    made.add_argument("--base-model", default="", help="encoder to start from (default: the extra's MiniLM)")
    made.add_argument("--results", type=Path, default=RESULTS, help="folder of ablation.json")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the arms of every set that are not there, and writes the results after each."""
    options = parser().parse_args(arguments)
    arms, facts = _chosen(options.arms), about(_command(options))  # before a result changes the checkout
    for name in options.sets:
        for file in ("entities.jsonl.gz", "mentions_train.jsonl.gz", "mentions_val.jsonl.gz"):
            if not (options.data / name / file).is_file():
                raise SystemExit(f"expected {file} in {options.data / name}, got no such file; check --data")
        file = options.work / name / TEACHER
        if not file.is_file():
            raise SystemExit(
                f"expected a two-stage linker's {file}, got none; run benchmarks/real_data.py with the same --work first"
            )
        if not json.loads(file.read_text(encoding="utf-8"))["settings"]["hold_out"]:
            raise SystemExit(
                f"expected a teacher of documents that no arm trains on, got {file} of a run with --no-hold-out; run "
                "benchmarks/real_data.py without it"
            )
    for name in options.sets:
        for arm in arms:
            _arm(options, name, arm, facts["commit"])
            result = _write(options, name, facts)
        rows = [cells(row) for row in arms_of(result).values()]
        print(f"\n{name}\n{format_table(HEADER, rows)}\n", flush=True)
    print(
        f"\nwrote {os.path.relpath(options.results / 'ablation.json')} and {os.path.relpath(render(options.results))}"
    )


def _chosen(keys: Sequence[str] | None) -> list[Arm]:
    known = {arm.key: arm for arm in ARMS}
    if unknown := [key for key in keys or () if key not in known]:
        raise SystemExit(f"expected arms of {', '.join(known)}, got {', '.join(unknown)}")
    return [known[key] for key in keys or known]


def _settings(options: argparse.Namespace, name: str) -> dict[str, Any]:
    """What a result depends on, the teacher and the split of the training mentions included, which is the teacher's."""
    stage = json.loads((options.work / name / TEACHER).read_text(encoding="utf-8"))
    teacher = stage["settings"] | {key: stage[key] for key in ("date", "commit")}
    base = encoder_name(options.base_model)
    return {key: getattr(options, key) for key in OPTIONS} | {"base_model": base, "teacher": teacher}


def _file(options: argparse.Namespace, name: str, arm: Arm) -> Path:
    folder: Path = options.work / name / f"ablation{_other_budget(options, '_')}"
    return folder / f"{arm.key}.json"


def _other_budget(options: argparse.Namespace, before: str) -> str:
    """What tells runs of another length apart from those of the usual one."""
    usual = options.seconds == parser().get_default("seconds")
    return "" if usual else f"{before}{options.seconds:g}_s"


def _record(options: argparse.Namespace, name: str, arm: Arm) -> dict[str, Any] | None:
    """What an arm left, if it was the same arm and ran with the same settings."""
    file = _file(options, name, arm)
    record: dict[str, Any] | None = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    same = record and (record["settings"], record["arm"]) == (_settings(options, name), arm.definition())
    return record if same else None


def _arm(options: argparse.Namespace, name: str, arm: Arm, commit: str | None) -> None:
    """Trains and measures an arm that is not there yet."""
    if _record(options, name, arm):
        return
    from benchmarks.ablation_measuring import measure, prepare

    print(f"{name}: {arm.name} ...", flush=True)
    teacher = _settings(options, name)["teacher"]
    split = {key: teacher[key] for key in ("seed", "cross_encoder_mentions", "max_mentions_per_entity")}
    settings = Settings(base_model=options.base_model, **split)
    run = Run(options.data / name, options.work / name, settings)
    prepared = prepare(run, arm, options)
    if prepared is None:
        print(f"{name}: {arm.name}: left out, the mentions have no worlds", flush=True)
        return
    record = measure(run, arm, prepared, options, RERANKED)
    shown = ", ".join(f"R@{k} {100 * record[f'recall@{k}']:.1f}" for k in (1, 64))
    print(f"{name}: {arm.name}: {shown}, {record['mentions_seen']} mentions seen", flush=True)
    facts = {
        "settings": _settings(options, name),
        "arm": arm.definition(),
        "date": today(),
        "commit": commit,
        "hardware": hardware(),
    }
    write_json(_file(options, name, arm), facts | record)


def _write(options: argparse.Namespace, name: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Puts all arms of a set that are there into ablation.json, with intervals, and draws them; gives what it put there."""
    records = {arm.key: record for arm in ARMS if (record := _record(options, name, arm))}
    if not records:
        return {}
    result: dict[str, Any] = {}
    for arm in ARMS:
        if arm.key in records:
            before = _measured_before(arm, records)
            out = ("settings", "arm", "positions", "two_stages_right", "hardware", "data")
            row = {key: value for key, value in records[arm.key].items() if key not in out}
            row |= intervals(records[arm.key], records[before] if before else None)
            row |= {"name": arm.name, "against": before}
            result[arm.key] = row
    result["data"] = next(iter(records.values()))["data"]
    result |= {"about": facts, "settings": _settings(options, name)}
    file = options.results / "ablation.json"
    sets = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    sets[name + _other_budget(options, ", ").replace("_", " ")] = result
    write_json(file, sets)
    same = {other: found for other, found in sets.items() if found["settings"]["seconds"] == options.seconds}
    write_text(options.results / "ablation.svg", picture(same))
    return result


def _measured_before(arm: Arm, records: dict[str, Any]) -> str | None:
    """The arm that this one is compared with; the one before that where a set cannot have it."""
    before = next((other for other in ARMS if other.key == arm.before), None)
    if before is None or before.key in records:
        return arm.before or None
    return _measured_before(before, records) if before.key == "world_batches" else None


def intervals(record: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    """95 % intervals by resampling the mentions: of R@1, of its gain over another arm, of the second stage's accuracy."""
    right = np.asarray(record["positions"]) == 1
    low, high = resampled(right)
    found: dict[str, Any] = {"low": low, "high": high}
    if before is not None:
        gain = right.astype(float) - (np.asarray(before["positions"]) == 1)
        low, high = resampled(gain)
        found |= {"gain": float(gain.mean()), "gain_low": low, "gain_high": high}
    if "two_stages_right" in record:
        low, high = resampled(record["two_stages_right"])
        found |= {"two_stages_low": low, "two_stages_high": high}
    return found


def _command(options: argparse.Namespace) -> str:
    data = "DATA" if options.data.is_absolute() else options.data.as_posix()
    words = ["python benchmarks/ablation.py --data", data, "--sets annoctr mdn --work WORK"]
    for name in OPTIONS:
        if (value := getattr(options, name)) != parser().get_default(name):
            words.append(f"--{name.replace('_', '-')} {value}")
    return " ".join(words)


if __name__ == "__main__":
    main()
