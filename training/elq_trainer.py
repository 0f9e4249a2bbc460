"""Trains the one-pass linker: spans and entities together, first in-batch, then with hard negatives.

    loss = entity loss + span_loss_weight * span loss over the texts' spans

Of a text whose mentions are not all annotated (`complete` False), only the gold spans and those that overlap them count in
the span loss: another span may be a mention. If the model's mentions may be nested, the gold spans alone count.

Both losses are means over what all processes have: two processes with half the batch each take the step that one takes with
all of it, however the mentions are divided.

Without an index the entity loss is the in-batch softmax of `InBatchTrainer`, and all weights train. With one, the second
stage (Li et al. 2020, section 3.4), the entity tower and its vectors are frozen, and each step looks up the entities that
are nearest to its mentions *now*; those that are not gold are negatives. Either way the span head trains, which it never
does in the original: its optimizer leaves the head out.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import Trainer

from hf_blink.modeling.candidate_ranking import search_worlds
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.losses import in_batch_softmax_loss, target_and_ignored_columns
from hf_blink.training.process_gathering import gather_columns, gather_rows, mean_over_processes
from hf_blink.training.span_losses import counted_spans, pair_loss, span_detection_loss
from hf_blink.training.trainers import InBatchTrainer

_OF_THE_LOSS = ("gold_spans", "complete", "targets", "gold_rows", "entity_rows", "worlds", "mention_ids")


class ElqTrainer(InBatchTrainer):
    """Trains an [`ElqModel`].

    Args:
        model: the model.
        args: [`BlinkTrainingArguments`]; of its own fields, those of mining, gradient caching and shorter vectors do not
            apply.
        data_collator: an [`ElqCollator`]; its processor is saved beside the weights.
        train_dataset: texts with their mentions (see `documents.passages`).
        index: an [`EntityIndex`] of the model's own entity vectors for the second stage; None trains in-batch.
        **options: the other arguments of `transformers.Trainer`.

    Raises:
        ValueError: several GPUs in one process, `gradient_cache_chunk`, `matryoshka_dims`, or an index with shared towers, of
            which the entities' half cannot be frozen.
    """

    def __init__(
        self,
        model: Any,
        args: BlinkTrainingArguments,
        data_collator: Any,
        train_dataset: Any = None,
        *,
        index: Any = None,
        **options: Any,
    ):
        if args.gradient_cache_chunk:
            raise ValueError(
                f"expected gradient_cache_chunk 0 for an ELQ model, got {args.gradient_cache_chunk}; use a smaller batch"
            )
        if args.matryoshka_dims:
            raise ValueError(
                f"expected no matryoshka_dims for an ELQ model, whose vectors are not cut, got {args.matryoshka_dims}; leave "
                "them out"
            )
        self.index = index
        super().__init__(model, args, data_collator, train_dataset, **options)
        self.data_collator.entity_windows = index is None
        if index is not None:
            _freeze_entities(model)

    def vectors_loss(self, mentions: Tensor, entities: Tensor, inputs: dict[str, Any]) -> Tensor:
        """The entity loss of the first stage; a batch without mentions has none, and takes part in the gathering."""
        if len(mentions):
            loss = super().vectors_loss(mentions, entities, inputs)
        else:
            loss = entities.sum() * 0 + mentions.sum() * 0
            if self.args.gather_negatives:  # its one entity is nobody's, and no negative for others
                gathered, _, _ = gather_columns(entities[:0], inputs["entity_rows"][:0])
                loss = loss + gathered.sum() * 0
        return mean_over_processes(loss, len(mentions))

    def hard_negative_loss(self, mentions: Tensor, inputs: dict[str, Any]) -> Tensor:
        """The entity loss of the second stage.

        Args:
            mentions: `[num_mentions, embed_dim]`.
            inputs: the batch of `ElqCollator`.

        Returns:
            With `hard_negative_loss: softmax`, each mention's cross-entropy over its gold entity, the negatives of all
            mentions of the batch and the others' gold entities, with `gather_negatives` of all processes; with `bce`,
            ELQ's: the binary cross-entropy of its gold entity and its own negatives.
        """
        near, chosen = self._neighbours(mentions, inputs), inputs["entity_rows"][inputs["targets"]]
        if self.args.hard_negative_loss == "bce":
            return self._pair_loss(mentions, near, chosen, inputs["gold_rows"])
        columns = torch.unique(torch.cat([chosen, near[near >= 0]]))
        if self.args.gather_negatives:
            columns = torch.unique(gather_rows(columns))
        if not len(mentions):
            return mean_over_processes(mentions.sum() * 0, 0)
        targets = torch.searchsorted(columns, chosen)
        targets, ignored = target_and_ignored_columns(inputs["gold_rows"], columns, targets)
        scores = mentions.float() @ self._vectors(columns, mentions).T / self.bi_encoder_config.temperature
        return mean_over_processes(in_batch_softmax_loss(scores, targets, ignored), len(mentions))

    def _neighbours(self, mentions: Tensor, inputs: dict[str, Any]) -> Tensor:
        """The entities that are nearest to each mention now, int64 `[num_mentions, num_hard_negatives]`; -1 for none."""
        searched = self.args.num_hard_negatives
        if not len(mentions):
            return torch.zeros(0, searched, dtype=torch.int64, device=mentions.device)
        vectors = mentions.detach().float().cpu().numpy()
        kb = self.data_collator.knowledge_base
        worlds = [world if kb.worlds else None for world in inputs["worlds"]]
        _, found = search_worlds(self.index, kb, vectors, searched, worlds)
        return torch.from_numpy(found).to(mentions.device)

    def _pair_loss(self, mentions: Tensor, near: Tensor, chosen: Tensor, gold_rows: Tensor) -> Tensor:
        """ELQ's loss of each mention with its gold entity and those of its neighbours that are not gold."""
        rows = torch.cat([chosen[:, None], near], dim=1)
        scores = torch.einsum("md,mnd->mn", mentions.float(), self._vectors(rows, mentions))
        is_gold = (rows[:, :, None] == gold_rows[:, None, :]).any(dim=2)
        first = torch.arange(rows.shape[1], device=rows.device) == 0
        counted = (first | ~is_gold) & (rows >= 0)
        loss = pair_loss(scores / self.bi_encoder_config.temperature, is_gold & first, counted)
        return mean_over_processes(loss, int(counted.sum()))

    def _vectors(self, rows: Tensor, like: Tensor) -> Tensor:
        """Frozen vectors of entity rows, float32 `[*rows.shape, embed_dim]`; row -1 has any."""
        found = self.index.vectors(rows.clamp(min=0).flatten().cpu().numpy())
        return torch.from_numpy(found).view(*rows.shape, like.shape[1]).to(like.device)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of a batch of `ElqCollator`."""
        outputs = model(**{name: value for name, value in inputs.items() if name not in _OF_THE_LOSS})
        mentions = outputs.mention_embeddings
        if self.index is None:
            loss = self.vectors_loss(mentions, outputs.entity_embeddings, inputs)
        else:
            loss = self.hard_negative_loss(mentions, inputs)
        nested = self.bi_encoder_config.nested
        counted = counted_spans(outputs.span_logits, inputs["gold_spans"], inputs["complete"], nested=nested)
        spans = span_detection_loss(outputs.span_logits, inputs["gold_spans"], counted)
        spans = mean_over_processes(spans, int(counted.sum()))
        loss = loss + self.args.span_loss_weight * spans
        return (loss, outputs) if return_outputs else loss

    def evaluation_loop(self, *args: Any, **options: Any) -> Any:
        """The loss alone; `evaluate_documents` measures links."""
        return Trainer.evaluation_loop(self, *args, **options)


def _freeze_entities(model: Any) -> None:
    if model.entity_encoder is None:
        raise ValueError(
            "expected a model with two towers for the stage with hard negatives, in which the entities' is frozen, got one "
            "shared tower; start with share_towers=False"
        )
    model.entity_encoder.requires_grad_(False)
