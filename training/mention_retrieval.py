"""The nearest entities of labelled mentions, block by block, as mining needs them: with the gold entities' own scores."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from datasets import Dataset
from tqdm.auto import tqdm

from hf_blink.modeling.batch_encoding import encode_mentions
from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.linking_types import MentionContext
from hf_blink.training.dataset_readers import contexts_of
from hf_blink.training.mention_references import candidate_worlds
from hf_blink.training.process_shares import Bounds, blocks

MENTIONS_AT_ONCE = 512
_DIGEST_ROWS = 10_000
_IDENTITY = ("id", "context_left", "mention", "context_right", "label_ids", "world")


class MentionBlock(NamedTuple):
    """Some mentions, one after another in the dataset, and what was retrieved for them.

    Attributes:
        start: position of the first in the dataset.
        ids: of the mentions; None where they have none.
        contexts: the mentions as the encoder takes them.
        worlds: where their candidates are from; None is the whole knowledge base.
        gold: entity rows `[num_mentions, most_gold]`, -1 after the last.
        scores: retrieval scores, float32 `[num_mentions, k]`, best first; -inf where there is no entity.
        found: entity rows of them, int64 `[num_mentions, k]`; -1 where there is none.
    """

    start: int
    ids: list[str | None]
    contexts: list[MentionContext]
    worlds: Sequence[str | None]
    gold: np.ndarray
    scores: np.ndarray
    found: np.ndarray

    @property
    def bounds(self) -> slice:
        """Their place in the dataset."""
        return slice(self.start, self.start + len(self.ids))

    @property
    def is_gold(self) -> np.ndarray:
        """Which of the found entities are gold, bool `[num_mentions, k]`."""
        return ((self.found[:, :, None] == self.gold[:, None, :]) & (self.found >= 0)[:, :, None]).any(axis=2)


def retrieved_blocks(
    linker: EntityLinker, dataset: Dataset, k: int, share: Bounds, *, progress: bool, text: str
) -> Iterator[MentionBlock]:
    """Retrieves for the mentions of a share, in the mention's world where there are worlds.

    Args:
        linker: with an index of the current model's vectors.
        dataset: labelled mentions.
        k: entities a mention.
        share: first mention and the one after the last.
        progress: show a progress bar.
        text: beside the bar.

    Raises:
        ValueError: a world that no entity is in, where others are.
    """
    with tqdm(total=share[1] - share[0], desc=text, disable=not progress, unit=" mentions") as bar:
        for start, stop in blocks(share, MENTIONS_AT_ONCE):
            rows = dataset.select(range(start, stop)).to_list()
            contexts = contexts_of(rows)
            worlds = candidate_worlds([row.get("world") for row in rows], linker.knowledge_base)
            scores, found = linker.retrieve(contexts, k, worlds)
            gold = _gold_rows(linker, [row["label_ids"] for row in rows])
            ids = [row.get("id") for row in rows]
            yield MentionBlock(start, ids, contexts, worlds or [None] * len(rows), gold, scores, found)
            bar.update(len(rows))


def _gold_rows(linker: EntityLinker, labels: Sequence[Sequence[str] | None]) -> np.ndarray:
    """Rows of each mention's gold entities that the knowledge base has, -1 after the last."""
    found = [linker.knowledge_base.find_rows(list(ids or ())) for ids in labels]
    known = [rows[rows >= 0] for rows in found]
    gold = np.full((len(labels), max((len(rows) for rows in known), default=0)), -1, np.int64)
    for position, rows in enumerate(known):
        gold[position, : len(rows)] = rows
    return gold


def gold_scores(linker: EntityLinker, block: MentionBlock) -> np.ndarray:
    """Retrieval scores of the gold entities, float32 `[num_mentions, most_gold]`; -inf where there is none.

    Mentions whose gold entity was not retrieved are encoded once more.
    """
    same = block.gold[:, :, None] == block.found[:, None, :]
    scores = np.where(same, block.scores[:, None, :], -np.inf).max(axis=2, initial=-np.inf).astype(np.float32)
    at, column = np.nonzero((block.gold >= 0) & ~same.any(axis=2))
    if at.size:
        needed, inverse = np.unique(at, return_inverse=True)
        contexts = [block.contexts[position] for position in needed]
        mentions = encode_mentions(linker.bi_encoder, linker.processor, contexts)[inverse]
        entities = linker.index.vectors(block.gold[at, column])
        scores[at, column] = np.einsum("ij,ij->i", mentions, entities)
    return scores


def mentions_digest(dataset: Dataset) -> str:
    """SHA-256 over the mentions, their labels and worlds, by which processes see that they have the same."""
    columns = [name for name in _IDENTITY if name in dataset.column_names]
    digest = hashlib.sha256()
    for start, stop in blocks((0, len(dataset)), _DIGEST_ROWS):
        part = dataset.select(range(start, stop))
        digest.update(json.dumps({name: part[name][:] for name in columns}).encode())
    return digest.hexdigest()
