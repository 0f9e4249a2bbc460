"""The documents of a recipe for a one-pass linker: which files, in which form, everything read and checked at once."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from datasets import Dataset

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training.data_arguments import read_entities
from hf_blink.training.document_readers import DOCUMENT_FORMS, read_documents
from hf_blink.training.documents import passages
from hf_blink.training.mention_references import check_references
from hf_blink.training.process_shares import failing_together, process_place
from hf_blink.training.recipe_paths import check_dev_apart, check_paths
from hf_blink.training.shared_linker import check_same_work

logger = logging.getLogger(__name__)


class DocumentData(NamedTuple):
    """What a recipe's files hold.

    Attributes:
        knowledge_base: The entities.
        train: Passages of the training documents that fit a window.
        dev: Documents to fit the threshold on; None fits none.
        evaluation: Documents to measure on; None measures nothing.
    """

    knowledge_base: KnowledgeBase
    train: Dataset
    dev: Dataset | None
    evaluation: Dataset | None


@dataclass
class DocumentArguments:
    """Where the documents are.

    Args:
        entities: jsonl files of entities, or one saved knowledge base folder.
        train: files of documents with their mentions.
        dev: files of documents that the joint threshold is fitted on, none of them in `train`; empty fits none.
        evaluation: files of documents to measure on at the end, none of them in `dev`; empty measures nothing.
        form: of the document files, see document_readers.
        train_split, dev_split, evaluation_split: of files in the common form, the lines with this "split"; two splits of
            one file are two files.
        label_field: which of the form's ids are the entities'; None takes its usual one, of elq the catalogue's lines.
        id_format: how the entities write the ids, {} standing for the label.
        max_train_documents: a random part (by `seed`) of so many; 0 takes all.
        keep_empty: train also on passages without mentions.

    Raises:
        ValueError: files are missing in the recipe, a file of `dev` is in `train` or `evaluation`, or a negative number.
    """

    entities: list[str] = field(
        default_factory=list, metadata={"help": "jsonl files, or a saved knowledge base."}
    )
    train: list[str] = field(default_factory=list, metadata={"help": "Files of documents."})
    dev: list[str] = field(default_factory=list, metadata={"help": "Documents to fit the threshold on."})
    evaluation: list[str] = field(
        default_factory=list, metadata={"help": "Documents to measure on at the end."}
    )
    form: str = field(
        default="common", metadata={"help": "Form of the document files.", "choices": list(DOCUMENT_FORMS)}
    )
    train_split: str | None = field(default=None, metadata={"help": 'Take lines with this "split" alone.'})
    dev_split: str | None = field(default=None, metadata={"help": "The same for dev."})
    evaluation_split: str | None = field(default=None, metadata={"help": "The same for evaluation."})
    label_field: str | None = field(default=None, metadata={"help": "Which of the form's ids are taken."})
    id_format: str = field(default="{}", metadata={"help": "How the entities write the ids."})
    max_train_documents: int = field(
        default=0, metadata={"help": "Random part of the training documents; 0 takes all."}
    )
    keep_empty: bool = field(default=True, metadata={"help": "Train on passages without mentions too."})

    def __post_init__(self) -> None:
        for name in ("entities", "train"):
            if not getattr(self, name):
                raise ValueError(f"expected entities and train, got no {name}; name the files in the recipe")
        if self.max_train_documents < 0:
            raise ValueError(
                f"expected max_train_documents of at least 0 (0 takes all), got {self.max_train_documents}"
            )
        check_dev_apart(self, "which the threshold is fitted on", "documents")

    def load(self, processor: Any, seed: int) -> DocumentData:
        """Reads everything, and checks every gold entity and world against the knowledge base; collective.

        Documents that are measured on and trained on alike are warned of.

        Args:
            processor: an [`ElqProcessor`], for the length of passages.
            seed: of the random part of the training documents.

        Raises:
            FileNotFoundError: a file is not there.
            ValueError: bad files, documents that do not fit the knowledge base, `dev` or `evaluation` without complete
                documents, or processes with different data.
        """
        with failing_together("reading the data"):
            data = self.prepared(self.read(), processor, seed)
        check_same_work(data.knowledge_base, as_mentions(data.train), {}, "training")
        return data

    def check_files(self) -> None:
        """Refuses files that are not there, with a FileNotFoundError."""
        check_paths({name: getattr(self, name) for name in ("entities", "train", "dev", "evaluation")})

    def read(self) -> DocumentData:
        """Everything as it is in the files, unchecked; `train` has whole documents.

        Raises:
            FileNotFoundError: a file is not there.
            ValueError: bad files.
        """
        self.check_files()
        knowledge_base = read_entities(self.entities)
        train = self._documents("train", knowledge_base)
        dev, evaluation = (
            self._documents(name, knowledge_base) if getattr(self, name) else None
            for name in ("dev", "evaluation")
        )
        return DocumentData(knowledge_base, train, dev, evaluation)

    def prepared(self, data: DocumentData, processor: Any, seed: int) -> DocumentData:
        """What `read` gave, checked, with the passages that are trained on; arguments and errors as of `load`."""
        train = data.train
        check_references(train, data.knowledge_base, "train")
        for name, documents in (("dev", data.dev), ("evaluation", data.evaluation)):
            if documents is not None:
                check_references(documents, data.knowledge_base, name)
                _check_complete(documents, name)
        if 0 < self.max_train_documents < len(train):
            train = train.shuffle(seed=seed).select(range(self.max_train_documents))
        if process_place()[0] == 0:
            warn_of_shared_texts({"train": train, "dev": data.dev, "evaluation": data.evaluation})
        return data._replace(train=passages(train, processor, keep_empty=self.keep_empty))

    def _documents(self, name: str, knowledge_base: KnowledgeBase) -> Dataset:
        return read_documents(
            getattr(self, name),
            self.form,
            split=getattr(self, f"{name}_split"),
            label_field=self.label_field,
            id_format=self.id_format,
            knowledge_base=knowledge_base,
        )


def as_mentions(documents: Dataset) -> Dataset:
    """Texts, mentions and labels under the names by which a run's data are compared (see `mentions_digest`)."""
    return Dataset.from_dict(
        {
            "id": documents["doc_id"],
            "context_left": documents["text"],
            "mention": [
                json.dumps([mentions, flag])
                for mentions, flag in zip(documents["mentions"], documents["complete"], strict=True)
            ],
            "world": documents["world"],
        }
    )


def _check_complete(documents: Dataset, name: str) -> None:
    """Refuses files of which nothing can be measured, before hours are spent on the training."""
    if all(flag is False for flag in documents["complete"]):
        raise ValueError(
            f"{name}: expected documents whose mentions are all annotated, got {len(documents)} with complete=False, of "
            "which precision means nothing; name other files, or leave the key out"
        )


def warn_of_shared_texts(parts: Mapping[str, Dataset | None]) -> None:
    """Warns of texts that are both learned from, or fitted on, and measured on; case and spaces do not matter.

    Args:
        parts: documents by the name of their file or files; None is left out.
    """
    seen: dict[str, set[str]] = {}
    for name, documents in parts.items():
        if documents is None:
            continue
        texts = [" ".join(text.split()).casefold() for text in documents["text"]]
        for other, known in seen.items():
            if shared := sum(text in known for text in texts):
                logger.warning(
                    "%d of the %d documents of %s are also in %s, so that figures on them promise too much; name files "
                    "with other documents", shared, len(texts), name, other,
                )  # fmt: skip
        seen[name] = set(texts)
