"""The stages of benchmarks/real_data.py; each one runs in a process of its own, which makes its peak memory its own.

A stage leaves `<work>/<set>/<stage>.json` when it is finished, written whole or not at all. A stage that trains first
leaves its model (`<stage>/`) and `<stage>.training.json`, so that an interruption of its evaluation costs no training.
Only the training split is trained on and mined; only `measured_row` reads the validation split.
"""

import json
import os
import shutil
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from datasets import Dataset

from benchmarks.baselines import Bm25Ranking
from benchmarks.measuring import RecordedRanking, TwoStageRanking, measured_row, peak_memory_mb
from benchmarks.real_data_run import Run
from benchmarks.real_data_settings import settings_of
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
    bi_encoder, processor = _new_bi_encoder(run)
    linker, seconds = _linker(run.validation_pool(), bi_encoder, processor, run.settings.num_candidates)
    row, _ = measured_row(SYSTEMS["untuned"], RecordedRanking(linker), run.validation)
    return {"row": row, "index_seconds": seconds}


def _new_bi_encoder(run: Run) -> tuple[Any, Any]:
    from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
    from hf_blink.modeling.processing_blink import BlinkProcessor

    lengths = {"mention_length": run.settings.mention_length, "entity_length": run.settings.entity_length}
    processor = BlinkProcessor.from_base(run.base_model(), **lengths)
    return BlinkBiEncoder.from_encoder(run.base_model(), vocab_size=len(processor.tokenizer)), processor


def _linker(
    knowledge_base: KnowledgeBase, bi_encoder: Any, processor: Any, num_candidates: int
) -> tuple[Any, float]:
    """A linker over a knowledge base, and the seconds that encoding and indexing it took."""
    from hf_blink.modeling.entity_linker import EntityLinker

    started = time.perf_counter()
    options = {"processor": processor, "index_kind": "flat", "num_candidates": num_candidates}
    linker = EntityLinker.from_knowledge_base(knowledge_base, bi_encoder, **options)
    return linker, time.perf_counter() - started


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


def _train_in_batch(run: Run, stage: str) -> dict[str, Any]:
    from hf_blink.training.trainers import InBatchTrainer

    dataset, _ = run.training_parts()
    model, processor = _new_bi_encoder(run)
    settings = run.settings
    return _fit_bi_encoder(
        run, stage, InBatchTrainer, (model, processor), dataset, (settings.steps, settings.lr)
    )


def _train_hard_negatives(run: Run, stage: str) -> dict[str, Any]:
    from hf_blink.modeling.entity_linker import EntityLinker
    from hf_blink.training.hard_negatives import mine_hard_negatives
    from hf_blink.training.trainers import HardNegativeTrainer

    settings = run.settings
    dataset, _ = run.training_parts()
    order = np.random.default_rng(settings.seed + 2).permutation(len(dataset))
    used = order[
        : settings.hard_negative_steps * settings.batch_size
    ]  # the others would be mined for nothing
    linker = EntityLinker.from_pretrained(str(run.work / "in_batch"))
    started = time.perf_counter()
    dataset = mine_hard_negatives(
        linker, dataset.select(used.tolist()), num_negatives=settings.mined_negatives
    )
    mining = {"mining_seconds": time.perf_counter() - started}
    parts, length = (
        (linker.bi_encoder, linker.processor),
        (settings.hard_negative_steps, settings.hard_negative_lr),
    )
    return mining | _fit_bi_encoder(run, stage, HardNegativeTrainer, parts, dataset, length)


def _fit_bi_encoder(
    run: Run,
    stage: str,
    trainer_class: Any,
    parts: tuple[Any, Any],
    dataset: Dataset,
    length: tuple[int, float],
) -> dict[str, Any]:
    """Trains and saves a linker; parts = (bi-encoder, processor), length = (steps, learning rate)."""
    from hf_blink.training.collators import BiEncoderCollator

    steps, learning_rate = length
    arguments = {
        "per_device_train_batch_size": run.settings.batch_size,
        "max_steps": steps,
        "learning_rate": learning_rate,
        "num_hard_negatives": run.settings.num_hard_negatives,
    }
    collator = BiEncoderCollator(parts[1], run.knowledge_base)
    model, record = _fit(run, stage, trainer_class, parts[0], collator, dataset, arguments)
    linker, record["index_seconds"] = _linker(
        run.knowledge_base, model, parts[1], run.settings.num_candidates
    )
    linker.save_pretrained(str(run.work / stage))
    return record


