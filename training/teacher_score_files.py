"""The candidates of all training mentions and the teacher's scores of them, on disk: computed once, read ever after.

    output_dir/teacher_scores/<fingerprint>/000000000.parquet, 000000256.parquet, ...    named by their first mention

The fingerprint is of everything that the scores depend on, so other models, settings, mentions or entities get another
folder and the same ones find their own. All processes mine, each scores every n-th file and writes it whole, and all
read all: a run that is stopped in between goes on with the files that are missing.
"""

import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
from datasets import Dataset, concatenate_datasets
from transformers import TrainingArguments

from hf_blink.modeling.configuration_blink import settings_of_vectors
from hf_blink.modeling.encoder_fingerprint import encoder_fingerprint, fingerprint_tensors
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.training.distillation import TEACHER_SCORES, add_teacher_scores
from hf_blink.training.hard_negatives import mine_candidates
from hf_blink.training.mention_retrieval import mentions_digest
from hf_blink.training.process_shares import failing_together, gather_objects
from hf_blink.training.shared_linker import shared_linker
from hf_blink.training.whole_files import written_whole

logger = logging.getLogger(__name__)

MENTIONS_A_FILE = 256
_OF_THE_WINDOWS = (
    "mention_length", "entity_length", "mention_start", "mention_end", "entity_marker", "do_lower_case",
    "pad_mention_in_pairs",
)  # fmt: skip


class TwoStages(NamedTuple):
    """A bi-encoder that finds candidates and the cross-encoder that ranks them.

    Attributes:
        knowledge_base: the entities.
        processor: of both encoders.
        bi_encoder: mines the candidates.
        cross_encoder: the teacher.
        num_candidates: candidates a mention.
    """

    knowledge_base: KnowledgeBase
    processor: BlinkProcessor
    bi_encoder: Any
    cross_encoder: Any
    num_candidates: int


def teacher_dataset(stages: TwoStages, mentions: Dataset, training: TrainingArguments) -> Dataset:
    """Training mentions with candidates and `teacher_scores`, from the run's folder or computed and put there.

    Every process calls it.

    Args:
        stages: the models, on the device that is to compute.
        mentions: labelled mentions, each with a gold entity of the knowledge base.
        training: `output_dir` names the folder; knows the processes.

    Raises:
        ValueError: a mention without a gold entity.
        FileNotFoundError: a file of another process is not there.
    """
    folder = Path(str(training.output_dir), TEACHER_SCORES, fingerprint_of(stages, mentions)[:16])
    files = {
        folder / f"{start:09d}.parquet": range(start, min(start + MENTIONS_A_FILE, len(mentions)))
        for start in range(0, len(mentions), MENTIONS_A_FILE)
    }
    seen = gather_objects([file for file in files if not file.is_file()])  # before anybody writes
    missing = sorted(set().union(*seen))
    if missing:
        mined = _mined(stages, mentions, progress=training.process_index == 0)
        with failing_together("scoring candidates with the teacher"):
            for file in missing[training.process_index :: training.world_size]:
                scored = _scored(stages, mined.select(files[file]), progress=training.process_index == 0)
                _write(scored, file)
    with failing_together("reading the teacher's scores"):
        _check_all_there(folder, files)
    scored = concatenate_datasets([Dataset(pq.read_table(file)) for file in files])
    share = 100 * sum(scored["gold_retrieved"]) / len(scored)
    logger.info(
        "candidates of %d mentions with the teacher's scores; gold retrieved for %.1f %%", len(scored), share
    )
    return scored


def _check_all_there(folder: Path, files: Iterable[Path]) -> None:
    names = [file.name for file in files]
    if gone := [name for name in names if not (folder / name).is_file()]:
        raise FileNotFoundError(
            f"expected {len(names)} files of all processes in {folder}, got none of {', '.join(gone[:10])}; output_dir must "
            "be a folder that all machines share"
        )


def fingerprint_of(stages: TwoStages, mentions: Dataset) -> str:
    """SHA-256 over everything that decides candidates and scores, 64 hexadecimal digits."""
    student, teacher = stages.bi_encoder.config, stages.cross_encoder.config
    settings = {
        "knowledge_base": stages.knowledge_base.fingerprint,
        "entities": encoder_fingerprint(stages.bi_encoder, stages.processor),
        "mentions": [
            settings_of_vectors(student.mention_config), student.mention_pooling, student.temperature,
        ],
        "windows": [getattr(stages.processor, name) for name in _OF_THE_WINDOWS],
        "teacher": [settings_of_vectors(teacher.encoder_config), teacher.pooling, teacher.retrieval_weight],
        "weights": [
            fingerprint_tensors(model.state_dict()) for model in (stages.bi_encoder, stages.cross_encoder)
        ],
        "num_candidates": stages.num_candidates,
    }  # fmt: skip
    whole = hashlib.sha256(b"hf_blink teacher scores 1\n" + json.dumps(settings, sort_keys=True).encode())
    whole.update(mentions_digest(mentions).encode())
    return whole.hexdigest()


def _mined(stages: TwoStages, mentions: Dataset, *, progress: bool) -> Dataset:
    linker = shared_linker(stages.knowledge_base, stages.bi_encoder, stages.processor, progress=progress)
    mined = mine_candidates(linker, mentions, num_candidates=stages.num_candidates, progress=progress)
    if len(mined) < len(mentions):
        raise ValueError(
            f"expected mentions with a gold entity of the knowledge base each, got {len(mentions) - len(mined)} of "
            f"{len(mentions)} without; leave them out"
        )
    return mined


def _scored(stages: TwoStages, mined: Dataset, *, progress: bool) -> Dataset:
    return add_teacher_scores(
        stages.cross_encoder,
        stages.processor,
        stages.knowledge_base,
        mined,
        temperature=stages.bi_encoder.config.temperature,
        progress=progress,
    )


def _write(dataset: Dataset, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(file) as stream:
        dataset.to_parquet(stream)
