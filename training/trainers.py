"""The bi-encoder's trainers: transformers' `Trainer` with the batches and losses of entity linking; little else is changed.

* `InBatchTrainer`: softmax over the entities of the batch (Wu et al. 2020, section 4.1).
* `HardNegativeTrainer`: the same with mined hard negatives as extra columns (the paper's second round, which BLINK's
  release lacks), mined once before or again and again with the current model.

With several processes the entities of all of them are negatives (`process_gathering`).
"""

import copy
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.base_trainer import BlinkTrainer
from hf_blink.training.batch_sampling import (
    BatchPlan,
    EntityBatchSampler,
    EpochOfSampler,
    plan_of,
    updates_of_training,
)
from hf_blink.training.dev_recall import recall_of
from hf_blink.training.gradient_cache import cached_step, chunks_of
from hf_blink.training.losses import (
    in_batch_softmax_loss,
    target_and_ignored_columns,
)
from hf_blink.training.matryoshka import over_truncations
from hf_blink.training.process_gathering import gather_columns, most_of_processes
from hf_blink.training.process_shares import gather_objects
from hf_blink.training.remining import MinedMentions, MiningCallback

_NOT_OF_THE_MODEL = (
    *("targets", "gold_rows", "entity_rows", "mention_ids"),
    *("candidate_columns", "teacher_scores"),  # of DistillationCollator
)


