"""From the files that ELQ was published as to a linker's folder of ours.

    elq_wiki_large.bin, elq_large_params.txt    {context,cand}_encoder.bert_model.*, classification_heads.mention_scores.*
                                                -> config.json, model.safetensors, tokenizer: towers, span head, thresholds
    entity.jsonl                                -> knowledge_base/entities-*.parquet, Wikipedia and Wikidata ids kept
    faiss_{flat,hnsw,ivfflat}_index.pkl,
    or all_entities_large.t7, or neither        -> entity_index/index.faiss

The settings are one line of Python, read as a literal. ELQ's thresholds are options of its programs and in no file: the
joint threshold is given here, and saved with the model.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hf_blink.blink_encoders import BlinkSettings, OriginalBert, bert_of, filled_model
from hf_blink.modeling.configuration_elq import ElqConfig
from hf_blink.modeling.encoder_limits import check_fits
from hf_blink.modeling.linker_storage import check_save_folder
from hf_blink.modeling.modeling_elq import ElqModel
from hf_blink.modeling.processing_elq import ElqProcessor
from hf_blink.name_table import NameTable
from hf_blink.original_files import read_checkpoint, read_settings, setting
from hf_blink.original_import import ImportSettings, OriginalEncoders, OriginalFiles, PathLike, write_import

ELQ = NameTable(
    "ELQ",
    (
        ("context_encoder.bert_model.", "mention_encoder."),
        ("cand_encoder.bert_model.", "entity_encoder."),
        ("classification_heads.mention_scores.bound_classifier.", "span_head."),
    ),
)
POOLINGS = {"all_avg": "all_avg", "fl_avg": "first_last"}  # ELQ's mention_aggregation_type
SPAN_HEADS = {"qa_linear": "linear", "qa_mlp": "mlp"}  # ELQ's mention_scoring_method
JOINT_THRESHOLD = -4.5  # of ELQ's programs


@dataclass(frozen=True)
class ElqFiles(OriginalFiles):
    """Files of an ELQ model; all but the first two may be missing.

    Attributes:
        model: its weights.
        config: its settings.
        entities, encodings, index, bert_model: see `OriginalFiles`.
    """

    origin: ClassVar[str] = "ELQ"

    model: PathLike
    config: PathLike


def import_elq_model(
    weights: PathLike,
    settings: PathLike,
    *,
    bert_model: str | None = None,
    joint_threshold: float = JOINT_THRESHOLD,
    num_mentions: int = 50,
) -> tuple[ElqModel, ElqProcessor]:
    """Reads a model of ELQ.

    Args:
        weights: its state dict, such as `elq_wiki_large.bin`.
        settings: `elq_large_params.txt`, or the `training_params.txt` of a training run.
        bert_model: folder or Hub name of the BERT that it was trained from; None takes the settings' own.
        joint_threshold: ELQ's `--threshold` (-4.5; its README has -2.9 for the model of Wikipedia).
        num_mentions: spans of a question that are looked up, ELQ's `--num_cand_mentions`.

    Returns:
        The model and its processor.

    Raises:
        FileNotFoundError: a file, or the BERT, is not there.
        ValueError: files of another kind, a kind of ELQ that has no counterpart here, or a pickle with code in it.
    """
    what = "ELQ's settings"
    read, more = BlinkSettings.read(settings, what), read_settings(settings, what)
    pooling = _known(more, "mention_aggregation_type", POOLINGS, settings)
    head = _known(more, "mention_scoring_method", SPAN_HEADS, settings)
    if read.out_dim is not None:
        raise ValueError(f"{os.fspath(settings)}: expected an ELQ model without 'add_linear', got true")
    state = read_checkpoint(weights, "ELQ's weights")
    bert = OriginalBert(bert_model or bert_of(read, settings), settings)
    config = ElqConfig(
        mention_config=bert.config,
        entity_config=bert.config,
        mention_pooling=pooling,  # type: ignore[arg-type]
        entity_pooling="cls",
        similarity="dot",
        temperature=1.0,
        span_head=head,  # type: ignore[arg-type]
        max_mention_tokens=setting(more, "max_mention_length", int, 10) + 1,
        num_mentions=num_mentions,
        joint_threshold=joint_threshold,
        whole_words=False,
        frame_in_spans=True,
        keep_pooler=True,
    )
    model = filled_model(ElqModel(config), state, ELQ, weights)
    return model, bert.processor(read, ElqProcessor)


def _known(settings: dict[str, Any], name: str, names: dict[str, str], path: PathLike) -> str:
    value = setting(settings, name, str, ...)
    if value not in names:
        raise ValueError(
            f"{os.fspath(path)}: expected {name} among {', '.join(names)}, got {value!r}, which has no counterpart here"
        )
    return names[value]


def import_elq(
    files: ElqFiles,
    out: PathLike,
    settings: ImportSettings | None = None,
    *,
    joint_threshold: float = JOINT_THRESHOLD,
    num_mentions: int = 50,
) -> Path:
    """Makes a linker's folder of ELQ's files; the model's folder where there are no entities.

    Args:
        files: what there is.
        out: the folder; an older linker there is replaced, and a failure leaves it as it was.
        settings: how the linker is made.
        joint_threshold, num_mentions: as in `import_elq_model`.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: a file, or the BERT that the settings name, is not there.
        ValueError: files that do not belong together, damaged ones, pickles with code, or a folder with something else.
        OSError: the disk is full.
    """
    files.check()
    check_save_folder(out)
    model, processor = import_elq_model(
        files.model,
        files.config,
        bert_model=files.bert_model,
        joint_threshold=joint_threshold,
        num_mentions=num_mentions,
    )
    check_fits(processor, model)
    return write_import(files, OriginalEncoders(model, processor, None), out, settings or ImportSettings())
