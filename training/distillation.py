"""Distillation (Wu et al. 2020, section 5): the bi-encoder learns how the cross-encoder ranks a mention's candidates.

    mine_candidates (bi-encoder) -> add_teacher_scores (cross-encoder, once) -> DistillationTrainer

    loss = alpha * in-batch loss + (1 - alpha) * distance of the candidates' scores from the teacher's

The candidates join the batch as further columns, so that for the in-batch loss they are hard negatives, of every
mention. The distance is one of distillation_losses.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm

from hf_blink.modeling.candidate_ranking import rerank
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.collators import BiEncoderCollator, Row
from hf_blink.training.dataset_readers import contexts_of
from hf_blink.training.distillation_losses import distillation_loss
from hf_blink.training.matryoshka import over_truncations
from hf_blink.training.mention_references import entity_rows
from hf_blink.training.trainers import InBatchTrainer

TEACHER_SCORES = "teacher_scores"
_MENTIONS_AT_ONCE = 256


def add_teacher_scores(
    cross_encoder: Any,
    processor: BlinkProcessor,
    knowledge_base: KnowledgeBase,
    dataset: Dataset,
    *,
    temperature: float,
    progress: bool = True,
) -> Dataset:
    """Adds the column `teacher_scores`: the cross-encoder's scores of each mention's candidates, in their order.

    They are what `EntityLinker.rerank` gives, the bi-encoder's scores times `retrieval_weight` included.

    Args:
        cross_encoder: the teacher, a [`BlinkCrossEncoder`]; scores are computed on its device.
        processor: of the bi-encoder that mined the candidates.
        knowledge_base: where the entities are.
        dataset: mentions with `candidate_ids` and `candidate_scores` (see `mine_candidates`).
        temperature: of the bi-encoder that mined them; its scores are divided by it.
        progress: show a progress bar.

    Raises:
        ValueError: no mined candidates, or scores that are not finite.
    """
    _check_columns(
        dataset, ("candidate_ids", "candidate_scores"), "make it with mine_candidates(linker, dataset)"
    )
    scores: list[list[float]] = []
    with tqdm(total=len(dataset), desc="scoring candidates", disable=not progress, unit=" mentions") as bar:
        for start in range(0, len(dataset), _MENTIONS_AT_ONCE):
            rows = dataset.select(range(start, min(start + _MENTIONS_AT_ONCE, len(dataset)))).to_list()
            found, retrieval = _candidates(rows, knowledge_base)
            logits = rerank(
                cross_encoder, processor, knowledge_base, contexts_of(rows), found, retrieval, temperature
            )
            scores += _finite_scores(rows, logits, found >= 0)
            bar.update(len(rows))
    if TEACHER_SCORES in dataset.column_names:
        dataset = dataset.remove_columns(TEACHER_SCORES)
    return dataset.add_column(TEACHER_SCORES, scores)


def _candidates(rows: Sequence[Row], knowledge_base: KnowledgeBase) -> tuple[np.ndarray, np.ndarray]:
    """Entity rows of the candidates, -1 for none, and their retrieval scores, both [num_mentions, num_candidates]."""
    found = entity_rows([row["candidate_ids"] for row in rows], knowledge_base, "candidate_ids")
    shape = (len(rows), max(len(candidates) for candidates in found))
    matrix, scores = np.full(shape, -1, dtype=np.int64), np.zeros(shape, dtype=np.float32)
    for i, (row, candidates) in enumerate(zip(rows, found, strict=True)):
        if not 0 < len(candidates) == len(row["candidate_scores"]):
            raise ValueError(
                f"expected candidates with a score each for mention {row.get('id')}, got {len(candidates)} candidates and "
                f"{len(row['candidate_scores'])} scores; use mine_candidates"
            )
        matrix[i, : len(candidates)], scores[i, : len(candidates)] = candidates, row["candidate_scores"]
    return matrix, scores


def _finite_scores(rows: Sequence[Row], logits: np.ndarray, known: np.ndarray) -> list[list[float]]:
    """The logits of each mention's candidates, without padding."""
    wrong = (known & ~np.isfinite(logits)).any(axis=1)
    if wrong.any():
        ids = [rows[i].get("id") for i in np.flatnonzero(wrong)[:10]]
        raise ValueError(
            f"expected finite scores of the cross-encoder, got others for the mentions {ids}; look at its weights, and at "
            "the temperature"
        )
    return [values[present].tolist() for values, present in zip(logits, known, strict=True)]


