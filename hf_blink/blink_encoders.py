"""BLINK's two encoders as models of ours, from the original weights and settings.

    bi-encoder      {context,cand}_encoder.bert_model.*        two towers, vectors are the [CLS] states, scores their inner
                    (.additional_linear.*, with add_linear)    products; with add_linear a linear layer over the pooler
    cross-encoder   encoder.bert_model.*                       one encoder, a linear layer over the pooler
                    encoder.additional_linear.*

The towers' poolers, which BLINK saves and never reads, are kept (`keep_pooler`), so that `export_blink` writes the same
weights back. Settings that were stored and never used by the original (`pull_from_layer`, `out_dim` without add_linear)
change nothing here either. The files hold neither the vocabulary nor the number of attention heads: both come from the
BERT that the settings name.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from hf_blink.modeling.configuration_blink import (
    BlinkBiEncoderConfig,
    BlinkCrossEncoderConfig,
    clean_sub_config,
)
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.modeling_blink_crossencoder import BlinkCrossEncoder
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.name_table import NameTable
from hf_blink.original_files import read_checkpoint, read_settings, setting
from hf_blink.weight_kinds import refuse_other_kind

BI_ENCODER = NameTable(
    "BLINK's bi-encoder",
    (
        ("context_encoder.bert_model.", "mention_encoder."),
        ("context_encoder.additional_linear.", "mention_projection."),
        ("cand_encoder.bert_model.", "entity_encoder."),
        ("cand_encoder.additional_linear.", "entity_projection."),
    ),
)
CROSS_ENCODER = NameTable(
    "BLINK's cross-encoder",
    (("encoder.bert_model.", "encoder."), ("encoder.additional_linear.", "score.")),
)
_LENGTH = 128  # BLINK's default of both windows
_PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class BlinkSettings:
    """What of BLINK's settings changes a vector or a score.

    Attributes:
        bert_model: the BERT that the encoder was trained from.
        lowercase: whether text is lower-cased.
        mention_length: tokens of a mention window (max_context_length).
        entity_length: tokens of an entity text (max_cand_length).
        pair_length: tokens of a pair (max_seq_length).
        out_dim: outputs of the linear layer; None where there is none (add_linear false).
    """

    bert_model: str
    lowercase: bool
    mention_length: int
    entity_length: int
    pair_length: int
    out_dim: int | None

    @classmethod
    def read(cls, path: _PathLike, what: str) -> "BlinkSettings":
        """Reads the file of settings beside the weights.

        Args:
            path: `biencoder_wiki_large.json`, or `training_params.txt` of a training run.
            what: whose settings they are, for errors, such as "the bi-encoder's settings".

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: no settings of BLINK, or a setting of another type.
        """
        settings = read_settings(path, what)
        try:
            if setting(settings, "roberta", bool, False):
                raise ValueError("expected a BERT, got 'roberta': true, a branch of BLINK that never worked")
            mention, entity = (
                setting(settings, name, int, _LENGTH) for name in ("max_context_length", "max_cand_length")
            )
            out_dim = setting(settings, "out_dim", int, 1)
            return cls(
                bert_model=setting(settings, "bert_model", str, ...),
                lowercase=setting(settings, "lowercase", bool, True),
                mention_length=mention,
                entity_length=entity,
                pair_length=setting(settings, "max_seq_length", int, mention + entity - 1),
                out_dim=out_dim if setting(settings, "add_linear", bool, False) else None,
            )
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from None


def import_blink_biencoder(
    weights: _PathLike, settings: _PathLike, *, bert_model: str | None = None
) -> tuple[BlinkBiEncoder, BlinkProcessor]:
    """Reads a bi-encoder of BLINK.

    Args:
        weights: its state dict, such as `biencoder_wiki_large.bin` or a training run's `pytorch_model.bin`.
        settings: `biencoder_wiki_large.json`, or the run's `training_params.txt`.
        bert_model: folder or Hub name of the BERT that it was trained from; None takes the settings' own.

    Returns:
        The model and its processor.

    Raises:
        FileNotFoundError: a file, or the BERT, is not there.
        ValueError: files of another kind, weights that do not fit the settings, or a pickle with code in it.
    """
    read = BlinkSettings.read(settings, "the bi-encoder's settings")
    state = read_checkpoint(weights, "the bi-encoder's weights")
    bert = OriginalBert(bert_model or bert_of(read, settings), settings)
    pooling: Literal["cls", "pooler"] = "cls" if read.out_dim is None else "pooler"
    config = BlinkBiEncoderConfig(
        mention_config=bert.config,
        entity_config=bert.config,
        mention_pooling=pooling,
        entity_pooling=pooling,
        similarity="dot",
        temperature=1.0,
        projection_dim=read.out_dim,
        keep_pooler=True,
    )
    model = filled_model(BlinkBiEncoder(config), state, BI_ENCODER, weights)
    return model, bert.processor(read)


def import_blink_crossencoder(
    weights: _PathLike, settings: _PathLike, *, bert_model: str | None = None
) -> tuple[BlinkCrossEncoder, BlinkProcessor]:
    """Reads a cross-encoder of BLINK; arguments, results and errors as in `import_blink_biencoder`.

    In a linker it reads the bi-encoder's windows, so both must have been trained with the same lengths.
    """
    read = BlinkSettings.read(settings, "the cross-encoder's settings")
    if read.out_dim != 1:
        raise ValueError(
            f"{os.fspath(settings)}: expected a cross-encoder's settings, with 'add_linear': true and 'out_dim': 1, got "
            f"{'no linear layer' if read.out_dim is None else f'out_dim {read.out_dim}'}; these may be the bi-encoder's"
        )
    state = read_checkpoint(weights, "the cross-encoder's weights")
    bert = OriginalBert(bert_model or bert_of(read, settings), settings)
    whole = read.mention_length + read.entity_length - 1
    config = BlinkCrossEncoderConfig(
        encoder_config=bert.config,
        pooling="pooler",
        dropout=0.1,
        pair_length=read.pair_length if read.pair_length < whole else None,
    )
    model = filled_model(BlinkCrossEncoder(config), state, CROSS_ENCODER, weights)
    return model, bert.processor(read)


def bert_of(read: BlinkSettings, settings: _PathLike) -> str:
    """The BERT that settings name: a folder beside their file, as an export writes it, or else as it is named."""
    beside = Path(settings).parent / read.bert_model
    return str(beside) if (beside / "config.json").is_file() else read.bert_model


class OriginalBert:
    """Configuration and vocabulary of the BERT that an encoder was trained from.

    A folder needs `config.json` and `vocab.txt` alone, also in the form of 2019, which names no model type.
    """

    def __init__(self, name: str, settings: _PathLike) -> None:
        from transformers import BertConfig

        self._name = name
        try:
            self.config: Any = clean_sub_config(BertConfig.from_pretrained(name))
        except (OSError, ValueError) as error:
            reason = (str(error).strip().splitlines() or [""])[0]
            raise FileNotFoundError(
                f"expected the BERT that the encoder was trained from: '{name}' (bert_model in {os.fspath(settings)}) is no "
                f"folder with config.json and vocab.txt here ({Path.cwd()}), and the Hub did not give it: {reason}; name "
                "another folder or Hub name of it with --bert-model (bert_model=)"
            ) from error

    def processor(self, read: BlinkSettings, kind: Any = BlinkProcessor) -> Any:
        """BLINK's windows: its lengths, its lower-casing, the gap of padding in pairs; of the class `kind`."""
        from transformers import BertTokenizer

        return kind(
            BertTokenizer.from_pretrained(self._name, do_lower_case=read.lowercase),
            mention_length=read.mention_length,
            entity_length=read.entity_length,
            do_lower_case=read.lowercase,
            pad_mention_in_pairs=True,
        )


def filled_model(model: Any, state: Any, table: NameTable, weights: _PathLike) -> Any:
    """The model with the weights of the file, in evaluation mode."""
    if not isinstance(state, dict):
        raise ValueError(
            f"{os.fspath(weights)}: expected the state dict of {table.source}, got a {type(state).__name__}"
        )
    try:
        refuse_other_kind(state, table.source)
        found = table.to_ours(state, model.state_dict())
    except ValueError as error:
        raise ValueError(f"{os.fspath(weights)}: {error}") from None
    bad = [name for name, value in found.items() if not torch.isfinite(value).all()]
    if bad:
        raise ValueError(
            f"{os.fspath(weights)}: expected finite weights, got NaN or infinity in {table.theirs(bad[0])}; download it again"
        )
    model.load_state_dict(found)
    return model.eval()
