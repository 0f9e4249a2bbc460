"""Writes a linker in the form of the original BLINK, for its programs and for other readers of its files.

    biencoder.bin, biencoder.json           crossencoder.bin, crossencoder.json       bert/ (config, vocabulary, weights)
    entity.jsonl, all_entities.t7           faiss_flat_index.pkl or faiss_hnsw_index.pkl

An imported linker comes out as it came in, weight for weight and vector for vector (`blink_encoders` has the table of
names); texts of entities have one space before them, whatever they had. A linker of another make can be written as far as
BLINK can compute it: BERT towers, [CLS] vectors, inner products, the padded window in pairs.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch

from hf_blink.blink_encoders import BI_ENCODER, CROSS_ENCODER
from hf_blink.modeling.folder_swap import swap_folder
from hf_blink.modeling.full_disk import naming_the_disk
from hf_blink.modeling.index_kinds import stored_vectors
from hf_blink.original_indexes import vector_blocks

_BERT = "bert"
_MARKERS = ("[unused0]", "[unused1]", "[unused2]")
_READ_ROWS = 1024
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
    target = Path(folder).resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"expected a new or an empty folder, got {target}; choose another")
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        naming_the_disk(target.parent, "BLINK's files", "free some space there or choose another folder"),
        tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as unfinished,
    ):
        staging = Path(unfinished) / "export"
        staging.mkdir()
        _write_encoders(linker, staging)
        write_entities(linker.knowledge_base, staging / "entity.jsonl")
        vectors = stored_vectors(linker.index.faiss_index)
        save_tensors(torch.from_numpy(vectors), staging / "all_entities.t7")
        _write_index(linker.index, staging)
        swap_folder(staging, target, ours=())
    return Path(folder)


def _check(linker: Any) -> None:
    """Raises ValueError for what BLINK cannot compute."""
    config, processor = linker.bi_encoder.config, linker.processor
    pooling = "cls" if config.projection_dim is None else "pooler"
    expected = {
        "mention_pooling": pooling, "entity_pooling": pooling, "similarity": "dot", "temperature": 1, "truncate_dim": None,
    }  # fmt: skip
    wrong = [
        f"{name}={getattr(config, name)!r}"
        for name, value in expected.items()
        if getattr(config, name) != value
    ]
    towers = [config.mention_config, config.entity_config or config.mention_config]
    if linker.cross_encoder is not None:
        own = linker.cross_encoder.config
        towers.append(own.encoder_config)
        wrong += [
            f"{name}={getattr(own, name)!r}"
            for name, value in (("pooling", "pooler"), ("retrieval_weight", 0))
            if getattr(own, name) != value
        ]
        wrong += [] if processor.pad_mention_in_pairs else ["pad_mention_in_pairs=False"]
    wrong += [f"a {tower.model_type} encoder" for tower in towers if tower.model_type != "bert"]
    markers = (processor.mention_start, processor.mention_end, processor.entity_marker)
    wrong += [] if markers == _MARKERS else [f"the markers {', '.join(markers)}"]
    if wrong:
        raise ValueError(
            f"expected a linker that BLINK can compute (BERT, {pooling} pooling, inner product, temperature 1), got "
            f"{', '.join(wrong)}; models that `hf-blink import blink` made, also trained further, can be written"
        )


def _write_encoders(linker: Any, folder: Path) -> None:
    state = linker.bi_encoder.state_dict()
    if linker.bi_encoder.config.share_towers:  # BLINK knows two towers
        state |= {name.replace("mention_", "entity_", 1): value for name, value in state.items()}
    state = with_poolers(state, ("mention_encoder", "entity_encoder"))
    save_tensors(BI_ENCODER.to_theirs(plain(state)), folder / "biencoder.bin")
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
    write_bert(linker, state, folder / _BERT)


def plain(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().to("cpu", torch.float32).contiguous() for name, value in state.items()}


def with_poolers(state: dict[str, torch.Tensor], towers: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """BLINK wants each tower's pooler, though it reads none of them; where there is none, zeros take its place."""
    for tower in towers:
        size = state[f"{tower}.embeddings.word_embeddings.weight"].shape[1]
        state.setdefault(f"{tower}.pooler.dense.weight", torch.zeros(size, size))
        state.setdefault(f"{tower}.pooler.dense.bias", torch.zeros(size))
    return state


def _write_settings(linker: Any, file: Path, own: dict[str, Any]) -> None:
    processor = linker.processor
    settings = _SETTINGS | {
        "bert_model": _BERT,
        "lowercase": lower_cases(processor),
        "max_context_length": processor.mention_length,
        "max_cand_length": processor.entity_length,
        **own,
    }
    file.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def lower_cases(processor: Any) -> bool:
    return bool(processor.do_lower_case or processor.token_ids(["A"]) == processor.token_ids(["a"]))


def write_bert(linker: Any, state: dict[str, torch.Tensor], folder: Path) -> None:
    """The BERT that BLINK starts from before it reads the weights: the mention tower."""
    folder.mkdir()
    config = linker.bi_encoder.config.mention_config
    (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=1) + "\n", encoding="utf-8")
    vocabulary = linker.processor.tokenizer.get_vocab()
    words = sorted(vocabulary, key=vocabulary.__getitem__)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    prefix = "mention_encoder."
    tower = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    save_tensors(plain(tower), folder / "pytorch_model.bin")


def save_tensors(content: Any, file: Path) -> None:
    """Through a file of Python's, which says why where a disk is full."""
    try:
        with file.open("wb") as stream:
            torch.save(content, stream)
    except RuntimeError as error:  # torch hides the reason behind an error of its own
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def write_entities(knowledge_base: Any, file: Path) -> None:
    with file.open("w", encoding="utf-8") as stream:
        for start in range(0, len(knowledge_base), _READ_ROWS):
            rows = range(start, min(start + _READ_ROWS, len(knowledge_base)))
            for entity in knowledge_base.entities(rows):
                stream.write(json.dumps(_line(entity)) + "\n")


def _line(entity: Any) -> dict[str, Any]:
    line = {
        "text": f" {entity.description}" if entity.description else "",
        "idx": entity.url or entity.entity_id,
        "title": entity.title,
        "entity": entity.metadata.get("entity", entity.title),
    }
    wikidata_id = entity.metadata.get("wikidata_id")
    return line | ({"kb_idx": wikidata_id} if wikidata_id else {})


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
