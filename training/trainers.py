"""The trainers: transformers' `Trainer` with the losses of entity linking; nothing else of it is changed.

* `InBatchTrainer`: softmax over the entities of the batch (Wu et al. 2020, section 4.1).
* `HardNegativeTrainer`: the same with mined hard negatives as extra columns (the paper's second round, which BLINK's
  release lacks).
* `CrossEncoderTrainer`: softmax over a mention's retrieved candidates (section 4.2).

With several processes each one has the negatives of its own batch; gradients are averaged as usual. Several GPUs in one
process are refused: DataParallel would give each of them a part of the rows of every tensor, but `targets` and
`ignore` count the columns of the whole batch.
"""

import copy
from typing import Any

import torch
from transformers import Trainer

from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.losses import candidate_softmax_loss, in_batch_softmax_loss


def _check_devices(args: BlinkTrainingArguments) -> None:
    if args.n_gpu > 1:
        raise ValueError(
            f"expected one GPU a process, got {args.n_gpu}; start with accelerate launch, which runs a process for each, "
            "or show only one with CUDA_VISIBLE_DEVICES=0"
        )


class InBatchTrainer(Trainer):
    """Trains a [`BlinkBiEncoder`] with the batch's other entities as negatives.

    Args:
        model: the bi-encoder.
        args: [`BlinkTrainingArguments`].
        data_collator: a [`BiEncoderCollator`]; its processor is saved beside the weights. The trainer uses a copy with
            its own `num_hard_negatives`: 0 here, that of `args` in `HardNegativeTrainer`.
        train_dataset: labelled mentions (see dataset_readers).
        **options: the other arguments of `transformers.Trainer`.

    Raises:
        ValueError: several GPUs in one process.
    """

    # The loss is a mean over mentions, whatever gradient_accumulation_steps is: Trainer must divide by the steps.
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: Any,
        args: BlinkTrainingArguments,
        data_collator: Any,
        train_dataset: Any = None,
        **options: Any,
    ):
        _check_devices(args)
        data_collator = copy.copy(data_collator)
        data_collator.num_hard_negatives = self._hard_negatives(args)
        options.setdefault("processing_class", data_collator.processor)
        super().__init__(model, args, data_collator=data_collator, train_dataset=train_dataset, **options)
        self.label_names = ["targets"]  # so that evaluation computes the loss

    def _hard_negatives(self, args: BlinkTrainingArguments) -> int:
        return 0

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The in-batch softmax loss; `inputs` come from `BiEncoderCollator`."""
        labels = ("targets", "ignore", "entity_rows")
        outputs = model(**{name: value for name, value in inputs.items() if name not in labels})
        loss = in_batch_softmax_loss(outputs.scores, inputs["targets"], inputs["ignore"])
        return (loss, outputs) if return_outputs else loss


class HardNegativeTrainer(InBatchTrainer):
    """`InBatchTrainer` with `args.num_hard_negatives` mined hard negatives a mention as extra columns.

    Raises:
        ValueError: the dataset has no column `hard_negative_ids` (see `mine_hard_negatives`).
    """

    def __init__(
        self,
        model: Any,
        args: BlinkTrainingArguments,
        data_collator: Any,
        train_dataset: Any = None,
        **options: Any,
    ):
        if train_dataset is not None and "hard_negative_ids" not in train_dataset.column_names:
            raise ValueError(
                f"expected a dataset with the column hard_negative_ids, got {train_dataset.column_names}; "
                "make it with mine_hard_negatives(linker, dataset)"
            )
        super().__init__(model, args, data_collator, train_dataset, **options)

    def _hard_negatives(self, args: BlinkTrainingArguments) -> int:
        return args.num_hard_negatives


class CrossEncoderTrainer(Trainer):
    """Trains a [`BlinkCrossEncoder`] to pick the gold entity among mined candidates.

    Args:
        model: the cross-encoder.
        args: [`BlinkTrainingArguments`].
        data_collator: a [`CrossEncoderCollator`]; its processor is saved beside the weights.
        train_dataset: mentions with `candidate_ids` and `candidate_scores` (see `mine_candidates`).
        **options: the other arguments of `transformers.Trainer`.

    Raises:
        ValueError: the dataset has no mined candidates, or several GPUs in one process: its rows would stand that, but
            one rule for all trainers is easier to keep, and mining uses one GPU a process anyway.
    """

    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: Any,
        args: BlinkTrainingArguments,
        data_collator: Any,
        train_dataset: Any = None,
        **options: Any,
    ):
        _check_devices(args)
        if train_dataset is not None and "candidate_ids" not in train_dataset.column_names:
            raise ValueError(
                f"expected a dataset with the column candidate_ids, got {train_dataset.column_names}; "
                "make it with mine_candidates(linker, dataset)"
            )
        options.setdefault("processing_class", data_collator.processor)
        super().__init__(model, args, data_collator=data_collator, train_dataset=train_dataset, **options)
        self.label_names = ["gold"]  # so that evaluation computes the loss

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The softmax loss over candidates; `inputs` come from `CrossEncoderCollator`."""
        outputs = model(**{name: value for name, value in inputs.items() if name != "gold"})
        loss = candidate_softmax_loss(outputs.scores, inputs["gold"], inputs["candidate_mask"].to(torch.bool))
        return (loss, outputs) if return_outputs else loss
