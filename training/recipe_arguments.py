"""A recipe: a YAML file of settings, any of which the command line overrides.

    accelerate launch -m hf_blink.training.train_biencoder recipe.yaml --per_device_train_batch_size 64

The keys of the file and the options are the fields of the dataclasses below and of `BlinkTrainingArguments`.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from datasets import Dataset
from transformers import HfArgumentParser

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training.dataset_readers import read_blink_mentions, read_mentions

READERS: dict[str, Callable[..., Dataset]] = {"common": read_mentions, "blink": read_blink_mentions}


@dataclass
class DataArguments:
    """Where the data are.

    Args:
        entities: jsonl files of entities, or one saved knowledge base folder.
        train: files of labelled mentions.
        evaluation: files of labelled mentions to measure on afterwards; empty measures nothing.
        reader: form of the mention files: common or blink.
        max_train_mentions: a random part (by `seed`) of so many; 0 takes all.
    """

    entities: list[str] = field(
        default_factory=list, metadata={"help": "jsonl files, or a saved knowledge base."}
    )
    train: list[str] = field(default_factory=list, metadata={"help": "Files of labelled mentions."})
    evaluation: list[str] = field(
        default_factory=list, metadata={"help": "Files of mentions to measure on at the end."}
    )
    reader: str = field(
        default="common", metadata={"help": "Form of the mention files.", "choices": list(READERS)}
    )
    max_train_mentions: int = field(
        default=0, metadata={"help": "Random part of the training mentions; 0 takes all."}
    )

    def __post_init__(self) -> None:
        for name in ("entities", "train", "evaluation"):
            for path in getattr(self, name):
                if not Path(path).exists():
                    raise FileNotFoundError(
                        f"expected a file at {name}: {path}, got none; check the path in the recipe"
                    )
        if not self.entities or not self.train:
            raise ValueError("expected entities and train, got an empty list; name the files in the recipe")

    def knowledge_base(self) -> KnowledgeBase:
        """The entities."""
        if len(self.entities) == 1 and Path(self.entities[0]).is_dir():
            return KnowledgeBase.from_pretrained(self.entities[0])
        return KnowledgeBase.from_jsonl(self.entities)

    def mentions(self, paths: Sequence[str], seed: int | None = None) -> Dataset:
        """Labelled mentions with at least one gold entity; with a seed, the random part that the recipe asks for."""
        dataset = READERS[self.reader](list(paths))
        dataset = dataset.filter(lambda labels: len(labels) > 0, input_columns="label_ids")
        if seed is not None and 0 < self.max_train_mentions < len(dataset):
            dataset = dataset.shuffle(seed=seed).select(range(self.max_train_mentions))
        return dataset


def parse_recipe(argument_classes: Sequence[type], arguments: Sequence[str] | None = None) -> tuple[Any, ...]:
    """Reads a recipe file and its overrides.

    Args:
        argument_classes: dataclasses whose fields are the keys.
        arguments: `[recipe.yaml] [--key value ...]`; None takes the command line.

    Returns:
        One object for each class.

    Raises:
        FileNotFoundError: no such recipe.
        ValueError: a key that no class has, or a file that is no mapping.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    recipe = given.pop(0) if given and not given[0].startswith("-") else None
    parser = HfArgumentParser(list(argument_classes))  # type: ignore[arg-type]
    options = [] if recipe is None else _recipe_options(Path(recipe), argument_classes)
    return tuple(parser.parse_args_into_dataclasses(args=[*options, *given]))


def _recipe_options(path: Path, argument_classes: Sequence[type]) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(
            f"expected a recipe at {path}, got no file; see hf_blink/training/recipes for examples"
        )
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"expected YAML in {path}, got {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"expected key: value lines in {path}, got {type(values).__name__}")
    known = {item.name for argument_class in argument_classes for item in fields(argument_class)}
    if unknown := sorted(str(key) for key in values if key not in known):
        raise ValueError(
            f"expected keys that the script knows in {path}, got {', '.join(unknown)}; --help lists them"
        )
    options = []
    for key, value in values.items():
        if value is not None and value != []:
            options += [f"--{key}", *(str(item) for item in (value if isinstance(value, list) else [value]))]
    return options
