"""Documents of a data set for the one-pass linker: what is trained on, what the threshold is fitted on, what is measured.

Sets are folders in the format of the shared data: `entities.jsonl.gz` and `documents.jsonl.gz` with a split and a source for
each document. The documents of the split "val" are measured alone; precision means something only where all mentions of
entities of the catalogue are annotated, so `MEASURED_SOURCES` leaves other sources out.
"""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training.document_formats import common_document
from hf_blink.training.documents import documents_dataset, mentions_of

# Of the other sets' sources all; None takes every source.
MEASURED_SOURCES: dict[str, tuple[str, ...]] = {"wiki_ed": ("Reuters-128", "oke_2016")}
DEV_SOURCES: dict[str, tuple[str, ...]] = {"wiki_ed": ("oke_2015",)}
_ONE_MENTION = ("shadowlinks",)  # sources, by their beginning, that annotate one mention of a text
_DEV_SHARE = 0.1


@dataclass(frozen=True)
class DocumentSet:
    """A data set's documents.

    Args:
        folder: of the set.
        seed: of the part that the threshold is fitted on, and of the order.
    """

    folder: Path
    seed: int

    @cached_property
    def knowledge_base(self) -> KnowledgeBase:
        """All entities."""
        return KnowledgeBase.from_jsonl(self.folder / "entities.jsonl.gz")

    @cached_property
    def _documents(self) -> list[tuple[str, str | None, dict[str, Any]]]:
        return list(_read(self.folder / "documents.jsonl.gz"))

    @cached_property
    def _training(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        sources = DEV_SOURCES.get(self.folder.name)
        training = [(source, row) for split, source, row in self._documents if split == "train"]
        order = np.random.default_rng(self.seed).permutation(len(training)).tolist()
        if sources is None:
            size = int(len(training) * _DEV_SHARE)
            dev, train = order[:size], order[size:]
        else:
            dev = [number for number in order if training[number][0] in sources]
            train = [number for number in order if training[number][0] not in sources]
        return [training[number][1] for number in train], [training[number][1] for number in dev]

    @property
    def train(self) -> Dataset:
        """Documents to train on, in a seeded random order."""
        return documents_dataset(self._training[0])

    @property
    def dev(self) -> Dataset:
        """Training documents that are kept for the threshold."""
        return documents_dataset(self._training[1])

    @property
    def train_mentions(self) -> Dataset:
        """The labelled mentions of the training documents, for the two-stage linker."""
        return Dataset.from_list([mention for mention in mentions_of(self.train) if mention["label_ids"]])

    @property
    def validation(self) -> Dataset:
        """The documents to measure on."""
        sources = MEASURED_SOURCES.get(self.folder.name)
        return documents_dataset(
            row
            for split, source, row in self._documents
            if split == "val" and (sources is None or source in sources)
        )


def _read(file: Path) -> Iterator[tuple[str, str | None, dict[str, Any]]]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            record = json.loads(line)
            inside = [
                span for span in record["mentions"] if 0 <= span["start"] < span["end"] <= len(record["text"])
            ]
            record["mentions"] = inside  # a few spans of wned-wiki reach out of their texts
            if (record.get("source") or "").startswith(_ONE_MENTION):
                record["complete"] = False
            yield record["split"], record.get("source"), common_document(record, str(number))
