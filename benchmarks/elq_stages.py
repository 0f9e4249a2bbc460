"""The stages of benchmarks/elq.py; each one runs in a process of its own, which makes its peak memory its own.

A stage that trains leaves its linker or its model in `<work>/<set>/<stage>/`; a stage that measures a system fits its
threshold on documents that are kept out of training, and leaves a row. Either way `<stage>.json`, written last, says that
it is finished. Only `_row` reads the held-out documents.
"""

import os
import shutil
import time
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from benchmarks.elq_data import DocumentSet
from benchmarks.elq_settings import STAGES, SYSTEMS, Settings, System
from benchmarks.measuring import peak_memory_mb
from benchmarks.result_files import commit, today, write_json
from benchmarks.stages import settings_of
from hf_blink.modeling.knowledge_base import KnowledgeBase

_CROSS_BATCH = 4  # mentions, each with its candidates


class Run:
    """A set and where the stages' results are.

    Args:
        data: the set's folder.
        work: folder of the results.
        settings: all settings, of this set.
    """

    def __init__(self, data: Path, work: Path, settings: Settings):
        self.work = work
        self.settings = settings
        self.documents = DocumentSet(data, settings.seed)

    @cached_property
    def knowledge_base(self) -> KnowledgeBase:
        """All entities; or some of them, and those that a document names, so that every label is there."""
        whole, wanted = self.documents.knowledge_base, self.settings.max_entities
        if not wanted:
            return whole
        parts = (self.documents.train, self.documents.dev, self.documents.validation)
        used = {label for part in parts for labels in part["label_ids"] for label in labels}
        rows = [row for row in whole.find_rows(sorted(used)).tolist() if row >= 0]
        rows = list(dict.fromkeys([*rows, *range(len(whole))]))[: max(wanted, len(rows))]
        return KnowledgeBase.from_entities(whole.entities(sorted(rows)))

    @cached_property
    def base_model(self) -> str:
        """Folder or Hub name of the encoder to start from."""
        from hf_blink.default_encoder import default_encoder

        return self.settings.base_model or default_encoder()

    def processor(self, kind: Any) -> Any:
        """A processor of the windows."""
        lengths = {
            "mention_length": self.settings.mention_length,
            "entity_length": self.settings.entity_length,
        }
        return kind.from_base(self.base_model, **lengths)

    def dev(self) -> Dataset:
        """The documents that a threshold is fitted on: kept out of training, all their mentions annotated."""
        dev = self.documents.dev
        rows = [number for number, flag in enumerate(dev["complete"]) if flag is not False]
        return dev.select(rows[: self.settings.dev_documents])

    def held_out(self) -> Dataset:
        """The documents that are measured."""
        documents, wanted = self.documents.validation, self.settings.documents
        if not 0 < wanted < len(documents):
            return documents
        drawn = np.random.default_rng(self.settings.seed).permutation(len(documents))[:wanted]
        return documents.select(np.sort(drawn).tolist())

    def train(self, trainer_class: Any, model: Any, collator: Any, dataset: Dataset, **options: Any) -> Any:
        """The trained model, on the CPU and in evaluation mode."""
        from transformers import set_seed

        from hf_blink.training.short_training import train_briefly

        fixed = {
            "per_device_train_batch_size": self.settings.batch_size,
            "learning_rate": self.settings.lr,
            "seed": self.settings.seed,
            "use_cpu": True,
        }
        set_seed(self.settings.seed)
        return train_briefly(trainer_class, model, collator, dataset, **fixed | options)

    def linker(self, stage: str) -> Any:
        """The linker that a stage left."""
        from hf_blink.modeling.entity_linker import EntityLinker

        return EntityLinker.from_pretrained(str(self.work / stage))

    def save_linker(self, model: Any, processor: Any, stage: str) -> float:
        """A linker of all entities; returns the seconds that encoding them took."""
        from hf_blink.modeling.entity_linker import EntityLinker

        started = time.perf_counter()
        options = {
            "processor": processor,
            "index_kind": "flat",
            "num_candidates": self.settings.num_candidates,
        }
        linker = EntityLinker.from_knowledge_base(self.knowledge_base, model, **options)
        seconds = time.perf_counter() - started
        linker.save_pretrained(str(self.work / stage))
        return seconds


