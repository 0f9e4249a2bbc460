"""Writes one tower of a bi-encoder as a sentence-transformers model, in a folder of its own.

    modules.json -> Transformer (root) · 1_Pooling · [2_Dense] · [Normalize, with cosine similarity]

The format is the plain one that every version since 2.0 reads; sentence-transformers itself is not needed to write it. The
dense layer is the projection, the cut to `truncate_dim` dimensions, or both in one. The markers become special tokens of
the exported tokenizer, so that `"Paris[unused2]Capital of France."` gives an entity's vector; see `entity_text`.
"""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hf_blink.modeling.folder_swap import swap_folder
from hf_blink.modeling.full_disk import naming_the_disk
from hf_blink.modeling.processing_blink import nearest_text


def entity_text(processor: Any, title: str, description: str) -> str:
    """The text that an exported entity tower turns into the entity's vector."""
    length = processor.entity_length
    parts = [nearest_text(text, length, side="right") for text in (title, description)]
    return processor.entity_marker.join(parts)  # no space: the processor tokenises the two apart


def export_sentence_transformers(
    bi_encoder: Any, processor: Any, folder: str | os.PathLike[str], *, tower: str = "entity"
) -> None:
    """Writes a tower with `cls` or `mean` pooling as a sentence-transformers model.

    Args:
        bi_encoder: a [`BlinkBiEncoder`].
        processor: its [`BlinkProcessor`].
        folder: a new or empty folder.
        tower: `entity`, or `mention` (whose texts are `left[unused0]mention[unused1]right`, not longer than the window).

    Raises:
        ValueError: no such tower, pooling over the mention's span, which sentence-transformers cannot express, or a
            folder with files in it.
        OSError: the disk is full; the folder is as it was.
    """
    is_entity = tower == "entity"
    pooling = _checked_pooling(bi_encoder.config, tower)
    target = Path(folder).resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(
            f"expected a new or empty folder, got {target}; a linker's own folder is no place for an export"
        )
    advice = "free some space there or choose another folder; nothing was written"
    with naming_the_disk(folder, "the export", advice):
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as unfinished:
            _write_tower(bi_encoder, processor, Path(unfinished) / "export", pooling, is_entity=is_entity)
            swap_folder(Path(unfinished) / "export", target, ours=())


def _write_tower(bi_encoder: Any, processor: Any, target: Path, pooling: str, *, is_entity: bool) -> None:
    own = bi_encoder.entity_encoder is not None and is_entity
    encoder = bi_encoder.entity_encoder if own else bi_encoder.mention_encoder
    projection = bi_encoder.entity_projection if own else bi_encoder.mention_projection
    encoder.save_pretrained(target)
    _save_tokenizer(processor, target)
    length = processor.entity_length if is_entity else processor.mention_length
    settings = {"max_seq_length": length, "do_lower_case": processor.do_lower_case}
    _write(target / "sentence_bert_config.json", settings)
    modules = ["Transformer", _save_pooling(pooling, encoder.config.hidden_size, target)]
    layer = _dense_layer(projection, bi_encoder)
    if layer is not None:
        modules.append(_save_dense(layer, target))
    if bi_encoder.config.similarity == "cosine":
        modules.append("Normalize")
    _write(target / "modules.json", [_module(target, number, kind) for number, kind in enumerate(modules)])


def _checked_pooling(config: Any, tower: str) -> str:
    if tower not in ("entity", "mention"):
        raise ValueError(f"expected tower='entity' or 'mention', got {tower!r}")
    pooling = config.entity_pooling if tower == "entity" else config.mention_pooling
    if pooling not in ("cls", "mean"):
        raise ValueError(
            f"expected a tower with cls or mean pooling, got {pooling}; sentence-transformers knows no mentions, export the "
            "entity tower or train with mention_pooling='mean'"
        )
    return pooling


def _module(target: Path, number: int, kind: str) -> dict[str, Any]:
    """The line of modules.json for a module, whose folder is made if it has no files."""
    path = f"{number}_{kind}" if number else ""
    (target / path).mkdir(exist_ok=True)
    return {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}


def _save_pooling(pooling: str, hidden_size: int, target: Path) -> str:
    modes = {f"pooling_mode_{mode}": pooling in mode for mode in ("cls_token", "mean_tokens")}
    _write(target / "1_Pooling" / "config.json", {"word_embedding_dimension": hidden_size, **modes})
    return "Pooling"


def _save_tokenizer(processor: Any, target: Path) -> None:
    """A copy of the tokenizer that reads the markers in a text as markers, and frames every text as the processor does."""
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    processor.tokenizer.save_pretrained(target)
    tokenizer = AutoTokenizer.from_pretrained(target)
    markers = [processor.mention_start, processor.mention_end, processor.entity_marker]
    tokenizer.add_tokens(markers, special_tokens=True)
    frame = tokenizer.convert_ids_to_tokens(list(processor.frame))
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{frame[0]} $A {frame[1]}", special_tokens=list(zip(frame, processor.frame, strict=True))
    )
    tokenizer.save_pretrained(target)


def _dense_layer(projection: Any, bi_encoder: Any) -> dict[str, Any] | None:
    """Weight [embed_dim, hidden_size] and bias [embed_dim] of projection and truncation together; None without both.

    sentence-transformers cuts vectors after its last module, so after `Normalize`; here they are cut before it.
    """
    import torch

    config = bi_encoder.config
    if projection is not None:
        layers = projection.state_dict()
    elif config.embed_dim < config.full_dim:
        layers = {"weight": torch.eye(config.embed_dim, config.full_dim, dtype=bi_encoder.dtype)}
    else:
        return None
    return {name: value[: config.embed_dim].contiguous() for name, value in layers.items()}


def _save_dense(layer: dict[str, Any], target: Path) -> str:
    from safetensors.torch import save_file

    folder = target / "2_Dense"
    out_features, in_features = layer["weight"].shape
    _write(
        folder / "config.json",
        {
            "in_features": in_features,
            "out_features": out_features,
            "bias": "bias" in layer,
            "activation_function": "torch.nn.modules.linear.Identity",
        },
    )
    save_file({f"linear.{name}": value for name, value in layer.items()}, str(folder / "model.safetensors"))
    return "Dense"


def _write(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
