"""Rows of labelled mentions to the batches that the trainers feed their models, padded to the longest of the batch.

A bi-encoder batch holds each entity once: the gold entities of its mentions first, then mined hard negatives. Every
mention is scored against every column; `targets` says which column is its gold entity and `gold_rows` which entities are
gold for it, so that the loss can leave its other gold columns out. Because an entity appears once, another mention's copy
of the same gold entity cannot become a negative (in BLINK it does; `unique_columns=False` is BLINK's batch).

Random choices are seeded by the ids of the batch, so they differ from epoch to epoch (the batches do) and yet do not
depend on what ran before: a resumed run draws what the uninterrupted one would have drawn.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.training.dataset_readers import contexts_of
from hf_blink.training.mention_references import entity_rows

Row = dict[str, Any]


def _rows_of(rows: Sequence[Row], knowledge_base: KnowledgeBase, column: str) -> list[list[int]]:
    return entity_rows([row.get(column) for row in rows], knowledge_base, column)


def _draw_of(ids: Sequence[str]) -> torch.Generator:
    """The random numbers of a batch."""
    return torch.Generator().manual_seed(zlib.crc32("\x1f".join(ids).encode()))


def _in_random_order(rows: Sequence[Row], draw: torch.Generator) -> list[Row]:
    """Each mention with its candidates and their scores in another order."""
    ordered = []
    for row in rows:
        order = torch.randperm(len(row.get("candidate_ids") or ()), generator=draw).tolist()
        names = ("candidate_ids", "candidate_scores") if order else ()
        ordered.append({**row, **{name: [row[name][i] for i in order] for name in names}})
    return ordered


class BiEncoderCollator:
    """Batches for `InBatchTrainer` and `HardNegativeTrainer`.

    Args:
        processor: makes the token windows.
        knowledge_base: where the entities' texts are.
        num_hard_negatives: of the column `hard_negative_ids`, drawn anew each time, added for each mention.
        unique_columns: whether an entity is one column however many mentions have it.
        fixed_length: pad every window to the processor's length, and not to the longest of the batch.
    """

    def __init__(
        self,
        processor: BlinkProcessor,
        knowledge_base: KnowledgeBase,
        num_hard_negatives: int = 0,
        *,
        unique_columns: bool = True,
        fixed_length: bool = False,
    ):
        self.processor = processor
        self.knowledge_base = knowledge_base
        self.num_hard_negatives = num_hard_negatives
        self.unique_columns = unique_columns
        self.fixed_length = fixed_length

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Mention and entity windows, and what the loss needs.

        Returns:
            The model's inputs, `targets` [batch_size], `gold_rows` [batch_size, max_gold] (-1 is none), `entity_rows`
            [num_columns] and the list `mention_ids`.

        Raises:
            ValueError: a mention without a gold entity, or an entity id that the knowledge base does not have.
        """
        return self._batch(rows)

    def _batch(self, rows: Sequence[Row], more: Sequence[int] = ()) -> dict[str, Any]:
        """The batch, with `more` entity rows among the columns."""
        gold = _rows_of(rows, self.knowledge_base, "label_ids")
        if empty := [row.get("id") for row, labels in zip(rows, gold, strict=True) if not labels]:
            raise ValueError(
                f"expected at least one gold entity a mention, got none for {empty[:10]}; leave NIL mentions out"
            )
        ids = [str(row.get("id")) for row in rows]
        draw = _draw_of(ids)
        chosen = [labels[int(torch.randint(len(labels), (), generator=draw))] for labels in gold]
        columns = [*chosen, *self._hard_negatives(rows, draw), *more]
        targets = list(range(len(chosen)))
        if self.unique_columns:
            columns = list(dict.fromkeys(columns))
            targets = [columns.index(row) for row in chosen]
        return {
            **self._windows(rows, columns),
            "targets": torch.tensor(targets),
            "gold_rows": pad_sequence(list(map(torch.tensor, gold)), batch_first=True, padding_value=-1),
            "entity_rows": torch.tensor(columns),
            "mention_ids": ids,
        }

    def _windows(self, rows: Sequence[Row], columns: list[int]) -> dict[str, torch.Tensor]:
        mentions = self.processor.process_mentions(contexts_of(rows))
        entities = self.processor.process_entities(*self.knowledge_base.texts_at(columns))
        batch = {
            "mention_input_ids": mentions["input_ids"],
            "mention_attention_mask": mentions["attention_mask"],
            "entity_input_ids": entities["input_ids"],
            "entity_attention_mask": entities["attention_mask"],
        }
        if self.fixed_length:
            for name, values in batch.items():
                length = getattr(self.processor, f"{name.split('_')[0]}_length")
                filler = self.processor.tokenizer.pad_token_id if name.endswith("input_ids") else 0
                batch[name] = pad(values, (0, length - values.shape[1]), value=filler)
        return {**batch, "mention_spans": mentions["mention_spans"]}

    def _hard_negatives(self, rows: Sequence[Row], draw: torch.Generator) -> list[int]:
        """Entity rows drawn from the mined ones of each mention."""
        if not self.num_hard_negatives:
            return []
        mined = _rows_of(rows, self.knowledge_base, "hard_negative_ids")
        orders = [torch.randperm(len(group), generator=draw)[: self.num_hard_negatives] for group in mined]
        return [group[i] for group, order in zip(mined, orders, strict=True) for i in order]


