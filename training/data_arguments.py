"""The data of a recipe: which files, in which form, and everything read and checked at once before a model is loaded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from datasets import Dataset

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training.dataset_readers import read_blink_mentions, read_mentions, read_zeshel_mentions
from hf_blink.training.mention_references import check_references
from hf_blink.training.mention_sampling import balanced_over_worlds, capped_per_entity
from hf_blink.training.process_shares import failing_together
from hf_blink.training.recipe_paths import check_dev_apart, check_paths
from hf_blink.training.shared_linker import check_same_work
from hf_blink.training.zeshel_documents import ZeshelDocuments

Reader = Callable[[Sequence[str]], Dataset]
READERS: dict[str, Reader] = {"common": read_mentions, "blink": read_blink_mentions}
ZESHEL = "zeshel"  # its documents are its entities


class RecipeData(NamedTuple):
    """What a recipe's files hold.

    Attributes:
        knowledge_base: The entities.
        train: Labelled mentions with at least one gold entity each.
        dev: Labelled mentions that the model is chosen on; None chooses nothing.
        evaluation: Labelled mentions to measure on; None measures nothing.
    """

    knowledge_base: KnowledgeBase
    train: Dataset
    dev: Dataset | None
    evaluation: Dataset | None


@dataclass
class DataArguments:
    """Where the data are.

    Args:
        entities: jsonl files of entities, or one saved knowledge base folder.
        train: files of labelled mentions.
        dev: files of labelled mentions to measure on during training, none of them in `train`: early stopping and the best
            model are of them.
        evaluation: files of labelled mentions to measure on once, afterwards, none of them in `dev`; empty measures nothing.
        reader: form of the mention files: common, blink or zeshel.
        documents: folder of Zeshel's `<world>.json`, which are the entities; for `reader: zeshel` alone.
        max_train_mentions: a random part (by `seed`) of so many; 0 takes all.
        balance_worlds: takes that part as equally as possible from every world.
        max_mentions_per_entity: random mentions of one gold entity at most, before that part is taken; 0 takes all.

    Raises:
        ValueError: files are missing in the recipe or do not fit its reader, a file of `dev` is in `train` or
            `evaluation`, a number is negative, or `balance_worlds` without `max_train_mentions`.
    """

    entities: list[str] = field(
        default_factory=list, metadata={"help": "jsonl files, or a saved knowledge base."}
    )
    train: list[str] = field(default_factory=list, metadata={"help": "Files of labelled mentions."})
    dev: list[str] = field(
        default_factory=list, metadata={"help": "Files of mentions to choose the best model on."}
    )
    evaluation: list[str] = field(
        default_factory=list, metadata={"help": "Files of mentions to measure on at the end."}
    )
    reader: str = field(
        default="common", metadata={"help": "Form of the mention files.", "choices": [*READERS, ZESHEL]}
    )
    documents: str | None = field(
        default=None, metadata={"help": "Folder of Zeshel's <world>.json, with reader zeshel."}
    )
    max_train_mentions: int = field(
        default=0, metadata={"help": "Random part of the training mentions; 0 takes all."}
    )
    balance_worlds: bool = field(
        default=False, metadata={"help": "Take max_train_mentions equally from every world."}
    )
    max_mentions_per_entity: int = field(
        default=0, metadata={"help": "Training mentions of one gold entity at most; 0 takes all."}
    )

    def __post_init__(self) -> None:
        if self.reader == ZESHEL:
            if self.documents is None or self.entities:
                raise ValueError(
                    "expected documents and no entities with reader: zeshel, whose documents are the entities, got "
                    f"documents: {self.documents} and entities: {self.entities}"
                )
        elif self.documents is not None:
            raise ValueError(
                f"expected documents with reader: zeshel alone, got reader: {self.reader}; leave the key out"
            )
        elif not self.entities:
            raise ValueError("expected entities and train, got no entities; name the files in the recipe")
        if not self.train:
            raise ValueError("expected entities and train, got no train; name the files in the recipe")
        self._check_part()
        check_dev_apart(self, "which the model is chosen on", "mentions")

    def _check_part(self) -> None:
        for name in ("max_train_mentions", "max_mentions_per_entity"):
            if getattr(self, name) < 0:
                raise ValueError(f"expected {name} of at least 0 (0 takes all), got {getattr(self, name)}")
        if self.balance_worlds and not self.max_train_mentions:
            raise ValueError(
                "expected max_train_mentions with balance_worlds: true, got 0, which takes all mentions of every world; "
                "say how many to take"
            )

    def load(self, seed: int) -> RecipeData:
        """Reads everything, and checks every gold entity and world against the knowledge base; collective.

        Args:
            seed: of the random part of the training mentions.

        Raises:
            FileNotFoundError: a file is not there.
            ValueError: bad files, mentions that do not fit the knowledge base, or processes with different data.
        """
        with failing_together("reading the data"):
            data = self.prepared(self.read(), seed)
        check_same_work(data.knowledge_base, data.train, {}, "training")
        return data

    def check_files(self) -> None:
        """Refuses files that are not there, with a FileNotFoundError."""
        folders = [] if self.documents is None else [self.documents]
        named = {name: getattr(self, name) for name in ("entities", "train", "dev", "evaluation")}
        check_paths(named | {"documents": folders})

    def read(self) -> RecipeData:
        """Everything as it is in the files, unchecked.

        Raises:
            FileNotFoundError: a file is not there.
            ValueError: bad files.
        """
        self.check_files()
        documents = ZeshelDocuments(str(self.documents)) if self.reader == ZESHEL else None
        read = READERS[self.reader] if documents is None else partial(_read_zeshel, documents)
        train = read(self.train)
        dev, evaluation = (read(paths) if paths else None for paths in (self.dev, self.evaluation))
        knowledge_base = (
            read_entities(self.entities)
            if documents is None
            else KnowledgeBase.from_entities(documents.entities())
        )
        return RecipeData(knowledge_base, train, dev, evaluation)

    def prepared(self, data: RecipeData, seed: int) -> RecipeData:
        """What `read` gave, checked, with the training mentions that the recipe takes; raises as `load` does."""
        for name, dataset in (("train", data.train), ("dev", data.dev), ("evaluation", data.evaluation)):
            if dataset is not None:
                check_references(dataset, data.knowledge_base, name)
        train = data.train.filter(lambda labels: len(labels) > 0, input_columns="label_ids")
        return data._replace(train=self._part(train, seed))

    def _part(self, train: Dataset, seed: int) -> Dataset:
        """The training mentions that the recipe takes."""
        if self.max_mentions_per_entity:
            train = capped_per_entity(train, self.max_mentions_per_entity, seed)
        if not 0 < self.max_train_mentions < len(train):
            return train
        if self.balance_worlds:
            return balanced_over_worlds(train, self.max_train_mentions, seed)
        return train.shuffle(seed=seed).select(range(self.max_train_mentions))


def read_entities(paths: Sequence[str]) -> KnowledgeBase:
    """The entities of jsonl files, or of one saved knowledge base.

    Raises:
        FileNotFoundError: no such file.
        ValueError: bad entities.
    """
    if len(paths) == 1 and Path(paths[0]).is_dir():
        return KnowledgeBase.from_pretrained(paths[0])
    return KnowledgeBase.from_jsonl(list(paths))


def _read_zeshel(documents: ZeshelDocuments, paths: Sequence[str]) -> Dataset:
    return read_zeshel_mentions(paths, documents)