def _fit(
    run: Run,
    stage: str,
    trainer_class: Any,
    model: Any,
    collator: Any,
    dataset: Dataset,
    arguments: dict[str, Any],
) -> tuple[Any, dict[str, Any]]:
    """The trained model, and how long it took on how much."""
    from transformers import set_seed

    from hf_blink.training.arguments import BlinkTrainingArguments

    set_seed(run.settings.seed)
    folder = run.work / f"{stage}.trainer"
    options = {"save_strategy": "no", "logging_steps": 25, "seed": run.settings.seed, **arguments}
    trainer = trainer_class(model, BlinkTrainingArguments(str(folder), **options), collator, dataset)
    started = time.perf_counter()
    result = trainer.train()
    record = {
        "train_seconds": time.perf_counter() - started,
        "train_loss": result.training_loss,
        "train_mentions": len(dataset),
        "train_steps": result.global_step,
    }
    shutil.rmtree(folder, ignore_errors=True)
    return trainer.accelerator.unwrap_model(trainer.model), record


def _train_cross_encoder(run: Run, stage: str) -> dict[str, Any]:
    """Trains a cross-encoder on what the bi-encoder retrieves, then fits how much each of the two counts."""
    from hf_blink.modeling.entity_linker import EntityLinker
    from hf_blink.training.collators import CrossEncoderCollator
    from hf_blink.training.cross_encoder_trainer import CrossEncoderTrainer
    from hf_blink.training.hard_negatives import mine_candidates
    from hf_blink.training.score_weights import kept_apart, weigh_scores

    settings = run.settings
    linker = EntityLinker.from_pretrained(str(run.work / "hard_negatives"))
    started = time.perf_counter()
    mined = mine_candidates(linker, run.training_parts()[1], num_candidates=settings.num_candidates)
    seconds = time.perf_counter() - started
    model = _new_cross_encoder(run, linker, mined)
    weight = model.config.retrieval_weight
    train, apart = kept_apart(mined, settings.weighing_share, settings.seed)
    collator = CrossEncoderCollator(
        linker.processor, run.knowledge_base, linker.bi_encoder.config.temperature
    )
    arguments = {
        "per_device_train_batch_size": settings.cross_encoder_batch_size,
        "learning_rate": settings.cross_encoder_lr,
        "num_train_epochs": settings.cross_encoder_epochs,
    }
    linker.cross_encoder, record = _fit(run, stage, CrossEncoderTrainer, model, collator, train, arguments)
    started = time.perf_counter()
    weights = weigh_scores(linker.cross_encoder, apart, collator)._asdict() if len(apart) else None
    record["train_seconds"] += time.perf_counter() - started
    linker.save_pretrained(str(run.work / stage))
    return record | {
        "mining_seconds": seconds,
        "gold_retrieved": float(np.mean(mined["gold_retrieved"])),
        "first_retrieval_weight": weight,
        "weighing_mentions": len(apart),
        "weights": weights,
    }


def _new_cross_encoder(run: Run, linker: Any, mined: Dataset) -> Any:
    from transformers import set_seed

    from hf_blink.modeling.modeling_blink_crossencoder import BlinkCrossEncoder
    from hf_blink.training.score_weights import fit_retrieval_weight

    settings = run.settings
    fitted = settings.retrieval_weight < 0
    weight = (
        fit_retrieval_weight(mined, linker.bi_encoder.config.temperature)
        if fitted
        else settings.retrieval_weight
    )
    set_seed(settings.seed)
    options = {"pooling": settings.cross_encoder_pooling, "retrieval_weight": weight}
    if settings.cross_encoder_pooling == "product":
        return BlinkCrossEncoder.from_bi_encoder(linker.bi_encoder, **options)
    vocab_size = len(linker.processor.tokenizer)
    return BlinkCrossEncoder.from_encoder(run.base_model(), vocab_size=vocab_size, **options)


def _cross_encoder(run: Run) -> dict[str, Any]:
    return _trained(run, "cross_encoder", _train_cross_encoder)


def _evaluate(run: Run) -> dict[str, Any]:
    """The two-stage row, and the sample that is reranked deeper, beside the other systems on the same sample."""
    from hf_blink.modeling.entity_linker import EntityLinker

    settings = run.settings
    linker = EntityLinker.from_pretrained(str(run.work / "cross_encoder"))
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
    "in_batch": _bi_encoder_stage("in_batch", _train_in_batch),
    "hard_negatives": _bi_encoder_stage("hard_negatives", _train_hard_negatives),
    "cross_encoder": _cross_encoder,
    "evaluate": _evaluate,
}
