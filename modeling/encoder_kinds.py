"""The models that can find entities for mentions, by `model_type`: which classes load them, and which find mentions too."""

import os
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from .configuration_blink import BlinkBiEncoderConfig, saved_model_type
from .configuration_elq import ElqConfig
from .modeling_blink_biencoder import BlinkBiEncoder
from .modeling_elq import ElqModel
from .processing_blink import BlinkProcessor
from .processing_elq import ElqProcessor

_CLASSES: dict[str, tuple[Any, Any]] = {
    BlinkBiEncoderConfig.model_type: (BlinkBiEncoder, BlinkProcessor),
    ElqConfig.model_type: (ElqModel, ElqProcessor),
}


def is_trained_encoder(encoder: str | os.PathLike[str]) -> bool:
    """Whether a folder or Hub repository has a bi-encoder or an ELQ model, and not a plain encoder.

    Raises:
        FileNotFoundError: nothing is there.
    """
    return saved_model_type(encoder) in _CLASSES


def load_encoder(encoder: str | os.PathLike[str], **options: Any) -> Any:
    """The bi-encoder or ELQ model of a folder or Hub repository, from safetensors alone.

    Raises:
        ValueError: a model of another kind.
    """
    return _classes(encoder)[0].from_pretrained(encoder, use_safetensors=True, **options)


def load_processor(encoder: str | os.PathLike[str], **options: Any) -> Any:
    """The processor beside it."""
    return _classes(encoder)[1].from_pretrained(encoder, **options)


def _classes(encoder: str | os.PathLike[str]) -> tuple[Any, Any]:
    # Read as plain JSON: on the Hub's own copies, AutoConfig would ask for trust in the code beside it.
    found = PreTrainedConfig.get_config_dict(encoder)[0].get("model_type")
    if found not in _CLASSES:
        raise ValueError(
            f"expected a model of type {' or '.join(_CLASSES)} in {Path(encoder)}, got {found!r}; train or import one"
        )
    return _CLASSES[found]


def is_one_pass(model: Any, processor: Any) -> bool:
    """Whether a model finds mentions by itself.

    Raises:
        ValueError: an ELQ model with the processor of another kind.
    """
    if model.config.model_type != ElqConfig.model_type:
        return False
    if not hasattr(processor, "text_windows"):
        raise ValueError(
            f"expected an ElqProcessor for an ELQ model, got {type(processor).__name__}; load it from the model's folder"
        )
    return True
