"""Writes a linker with an ELQ model in the form of the original ELQ: weights, settings, entities, vectors, index.

    elq.bin, elq_params.txt, bert/      entity.jsonl, all_entities.t7      faiss_flat_index.pkl or faiss_hnsw_index.pkl

An imported model comes out as it came in, weight for weight and vector for vector (`elq_import` has the table of names).
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import faiss
import torch

from hf_blink.blink_export import (
    lower_cases,
    plain,
    save_tensors,
    with_poolers,
    write_bert,
    write_entities,
)
from hf_blink.elq_import import ELQ, POOLINGS, SPAN_HEADS
from hf_blink.modeling.folder_swap import swap_folder
from hf_blink.modeling.full_disk import naming_the_disk
from hf_blink.modeling.index_kinds import stored_vectors

_BERT = "bert"
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
    target = Path(folder).resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"expected a new or an empty folder, got {target}; choose another")
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        naming_the_disk(target.parent, "ELQ's files", "free some space there or choose another folder"),
        tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as unfinished,
    ):
        staging = Path(unfinished) / "export"
        staging.mkdir()
        _write_model(linker, staging)
        write_entities(linker.knowledge_base, staging / "entity.jsonl")
        vectors = stored_vectors(linker.index.faiss_index)
        save_tensors(torch.from_numpy(vectors), staging / "all_entities.t7")
        faiss.write_index(linker.index.faiss_index, str(staging / f"faiss_{linker.index.kind}_index.pkl"))
        swap_folder(staging, target, ours=())
    return Path(folder)


def _check(linker: Any) -> None:
    """Raises ValueError for what ELQ cannot compute."""
    config = linker.bi_encoder.config
    if config.model_type != "elq":
        raise ValueError(
            f"expected a linker with an ELQ model, got one with a {config.model_type}; see export_blink"
        )
    expected = {"entity_pooling": "cls", "similarity": "dot", "temperature": 1}
    wrong = [
        f"{name}={getattr(config, name)!r}"
        for name, value in expected.items()
        if getattr(config, name) != value
    ]
    towers = [config.mention_config, config.entity_config or config.mention_config]
    wrong += [f"a {tower.model_type} encoder" for tower in towers if tower.model_type != "bert"]
    wrong += ["a cross-encoder"] if linker.cross_encoder is not None else []
    if wrong:
        raise ValueError(
            "expected a linker that ELQ can compute (BERT, cls pooling of entities, inner product, temperature 1), got "
            f"{', '.join(wrong)}; models that `hf-blink import elq` made, also trained further, can be written"
        )


def _write_model(linker: Any, folder: Path) -> None:
    state, config, processor = linker.bi_encoder.state_dict(), linker.bi_encoder.config, linker.processor
    if config.share_towers:  # ELQ knows two towers
        state |= {
            name.replace("mention_", "entity_", 1): value
            for name, value in state.items()
            if name.startswith("mention_")
        }
    state = with_poolers(state, ("mention_encoder", "entity_encoder"))
    save_tensors(ELQ.to_theirs(plain(state)), folder / "elq.bin")
    settings = _SETTINGS | {
        "bert_model": _BERT,
        "lowercase": lower_cases(processor),
        "max_context_length": processor.mention_length,
        "max_cand_length": processor.entity_length,
        "max_mention_length": config.max_mention_tokens - 1,
        "mention_aggregation_type": {ours: theirs for theirs, ours in POOLINGS.items()}[
            config.mention_pooling
        ],
        "mention_scoring_method": {ours: theirs for theirs, ours in SPAN_HEADS.items()}[config.span_head],
    }
    (folder / "elq_params.txt").write_text(repr(settings), encoding="utf-8")
    write_bert(linker, state, folder / _BERT)
