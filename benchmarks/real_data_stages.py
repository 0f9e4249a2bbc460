"""The stages of benchmarks/real_data.py; each one runs in a process of its own, which makes its peak memory its own.

A stage leaves `<work>/<set>/<stage>.json` when it is finished, written whole or not at all. A stage that trains first
leaves its model (`<stage>/`) and `<stage>.training.json`, so that an interruption of its evaluation costs no training.
Only the training split is trained on and mined; only `measured_row` reads the validation split.
"""

import json
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.baselines import Bm25Ranking
from benchmarks.measuring import RecordedRanking, TwoStageRanking, measured_row, peak_memory_mb
from benchmarks.real_data_run import Run
from benchmarks.real_data_settings import settings_of
from benchmarks.real_data_training import (
    fit_weights,
    indexed_linker,
    new_bi_encoder,
    train_cross_encoder,
    train_hard_negatives,
    train_in_batch,
)
from benchmarks.result_files import commit, today, write_json
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training.name_ranking import ExactNameRanking
from hf_blink.training.ranking_metrics import recall_at

SYSTEMS = {
    "bm25": "BM25",
    "exact": "exact title/alias",
    "untuned": "untuned encoder",
    "in_batch": "in-batch",
    "hard_negatives": "+ hard negatives",
    "evaluate": "+ cross-encoder",
}


def run_stage(run: Run, stage: str) -> dict[str, Any]:
    """Runs a stage and writes its result.

    Returns:
        The result: `row` where the stage measures a system, seconds, peak memory, the settings that it depends on.
    """
    run.work.mkdir(parents=True, exist_ok=True)
    result = _STAGES[stage](run)
    result |= {
        "settings": settings_of(stage, run.settings),
        "date": today(),
        "commit": commit(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "peak_memory_mb": max(peak_memory_mb(), result.get("peak_memory_mb", 0.0)),
    }
    write_json(run.work / f"{stage}.json", result)
    return result


def _baseline(stage: str, ranking: Callable[[KnowledgeBase], Any]) -> Callable[[Run], dict[str, Any]]:
    def measure(run: Run) -> dict[str, Any]:
        started = time.perf_counter()
        linker = ranking(run.knowledge_base)
        seconds = time.perf_counter() - started
        row, _ = measured_row(SYSTEMS[stage], RecordedRanking(linker), run.validation)
        return {"row": row, "index_seconds": seconds}

    return measure


def _untuned(run: Run) -> dict[str, Any]:
    bi_encoder, processor = new_bi_encoder(run)
    linker, seconds = indexed_linker(
        run.validation_pool(), bi_encoder, processor, run.settings.num_candidates
    )
    row, _ = measured_row(SYSTEMS["untuned"], RecordedRanking(linker), run.validation)
    return {"row": row, "index_seconds": seconds}


def _trained(run: Run, stage: str, train: Callable[[Run, str], dict[str, Any]]) -> dict[str, Any]:
    """The record of a stage's training, which is not repeated when it is there with the same settings."""
    marker = run.work / f"{stage}.training.json"
    settings = settings_of(stage, run.settings)
    if marker.is_file():
        record: dict[str, Any] = json.loads(marker.read_text(encoding="utf-8"))
        if record["settings"] == settings:
            return record
        marker.unlink()
    record = train(run, stage) | {"settings": settings, "peak_memory_mb": peak_memory_mb()}
    write_json(marker, record)
    return record


def _bi_encoder_stage(
    stage: str, train: Callable[[Run, str], dict[str, Any]]
) -> Callable[[Run], dict[str, Any]]:
    def train_and_measure(run: Run) -> dict[str, Any]:
        from hf_blink.modeling.entity_linker import EntityLinker

        record = _trained(run, stage, train)
        linker = EntityLinker.from_pretrained(str(run.work / stage))
        row, _ = measured_row(SYSTEMS[stage], RecordedRanking(linker), run.validation)
        return record | {"row": row}

    return train_and_measure


def _cross_encoder(run: Run) -> dict[str, Any]:
    return _trained(run, "cross_encoder", train_cross_encoder)


def _evaluate(run: Run) -> dict[str, Any]:
    """The two-stage row, and the sample that is reranked deeper, beside the other systems on the same sample."""
    from hf_blink.modeling.entity_linker import EntityLinker

    settings = run.settings
    linker = EntityLinker.from_pretrained(str(run.work / "weights"))
    row, positions = measured_row(
        SYSTEMS["evaluate"],
        TwoStageRanking(linker, settings.num_candidates),
        run.validation,
        settings.num_candidates,
    )
    drawn = np.random.default_rng(settings.seed).permutation(len(run.validation))[: settings.sample_mentions]
    chosen = np.sort(drawn)
    sample = run.validation.select(chosen.tolist())
    depth = settings.sample_candidates
    sample_row, _ = measured_row(f"top {depth}, sample", TwoStageRanking(linker, depth), sample, depth)
    bi_encoder_row, _ = measured_row("bi-encoder, sample", RecordedRanking(linker), sample)
    sample_row[f"recall@1_reranking_{settings.num_candidates}"] = recall_at(positions[chosen], 1)
    sample_row["recall@1_bi_encoder"] = bi_encoder_row["recall@1"]
    return {"row": row, f"top{depth}_sample": sample_row}


_STAGES: dict[str, Callable[[Run], dict[str, Any]]] = {
    "bm25": _baseline("bm25", Bm25Ranking),
    "exact": _baseline("exact", ExactNameRanking),
    "untuned": _untuned,
    "in_batch": _bi_encoder_stage("in_batch", train_in_batch),
    "hard_negatives": _bi_encoder_stage("hard_negatives", train_hard_negatives),
    "cross_encoder": _cross_encoder,
    "weights": fit_weights,
    "evaluate": _evaluate,
}
