"""The cross-encoder's trainer: softmax over a mention's retrieved candidates (Wu et al. 2020, section 4.2)."""

import copy
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import DataLoader

from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.base_trainer import BlinkTrainer
from hf_blink.training.losses import candidate_softmax_loss


class CrossEncoderTrainer(BlinkTrainer):
    """Trains a [`BlinkCrossEncoder`] to pick the gold entity among mined candidates.

    Args:
        model: the cross-encoder.
        args: [`BlinkTrainingArguments`].
        data_collator: a [`CrossEncoderCollator`]; its processor is saved beside the weights. In training a mention's
            candidates stand in random order (a copy with `random_order`), in evaluation in that of the collator.
        train_dataset: mentions with `candidate_ids` and `candidate_scores` (see `mine_candidates`).
        **options: the other arguments of `transformers.Trainer`. With an `eval_dataset` the best model is that of the
            lowest loss.

    Raises:
        ValueError: the dataset has no mined candidates, or several GPUs in one process: its rows would stand that, but
            one rule for all trainers is easier to keep, and mining uses one GPU a process anyway.
    """

    def __init__(
        self,
        model: Any,
        args: BlinkTrainingArguments,
        data_collator: Any,
        train_dataset: Any = None,
        **options: Any,
    ):
        if args.metric_for_best_model == "recall@64":  # the bi-encoder's
            args = replace(args, metric_for_best_model="loss", greater_is_better=False)
        super().__init__(model, args, data_collator, train_dataset, **options)
        if train_dataset is not None and "candidate_ids" not in train_dataset.column_names:
            raise ValueError(
                f"expected a dataset with the column candidate_ids, got {train_dataset.column_names}; "
                "make it with mine_candidates(linker, dataset)"
            )
        self.label_names = ["gold"]  # so that evaluation computes the loss

    def get_train_dataloader(self) -> DataLoader:
        """The batches, with candidates in random order."""
        given = self.data_collator
        self.data_collator = copy.copy(given)
        self.data_collator.random_order = True
        try:
            return super().get_train_dataloader()
        finally:
            self.data_collator = given

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The softmax loss over candidates; `inputs` come from `CrossEncoderCollator`."""
        outputs = model(
            **{name: value for name, value in inputs.items() if name not in ("gold", "mention_ids")}
        )
        loss = candidate_softmax_loss(outputs.scores, inputs["gold"], inputs["candidate_mask"].to(torch.bool))
        return (loss, outputs) if return_outputs else loss

    def sizes(self) -> dict[str, int]:
        """Settings beside the batch size that need memory."""
        return {**self.candidates_of(self.train_dataset), **super().sizes()}