class CrossEncoderCollator:
    """Batches for `CrossEncoderTrainer`: each mention with its mined candidates, the gold among them.

    Args:
        processor: makes the token windows.
        knowledge_base: where the entities' texts are.
        temperature: the bi-encoder's; retrieval scores are divided by it, as in `EntityLinker.rerank`.
        random_order: whether a mention's candidates stand in random order, as in training, so that neither rank nor an
            inserted gold entity, which is mined as the last one, has a place of its own; False keeps the dataset's order.
    """

    def __init__(
        self,
        processor: BlinkProcessor,
        knowledge_base: KnowledgeBase,
        temperature: float,
        *,
        random_order: bool = False,
    ):
        self.processor = processor
        self.knowledge_base = knowledge_base
        self.temperature = temperature
        self.random_order = random_order

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Pairs `[batch_size, num_candidates, pair_length]`; masks and scores `[batch_size, num_candidates]`; `mention_ids`.

        Raises:
            ValueError: a mention without mined candidates, or whose gold is not among them.
        """
        ids = [str(row.get("id")) for row in rows]
        if self.random_order:
            rows = _in_random_order(rows, _draw_of(ids))
        candidates = _rows_of(rows, self.knowledge_base, "candidate_ids")
        gold = _rows_of(rows, self.knowledge_base, "label_ids")
        for row, found, labels in zip(rows, candidates, gold, strict=True):
            if not set(found) & set(labels):
                raise ValueError(
                    f"expected candidates with a gold entity among them for mention {row.get('id')}; use mine_candidates"
                )
        width = max(len(found) for found in candidates)
        shape = (len(rows), width)
        mask, is_gold = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
        scores = torch.zeros(shape)
        for i, found in enumerate(candidates):
            mask[i, : len(found)] = True
            is_gold[i, : len(found)] = torch.tensor([row in gold[i] for row in found])
            scores[i, : len(found)] = torch.tensor(rows[i]["candidate_scores"]) / self.temperature
        return {
            **self._pairs(rows, candidates, mask),
            "candidate_mask": mask,
            "gold": is_gold,
            "retrieval_scores": scores,
            "mention_ids": ids,
        }

    def _pairs(
        self, rows: Sequence[Row], candidates: list[list[int]], mask: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        windows = self.processor.marked_windows(contexts_of(rows))
        unique = sorted({row for found in candidates for row in found})
        texts = dict(
            zip(unique, self.processor.entity_windows(*self.knowledge_base.texts_at(unique)), strict=True)
        )
        pairs = [(windows[i], texts[row]) for i, found in enumerate(candidates) for row in found]
        flat = self.processor.process_pairs([pair[0] for pair in pairs], [pair[1] for pair in pairs])
        batch = {}
        for name in flat:
            batch[name] = flat[name].new_zeros((*mask.shape, flat[name].shape[1]))
            batch[name][mask] = flat[name]
        return batch
