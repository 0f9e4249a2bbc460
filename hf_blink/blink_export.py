"""Writes a linker in the form of the original BLINK, for its programs and for other readers of its files.

    biencoder.bin, biencoder.json           crossencoder.bin, crossencoder.json       bert/ (config, vocabulary, weights)
    entity.jsonl, all_entities.t7           faiss_flat_index.pkl or faiss_hnsw_index.pkl

An imported linker comes out as it came in, weight for weight and vector for vector (`blink_encoders` has the table of
names); texts of entities have one space before them, whatever they had. A linker of another make can be written as far as
BLINK can compute it: BERT towers, [CLS] vectors, inner products, the padded window in pairs.
"""

import json
import os
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from hf_blink.blink_encoders import BI_ENCODER, CROSS_ENCODER
from hf_blink.modeling.index_kinds import stored_vectors
from hf_blink.original_export import (
    BERT,
    differences,
    plain,
    save_tensors,
    shared_settings,
    two_towers,
    unlike_bert,
    write_bert,
    write_export,
)
from hf_blink.original_indexes import vector_blocks

_MARKERS = ("mention_start", "mention_end", "entity_marker")
# What BLINK's programs look up; of the training settings its own defaults.
_SETTINGS: dict[str, Any] = {
    "data_path": "", "model_output_path": None, "context_key": "context", "evaluate": False,
    "evaluate_with_pregenerated_candidates": False, "output_eval_file": None, "debug": False, "silent": False,
    "train_batch_size": 8, "eval_batch_size": 8, "data_parallel": False, "max_grad_norm": 1.0, "learning_rate": 3e-05,
    "num_train_epochs": 1, "print_interval": 5, "eval_interval": 40, "save_interval": 1, "warmup_proportion": 0.1,
    "no_cuda": False, "seed": 52313, "gradient_accumulation_steps": 1, "pull_from_layer": -1,
    "type_optimization": "all_encoder_layers", "shuffle": False, "encode_batch_size": 8,
}  # fmt: skip


def export_blink(linker: Any, folder: str | os.PathLike[str]) -> Path:
    """Writes a linker's encoders, entities, vectors and index as BLINK's files.

    The settings name the BERT as `bert`, the folder beside them: BLINK looks for it from the directory that it runs in.

    Args:
        linker: an [`EntityLinker`].
        folder: a new folder.

    Returns:
        The folder.

    Raises:
        ValueError: the folder is there and not empty, or the linker computes something that BLINK cannot; names it.
        OSError: the disk is full.
    """
    _check(linker)
    return write_export(linker, folder, "BLINK's files", _write)


def _check(linker: Any) -> None:
    """Raises ValueError for what BLINK cannot compute."""
    config, processor = linker.bi_encoder.config, linker.processor
    if config.model_type != "blink-biencoder":
        raise ValueError(
            f"expected a linker with a BLINK bi-encoder, got one with a {config.model_type} model; see export_elq"
        )
    pooling = "cls" if config.projection_dim is None else "pooler"
    expected = {"mention_pooling": pooling, "entity_pooling": pooling, "similarity": "dot", "temperature": 1}
    wrong = differences(config, expected | {"truncate_dim": None})
    towers = [config.mention_config, config.entity_config or config.mention_config]
    if linker.cross_encoder is not None:
        own = linker.cross_encoder.config
        towers.append(own.encoder_config)
        wrong += differences(own, {"pooling": "pooler", "retrieval_weight": 0})
        wrong += differences(processor, {"pad_mention_in_pairs": True})
    wrong += unlike_bert(linker, towers, _MARKERS)
    if wrong:
        raise ValueError(
            f"expected a linker that BLINK can compute (BERT, {pooling} pooling, inner product, temperature 1), got "
            f"{', '.join(wrong)}; models that `hf-blink import blink` made, also trained further, can be written"
        )


def _write(linker: Any, folder: Path) -> None:
    state = two_towers(linker.bi_encoder)
    save_tensors(BI_ENCODER.to_theirs(state), folder / "biencoder.bin")
    config = linker.bi_encoder.config
    out_dim = {"out_dim": config.projection_dim or 100, "add_linear": config.projection_dim is not None}
    _write_settings(linker, folder / "biencoder.json", {"top_k": 10, "max_seq_length": 256, **out_dim})
    if linker.cross_encoder is not None:
        cross = linker.cross_encoder
        save_tensors(CROSS_ENCODER.to_theirs(plain(cross.state_dict())), folder / "crossencoder.bin")
        whole = linker.processor.mention_length + linker.processor.entity_length
        length = {"max_seq_length": cross.config.pair_length or whole}
        extra = {"top_k": 100, "out_dim": 1, "add_linear": True, "segment": True, **length}
        _write_settings(linker, folder / "crossencoder.json", extra)
    write_bert(linker, state, folder / BERT)
    _write_index(linker.index, folder)


def _write_settings(linker: Any, file: Path, own: dict[str, Any]) -> None:
    settings = _SETTINGS | shared_settings(linker.processor) | own
    file.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def _write_index(index: Any, folder: Path) -> None:
    vectors = stored_vectors(index.faiss_index)
    if index.kind == "flat":
        flat = faiss.IndexFlatIP(index.dimension)
        flat.add(vectors)
        faiss.write_index(flat, str(folder / "faiss_flat_index.pkl"))
        return
    squares = np.concatenate([_squares(block) for block in vector_blocks(vectors)])
    longest = squares.max()
    graph = faiss.IndexHNSWFlat(index.dimension + 1, index.settings["links"])
    row = 0
    for block in vector_blocks(vectors):
        rest = np.sqrt(np.maximum(longest - squares[row : row + len(block)], 0))
        graph.storage.add(np.hstack([block, rest[:, None]]))
        row += len(block)
    graph.hnsw, graph.ntotal = index.faiss_index.hnsw, graph.storage.ntotal
    if hasattr(graph.hnsw, "is_similarity"):
        graph.hnsw.is_similarity = False
    faiss.write_index(graph, str(folder / "faiss_hnsw_index.pkl"))


def _squares(block: np.ndarray) -> np.ndarray:
    """Squared lengths, summed row by row as BLINK does, so that its additional number comes out to the last bit."""
    return np.array([(row**2).sum() for row in block], np.float32)
