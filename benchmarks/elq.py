"""The one-pass linker on real data, against a detector of titles with a bi-encoder, alone and with a cross-encoder.

    OMP_NUM_THREADS=1 python benchmarks/elq.py --data DATA --sets questions wiki_ed

Each stage's model is kept in `--work`, and a run that is started again goes on after the last one. Writes
docs/results/elq.json and renders docs/results.md.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # a checkout that is not installed, started as a script
    sys.path.insert(0, str(ROOT))

from benchmarks.elq_data import DocumentSet  # noqa: E402
from benchmarks.elq_table import HEADER, cells  # noqa: E402
from benchmarks.result_files import RESULTS, about, render, write_json  # noqa: E402
from hf_blink.text_table import format_table  # noqa: E402

ALONE = 100  # documents that are linked one by one, for the speed of an answer
_LENGTHS = {"questions": 32}  # tokens of a text window; of other sets 128
_OPTIONS: tuple[tuple[str, Any, str], ...] = (
    ("entity-length", 64, "tokens of an entity text"),
    ("batch-size", 32, "mentions, or texts, of a step"),
    ("steps", 120, "steps of the bi-encoder"),
    ("elq-steps", 160, "steps of ELQ's in-batch stage, from the bi-encoder's towers"),
    ("hard-steps", 160, "steps of its stage with hard negatives"),
    ("cross-mentions", 300, "training mentions of the cross-encoder"),
    ("num-candidates", 16, "candidates of a mention, in training and in linking"),
    ("max-entities", 0, "only so many entities, for a quick try; 0 takes all"),
    ("max-documents", 0, "only so many held-out documents, for a quick try; 0 takes all"),
    ("seed", 13, "of the order of documents and of new weights"),
)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description="Measures the one-pass linker on real data.")
    made.add_argument("--data", type=Path, required=True, help="folder with one folder for each data set")
    made.add_argument("--sets", nargs="+", default=["questions", "wiki_ed"], help="data sets")
    made.add_argument("--work", type=Path, default=Path("runs/elq-benchmark"), help="folder of the models")
    made.add_argument("--base-model", default="", help="encoder to start from (default: the extra's MiniLM)")
    made.add_argument("--mention-length", type=int, default=0, help="tokens of a text window (0: 32 or 128)")
    made.add_argument("--results", type=Path, default=RESULTS, help="folder of elq.json")
    for name, default, text in _OPTIONS:
        made.add_argument(f"--{name}", type=int, default=default, help=f"{text} (default: {default})")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures every set and writes the results, beside those of other sets of earlier runs."""
    options = parser().parse_args(arguments)
    for name in options.sets:
        for file in ("entities.jsonl.gz", "documents.jsonl.gz"):
            if not (options.data / name / file).is_file():
                raise SystemExit(f"expected {file} in {options.data / name}, got no such file; check --data")
    for name in options.sets:
        result = {"about": about(_command(options))} | Bench(options, name).measured()
        print(f"\n{name}\n{format_table(HEADER, [cells(row) for row in result['rows']])}", flush=True)
        file = options.results / "elq.json"
        kept = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        write_json(file, kept | {name: result})
    print(f"\nwrote {os.path.relpath(file)} and {os.path.relpath(render(options.results))}")


def _command(options: argparse.Namespace) -> str:
    data = "DATA" if options.data.is_absolute() else options.data.as_posix()
    words = ["python benchmarks/elq.py --data", data, "--sets", *options.sets]
    for name, default, _ in _OPTIONS:
        value = getattr(options, name.replace("-", "_"))
        words += [f"--{name}", str(value)] if value != default else []
    return " ".join(words)


