"""What the exports to BLINK and to ELQ share: the folder, the encoders' BERT, the catalogue, the vectors.

    bert/ (config, vocabulary, weights)      entity.jsonl      all_entities.t7

The folder is written whole or not at all. Both programs read texts with BERT's tokenizer, whose `vocab.txt` has a token a
line: numbers that a vocabulary leaves out become lines of their own, so that the others keep theirs.
"""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hf_blink.modeling.folder_swap import swap_folder
from hf_blink.modeling.full_disk import naming_the_disk
from hf_blink.modeling.index_kinds import stored_vectors
from hf_blink.original_entities import blink_address

BERT = "bert"
_MARKERS = {"mention_start": "[unused0]", "mention_end": "[unused1]", "entity_marker": "[unused2]"}
_READ_ROWS = 1024


def write_export(
    linker: Any, folder: str | os.PathLike[str], what: str, write: Callable[[Any, Path], None]
) -> Path:
    """Writes what both forms have, and what `write` adds.

    Args:
        linker: the linker, which has been checked.
        folder: a new folder.
        what: is written, for errors, such as "BLINK's files".
        write: writes the model and the index of a linker to a folder.

    Returns:
        The folder.

    Raises:
        ValueError: the folder is there and not empty.
        OSError: the disk is full.
    """
    target = Path(folder).resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"expected a new or an empty folder, got {target}; choose another")
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        naming_the_disk(target.parent, what, "free some space there or choose another folder"),
        tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as unfinished,
    ):
        staging = Path(unfinished) / "export"
        staging.mkdir()
        write(linker, staging)
        _write_entities(linker.knowledge_base, staging / "entity.jsonl")
        vectors = stored_vectors(linker.index.faiss_index)
        save_tensors(torch.from_numpy(vectors), staging / "all_entities.t7")
        swap_folder(staging, target, ours=())
    return Path(folder)


def differences(config: Any, expected: dict[str, Any]) -> list[str]:
    """Settings that are not as expected, as "name=value"."""
    return [
        f"{name}={getattr(config, name)!r}"
        for name, value in expected.items()
        if getattr(config, name) != value
    ]


def unlike_bert(linker: Any, towers: list[Any], markers: tuple[str, ...]) -> list[str]:
    """What neither program can compute: other backbones, tokenizers and markers, and a threshold of the score.

    Args:
        linker: the linker.
        towers: configurations of the encoders.
        markers: those that the program puts into a window: fields of the processor.
    """
    processor = linker.processor
    wrong = [f"a {tower.model_type} encoder" for tower in towers if tower.model_type != "bert"]
    model = type(processor.tokenizer.backend_tokenizer.model).__name__
    wrong += [] if model == "WordPiece" else [f"a {model} tokenizer"]
    wrong += (
        []
        if processor.tokenizer.pad_token_id == 0
        else [f"padding with token {processor.tokenizer.pad_token_id}"]
    )
    wrong += [
        f"the marker {getattr(processor, name)}"
        for name in markers
        if getattr(processor, name) != _MARKERS[name]
    ]
    return wrong + ([f"threshold={linker.threshold!r}"] if linker.threshold else [])


def two_towers(model: Any) -> dict[str, torch.Tensor]:
    """The weights of a model with two towers and their poolers, which the programs want though they read no pooler."""
    state = model.state_dict()
    if model.config.share_towers:
        state |= {
            name.replace("mention_", "entity_", 1): value
            for name, value in state.items()
            if name.startswith("mention_")
        }
    for tower in ("mention_encoder", "entity_encoder"):
        size = state[f"{tower}.embeddings.word_embeddings.weight"].shape[1]
        state.setdefault(f"{tower}.pooler.dense.weight", torch.zeros(size, size))
        state.setdefault(f"{tower}.pooler.dense.bias", torch.zeros(size))
    return plain(state)


def shared_settings(processor: Any) -> dict[str, Any]:
    """Settings of the windows, which both programs name alike."""
    return {
        "bert_model": BERT,
        "lowercase": bool(
            processor.do_lower_case or processor.token_ids(["A"]) == processor.token_ids(["a"])
        ),
        "max_context_length": processor.mention_length,
        "max_cand_length": processor.entity_length,
    }


def plain(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights as float32 on the CPU."""
    return {name: value.detach().to("cpu", torch.float32).contiguous() for name, value in state.items()}


def write_bert(linker: Any, state: dict[str, torch.Tensor], folder: Path) -> None:
    """The BERT that the programs start from before they read the weights: the mention tower."""
    folder.mkdir()
    config = linker.bi_encoder.config.mention_config
    (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=1) + "\n", encoding="utf-8")
    words = {number: word for word, number in linker.processor.tokenizer.get_vocab().items()}
    lines = [words.get(number, f"[gap {number}]") for number in range(max(words) + 1)]
    (folder / "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    prefix = "mention_encoder."
    tower = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    save_tensors(tower, folder / "pytorch_model.bin")


def save_tensors(content: Any, file: Path) -> None:
    """Through a file of Python's, which says why where a disk is full."""
    try:
        with file.open("wb") as stream:
            torch.save(content, stream)
    except RuntimeError as error:  # torch hides the reason behind an error of its own
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _write_entities(knowledge_base: Any, file: Path) -> None:
    with file.open("w", encoding="utf-8") as stream:
        for start in range(0, len(knowledge_base), _READ_ROWS):
            rows = range(start, min(start + _READ_ROWS, len(knowledge_base)))
            for entity in knowledge_base.entities(rows):
                stream.write(json.dumps(_line(entity)) + "\n")


def _line(entity: Any) -> dict[str, Any]:
    line = {
        "text": f" {entity.description}" if entity.description else "",
        "idx": blink_address(entity),
        "title": entity.title,
        "entity": entity.metadata.get("entity", entity.title),
    }
    # The programs read none of the last two; the import does.
    more = {
        "kb_idx": entity.metadata.get("wikidata_id"),
        "aliases": list(entity.aliases),
        "world": entity.world,
    }
    return line | {name: value for name, value in more.items() if value}