class InBatchTrainer(BlinkTrainer):
    """Trains a [`BlinkBiEncoder`] with the batch's other entities as negatives.

    Args:
        model: the bi-encoder.
        args: [`BlinkTrainingArguments`].
        data_collator: a [`BiEncoderCollator`]; its processor is saved beside the weights. The trainer uses a copy with
            its own `num_hard_negatives` (0 here, that of `args` in `HardNegativeTrainer`) and the padding of `args`.
        train_dataset: labelled mentions (see dataset_readers).
        **options: the other arguments of `transformers.Trainer`. With an `eval_dataset` of labelled mentions, evaluation
            gives `eval_recall@1`, `@4`, `@16` and `@64` over all entities of a mention's world beside the loss.

    Raises:
        ValueError: several GPUs in one process.
    """

    caches_gradients = True

    def __init__(
        self,
        model: Any,
        args: BlinkTrainingArguments,
        data_collator: Any,
        train_dataset: Any = None,
        **options: Any,
    ):
        data_collator = copy.copy(data_collator)
        data_collator.num_hard_negatives = self._hard_negatives(args)
        data_collator.unique_columns = args.unique_entities
        data_collator.fixed_length |= args.fixed_length
        if args.blink_optimizer:
            _freeze_embeddings(model)
        super().__init__(model, args, data_collator, train_dataset, **options)
        self.label_names = ["targets"]  # so that evaluation computes the loss

    def _hard_negatives(self, args: BlinkTrainingArguments) -> int:
        return 0

    @property
    def bi_encoder_config(self) -> Any:
        """The model's configuration."""
        return self.accelerator.unwrap_model(self.model).config

    def batch_plan(self) -> BatchPlan:
        """How mentions are put into batches."""
        return replace(plan_of(self.args), batch_size=self._train_batch_size)

    def get_train_dataloader(self) -> DataLoader:
        """The batches of [`EntityBatchSampler`], dealt out to the processes."""
        dataset = self.train_dataset
        worlds = dataset["world"] if "world" in dataset.column_names else None
        sampler = EntityBatchSampler(list(dataset["label_ids"]), worlds, self.batch_plan())
        self._use_sampler(sampler)
        loader = DataLoader(
            dataset,
            batch_sampler=sampler,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            prefetch_factor=self.args.dataloader_prefetch_factor,
        )
        return self.accelerator.prepare(loader)

    def _use_sampler(self, sampler: EntityBatchSampler) -> None:
        self.remove_callback(EpochOfSampler)
        self.add_callback(EpochOfSampler(sampler))

    def vectors_loss(self, mentions: Tensor, entities: Tensor, inputs: dict[str, Any]) -> Tensor:
        """The loss of this process's mentions.

        Args:
            mentions: `[batch_size, embed_dim]`.
            entities: `[num_columns, embed_dim]`.
            inputs: the batch of `BiEncoderCollator`.

        Returns:
            The in-batch softmax loss over the columns of all processes, a mean over mentions; with `matryoshka_dims` the
            mean over these truncations.
        """
        rows, targets = inputs["entity_rows"], inputs["targets"]
        if self.args.gather_negatives:
            entities, rows, first = gather_columns(entities, rows)
            targets = targets + first
        config, ignore = self.bi_encoder_config, None
        if self.args.unique_entities:
            targets, ignore = target_and_ignored_columns(inputs["gold_rows"], rows, targets)

        def loss(mentions: Tensor, entities: Tensor) -> Tensor:
            scores = mentions.float() @ entities.float().T / config.temperature
            return in_batch_softmax_loss(scores, targets, ignore)

        return over_truncations(loss, mentions, entities, self.args.matryoshka_dims, config.similarity)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of a batch of `BiEncoderCollator`."""
        outputs = model(**{name: value for name, value in inputs.items() if name not in _NOT_OF_THE_MODEL})
        loss = self.vectors_loss(outputs.mention_embeddings, outputs.entity_embeddings, inputs)
        return (loss, outputs) if return_outputs else loss

    def pass_through(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any) -> Tensor:
        """One forward and backward pass, in chunks with `gradient_cache_chunk`."""
        if self.args.gradient_cache_chunk:
            return self._cached_step(model, inputs)
        return super().pass_through(model, inputs, num_items_in_batch)

    def _cached_step(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        model.train()
        inputs = self._prepare_inputs(inputs)
        parts = self.current_gradient_accumulation_steps

        def encode(chunk: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            output = model(**chunk)
            return output.mention_embeddings, output.entity_embeddings

        chunks = chunks_of(inputs, self.args.gradient_cache_chunk)
        return cached_step(
            chunks,
            encode,
            lambda mentions, entities: self.vectors_loss(mentions, entities, inputs) / parts,
            self.accelerator.backward,
            lambda: self.accelerator.no_sync(model),
            most_of_processes(len(chunks), self.accelerator.device),
        )

    def get_decay_parameter_names(self, model: Any) -> list[str]:
        """With `blink_optimizer` all weights but biases decay, norms included."""
        if self.args.blink_optimizer:
            return [name for name, _ in model.named_parameters() if "bias" not in name]
        return super().get_decay_parameter_names(model)

    def evaluation_loop(self, dataloader: DataLoader, *args: Any, **options: Any) -> Any:
        """The loss of the trainer, and recall over all entities."""
        output = super().evaluation_loop(dataloader, *args, **options)
        prefix = options.get("metric_key_prefix", "eval")
        collator: Any = self.data_collator
        recall = recall_of(
            self.accelerator.unwrap_model(self.model),
            collator.processor,
            collator.knowledge_base,
            dataloader.dataset,
        )
        # Processes choose models and stop by it: the same in all, whatever their devices are.
        recall = gather_objects(recall)[0]
        metrics = {f"{prefix}_{name}": value for name, value in recall.items()}
        return output._replace(metrics={**(output.metrics or {}), **metrics})


class HardNegativeTrainer(InBatchTrainer):
    """`InBatchTrainer` with `args.num_hard_negatives` mined hard negatives a mention as extra columns.

    Args:
        model, args, data_collator, train_dataset, **options: as for `InBatchTrainer`.
        miner: mines with the current model at each epoch, or every `args.mine_every_steps` steps (see
            [`HardNegativeMiner`]); None uses the dataset's column `hard_negative_ids`. What was mined is kept in
            `output_dir/mined`, so that a resumed run goes on with it (see remining).

    Raises:
        ValueError: no miner, and no column `hard_negative_ids` (see `mine_hard_negatives`).
    """

    def __init__(
        self,
        model: Any,
        args: BlinkTrainingArguments,
        data_collator: Any,
        train_dataset: Any = None,
        *,
        miner: Any = None,
        **options: Any,
    ):
        if miner is not None and train_dataset is not None:
            train_dataset = MinedMentions(train_dataset, data_collator.knowledge_base)
        elif train_dataset is not None and "hard_negative_ids" not in train_dataset.column_names:
            raise ValueError(
                f"expected a dataset with the column hard_negative_ids, got {train_dataset.column_names}; "
                "make it with mine_hard_negatives(linker, dataset), or pass a miner"
            )
        self._miner = miner
        if miner is not None and args.mine_every_steps and args.max_steps <= 0 and train_dataset is not None:
            args = replace(args, max_steps=updates_of_training(args, len(train_dataset)))
        super().__init__(model, args, data_collator, train_dataset, **options)

    def _hard_negatives(self, args: BlinkTrainingArguments) -> int:
        return args.num_hard_negatives

    def sizes(self) -> dict[str, int]:
        """Settings beside the batch size that need memory."""
        return {"num_hard_negatives": self.args.num_hard_negatives, **super().sizes()}

    def batch_plan(self) -> BatchPlan:
        """An epoch ends where the next mining is due."""
        plan = super().batch_plan()
        if self._miner is None or not self.args.mine_every_steps:
            return plan
        return replace(plan, steps=self.args.mine_every_steps * self.args.gradient_accumulation_steps)

    def _use_sampler(self, sampler: EntityBatchSampler) -> None:
        super()._use_sampler(sampler)
        if self._miner is not None:
            self.remove_callback(MiningCallback)
            self.add_callback(MiningCallback(self._miner, self.train_dataset, sampler))


def _freeze_embeddings(model: Any) -> None:
    for tower in (model.mention_encoder, model.entity_encoder):
        if tower is not None:
            tower.embeddings.requires_grad_(False)
