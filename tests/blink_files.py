"""Files in the original BLINK's forms, made here: weights by a formula, the same with every version of torch."""

import json
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from hf_blink import BlinkFiles, import_blink_biencoder
from hf_blink.modeling.batch_encoding import encode_entities

HIDDEN, LENGTH = 32, 24
WORDS = [
    "[PAD]", "[unused0]", "[unused1]", "[unused2]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "a", "of",
    "in", "is", "was", "river", "town", "ship", "song", "black", "white", "star", "north", "bank", "opened",
    "wrote", "sailed", "from", "to", "by", "old", "new", "##s", "##ed", "##er",
]  # fmt: skip
ENTITIES = [
    ("Black Star", "A ship that sailed from the north to the old town."),
    ("Black Star", "A song by the river town."),
    ("North Bank", "The bank of the river in the north."),
    ("White Town", "An old town by the river; the new bank opened in the north."),
    ("Star of the North", ""),
    ("White River", "The river is from the north to the south, by the town of the white ship."),
]
MENTIONS = [
    ("the ship", "Black Star", "sailed from the town."),
    ("she wrote", "Black Star", "in the old bank."),
    ("", "White River", "is in the north"),
    ("the new north bank opened by the old river in the white town of the north, and the", "north bank", "was old. " * 20),
]  # fmt: skip
GOLD = [0, 1, 5, 2]


def bert_config() -> BertConfig:
    return BertConfig(
        vocab_size=len(vocabulary()), hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48, max_position_embeddings=64,
    )  # fmt: skip


def vocabulary() -> list[str]:
    letters = [chr(ord("a") + i) for i in range(26)]
    return list(dict.fromkeys([*WORDS, *letters, *(f"##{letter}" for letter in letters), ".", ",", ";"]))


def formula(state: dict[str, torch.Tensor], seed: float) -> dict[str, torch.Tensor]:
    """Weights of a state dict: waves for matrices, around 1 for the scales of layer norms, small for biases."""
    made = {}
    for number, (name, value) in enumerate(state.items()):
        steps = torch.arange(value.numel(), dtype=torch.float64)
        wave = torch.sin(steps * (1.7 + 0.013 * number) * (steps % 7 + 1) + seed + number)
        layer_norm = name.endswith("LayerNorm.weight")
        wave = 1 + 0.2 * wave if layer_norm else wave * (0.5 if value.ndim > 1 else 0.1)
        made[name] = wave.to(torch.float32).view(value.shape)
    return made


def write_blink(folder: Path, *, add_linear: bool = False, zipped: bool = True) -> dict[str, Any]:
    """Writes a model in BLINK's form; returns the fields of `BlinkFiles` without vectors and index.

    Args:
        folder: where to.
        add_linear: whether the bi-encoder has a linear layer over the pooler, of 8 outputs.
        zipped: torch's present form, or the one before 1.6.
    """
    bert = folder / "bert"
    bert.mkdir()
    (bert / "vocab.txt").write_text("\n".join(vocabulary()) + "\n")
    config = bert_config().to_dict()
    (bert / "config.json").write_text(json.dumps({name: config[name] for name in _OF_2019}))
    backbone = BertModel(bert_config()).state_dict()
    towers: dict[str, torch.Tensor] = {}
    for seed, tower in ((0.0, "context_encoder"), (1.0, "cand_encoder")):
        towers |= {f"{tower}.bert_model.{name}": value for name, value in formula(backbone, seed).items()}
        if add_linear:
            linear = formula({"weight": torch.zeros(8, HIDDEN), "bias": torch.zeros(8)}, seed)
            towers |= {f"{tower}.additional_linear.{name}": value for name, value in linear.items()}
    cross = {f"encoder.bert_model.{name}": value for name, value in formula(backbone, 2.0).items()}
    head = formula({"weight": torch.zeros(1, HIDDEN), "bias": torch.zeros(1)}, 3.0)
    cross |= {f"encoder.additional_linear.{name}": value for name, value in head.items()}
    settings = {
        "bert_model": str(bert), "lowercase": True, "max_context_length": LENGTH, "max_cand_length": LENGTH,
        "max_seq_length": 2 * LENGTH, "pull_from_layer": -1, "top_k": 10,
    }  # fmt: skip
    for name, state, own in (
        ("biencoder", towers, {"out_dim": 8 if add_linear else 100, "add_linear": add_linear}),
        ("crossencoder", cross, {"out_dim": 1, "add_linear": True}),
    ):
        torch.save(state, folder / f"{name}.bin", _use_new_zipfile_serialization=zipped)
        (folder / f"{name}.json").write_text(json.dumps(settings | own))
    write_entities(folder / "entity.jsonl")
    names = ("biencoder", "crossencoder")
    weights: dict[str, Any] = {name: folder / f"{name}.bin" for name in names}
    configs = {f"{name}_config": folder / f"{name}.json" for name in names}
    return weights | configs | {"entities": folder / "entity.jsonl"}


