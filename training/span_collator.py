"""Documents to the batches of `ElqTrainer`: text windows, the gold spans in them, and the entities of those that have one.

A window is the text with as many of its mentions as fit. Entities are columns as in `BiEncoderCollator`: each once, and
`targets` says which one a mention means. A NIL mention is a gold span without an entity.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.processing_elq import ElqProcessor, token_span
from hf_blink.training.mention_references import entity_rows

Row = dict[str, Any]


class ElqCollator:
    """Batches for `ElqTrainer`.

    Args:
        processor: makes the token windows.
        knowledge_base: where the entities' texts are.
        unique_columns: whether an entity is one column however many mentions have it; False is ELQ's batch.
        entity_windows: whether the batch has the entities' texts; not where their vectors are frozen.
        fixed_length: pad every text and entity to its full length (ELQ), and not to the longest of the batch.
    """

    def __init__(
        self,
        processor: ElqProcessor,
        knowledge_base: KnowledgeBase,
        *,
        unique_columns: bool = True,
        entity_windows: bool = True,
        fixed_length: bool = False,
    ):
        self.processor = processor
        self.knowledge_base = knowledge_base
        self.unique_columns = unique_columns
        self.entity_windows = entity_windows
        self.fixed_length = fixed_length
        self.num_hard_negatives = 0

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Text windows and what the losses need.

        Returns:
            The model's inputs; `gold_spans` [num_gold, 3] (text, first token, tokens - 1); `complete` [batch_size], False for
            a text that may have other mentions; of the mentions with an entity `targets` [num_mentions], `gold_rows`
            [num_mentions, max_gold] (-1 is none) and `worlds`; `entity_rows` [num_columns] and the list `mention_ids` of the
            documents.

        Raises:
            ValueError: an entity id that the knowledge base does not have.
        """
        ids = [str(row.get("doc_id")) for row in rows]
        draw = torch.Generator().manual_seed(zlib.crc32("\x1f".join(ids).encode()))
        windows, spans = self._windows(rows)
        labels = entity_rows([label_ids for *_, label_ids in spans], self.knowledge_base, "label_ids")
        gold_spans = [(text, start, stop - start - 1) for text, start, stop, _ in spans]
        kept = [place for place, found in enumerate(labels) if found]
        chosen = [labels[p][int(torch.randint(len(labels[p]), (), generator=draw))] for p in kept]
        columns = list(dict.fromkeys(chosen)) if self.unique_columns else chosen
        targets = [columns.index(row) for row in chosen] if self.unique_columns else list(range(len(chosen)))
        gold = [torch.tensor(labels[place]) for place in kept]
        columns = columns or [
            0
        ]  # a batch without entities has a negative for the mentions of other processes
        return {
            **self._padded(windows),
            **(self._entities(columns) if self.entity_windows else {}),
            "mention_rows": torch.tensor([spans[place][0] for place in kept], dtype=torch.int64),
            "mention_spans": torch.tensor([spans[place][1:3] for place in kept], dtype=torch.int64).view(
                -1, 2
            ),
            "gold_spans": torch.tensor(gold_spans, dtype=torch.int64).view(-1, 3),
            "complete": torch.tensor([row.get("complete") is not False for row in rows]),
            "targets": torch.tensor(targets, dtype=torch.int64),
            "gold_rows": pad_sequence(gold, batch_first=True, padding_value=-1)
            if gold
            else torch.zeros(0, 1).long(),
            "entity_rows": torch.tensor(columns, dtype=torch.int64),
            "worlds": [rows[spans[place][0]].get("world") for place in kept],
            "mention_ids": ids,
        }

    def _windows(self, rows: Sequence[Row]) -> tuple[list[list[int]], list[tuple[int, int, int, list[str]]]]:
        """Token windows, and of each gold span its text, its tokens (end exclusive) and its labels."""
        windows, spans = [], []
        for number, tokens in enumerate(self.processor.tokenize_texts([row["text"] for row in rows])):
            mentions = [
                (token_span(tokens, mention["start"], mention["end"]), mention["label_ids"])
                for mention in rows[number]["mentions"]
            ]
            mentions = sorted((m for m in mentions if m[0][0] < m[0][1]), key=lambda mention: mention[0])
            window, kept = self.processor.window_around(tokens, [span for span, _ in mentions])
            windows.append(window)
            spans += [(number, *span, labels) for span, (_, labels) in zip(kept, mentions, strict=False)]
        return windows, spans

    def _padded(self, windows: list[list[int]]) -> dict[str, torch.Tensor]:
        return self._lengthened(self.processor.pad(windows), self.processor.mention_length)

    def _lengthened(self, batch: Any, length: int) -> dict[str, torch.Tensor]:
        """A padded batch, with `fixed_length` padded to the full length of a window."""
        if self.fixed_length:
            missing = length - batch["input_ids"].shape[1]
            for name, filler in (("input_ids", self.processor.tokenizer.pad_token_id), ("attention_mask", 0)):
                batch[name] = torch.nn.functional.pad(batch[name], (0, missing), value=filler)
        return dict(batch)

    def _entities(self, columns: list[int]) -> dict[str, torch.Tensor]:
        padded = self.processor.process_entities(*self.knowledge_base.texts_at(columns))
        entities = self._lengthened(padded, self.processor.entity_length)
        return {f"entity_{name}": entities[name] for name in ("input_ids", "attention_mask")}
