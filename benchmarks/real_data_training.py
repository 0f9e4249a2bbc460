"""How the models of benchmarks/real_data.py are trained: each function leaves a linker in `<work>/<stage>/` and its record.

Only the training split is trained on and mined.
"""

import shutil
import time
from typing import Any

import numpy as np
from datasets import Dataset

from benchmarks.real_data_run import Run, kept_apart
from hf_blink.modeling.knowledge_base import KnowledgeBase


def new_bi_encoder(run: Run) -> tuple[Any, Any]:
    from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
    from hf_blink.modeling.processing_blink import BlinkProcessor

    lengths = {"mention_length": run.settings.mention_length, "entity_length": run.settings.entity_length}
    processor = BlinkProcessor.from_base(run.base_model(), **lengths)
    return BlinkBiEncoder.from_encoder(run.base_model(), vocab_size=len(processor.tokenizer)), processor


def indexed_linker(
    knowledge_base: KnowledgeBase, bi_encoder: Any, processor: Any, num_candidates: int
) -> tuple[Any, float]:
    """A linker over a knowledge base, and the seconds that encoding and indexing it took."""
    from hf_blink.modeling.entity_linker import EntityLinker

    started = time.perf_counter()
    options = {"processor": processor, "index_kind": "flat", "num_candidates": num_candidates}
    linker = EntityLinker.from_knowledge_base(knowledge_base, bi_encoder, **options)
    return linker, time.perf_counter() - started


def train_in_batch(run: Run, stage: str) -> dict[str, Any]:
    from hf_blink.training.trainers import InBatchTrainer

    dataset, _ = run.training_parts()
    model, processor = new_bi_encoder(run)
    settings = run.settings
    return _fit_bi_encoder(
        run, stage, InBatchTrainer, (model, processor), dataset, (settings.steps, settings.lr)
    )


def train_hard_negatives(run: Run, stage: str) -> dict[str, Any]:
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
    linker, record["index_seconds"] = indexed_linker(
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


def train_cross_encoder(run: Run, stage: str) -> dict[str, Any]:
    """Trains a cross-encoder on what the bi-encoder retrieves, but for the mentions on which the weights are fitted."""
    from hf_blink.modeling.entity_linker import EntityLinker
    from hf_blink.training.collators import CrossEncoderCollator
    from hf_blink.training.cross_encoder_trainer import CrossEncoderTrainer

    settings = run.settings
    linker = EntityLinker.from_pretrained(str(run.work / "hard_negatives"))
    started = time.perf_counter()
    train, apart = mined_parts(run, linker)
    seconds = time.perf_counter() - started
    model = _new_cross_encoder(run, linker, apart)
    first = model.config.retrieval_weight
    temperature = linker.bi_encoder.config.temperature
    collator = CrossEncoderCollator(linker.processor, run.knowledge_base, temperature)
    arguments = {
        "per_device_train_batch_size": settings.cross_encoder_batch_size,
        "learning_rate": settings.cross_encoder_lr,
        "num_train_epochs": settings.cross_encoder_epochs,
    }
    linker.cross_encoder, record = _fit(run, stage, CrossEncoderTrainer, model, collator, train, arguments)
    linker.save_pretrained(str(run.work / stage))
    retrieved = float(np.mean([*train["gold_retrieved"], *apart["gold_retrieved"]]))
    return record | {"mining_seconds": seconds, "gold_retrieved": retrieved, "first_retrieval_weight": first}


def fit_weights(run: Run) -> dict[str, Any]:
    """Fits the weights of both stages' scores on mentions that neither stage was trained on."""
    from hf_blink.modeling.entity_linker import EntityLinker
    from hf_blink.training.collators import CrossEncoderCollator
    from hf_blink.training.score_weights import weigh_scores

    linker = EntityLinker.from_pretrained(str(run.work / "cross_encoder"))
    started = time.perf_counter()
    _, apart = mined_parts(run, linker)
    collator = CrossEncoderCollator(
        linker.processor, run.knowledge_base, linker.bi_encoder.config.temperature
    )
    weights = weigh_scores(linker.cross_encoder, apart, collator)
    seconds = time.perf_counter() - started
    linker.save_pretrained(str(run.work / "weights"))
    found = None if weights is None else weights._asdict()
    return {"train_seconds": seconds, "mentions": len(apart), "weights": found}


def mined_parts(run: Run, linker: Any) -> tuple[Dataset, Dataset]:
    """The cross-encoder's mentions with candidates: those to train on, and those to fit weights on."""
    from hf_blink.training.hard_negatives import mine_candidates

    settings = run.settings
    mined = mine_candidates(linker, run.training_parts()[1], num_candidates=settings.num_candidates)
    return kept_apart(mined, settings.weighing_share, settings.seed)


def _new_cross_encoder(run: Run, linker: Any, apart: Dataset) -> Any:
    from transformers import set_seed

    from hf_blink.modeling.modeling_blink_crossencoder import BlinkCrossEncoder
    from hf_blink.training.score_weights import fit_retrieval_weight

    settings = run.settings
    fitted = settings.retrieval_weight < 0
    weight = (
        fit_retrieval_weight(apart, linker.bi_encoder.config.temperature)
        if fitted
        else settings.retrieval_weight
    )
    set_seed(settings.seed)
    options = {"pooling": settings.cross_encoder_pooling, "retrieval_weight": weight}
    if settings.cross_encoder_pooling == "product":
        return BlinkCrossEncoder.from_bi_encoder(linker.bi_encoder, **options)
    vocab_size = len(linker.processor.tokenizer)
    return BlinkCrossEncoder.from_encoder(run.base_model(), vocab_size=vocab_size, **options)
