"""What all trainers of this package add to transformers': one GPU a process, and errors that say what to do.

Several GPUs in one process are refused: DataParallel would give each of them a part of the rows of every tensor, but
`targets` count the columns of the whole batch. A loss that is not a number stops the training and names the batch's
mentions; it stops all processes, since they have added up its gradients. Memory that runs out names the settings that
need it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import EarlyStoppingCallback, Trainer

from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.memory_advice import advising_on_memory
from hf_blink.training.process_gathering import any_process
from hf_blink.training.process_shares import failing_together


class BlinkTrainer(Trainer):
    """Base of the trainers.

    Args:
        model: what is trained.
        args: [`BlinkTrainingArguments`].
        data_collator: has a `processor`, which is saved beside the weights, and gives `mention_ids` in each batch.
        train_dataset: what it is trained on.
        **options: the other arguments of `transformers.Trainer`.

    Raises:
        ValueError: several GPUs in one process.
    """

    # The loss is a mean over mentions, whatever gradient_accumulation_steps is: Trainer must divide by the steps.
    loss_is_scaled_for_ga = False
    caches_gradients = False  # whether `gradient_cache_chunk` bounds the memory
    args: BlinkTrainingArguments
    data_collator: Any
    train_dataset: Any

    def __init__(
        self,
        model: Any,
        args: BlinkTrainingArguments,
        data_collator: Any,
        train_dataset: Any = None,
        **options: Any,
    ):
        if args.n_gpu > 1:
            raise ValueError(
                f"expected one GPU a process, got {args.n_gpu}; start with accelerate launch, which runs a process for each, "
                "or show only one with CUDA_VISIBLE_DEVICES=0"
            )
        options.setdefault("processing_class", data_collator.processor)
        super().__init__(model, args, data_collator=data_collator, train_dataset=train_dataset, **options)
        if args.early_stopping_patience:
            self.add_callback(EarlyStoppingCallback(args.early_stopping_patience))

    def train(self, *args: Any, **options: Any) -> Any:
        """As `Trainer.train`.

        Raises:
            MemoryError: memory ran out; names the settings that need it, with their values.
        """
        with advising_on_memory(self.args, self.sizes, cached=self.caches_gradients):
            return super().train(*args, **options)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """One forward and backward pass; collective.

        Raises:
            FloatingPointError: the loss is not a number; names the batch's mentions. The weights are as before the step.
            ValueError: that of another process is none; gives that process's number and error.
        """
        loss = self.pass_through(model, inputs, num_items_in_batch)
        if any_process(~torch.isfinite(loss.detach())):
            with failing_together(f"step {self.state.global_step + 1}"):
                self._check_number(loss, inputs["mention_ids"])
        return loss

    def _check_number(self, loss: Tensor, mention_ids: Sequence[str]) -> None:
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"expected a number as the loss of step {self.state.global_step + 1}, got {loss.item()}, for the mentions "
                f"{', '.join(mention_ids[:10])}; look at these, lower the learning rate, or train in float32"
            )

    def pass_through(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any) -> Tensor:
        """The forward and backward pass itself."""
        return super().training_step(model, inputs, num_items_in_batch)

    def sizes(self) -> dict[str, int]:
        """Settings beside the batch size that need memory."""
        processor = self.data_collator.processor
        return {name: getattr(processor, name) for name in ("mention_length", "entity_length")}

    def candidates_of(self, dataset: Any) -> dict[str, int]:
        """The number of mined candidates a mention, as `sizes` gives it."""
        return {"num_candidates": len(dataset[0]["candidate_ids"])} if dataset else {}
