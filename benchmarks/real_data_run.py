"""A data set with its split into what is trained on and what is held out, and where a run on it keeps its files."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from benchmarks.real_data_settings import Settings
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training.dataset_readers import read_mentions
from hf_blink.training.mention_sampling import capped_per_entity


@dataclass(frozen=True)
class Run:
    """See the module's text.

    Args:
        data: folder with `entities.jsonl.gz` and `mentions_{train,val}.jsonl.gz`.
        work: folder of the stages' results.
        settings: all settings.
    """

    data: Path
    work: Path
    settings: Settings

    @cached_property
    def knowledge_base(self) -> KnowledgeBase:
        """All entities."""
        return KnowledgeBase.from_jsonl(self.data / "entities.jsonl.gz")

    @cached_property
    def validation(self) -> Dataset:
        """The held-out mentions; for evaluation only."""
        return labelled(read_mentions(self.data / "mentions_val.jsonl.gz"))

    def validation_pool(self) -> KnowledgeBase:
        """All entities of the held-out mentions' worlds; the whole knowledge base where mentions have no world."""
        worlds = set(self.validation["world"])
        if None in worlds or not self.knowledge_base.worlds:
            return self.knowledge_base
        rows = np.sort(np.concatenate([self.knowledge_base.world_rows(world) for world in worlds]))
        return KnowledgeBase.from_entities(self.knowledge_base.entities(rows))

    def training_parts(self) -> tuple[Dataset, Dataset]:
        """The mentions that the bi-encoder and the cross-encoder train on, each in a seeded random order.

        The cross-encoder learns where the bi-encoder is as it will be in use: on documents that it was not trained on, and
        as far as there are any, on entities that it was not trained on; few mentions of each, since variety counts.
        """
        mentions = labelled(read_mentions(self.data / "mentions_train.jsonl.gz"))
        order = np.random.default_rng(self.settings.seed).permutation(len(mentions))
        mentions = mentions.select(order.tolist())
        wanted = self.settings.cross_encoder_mentions
        if not self.settings.hold_out:
            pick = np.random.default_rng(self.settings.seed + 1).permutation(len(mentions)).tolist()
            return self._capped(mentions), mentions.select(pick[:wanted])
        held_out = held_out_documents(mentions, 2 * wanted)
        apart = [i for i, document in enumerate(mentions["doc_id"]) if document in held_out]
        rest = self._capped(
            mentions.select([i for i, document in enumerate(mentions["doc_id"]) if document not in held_out])
        )
        most = self.settings.cross_encoder_mentions_per_entity
        varied = capped_per_entity(mentions.select(apart), most, self.settings.seed)
        return rest, varied.select(unseen_first(varied, rest)[:wanted])

    def _capped(self, mentions: Dataset) -> Dataset:
        """So that a few frequent entities are not most of the training."""
        return capped_per_entity(mentions, self.settings.max_mentions_per_entity, self.settings.seed)

    def base_model(self) -> str:
        """Folder or Hub name of the encoder to start from."""
        from hf_blink.default_encoder import default_encoder

        return self.settings.base_model or default_encoder()


def held_out_documents(mentions: Dataset, wanted: int) -> set[str | None]:
    """Documents with about so many mentions, as equally many of each world as there are, at most half of a world's."""
    sizes = Counter(mentions["doc_id"])
    documents: dict[str | None, dict[str | None, None]] = {}
    for world, document in zip(mentions["world"], mentions["doc_id"], strict=True):
        documents.setdefault(world, {})[document] = None
    left = {world: size // 2 for world, size in Counter(mentions["world"]).items()}
    queues = {world: list(found) for world, found in documents.items()}
    held_out: set[str | None] = set()
    taken = dict.fromkeys(queues, 0)
    while queues and sum(taken.values()) < wanted:
        world = min(queues, key=lambda name: (taken[name], str(name)))
        document = queues[world].pop(0)
        if taken[world] + sizes[document] <= left[world]:
            held_out.add(document)
            taken[world] += sizes[document]
        if not queues[world]:
            del queues[world]
    return held_out


def kept_apart(dataset: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """Mentions to train on, and about such a share of them to fit weights on, in whole documents drawn at random.

    Args:
        dataset: mentions; one without a document counts as a document.
        share: of the mentions, below 1.
        seed: of the choice of documents.
    """
    documents: dict[Any, list[int]] = {}
    for row, name in enumerate(dataset["doc_id"]):
        documents.setdefault(row if name is None else str(name), []).append(row)
    wanted = share * len(dataset)
    apart: list[int] = []
    groups = list(documents.values())
    for number in np.random.default_rng(seed).permutation(len(groups)):
        if len(apart) + len(groups[number]) / 2 > wanted:
            break
        apart += groups[number]
    chosen = set(apart)
    rest = [row for row in range(len(dataset)) if row not in chosen]
    return dataset.select(rest), dataset.select(sorted(chosen))


def unseen_first(mentions: Dataset, trained_on: Dataset) -> list[int]:
    """Rows of mentions: first those whose entity is not trained on, as in linking to entities never seen, then the others."""
    seen = {entity for ids in trained_on["label_ids"] for entity in ids}
    return sorted(range(len(mentions)), key=lambda row: bool(seen & set(mentions[row]["label_ids"])))


def labelled(dataset: Dataset) -> Dataset:
    """The mentions that have a gold entity."""
    return dataset.select([i for i, ids in enumerate(dataset["label_ids"]) if ids])