def run_stage(run: Run, stage: str) -> dict[str, Any]:
    """Runs a stage and writes its result: seconds, peak memory, the settings that it depends on, a row."""
    run.work.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(run.work / stage, ignore_errors=True)
    wall, cpu = time.perf_counter(), time.process_time()
    result = _TRAINING[stage](run) if stage in _TRAINING else _row(run, SYSTEMS[stage])
    result |= {
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "peak_memory_mb": peak_memory_mb(),
        "settings": settings_of(STAGES, stage, run.settings),
        "date": today(),
        "commit": commit(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }
    write_json(run.work / f"{stage}.json", result)
    return result


def _bi_encoder(run: Run) -> dict[str, Any]:
    """The bi-encoder of the two-stage linker, in-batch on the training documents' mentions."""
    from transformers import set_seed

    from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
    from hf_blink.modeling.processing_blink import BlinkProcessor
    from hf_blink.training.collators import BiEncoderCollator
    from hf_blink.training.trainers import InBatchTrainer

    processor = run.processor(BlinkProcessor)
    set_seed(run.settings.seed)
    model = BlinkBiEncoder.from_encoder(run.base_model, vocab_size=len(processor.tokenizer))
    collator, mentions = BiEncoderCollator(processor, run.knowledge_base), run.documents.train_mentions
    model = run.train(InBatchTrainer, model, collator, mentions, max_steps=run.settings.steps)
    return {
        "index_seconds": run.save_linker(model, processor, "bi_encoder"),
        "train_mentions": len(mentions),
    }


def _cross_encoder(run: Run) -> dict[str, Any]:
    """A cross-encoder on the bi-encoder's candidates, started from its tower."""
    from hf_blink.modeling.modeling_blink_crossencoder import BlinkCrossEncoder
    from hf_blink.training.collators import CrossEncoderCollator
    from hf_blink.training.cross_encoder_trainer import CrossEncoderTrainer
    from hf_blink.training.hard_negatives import mine_candidates

    settings, linker = run.settings, run.linker("bi_encoder")
    mentions = run.documents.train_mentions
    mentions = mentions.select(range(min(settings.cross_mentions, len(mentions))))
    mined = mine_candidates(linker, mentions, num_candidates=settings.num_candidates)
    model = BlinkCrossEncoder.from_bi_encoder(linker.bi_encoder, pooling="product", retrieval_weight=1.0)
    temperature = linker.bi_encoder.config.temperature
    collator = CrossEncoderCollator(linker.processor, linker.knowledge_base, temperature)
    options = {
        "max_steps": -(-len(mined) // _CROSS_BATCH),
        "per_device_train_batch_size": _CROSS_BATCH,
        "learning_rate": settings.cross_lr,
    }
    model = run.train(CrossEncoderTrainer, model, collator, mined, **options)
    model.save_pretrained(run.work / "cross_encoder")
    return {"train_mentions": len(mined), "gold_retrieved": float(np.mean(mined["gold_retrieved"]))}


def _elq(run: Run, model: Any, steps: int, index: Any = None) -> tuple[Any, Any]:
    """An ELQ model after one of its stages, and its processor."""
    from hf_blink.modeling.processing_elq import ElqProcessor
    from hf_blink.training.documents import passages
    from hf_blink.training.elq_trainer import ElqTrainer
    from hf_blink.training.span_collator import ElqCollator

    processor = run.processor(ElqProcessor)
    collator = ElqCollator(processor, run.knowledge_base)
    texts = passages(run.documents.train, processor)
    trainer = partial(ElqTrainer, index=index)
    negatives = run.settings.hard_negatives
    model = run.train(trainer, model, collator, texts, max_steps=steps, num_hard_negatives=negatives)
    return model, processor


def _elq_in_batch(run: Run) -> dict[str, Any]:
    """ELQ's first stage, from the bi-encoder's towers."""
    from hf_blink.modeling.modeling_elq import ElqModel

    start = ElqModel.from_bi_encoder(run.linker("bi_encoder").bi_encoder)
    model, processor = _elq(run, start, run.settings.elq_steps)
    seconds = run.save_linker(model, processor, "elq_in_batch")
    return {"index_seconds": seconds, "train_documents": len(run.documents.train)}


def _elq_hard(run: Run) -> dict[str, Any]:
    """Its second stage, which leaves the entities' vectors as they are."""
    linker = run.linker("elq_in_batch")
    linker.bi_encoder, _ = _elq(run, linker.bi_encoder, run.settings.hard_steps, linker.index)
    linker.save_pretrained(str(run.work / "elq"))
    return {}


def _row(run: Run, system: System) -> dict[str, Any]:
    """A system's figures on the held-out documents, with the threshold that is best on others."""
    from hf_blink.modeling.modeling_blink_crossencoder import BlinkCrossEncoder
    from hf_blink.training.document_evaluation import evaluate_documents
    from hf_blink.training.joint_threshold import fit_joint_threshold

    linker = run.linker(system.linker)
    linker.num_candidates = run.settings.num_candidates
    if system.cross_encoder:
        linker.cross_encoder = BlinkCrossEncoder.from_pretrained(run.work / "cross_encoder")
    dev = run.dev()
    if linker.finds_mentions:
        threshold = fit_joint_threshold(linker, dev).joint_threshold
    else:
        threshold = linker.threshold = _fitted_threshold(linker, dev)
    linker.link("warm up")
    documents, cpu = run.held_out(), time.process_time()
    metrics = evaluate_documents(linker, documents)
    metrics["documents_per_cpu_second"] = metrics["num_documents"] / (time.process_time() - cpu)
    texts = list(documents["text"])[: run.settings.alone]
    wall, cpu = time.perf_counter(), time.process_time()
    for text in texts:
        linker.link(text, top_k=1)
    metrics["alone_per_second"] = len(texts) / (time.perf_counter() - wall)
    metrics["alone_per_cpu_second"] = len(texts) / (time.process_time() - cpu)
    metrics["link_seconds"] = metrics.pop("seconds")
    facts = {"system": system.name, "threshold": threshold, "num_dev_documents": len(dev)}
    return {"row": facts | metrics}


def _fitted_threshold(linker: Any, dev: Dataset) -> float:
    """The score under which a link of the two-stage linker is dropped, with the best weak F1 on these documents."""
    from hf_blink.training.document_evaluation import gold_links
    from hf_blink.training.joint_threshold import best_cut
    from hf_blink.training.span_matching import SpanLink

    found = linker.link(list(dev["text"]), threshold=0.0, top_k=1)
    flat = [(number, link) for number, links in enumerate(found) for link in links]
    scores = np.array([link.score for _, link in flat])
    owners = np.array([number for number, _ in flat], dtype=np.int64)
    spans = [SpanLink(link.mention.start, link.mention.end, [link.entity.entity_id]) for _, link in flat]
    gold = [[link for link in gold_links(row, linker.knowledge_base) if link.entity_ids] for row in dev]
    return max(0.0, best_cut(scores, owners, spans, gold, "weak").joint_threshold)


_TRAINING: dict[str, Callable[[Run], dict[str, Any]]] = {
    "bi_encoder": _bi_encoder,
    "cross_encoder": _cross_encoder,
    "elq_in_batch": _elq_in_batch,
    "elq": _elq_hard,
}
