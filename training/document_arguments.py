"""The documents of a recipe for a one-pass linker: which files, in which form, everything read and checked at once."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from datasets import Dataset

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training.data_arguments import read_entities
from hf_blink.training.document_readers import DOCUMENT_FORMS, read_documents
from hf_blink.training.documents import passages


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
        dev: files of documents that the joint threshold is fitted on, best others than those of `train`; empty fits none.
        evaluation: files of documents to measure on at the end; empty measures nothing.
        form: of the document files, see document_readers.
        train_split, dev_split, evaluation_split: of files in the common form, the lines with this "split".
        label_field: which of the form's ids are the entities'; None takes its usual one, of elq the catalogue's lines.
        id_format: how the entities write the ids, {} standing for the label.
        max_train_documents: a random part (by `seed`) of so many; 0 takes all.
        keep_empty: train also on passages without mentions.

    Raises:
        FileNotFoundError: a path is not there.
        ValueError: files are missing in the recipe, or a negative number.
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
        for name in ("entities", "train", "dev", "evaluation"):
            for path in getattr(self, name):
                if not Path(path).exists():
                    raise FileNotFoundError(
                        f"expected a file at {name}: {path}, got none; check the path in the recipe"
                    )

    def load(self, processor: Any, seed: int) -> DocumentData:
        """Reads everything.

        Args:
            processor: an [`ElqProcessor`], for the length of passages.
            seed: of the random part of the training documents.

        Raises:
            ValueError: bad files, or gold entities of the training documents that are not in the knowledge base.
        """
        knowledge_base = read_entities(self.entities)
        train = self._documents("train", knowledge_base)
        if 0 < self.max_train_documents < len(train):
            train = train.shuffle(seed=seed).select(range(self.max_train_documents))
        check_labels(train, knowledge_base)
        cut = passages(train, processor, keep_empty=self.keep_empty)
        dev, evaluation = (
            self._documents(name, knowledge_base) if getattr(self, name) else None
            for name in ("dev", "evaluation")
        )
        return DocumentData(knowledge_base, cut, dev, evaluation)

    def _documents(self, name: str, knowledge_base: KnowledgeBase) -> Dataset:
        return read_documents(
            getattr(self, name),
            self.form,
            split=getattr(self, f"{name}_split"),
            label_field=self.label_field,
            id_format=self.id_format,
            knowledge_base=knowledge_base,
        )


def check_labels(documents: Dataset, knowledge_base: KnowledgeBase) -> None:
    """Refuses gold entities that the knowledge base lacks; a mention of none of its entities has no label (NIL).

    Raises:
        ValueError: names the first ten.
    """
    labels = list(dict.fromkeys(label for row in documents["label_ids"] for label in row))
    found = knowledge_base.find_rows(labels)
    if missing := [label for label, row in zip(labels, found, strict=True) if row < 0]:
        raise ValueError(
            f"expected gold entities of the knowledge base, got {len(missing)} that it lacks: "
            f"{', '.join(map(repr, missing[:10]))}; add them, or write null for a mention of none of its entities"
        )
