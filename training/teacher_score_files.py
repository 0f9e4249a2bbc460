"""The candidates of all training mentions and the teacher's scores of them, on disk: computed once, read ever after.

    output_dir/teacher_scores/<fingerprint>/000000000.parquet, 000000256.parquet, ...    named by their first mention

The fingerprint is of everything that the scores depend on, so other models, settings, mentions or entities get another
folder and the same ones find their own. All processes mine (see candidate_files), each scores every n-th file and writes it
whole, and all read all: a run that is stopped in between goes on with the files that are missing.
"""

import logging
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from datasets import Dataset, concatenate_datasets
from transformers import TrainingArguments

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.training.candidate_files import (
    FirstStage,
    kept_candidates,
    read_dataset,
    vectors_folder,
    write_dataset,
)
from hf_blink.training.distillation import TEACHER_SCORES, add_teacher_scores
from hf_blink.training.encoded_blocks import remove_blocks
from hf_blink.training.mining_fingerprint import mining_fingerprint
from hf_blink.training.process_shares import failing_together, gather_objects
from hf_blink.training.shared_linker import shared_linker

logger = logging.getLogger(__name__)

MENTIONS_A_FILE = 256


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

    @property
    def first(self) -> FirstStage:
        """The bi-encoder alone."""
        return FirstStage(self.knowledge_base, self.processor, self.bi_encoder, self.num_candidates)


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
        mined = _mined(stages, mentions, training)
        with failing_together("scoring candidates with the teacher"):
            for file in missing[training.process_index :: training.world_size]:
                scored = _scored(stages, mined.select(files[file]), progress=training.process_index == 0)
                write_dataset(scored, file)
    with failing_together("reading the teacher's scores"):
        _check_all_there(folder, files)
    scored = concatenate_datasets([read_dataset(file) for file in files])
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
    knowledge_base, processor, bi_encoder, teacher, count = stages
    settings = {"num_candidates": count}
    return mining_fingerprint(
        bi_encoder, processor, knowledge_base, mentions, settings, cross_encoder=teacher
    )


def _mined(stages: TwoStages, mentions: Dataset, training: TrainingArguments) -> Dataset:
    progress = training.process_index == 0
    models, vectors = (stages.knowledge_base, stages.bi_encoder, stages.processor), vectors_folder(training)
    linker = partial(shared_linker, *models, folder=vectors, progress=progress)
    mined = kept_candidates(stages.first, mentions, training, linker)
    remove_blocks(vectors)
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