@dataclass
class Bench:
    """A run on one set.

    Args:
        options: the command line.
        name: the set.
    """

    options: argparse.Namespace
    name: str

    def __post_init__(self) -> None:
        from hf_blink.default_encoder import default_encoder
        from hf_blink.modeling.knowledge_base import KnowledgeBase

        self.documents = DocumentSet(self.options.data / self.name, self.options.seed)
        self.knowledge_base = self.documents.knowledge_base
        if self.options.max_entities:  # those of the documents first, so that every label is there
            used = {label for part in self._parts() for labels in part["label_ids"] for label in labels}
            rows = self.knowledge_base.find_rows(sorted(used)).tolist()
            rows = [*rows, *range(self.options.max_entities)][: max(self.options.max_entities, len(rows))]
            self.knowledge_base = KnowledgeBase.from_entities(self.knowledge_base.entities(sorted(set(rows))))
        self.base_model = self.options.base_model or default_encoder()
        length = self.options.mention_length or _LENGTHS.get(self.name, 128)
        self.lengths = {"mention_length": length, "entity_length": self.options.entity_length}

    def _parts(self) -> tuple[Any, Any, Any]:
        return self.documents.train, self.documents.dev, self.documents.validation

    def measured(self) -> dict[str, Any]:
        """Trains what is not there yet, and measures every system."""
        from hf_blink.training.joint_threshold import fit_joint_threshold

        bi_encoder, cross_encoder = self.bi_encoder(), self.cross_encoder()
        first, second, index = self.elq_models()
        rows = []
        for system, model, vectors, cross in (
            ("titles + bi-encoder", bi_encoder, None, None),
            ("titles + bi-encoder + cross-encoder", bi_encoder, None, cross_encoder),
            ("ELQ, in-batch", first, index, None),
            ("ELQ", second, index, None),
            ("ELQ + cross-encoder", second, index, cross_encoder),
        ):
            linker = self._linker(model, vectors, cross)
            if linker.finds_mentions:
                fit_joint_threshold(linker, self.documents.dev)
            else:
                linker.threshold = self._fitted_threshold(linker)
            rows.append(self._row(system, linker))
        return {
            "data": self._facts(rows[0]),
            "settings": self._settings(),
            "joint_threshold": second.config.joint_threshold,
            "rows": rows,
        }

    def _fitted_threshold(self, linker: Any) -> float:
        """The score under which a link of the two-stage linker is dropped, with the best F1 on the same documents."""
        from hf_blink.training.document_evaluation import gold_links
        from hf_blink.training.joint_threshold import best_cut
        from hf_blink.training.span_matching import SpanLink

        dev = self.documents.dev
        complete = dev.select([i for i, flag in enumerate(dev["complete"]) if flag is not False])
        found = linker.link(list(complete["text"]), threshold=0.0, top_k=1)
        flat = [(number, link) for number, links in enumerate(found) for link in links]
        scores = np.array([link.score for _, link in flat])
        owners = np.array([number for number, _ in flat], dtype=np.int64)
        spans = [SpanLink(link.mention.start, link.mention.end, [link.entity.entity_id]) for _, link in flat]
        gold = [
            [link for link in gold_links(row, self.knowledge_base) if link.entity_ids] for row in complete
        ]
        return max(0.0, best_cut(scores, owners, spans, gold, "weak").joint_threshold)

    def _settings(self) -> dict[str, Any]:
        values = {
            name.replace("-", "_"): getattr(self.options, name.replace("-", "_")) for name, *_ in _OPTIONS
        }
        return (
            values | self.lengths | {"base_model": Path(self.options.base_model).name or "all-MiniLM-L6-v2"}
        )

    def _facts(self, row: dict[str, Any]) -> dict[str, Any]:
        return {
            "documents": row["num_documents"],
            "mentions": row["num_mentions"],
            "nil": row["num_nil"],
            "entities": len(self.knowledge_base),
            "train_documents": len(self.documents.train),
        }

    def _row(self, system: str, linker: Any) -> dict[str, Any]:
        from hf_blink.training.document_evaluation import evaluate_documents

        documents = self.documents.validation
        if self.options.max_documents:
            documents = documents.select(range(min(self.options.max_documents, len(documents))))
        linker.link("warm up")
        metrics = evaluate_documents(linker, documents)
        texts = list(documents["text"])[:ALONE]
        started = time.perf_counter()
        for text in texts:
            linker.link(text, top_k=1)
        print(f"{self.name}: measured {system}", flush=True)
        return {"system": system, **metrics, "alone_per_second": len(texts) / (time.perf_counter() - started)}

    def _linker(self, model: Any, index: Any = None, cross_encoder: Any = None) -> Any:
        from hf_blink.modeling.entity_linker import EntityLinker

        processor = self._processor(model.config.model_type == "elq")
        settings = {"num_candidates": self.options.num_candidates, "cross_encoder": cross_encoder}
        index = index or self._index(model, processor)
        return EntityLinker(model, processor, index, self.knowledge_base, **settings)

    def _index(self, model: Any, processor: Any) -> Any:
        """The index of a model's vectors, made once."""
        from hf_blink.modeling.encoder_fingerprint import encoder_fingerprint
        from hf_blink.modeling.entity_index import EntityIndex

        prints = {
            "encoder_fingerprint": encoder_fingerprint(model, processor),
            "knowledge_base_fingerprint": self.knowledge_base.fingerprint,
        }
        folder = self._folder(f"index-{prints['encoder_fingerprint'][:16]}")
        if (folder / "index.json").is_file():
            return EntityIndex.from_pretrained(folder, **prints)
        index = EntityIndex.build(model, processor, self.knowledge_base, kind="flat")
        index.save_pretrained(folder)
        return index

    def _processor(self, one_pass: bool) -> Any:
        from hf_blink.modeling.processing_blink import BlinkProcessor
        from hf_blink.modeling.processing_elq import ElqProcessor

        return (ElqProcessor if one_pass else BlinkProcessor).from_base(self.base_model, **self.lengths)

    def _folder(self, stage: str) -> Path:
        return Path(self.options.work) / self.name / stage

    def _stage(self, stage: str, model_class: Any, make: Callable[[], Any]) -> Any:
        """The model of a stage, from the work folder if it is there."""
        folder = self._folder(stage)
        if not (folder / "config.json").is_file():
            started = time.perf_counter()
            model = make()
            model.save_pretrained(folder)
            print(f"{self.name}: trained {stage} in {time.perf_counter() - started:.0f} s", flush=True)
        return model_class.from_pretrained(folder)

    def bi_encoder(self) -> Any:
        """The bi-encoder of the two-stage linker, in-batch on the training documents' mentions."""
        from transformers import set_seed

        from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
        from hf_blink.training.collators import BiEncoderCollator
        from hf_blink.training.short_training import train_briefly
        from hf_blink.training.trainers import InBatchTrainer

        def make() -> Any:
            set_seed(self.options.seed)
            processor = self._processor(False)
            model = BlinkBiEncoder.from_encoder(self.base_model, vocab_size=len(processor.tokenizer))
            collator = BiEncoderCollator(processor, self.knowledge_base)
            mentions = self.documents.train_mentions
            return train_briefly(
                InBatchTrainer, model, collator, mentions, **self._training(self.options.steps)
            )

        return self._stage("bi_encoder", BlinkBiEncoder, make)

    def cross_encoder(self) -> Any:
        """A cross-encoder on the bi-encoder's candidates, started from its tower."""
        from hf_blink.modeling.modeling_blink_crossencoder import BlinkCrossEncoder
        from hf_blink.training.collators import CrossEncoderCollator
        from hf_blink.training.cross_encoder_trainer import CrossEncoderTrainer
        from hf_blink.training.hard_negatives import mine_candidates
        from hf_blink.training.short_training import train_briefly

        def make() -> Any:
            bi_encoder, processor = self.bi_encoder(), self._processor(False)
            mentions = self.documents.train_mentions
            mentions = mentions.select(range(min(self.options.cross_mentions, len(mentions))))
            mined = mine_candidates(
                self._linker(bi_encoder), mentions, num_candidates=self.options.num_candidates
            )
            model = BlinkCrossEncoder.from_bi_encoder(bi_encoder, pooling="product", retrieval_weight=1.0)
            collator = CrossEncoderCollator(processor, self.knowledge_base, bi_encoder.config.temperature)
            steps = -(-len(mined) // 4)
            options = {**self._training(steps), "per_device_train_batch_size": 4, "learning_rate": 5e-5}
            return train_briefly(CrossEncoderTrainer, model, collator, mined, **options)

        return self._stage("cross_encoder", BlinkCrossEncoder, make)

    def elq_models(self) -> tuple[Any, Any, Any]:
        """ELQ after each of its two stages, and the index of their entity vectors, which the second leaves as they are."""
        from transformers import set_seed

        from hf_blink.modeling.modeling_elq import ElqModel
        from hf_blink.training.documents import passages
        from hf_blink.training.elq_trainer import ElqTrainer
        from hf_blink.training.short_training import train_briefly
        from hf_blink.training.span_collator import ElqCollator

        processor = self._processor(True)
        collator = ElqCollator(processor, self.knowledge_base)

        def make(steps: int, model: Any = None, index: Any = None) -> Any:
            set_seed(self.options.seed)
            model = model or ElqModel.from_bi_encoder(self.bi_encoder())
            texts = passages(self.documents.train, processor)
            trainer = partial(ElqTrainer, index=index)
            return train_briefly(
                trainer, model, collator, texts, **self._training(steps), num_hard_negatives=10
            )

        first = self._stage("elq_in_batch", ElqModel, lambda: make(self.options.elq_steps))
        index = self._index(first, processor)
        copy = ElqModel.from_pretrained(self._folder("elq_in_batch"))
        second = self._stage("elq", ElqModel, lambda: make(self.options.hard_steps, copy, index))
        return first, second, index

    def _training(self, steps: int) -> dict[str, Any]:
        return {
            "max_steps": steps,
            "per_device_train_batch_size": self.options.batch_size,
            "learning_rate": 1e-4,
            "seed": self.options.seed,
            "use_cpu": True,
        }


if __name__ == "__main__":
    main()