_OF_2019 = (
    "attention_probs_dropout_prob", "hidden_act", "hidden_dropout_prob", "hidden_size", "initializer_range",
    "intermediate_size", "layer_norm_eps", "max_position_embeddings", "num_attention_heads", "num_hidden_layers",
    "type_vocab_size", "vocab_size",
)  # fmt: skip


def write_entities(file: Path, entities: list[tuple[str, str]] = ENTITIES, **fields: Any) -> None:
    """A catalogue: page ids 100, 107, 114, ..."""
    lines = [
        {
            "text": f" {text}",
            "idx": f"https://en.wikipedia.org/wiki?curid={100 + 7 * i}",
            "title": title,
            "entity": title,
        }
        for i, (title, text) in enumerate(entities)
    ]
    file.write_text("".join(json.dumps(line | fields) + "\n" for line in lines))


def write_encodings(file: Path, vectors: np.ndarray, *, zipped: bool = True) -> Path:
    torch.save(torch.from_numpy(vectors), file, _use_new_zipfile_serialization=zipped)
    return file


def write_flat(file: Path, vectors: np.ndarray) -> Path:
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    faiss.write_index(index, str(file))
    return file


def write_hnsw(file: Path, vectors: np.ndarray) -> Path:
    """With one number more, so that all have one length, and by L2."""
    squares = np.array([(row**2).sum() for row in vectors], np.float32)
    rest = np.sqrt(np.maximum(squares.max() - squares, 0))
    index = faiss.IndexHNSWFlat(vectors.shape[1] + 1, 128)
    index.hnsw.efConstruction, index.hnsw.efSearch = 200, 256
    index.add(np.hstack([vectors, rest[:, None]]).astype(np.float32))
    faiss.write_index(index, str(file))
    return file


@pytest.fixture(scope="module")
def blink(tmp_path_factory) -> dict[str, Any]:
    """Fields of `BlinkFiles`: a model, its catalogue, the vectors of its entities, and both kinds of index."""
    folder = tmp_path_factory.mktemp("blink")
    files = write_blink(folder)
    model, processor = import_blink_biencoder(files["biencoder"], files["biencoder_config"])
    vectors = encode_entities(model, processor, *zip(*ENTITIES, strict=True))
    return files | {
        "encodings": write_encodings(folder / "all_entities.t7", vectors),
        "flat": write_flat(folder / "faiss_flat_index.pkl", vectors),
        "hnsw": write_hnsw(folder / "faiss_hnsw_index.pkl", vectors),
    }


def chosen(blink: dict[str, Any], *names: str, **changes: Any) -> BlinkFiles:
    """The bi-encoder and some of the other files; `index` is one of `flat` and `hnsw`, or a path."""
    fields = {name: blink[name] for name in ("biencoder", "biencoder_config", *names)} | changes
    if fields.get("index") in ("flat", "hnsw"):
        fields["index"] = blink[fields["index"]]
    return BlinkFiles(**fields)
