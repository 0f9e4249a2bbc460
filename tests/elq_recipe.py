"""Documents and a recipe of `train_elq` for tests."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tests.test_elq_trainer import elq_documents


def write_lines(file: Path, rows: Iterable[dict[str, Any]]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def row(text: str, *spans: tuple[str, str | None], **fields: Any) -> dict[str, Any]:
    """A document in which the first occurrence of each word has a label."""
    places = [(text.index(word), word, label) for word, label in spans]
    mentions = [{"start": at, "end": at + len(word), "label_id": label} for at, word, label in places]
    return {"text": text, "mentions": mentions, **fields}


def elq_recipe(encoder: str, folder: Path, entities: Iterable[dict[str, Any]]) -> Path:
    """A recipe of both stages on the six documents of the tests, in a folder with its files."""
    write_lines(folder / "entities.jsonl", entities)
    rows = [{name: row[name] for name in ("doc_id", "text", "mentions")} for row in elq_documents()]
    write_lines(folder / "documents.jsonl", rows)
    values = {
        "entities": [str(folder / "entities.jsonl")],
        "train": [str(folder / "documents.jsonl")],
        "base_model": encoder,
        "mention_length": 32,
        "entity_length": 32,
        "output_dir": str(folder / "out"),
        "max_steps": 4,
        "per_device_train_batch_size": 3,
        "num_hard_negatives": 2,
        "use_cpu": True,
        "disable_tqdm": True,
        "save_strategy": "no",
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path
