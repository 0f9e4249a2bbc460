"""What training without labels brings: the untuned encoder against `adapt`, on held-out mentions of real data.

    OMP_NUM_THREADS=1 python benchmarks/adapt.py --data DATA --sets annoctr mdn

Adapting sees the catalogue and the texts of the training documents, but no label. The held-out mentions
are the rows of benchmarks/real_data.py. Writes docs/results/adapt.json and renders docs/results.md.
"""

import argparse
import gzip
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # a checkout that is not installed, started as a script
    sys.path.insert(0, str(ROOT))

from benchmarks.adapt_table import HEADER, cells  # noqa: E402
from benchmarks.intervals import resampled  # noqa: E402
from benchmarks.measuring import RecordedRanking, measured_row  # noqa: E402
from benchmarks.real_data_run import Run  # noqa: E402
from benchmarks.real_data_settings import Settings  # noqa: E402
from benchmarks.result_files import RESULTS, about, render, write_json  # noqa: E402
from hf_blink.training.text_table import format_table  # noqa: E402

ROWS = ("untuned", "adapted, descriptions", "adapted, descriptions and texts")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description="Measures training without labels on real data.")
    made.add_argument("--data", type=Path, required=True, help="folder with one folder for each data set")
    made.add_argument("--sets", nargs="+", default=["annoctr", "mdn"], help="data sets")
    made.add_argument("--steps", type=int, default=None, help="training steps (default: those of adapt)")
    made.add_argument("--window", type=int, default=64, help="tokens of a mention window and an entity text")
    made.add_argument("--base-model", default="", help="encoder to start from (default: the extra's MiniLM)")
    made.add_argument("--results", type=Path, default=RESULTS, help="folder of adapt.json")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures every set and writes the results, beside those of other sets of earlier runs."""
    options = parser().parse_args(arguments)
    for name in options.sets:
        for file in ("entities.jsonl.gz", "mentions_val.jsonl.gz", "documents.jsonl.gz"):
            if not (options.data / name / file).is_file():
                raise SystemExit(f"expected {file} in {options.data / name}, got no such file; check --data")
    for name in options.sets:
        result = {"about": about(_command(options))} | measured(options, name)
        print(f"\n{name}\n{format_table(HEADER, [cells(row) for row in result['rows']])}", flush=True)
        file = options.results / "adapt.json"
        kept = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        write_json(file, kept | {name: result})
    print(f"\nwrote {os.path.relpath(file)} and {os.path.relpath(render(options.results))}")


def _command(options: argparse.Namespace) -> str:
    data = "DATA" if options.data.is_absolute() else options.data.as_posix()
    words = ["python benchmarks/adapt.py --data", data, "--sets", *options.sets]
    words += ["--steps", str(options.steps)] if options.steps else []
    words += ["--window", str(options.window)] if options.window != 64 else []
    return " ".join(words)


def measured(options: argparse.Namespace, name: str) -> dict[str, Any]:
    """The rows of a data set, and what they were measured with."""
    from hf_blink.training.adaptation import AdaptationSettings

    lengths = {"mention_length": options.window, "entity_length": options.window}
    run = Run(options.data / name, Path(), Settings(base_model=options.base_model, **lengths))
    settings = AdaptationSettings(**({"steps": options.steps} if options.steps else {}))
    pool = run.validation_pool()
    rows: list[dict[str, Any]] = []
    untuned = None
    for system in ROWS:
        model, processor = _new_encoder(run)
        texts = training_texts(run.data / "documents.jsonl.gz") if system == ROWS[2] else None
        costs = {} if system == ROWS[0] else _adapted(run, (model, processor), texts, settings)
        row, positions = _evaluated(system, run, (model, processor), pool)
        untuned = positions if untuned is None else untuned
        rows.append(row | costs | _gain(untuned, positions))
    worlds = sorted(rows[0].get("worlds", {}))
    data = {
        "catalogue": len(run.knowledge_base),
        "entities": len(pool),
        "mentions": len(run.validation),
        "worlds": ", ".join(worlds),
    }
    used = asdict(settings) | lengths | {"base_model": Path(options.base_model).name or "all-MiniLM-L6-v2"}
    return {"data": data, "settings": used, "rows": rows}


def _new_encoder(run: Run) -> tuple[Any, Any]:
    from transformers import set_seed

    from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
    from hf_blink.modeling.processing_blink import BlinkProcessor

    lengths = {"mention_length": run.settings.mention_length, "entity_length": run.settings.entity_length}
    processor = BlinkProcessor.from_base(run.base_model(), **lengths)
    set_seed(run.settings.seed)
    return BlinkBiEncoder.from_encoder(run.base_model(), vocab_size=len(processor.tokenizer)), processor


def training_texts(file: Path) -> Iterator[dict[str, Any]]:
    """Texts of the split "train" alone, with their worlds, without their mentions."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            document = json.loads(line)
            if document["split"] == "train":
                yield {name: document.get(name) for name in ("text", "world", "doc_id")}


def _adapted(run: Run, parts: tuple[Any, Any], texts: Any, settings: Any) -> dict[str, Any]:
    """Adapts the encoder in place; what it cost."""
    from hf_blink.training.adaptation import adapt

    _, done = adapt(*parts, run.knowledge_base, texts, settings=settings, use_cpu=True)
    return asdict(done)


def _evaluated(system: str, run: Run, parts: tuple[Any, Any], pool: Any) -> tuple[dict[str, Any], Any]:
    from hf_blink.modeling.entity_linker import EntityLinker

    started = time.perf_counter()
    linker = EntityLinker.from_knowledge_base(pool, parts[0], processor=parts[1], index_kind="flat")
    seconds = time.perf_counter() - started
    row, positions = measured_row(system, RecordedRanking(linker), run.validation)
    return row | {"index_seconds": seconds}, positions


def _gain(before: Any, after: Any) -> dict[str, float]:
    """The gain of R@1 over the untuned encoder and its 95 % interval, by resampling the mentions."""
    difference = (np.asarray(after) == 1).astype(float) - (np.asarray(before) == 1)
    low, high = resampled(difference)
    return {"gain": float(difference.mean()), "gain_low": low, "gain_high": high}


if __name__ == "__main__":
    main()
