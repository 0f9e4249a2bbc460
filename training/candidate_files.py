"""The mined candidates of labelled mentions, on disk: mined once, read ever after.

    output_dir/candidates/<fingerprint>.parquet
    output_dir/candidates/vectors/               the encoded entities, until the mining is done

The fingerprint is of everything that the candidates depend on, so other models, settings, mentions or entities get another
file and the same ones find their own. All processes mine together, and process 0 writes what they found, whole. A run that
is stopped afterwards, before its first checkpoint or later, goes on without encoding the entities and mining again; where a
process does not see the file, all mine again.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
from datasets import Dataset
from transformers import TrainingArguments

from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.training.encoded_blocks import VECTORS
from hf_blink.training.hard_negatives import mine_candidates
from hf_blink.training.mining_fingerprint import mining_fingerprint
from hf_blink.training.process_shares import check_agreement, failing_together, gather_objects
from hf_blink.training.whole_files import written_whole

logger = logging.getLogger(__name__)

FOLDER = "candidates"


class FirstStage(NamedTuple):
    """A bi-encoder that finds candidates.

    Attributes:
        knowledge_base: the entities.
        processor: of the bi-encoder.
        bi_encoder: mines the candidates.
        num_candidates: candidates a mention.
    """

    knowledge_base: KnowledgeBase
    processor: BlinkProcessor
    bi_encoder: Any
    num_candidates: int


def kept_candidates(
    stage: FirstStage, mentions: Dataset, training: TrainingArguments, linker: Callable[[], EntityLinker]
) -> Dataset:
    """Mentions with the columns of `mine_candidates`, from the run's folder or mined and put there; collective.

    Args:
        stage: the model, on the device that is to compute.
        mentions: labelled mentions.
        training: `output_dir` names the folder; knows the processes.
        linker: gives the linker to mine with (`shared_linker`); not called where the candidates are there.

    Raises:
        ValueError: as `mine_candidates`, or processes with other models or data.
    """
    digest = fingerprint_of_candidates(stage, mentions)
    check_agreement("mining candidates", {"fingerprint of models and data": digest})
    file = Path(str(training.output_dir), FOLDER, f"{digest[:16]}.parquet")
    if not all(gather_objects(file.is_file())):
        progress = training.process_index == 0
        mined = mine_candidates(linker(), mentions, num_candidates=stage.num_candidates, progress=progress)
        with failing_together("keeping candidates"):
            if training.process_index == 0:
                write_dataset(mined, file)
        return mined
    with failing_together("reading candidates"):
        mined = read_dataset(file)
    if training.process_index == 0:
        share = 100 * sum(mined["gold_retrieved"]) / len(mined)
        message = (
            "candidates of %d mentions are those in %s; gold retrieved for %.1f %%, inserted for %.1f %%"
        )
        logger.info(message, len(mined), file, share, 100 - share)
    return mined


def vectors_folder(training: TrainingArguments) -> Path:
    """Where `shared_linker` keeps encoded entities for a run that is killed; `remove_blocks` when all candidates are mined."""
    return Path(str(training.output_dir), FOLDER, VECTORS)


def fingerprint_of_candidates(stage: FirstStage, mentions: Dataset) -> str:
    """SHA-256 over everything that decides candidates and their scores, 64 hexadecimal digits."""
    knowledge_base, processor, bi_encoder, count = stage
    return mining_fingerprint(bi_encoder, processor, knowledge_base, mentions, {"num_candidates": count})


def read_dataset(file: Path) -> Dataset:
    """A dataset that `write_dataset` wrote."""
    return Dataset(pq.read_table(file))


def write_dataset(dataset: Dataset, file: Path) -> None:
    """Writes a parquet file; an interrupted run leaves it whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(file) as stream:
        dataset.to_parquet(stream)
