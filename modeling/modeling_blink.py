"""What both encoders are: a backbone of any `AutoModel` kind, loaded from safetensors alone and pushed with its code."""

import os
import shutil
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel, PreTrainedModel

from .full_disk import naming_the_disk
from .hub_transfer import HubOptions, HubTarget, push_saved
from .travelling_code import add_encoder_code

_WEIGHTS = "model*.safetensors*"
_OWN_KINDS = ("blink-biencoder", "blink-crossencoder", "elq")


class BlinkPreTrainedModel(PreTrainedModel):
    """Base of [`BlinkBiEncoder`] and [`BlinkCrossEncoder`]."""

    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config: Any):
        super().__init__(config)
        self.hub_options = HubOptions()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *model_args: Any, **kwargs: Any) -> Any:
        """As `PreTrainedModel.from_pretrained`, from safetensors alone.

        Remembers the revision, so that the pipeline reads the rest of a linker from there.
        """
        kwargs.setdefault("use_safetensors", True)
        loaded = super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)
        model = loaded[0] if type(loaded) is tuple else loaded  # a tuple with output_loading_info=True
        model.hub_options = HubOptions.of(kwargs)
        model.freeze_unread()
        return loaded

    def freeze_unread(self) -> None:
        """Excludes weights that nothing reads from training; loading makes all of them trainable."""

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """As `PreTrainedModel.save_pretrained`, but that a full disk is a clear error and leaves an older encoder as it was."""
        target = Path(save_directory)
        advice = "free some space there or choose another folder; an older encoder is as it was"
        with naming_the_disk(target, "the encoder", advice):
            target.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(prefix=".saving-", dir=target) as staging:
                super().save_pretrained(staging, *args, **kwargs)
                _move_files(Path(staging), target)

    def push_to_hub(self, repo_id: str, *, processor: Any = None, **target: Any) -> Any:  # type: ignore[override]
        """Uploads weights and code as one commit.

        Args:
            repo_id: `user/name`; made if missing.
            processor: its [`BlinkProcessor`], which goes beside it.
            **target: options, and errors, as in `EntityLinker.push_to_hub`.
        """
        return push_saved(
            self, HubTarget(repo_id, **target), older=_WEIGHTS, add=partial(add_encoder_code, processor)
        )


def _move_files(staging: Path, target: Path) -> None:
    """Puts saved files in the place of older ones; weights of another number of shards go."""
    new = sorted(path.name for path in staging.iterdir())
    weights = [name for name in new if fnmatch(name, _WEIGHTS)]
    for name in weights:
        if name.endswith(".safetensors"):  # safetensors' are the owner's alone
            shutil.copymode(staging / "config.json", staging / name)
    for name in new:
        os.replace(staging / name, target / name)
    for old in target.glob(_WEIGHTS) if weights else ():
        if old.name not in weights:
            old.unlink()


def check_fields(config_class: Any, settings: dict[str, Any]) -> None:
    """Refuses settings that are no fields of a configuration.

    Raises:
        ValueError: names them.
    """
    if unknown := sorted(set(settings) - set(config_class.__dataclass_fields__)):
        raise ValueError(
            f"expected settings among the configuration's fields, got {unknown}; see {config_class.__name__}"
        )


def pretrained_backbone(encoder: str, vocab_size: int | None) -> Any:
    """A pretrained encoder in float32, with room for `vocab_size` tokens where that is more than it has.

    Raises:
        ValueError: a model of this package, whose towers are no encoder to start from.
    """
    backbone: Any = AutoModel.from_pretrained(encoder, dtype=torch.float32)
    if backbone.config.model_type in _OWN_KINDS:
        raise ValueError(
            f"expected an encoder to start from, such as a BERT, got a model of type {backbone.config.model_type!r} in "
            f"{encoder}; name its base model, or a saved model of the kind that is trained"
        )
    if vocab_size is not None and vocab_size > backbone.config.vocab_size:
        backbone.resize_token_embeddings(vocab_size)
    return backbone


def copy_weights(source: Any, target: Any) -> None:
    """Copies the source's weights to the target.

    A pooler of one of them alone stays behind, or stays as it was initialised.

    Raises:
        ValueError: another weight is missing on one side.
    """
    wanted, given = target.state_dict(), source.state_dict()
    lonely = [name for name in wanted.keys() ^ given.keys() if not name.startswith("pooler.")]
    if lonely:
        raise ValueError(
            f"expected two encoders of one kind, got weights on one side only: {sorted(lonely)[:5]}"
        )
    target.load_state_dict({**wanted, **{name: value for name, value in given.items() if name in wanted}})


def pool_output(output: Any, attention_mask: Tensor, pooling: str, spans: Tensor | None = None) -> Tensor:
    """As `pool`, of an encoder's output; `pooler` is the encoder's own pooler output."""
    if pooling == "pooler":
        return output.pooler_output
    return pool(output.last_hidden_state, attention_mask, pooling, spans)


def pool(hidden: Tensor, attention_mask: Tensor, pooling: str, spans: Tensor | None = None) -> Tensor:
    """One vector a sequence.

    Args:
        hidden: `[batch_size, length, hidden_size]`.
        attention_mask: `[batch_size, length]`, 1 for tokens and 0 for padding.
        pooling: `cls`, `mean` or `mention_span`.
        spans: `[batch_size, 2]`, token positions of the mention, end exclusive; for `mention_span`.

    Returns:
        `[batch_size, hidden_size]`.
    """
    if pooling == "cls":
        return hidden[:, 0]
    mask = attention_mask.bool()
    if pooling == "mention_span":
        if spans is None:
            raise ValueError("expected mention_spans [batch_size, 2] for mention_span pooling, got None")
        positions = torch.arange(hidden.shape[1], device=hidden.device)
        mask = mask & (positions >= spans[:, :1]) & (positions < spans[:, 1:])
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
