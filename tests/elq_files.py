"""Files in the original ELQ's forms, made here: weights by a formula, the same with every version of torch."""

import json
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
from transformers import BertModel

from hf_blink import ElqFiles, EntityLinker, import_elq, import_elq_model
from hf_blink.blink_import import ImportSettings
from hf_blink.modeling.batch_encoding import encode_entities
from tests.blink_files import (
    _OF_2019,
    ENTITIES,
    HIDDEN,
    LENGTH,
    bert_config,
    formula,
    vocabulary,
    write_encodings,
    write_entities,
    write_flat,
)

CATALOGUE = [*ENTITIES[:4], ENTITIES[5]]  # with the ids 100, 107, 114, 121, 128
NUM_MENTIONS = 6  # spans of a question that are looked up
KINDS = ("flat", "hnsw", "ivfflat", "encodings")


def write_elq(folder: Path) -> ElqFiles:
    """Writes a model in ELQ's form, with its catalogue."""
    bert = folder / "bert"
    bert.mkdir()
    (bert / "vocab.txt").write_text("\n".join(vocabulary()) + "\n")
    config = bert_config().to_dict()
    (bert / "config.json").write_text(json.dumps({name: config[name] for name in _OF_2019}))
    backbone = BertModel(bert_config()).state_dict()
    state: dict[str, torch.Tensor] = {}
    for seed, tower in ((0.0, "context_encoder"), (3.0, "cand_encoder")):
        state |= {f"{tower}.bert_model.{name}": value for name, value in formula(backbone, seed).items()}
    head = formula({"weight": torch.zeros(3, HIDDEN), "bias": torch.zeros(3)}, 8.0)
    prefix = "classification_heads.mention_scores.bound_classifier"
    torch.save(state | {f"{prefix}.{name}": value for name, value in head.items()}, folder / "elq.bin")
    settings = {
        "bert_model": str(bert), "lowercase": True, "max_context_length": LENGTH, "max_cand_length": LENGTH,
        "max_mention_length": 3, "mention_aggregation_type": "all_avg", "mention_scoring_method": "qa_linear",
        "no_mention_bounds": True, "out_dim": 1, "add_linear": False,
    }  # fmt: skip
    (folder / "elq_params.txt").write_text(repr(settings))
    write_entities(folder / "entity.jsonl", CATALOGUE)
    return ElqFiles(folder / "elq.bin", folder / "elq_params.txt", entities=folder / "entity.jsonl")


def write_indexes(folder: Path, vectors: np.ndarray) -> dict[str, Path]:
    """A file of each of `KINDS`; ELQ's graph is by inner product."""
    graph = faiss.IndexHNSWFlat(vectors.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    cells = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(vectors.shape[1]), vectors.shape[1], 1, faiss.METRIC_INNER_PRODUCT
    )
    cells.cp.min_points_per_centroid = 1
    cells.train(vectors)
    files = {}
    for kind, index in (("hnsw", graph), ("ivfflat", cells)):
        index.add(vectors)
        files[kind] = folder / f"faiss_{kind}_index.pkl"
        faiss.write_index(index, str(files[kind]))
    files["flat"] = write_flat(folder / "faiss_flat_index.pkl", vectors)
    return files | {"encodings": write_encodings(folder / "all_entities.t7", vectors)}


@pytest.fixture(scope="module")
def elq(tmp_path_factory) -> tuple[ElqFiles, dict[str, Path]]:
    """A model with its catalogue, and its entities' vectors in each of `KINDS`."""
    folder = tmp_path_factory.mktemp("elq")
    files = write_elq(folder)
    model, processor = import_elq_model(files.model, files.config)
    vectors = encode_entities(model, processor, *zip(*CATALOGUE, strict=True))
    return files, write_indexes(folder, vectors)


def import_with(
    elq: tuple[ElqFiles, dict[str, Path]], kind: str, folder: Path, settings: ImportSettings
) -> EntityLinker:
    """The linker of a model and one of its files of vectors."""
    files, vectors = elq
    file = vectors[kind]
    chosen = replace(files, encodings=file) if kind == "encodings" else replace(files, index=file)
    import_elq(chosen, folder, settings, num_mentions=NUM_MENTIONS)
    return EntityLinker.from_pretrained(folder)
