"""Trains the one-pass linker: spans and entities together, first in-batch, then with hard negatives.

    loss = entity loss + span_loss_weight * span loss over the texts' spans

Of a text whose mentions are not all annotated (`complete` False), only the gold spans and those that overlap them count in
the span loss: another span may be a mention.

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
from hf_blink.training.process_gathering import gather_columns
from hf_blink.training.span_losses import counted_spans, pair_loss, span_detection_loss
from hf_blink.training.trainers import InBatchTrainer

_OF_THE_LOSS = ("gold_spans", "complete", "targets", "gold_rows", "entity_rows", "worlds", "mention_ids")


class ElqTrainer(InBatchTrainer):
    """Trains an [`ElqModel`].

    Args:
        model: the model.
        args: [`BlinkTrainingArguments`]; of its own fields, those of mining and gradient caching do not apply.
        data_collator: an [`ElqCollator`]; its processor is saved beside the weights.
        train_dataset: texts with their mentions (see `documents.passages`).
        index: an [`EntityIndex`] of the model's own entity vectors for the second stage; None trains in-batch.
        **options: the other arguments of `transformers.Trainer`.

    Raises:
        ValueError: several GPUs in one process, `gradient_cache_chunk`, or an index with shared towers, of which the
            entities' half cannot be frozen.
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
        self.index = index
        super().__init__(model, args, data_collator, train_dataset, **options)
        self.data_collator.entity_windows = index is None
        if index is not None:
            _freeze_entities(model)

    def vectors_loss(self, mentions: Tensor, entities: Tensor, inputs: dict[str, Any]) -> Tensor:
        """The entity loss; a batch without mentions has none, and takes part in the gathering of all processes."""
        if len(mentions):
            return super().vectors_loss(mentions, entities, inputs)
        if self.args.gather_negatives:
            entities, _, _ = gather_columns(entities, inputs["entity_rows"])
        return entities.sum() * 0 + mentions.sum() * 0

    def hard_negative_loss(self, mentions: Tensor, inputs: dict[str, Any]) -> Tensor:
        """The entity loss of the second stage.

        Args:
            mentions: `[num_mentions, embed_dim]`.
            inputs: the batch of `ElqCollator`.

        Returns:
            With `hard_negative_loss: softmax`, each mention's cross-entropy over its gold entity, the negatives of all
            mentions of the batch and the others' gold entities; with `bce`, ELQ's: the binary cross-entropy of its gold
            entity and its own negatives.
        """
        if not len(mentions):
            return mentions.sum() * 0
        searched = self.args.num_hard_negatives
        vectors = mentions.detach().float().cpu().numpy()
        kb = self.data_collator.knowledge_base
        worlds = [world if kb.worlds else None for world in inputs["worlds"]]
        _, found = search_worlds(self.index, kb, vectors, searched, worlds)
        gold_rows, chosen = inputs["gold_rows"], inputs["entity_rows"][inputs["targets"]]
        near = torch.from_numpy(found).to(mentions.device)
        temperature = self.bi_encoder_config.temperature
        if self.args.hard_negative_loss == "bce":
            rows = torch.cat([chosen[:, None], near], dim=1)
            scores = torch.einsum("md,mnd->mn", mentions.float(), self._vectors(rows, mentions)) / temperature
            is_gold = (rows[:, :, None] == gold_rows[:, None, :]).any(dim=2)
            first = torch.arange(rows.shape[1], device=rows.device) == 0
            return pair_loss(scores, is_gold & first, (first | ~is_gold) & (rows >= 0))
        columns = torch.unique(torch.cat([chosen, near[near >= 0]]))
        targets = torch.searchsorted(columns, chosen)
        targets, ignored = target_and_ignored_columns(gold_rows, columns, targets)
        scores = mentions.float() @ self._vectors(columns, mentions).T / temperature
        return in_batch_softmax_loss(scores, targets, ignored)

    def _vectors(self, rows: Tensor, like: Tensor) -> Tensor:
        """Frozen vectors of entity rows, float32 `[*rows.shape, embed_dim]`; row -1 has any."""
        found = self.index.vectors(rows.clamp(min=0).flatten().cpu().numpy())
        return torch.from_numpy(found).view(*rows.shape, -1).to(like.device)

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
        counted = counted_spans(outputs.span_logits, inputs["gold_spans"], inputs["complete"])
        spans = span_detection_loss(outputs.span_logits, inputs["gold_spans"], counted)
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