def _check_columns(dataset: Any, names: Sequence[str], advice: str) -> None:
    if missing := [name for name in names if name not in dataset.column_names]:
        raise ValueError(
            f"expected a dataset with the column {' and '.join(missing)}, got {dataset.column_names}; {advice}"
        )


class DistillationCollator(BiEncoderCollator):
    """Batches for `DistillationTrainer`: those of `BiEncoderCollator`, the candidates of every mention among the columns.

    Arguments are those of `BiEncoderCollator`. Mentions without the column `teacher_scores`, to evaluate on, give batches
    of `BiEncoderCollator`.
    """

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Adds `candidate_columns` (-1 is none) and `teacher_scores`, both [batch_size, num_candidates].

        Raises:
            ValueError: as `BiEncoderCollator`, or a mention whose candidates do not have a teacher's score each.
        """
        if not any(TEACHER_SCORES in row for row in rows):
            return super().__call__(rows)
        ids = [row.get("candidate_ids") for row in rows]
        candidates = entity_rows(ids, self.knowledge_base, "candidate_ids")
        batch = self._batch(rows, [entity_row for found in candidates for entity_row in found])
        column_of = {row: column for column, row in enumerate(batch["entity_rows"].tolist())}
        columns = []
        for row, found in zip(rows, candidates, strict=True):
            if not 0 < len(found) == len(row.get(TEACHER_SCORES) or ()):
                raise ValueError(
                    f"expected candidates with a teacher's score each for mention {row.get('id')}; use add_teacher_scores"
                )
            columns.append(torch.tensor([column_of[entity_row] for entity_row in found]))
        scores = [torch.tensor(row[TEACHER_SCORES], dtype=torch.float32) for row in rows]
        return {
            **batch,
            "candidate_columns": pad_sequence(columns, batch_first=True, padding_value=-1),
            TEACHER_SCORES: pad_sequence(scores, batch_first=True),
        }


class DistillationTrainer(InBatchTrainer):
    """Trains a [`BlinkBiEncoder`] on labels and on a cross-encoder's scores of mined candidates.

    The loss is `args.distillation_alpha` times that of `InBatchTrainer`, plus the rest times the distance of the
    candidates' scores from the teacher's, in the form `args.distillation_loss` at `args.distillation_temperature`.

    Args:
        model: the student.
        args: [`BlinkTrainingArguments`].
        data_collator: a [`DistillationCollator`].
        train_dataset: mentions with candidates and `teacher_scores` (see `add_teacher_scores`).
        **options: the other arguments of `transformers.Trainer`. An `eval_dataset` without `teacher_scores` is evaluated
            with the in-batch loss alone.

    Raises:
        ValueError: the dataset has no candidates or teacher's scores, or as `InBatchTrainer`.
    """

    def __init__(
        self,
        model: Any,
        args: BlinkTrainingArguments,
        data_collator: DistillationCollator,
        train_dataset: Any = None,
        **options: Any,
    ):
        if train_dataset is not None:
            advice = "make them with mine_candidates and add_teacher_scores"
            _check_columns(train_dataset, ("candidate_ids", TEACHER_SCORES), advice)
        super().__init__(model, args, data_collator, train_dataset, **options)

    def sizes(self) -> dict[str, int]:
        """Settings beside the batch size that need memory."""
        return {**self.candidates_of(self.train_dataset), **super().sizes()}

    def vectors_loss(self, mentions: Tensor, entities: Tensor, inputs: dict[str, Any]) -> Tensor:
        """As in `InBatchTrainer`, of a batch of `DistillationCollator`."""
        hard = super().vectors_loss(mentions, entities, inputs)
        if TEACHER_SCORES not in inputs:
            return hard
        dims, similarity = self.args.matryoshka_dims, self.bi_encoder_config.similarity
        return over_truncations(
            partial(self._with_teacher, hard, inputs), mentions, entities, dims, similarity
        )

    def _with_teacher(
        self, hard: Tensor, inputs: dict[str, Any], mentions: Tensor, entities: Tensor
    ) -> Tensor:
        columns = inputs["candidate_columns"]
        scores = mentions.float() @ entities.float().T / self.bi_encoder_config.temperature
        return distillation_loss(
            hard,
            scores.gather(1, columns.clamp(min=0)),
            inputs[TEACHER_SCORES],
            columns >= 0,
            alpha=self.args.distillation_alpha,
            temperature=self.args.distillation_temperature,
            form=self.args.distillation_loss,
        )
