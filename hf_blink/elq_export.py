"""Writes a linker with an ELQ model in the form of the original ELQ: weights, settings, entities, vectors, index.

    elq.bin, elq_params.txt, bert/      entity.jsonl, all_entities.t7      faiss_flat_index.pkl or faiss_hnsw_index.pkl

An imported model comes out as it came in, weight for weight and vector for vector (`elq_import` has the table of names).
"""

import os
from pathlib import Path
from typing import Any

import faiss

from hf_blink.elq_import import ELQ, POOLINGS, SPAN_HEADS
from hf_blink.original_export import (
    BERT,
    differences,
    save_tensors,
    shared_settings,
    two_towers,
    unlike_bert,
    write_bert,
    write_export,
)

_FRAME = (101, 102)  # numbers of [CLS] and [SEP], which ELQ's programs write into every window themselves
# What ELQ's programs look up; of the training settings its own defaults.
_SETTINGS: dict[str, Any] = {
    "silent": True, "debug": False, "data_parallel": False, "no_cuda": False, "top_k": 10, "seed": 52313, "zeshel": True,
    "max_seq_length": 256, "path_to_model": None, "pull_from_layer": -1, "context_key": "context",
    "title_key": "entity", "out_dim": 1, "add_linear": False, "data_path": "", "output_path": "output",
    "no_mention_bounds": True, "do_mention_detection": True, "type_optimization": "all_encoder_layers",
    "freeze_cand_enc": False, "load_cand_enc_only": False, "adversarial_training": False, "get_losses": True,
}  # fmt: skip


def export_elq(linker: Any, folder: str | os.PathLike[str]) -> Path:
    """Writes a linker's model, entities, vectors and index as ELQ's files.

    Args:
        linker: an [`EntityLinker`] with an [`ElqModel`].
        folder: a new folder.

    Returns:
        The folder.

    Raises:
        ValueError: the folder is there and not empty, or the linker computes something that ELQ cannot; names it.
        OSError: the disk is full.
    """
    _check(linker)
    return write_export(linker, folder, "ELQ's files", _write)


def _check(linker: Any) -> None:
    """Raises ValueError for what ELQ cannot compute."""
    config = linker.bi_encoder.config
    if config.model_type != "elq":
        raise ValueError(
            f"expected a linker with an ELQ model, got one with a {config.model_type}; see export_blink"
        )
    expected = {"entity_pooling": "cls", "similarity": "dot", "temperature": 1}
    wrong = differences(config, expected | {"whole_words": False, "frame_in_spans": True, "nested": False})
    towers = [config.mention_config, config.entity_config or config.mention_config]
    wrong += unlike_bert(linker, towers, ("entity_marker",))
    frame = linker.processor.frame
    wrong += [] if frame == _FRAME else [f"[CLS] and [SEP] as the tokens {frame[0]} and {frame[1]}"]
    wrong += ["a cross-encoder"] if linker.cross_encoder is not None else []
    if wrong:
        raise ValueError(
            "expected a linker that ELQ can compute (BERT with its vocabulary, cls pooling of entities, inner product, "
            "temperature 1, whole_words=False, frame_in_spans=True, nested=False), got "
            f"{', '.join(wrong)}; models that `hf-blink import elq` made, also trained further, can be written"
        )


def _write(linker: Any, folder: Path) -> None:
    config, state = linker.bi_encoder.config, two_towers(linker.bi_encoder)
    save_tensors(ELQ.to_theirs(state), folder / "elq.bin")
    settings = _SETTINGS | shared_settings(linker.processor)
    settings |= {
        "max_mention_length": config.max_mention_tokens - 1,
        "mention_aggregation_type": {ours: theirs for theirs, ours in POOLINGS.items()}[
            config.mention_pooling
        ],
        "mention_scoring_method": {ours: theirs for theirs, ours in SPAN_HEADS.items()}[config.span_head],
    }
    (folder / "elq_params.txt").write_text(repr(settings), encoding="utf-8")
    write_bert(linker, state, folder / BERT)
    faiss.write_index(linker.index.faiss_index, str(folder / f"faiss_{linker.index.kind}_index.pkl"))
