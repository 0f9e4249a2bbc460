"""Writes one tower of a bi-encoder as a sentence-transformers model, in a folder of its own.

    modules.json -> Transformer (root) · 1_Pooling · [2_Dense, the projection] · [Normalize, with cosine similarity]

The format is the plain one that every version since 2.0 reads; sentence-transformers itself is not needed to write it. The
markers become special tokens of the exported tokenizer, so that `"Paris[unused2]Capital of France."` gives an entity's
vector; see `entity_text`.
"""

import json
import os
from pathlib import Path
from typing import Any

from hf_blink.modeling.processing_blink import nearest_text

_MODULE = "sentence_transformers.models."


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
    """
    if tower not in ("entity", "mention"):
        raise ValueError(f"expected tower='entity' or 'mention', got {tower!r}")
    is_entity = tower == "entity"
    pooling = bi_encoder.config.entity_pooling if is_entity else bi_encoder.config.mention_pooling
    if pooling not in ("cls", "mean"):
        raise ValueError(
            f"expected a tower with cls or mean pooling, got {pooling}; sentence-transformers knows no mentions, export the "
            "entity tower or train with mention_pooling='mean'"
        )
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(
            f"expected a new or empty folder, got {target}; a linker's own folder is no place for an export"
        )
    own = bi_encoder.entity_encoder is not None and is_entity
    encoder = bi_encoder.entity_encoder if own else bi_encoder.mention_encoder
    projection = bi_encoder.entity_projection if own else bi_encoder.mention_projection
    encoder.save_pretrained(target)
    _save_tokenizer(processor, target)
    length = processor.entity_length if is_entity else processor.mention_length
    _write(
        target / "sentence_bert_config.json",
        {"max_seq_length": length, "do_lower_case": processor.do_lower_case},
    )
    _write(
        target / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": encoder.config.hidden_size,
            "pooling_mode_cls_token": pooling == "cls",
            "pooling_mode_mean_tokens": pooling == "mean",
        },
    )
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    if projection is not None:
        _save_projection(projection, target / "2_Dense")
        modules.append(("2_Dense", "Dense"))
    if bi_encoder.config.similarity == "cosine":
        modules.append((f"{len(modules)}_Normalize", "Normalize"))
        (target / modules[-1][0]).mkdir()
    _write(
        target / "modules.json",
        [
            {"idx": i, "name": str(i), "path": path, "type": _MODULE + kind}
            for i, (path, kind) in enumerate(modules)
        ],
    )


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


def _save_projection(projection: Any, folder: Path) -> None:
    from safetensors.torch import save_file

    _write(
        folder / "config.json",
        {
            "in_features": projection.in_features,
            "out_features": projection.out_features,
            "bias": True,
            "activation_function": "torch.nn.modules.linear.Identity",
        },
    )
    state = {f"linear.{name}": value.contiguous() for name, value in projection.state_dict().items()}
    save_file(state, str(folder / "model.safetensors"))


def _write(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
