"""Mining with the current model: what it wrongly ranks high becomes training data.

    every process: own share of entities -> vectors -> all processes have the index -> own share of mentions
                   -> nearest entities (in the mention's world, where there are worlds) -> filters -> all have all rows

`mine_hard_negatives` and `mine_candidates` take a linker and give a dataset with new columns; `HardNegativeMiner` takes
the bi-encoder as it is in the middle of training and gives rows. All are collective: in a run of several processes each
of them calls, with the same data, and gets the same result, which is that of one process. Gold entities are never
negatives, whichever of a mention's gold ids they are.
"""

import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training.encoded_blocks import remove_blocks
from hf_blink.training.mention_references import candidate_worlds, gold_rows_of, worlds_of
from hf_blink.training.mention_retrieval import (
    MENTIONS_AT_ONCE,
    MentionBlock,
    gold_scores,
    retrieved_blocks,
)
from hf_blink.training.mining_fingerprint import mining_fingerprint
from hf_blink.training.mining_settings import MiningSettings
from hf_blink.training.negative_selection import select_negatives
from hf_blink.training.process_shares import (
    exchange_rows,
    failing_together,
    process_place,
    share_bounds,
)
from hf_blink.training.shared_linker import check_same_work, modes_kept, shared_linker

logger = logging.getLogger(__name__)


class HardNegativeMiner:
    """Mines with a bi-encoder in training, any number of times: the knowledge base is encoded anew for each.

    Args:
        processor: the bi-encoder's processor.
        knowledge_base: the entities.
        settings: what counts as a hard negative; None takes `MiningSettings()`.
        cross_encoder: a [`BlinkCrossEncoder`] for the filter of `cross_encoder_margin`; used where it is.
        folder: keeps encoded entities until `forget`, so that a mining that was killed and is started again, with the same
            model, encodes the others alone; None keeps nothing.
        progress: show progress bars, in process 0.

    Raises:
        ValueError: `cross_encoder_margin` without a cross-encoder.
    """

    def __init__(
        self,
        processor: Any,
        knowledge_base: KnowledgeBase,
        settings: MiningSettings | None = None,
        *,
        cross_encoder: Any = None,
        folder: str | os.PathLike[str] | None = None,
        progress: bool = True,
    ):
        self.processor = processor
        self.knowledge_base = knowledge_base
        self.settings = MiningSettings() if settings is None else settings
        self.cross_encoder = cross_encoder
        self.folder = folder
        self.progress = progress
        _check_filter(self.settings, cross_encoder)

    def mine(self, bi_encoder: Any, dataset: Dataset, number: int = 0) -> np.ndarray:
        """Hard negatives of the model as it is now; its mode and device stay as they are.

        Args:
            bi_encoder: a [`BlinkBiEncoder`], not wrapped (`accelerator.unwrap_model`).
            dataset: labelled mentions, each with a gold entity.
            number: of this mining in the run, such as the epoch: random negatives differ from one to the next, and are
                the same when a resumed run mines again.

        Returns:
            Entity rows, int64 `[num_mentions, num_negatives]`: hard ones best first, then random ones, then -1.

        Raises:
            TypeError: a wrapped model.
            ValueError: a mention without a gold entity in the knowledge base, a world without entities, or processes
                with different data.
        """
        if not hasattr(bi_encoder, "entity_tower_state"):
            raise TypeError(
                f"expected a BlinkBiEncoder, got {type(bi_encoder).__name__}; unwrap it with accelerator.unwrap_model"
            )
        _check_work(dataset, self.knowledge_base, self.settings, number)
        with modes_kept(bi_encoder, self.cross_encoder):
            linker = shared_linker(
                self.knowledge_base,
                bi_encoder,
                self.processor,
                cross_encoder=self.cross_encoder,
                folder=self.folder,
                progress=self.progress,
            )
            return _mined_rows(linker, dataset, self.settings, number, progress=self.progress)

    def forget(self) -> None:
        """Removes the encoded entities from `folder`; for when what `mine` gave is kept."""
        if self.folder is not None:
            remove_blocks(Path(self.folder))

    def fingerprint(self, bi_encoder: Any, dataset: Dataset, number: int = 0) -> str:
        """SHA-256 over everything that decides what `mine` gives, 64 hexadecimal digits; arguments are those of `mine`."""
        settings = {**asdict(self.settings), "number": number}
        return mining_fingerprint(
            bi_encoder,
            self.processor,
            self.knowledge_base,
            dataset,
            settings,
            cross_encoder=self.cross_encoder,
        )


def mine_hard_negatives(
    linker: EntityLinker, dataset: Dataset, *, number: int = 0, progress: bool = True, **settings: Any
) -> Dataset:
    """Adds the column `hard_negative_ids`: the model's top entities minus the gold ones, best first.

    Collective; see the module's text.

    Args:
        linker: the current model with an index of its own vectors.
        dataset: labelled mentions, each with a gold entity.
        number: of this mining, see `HardNegativeMiner.mine`.
        progress: show a progress bar, in process 0.
        **settings: fields of [`MiningSettings`]: `num_negatives`, `range_min`, ...

    Raises:
        ValueError: settings that make no sense, a mention without a gold entity in the knowledge base, a world without
            entities, or processes with different data.
    """
    chosen = MiningSettings(**settings)
    _check_filter(chosen, linker.cross_encoder)
    _check_work(dataset, linker.knowledge_base, chosen, number)
    rows = _mined_rows(linker, dataset, chosen, number, progress=progress)
    mined = [linker.knowledge_base.entity_ids(found[found >= 0]) for found in rows]
    return _with_columns(dataset, hard_negative_ids=mined)


def mine_candidates(
    linker: EntityLinker, dataset: Dataset, *, num_candidates: int = 16, progress: bool = True
) -> Dataset:
    """Adds `candidate_ids` and `candidate_scores` (retrieval scores): the model's top entities, a gold one among them.

    A gold entity that was not retrieved takes the place of the last candidate, with the score that the model gives it;
    `gold_retrieved` says where that was not needed, and the share is logged. Mentions without a gold entity in the
    knowledge base are left out, and their number logged. Collective; see the module's text.

    Args:
        linker: the current model with an index of its own vectors.
        dataset: labelled mentions.
        num_candidates: candidates a mention (BLINK: 64).
        progress: show a progress bar, in process 0.

    Raises:
        ValueError: `num_candidates` below 2, no mention has a gold entity in the knowledge base, a world without
            entities, or processes with different data.
    """
    if num_candidates < 2:
        raise ValueError(f"expected num_candidates of at least 2, got {num_candidates}")
    check_same_work(linker.knowledge_base, dataset, {"num_candidates": num_candidates})
    index, count = process_place()
    shares = share_bounds(len(dataset), MENTIONS_AT_ONCE, count)
    width = min(num_candidates, len(linker.index))
    rows = np.full((len(dataset), width), -1, np.int64)
    scores = np.full((len(dataset), width), -np.inf, np.float32)
    retrieved, labelled = np.zeros((2, len(dataset)), bool)
    with failing_together("mining candidates"):
        for block in retrieved_blocks(
            linker, dataset, width, shares[index], progress=progress and index == 0, text="mining candidates"
        ):
            at = block.bounds
            retrieved[at] = block.is_gold.any(axis=1)
            labelled[at] = (block.gold >= 0).any(axis=1)
            rows[at], scores[at] = _with_gold(linker, block)
    for part in (rows, scores, retrieved, labelled):
        exchange_rows(part, shares)
    kept = np.flatnonzero(labelled)
    _report_gold(linker, len(dataset), retrieved[kept])
    present = rows >= 0
    return _with_columns(
        dataset.select(kept),
        candidate_ids=[linker.knowledge_base.entity_ids(rows[i][present[i]]) for i in kept],
        candidate_scores=[scores[i][present[i]].tolist() for i in kept],
        gold_retrieved=retrieved[kept].tolist(),
    )


def _report_gold(linker: EntityLinker, num_mentions: int, retrieved: np.ndarray) -> None:
    """Logs how often a gold entity was inserted, and how many mentions have none; `retrieved` is of those that have."""
    if not len(retrieved):
        raise ValueError(
            f"expected mentions with a gold entity in the knowledge base of {len(linker.knowledge_base)} entities, got "
            f"none among {num_mentions}; check that the labels are its entity ids"
        )
    if process_place()[0]:
        return
    if len(retrieved) < num_mentions:
        without = num_mentions - len(retrieved)
        logger.warning(
            "no gold entity in the knowledge base: %d of %d mentions left out", without, num_mentions
        )
    share = 100 * retrieved.mean()
    message = "gold retrieved for %.1f %% of %d mentions, inserted for %.1f %%"
    logger.info(message, share, len(retrieved), 100 - share)


def _with_gold(linker: EntityLinker, block: MentionBlock) -> tuple[np.ndarray, np.ndarray]:
    """Rows and scores of the candidates; the first gold entity takes the last place where none was retrieved."""
    rows, scores = block.found.copy(), block.scores.copy()
    needed = np.flatnonzero(~block.is_gold.any(axis=1) & (block.gold >= 0).any(axis=1))
    if needed.size:
        last = np.minimum((rows[needed] >= 0).sum(axis=1), rows.shape[1] - 1)
        rows[needed, last] = block.gold[needed, 0]
        scores[needed, last] = gold_scores(linker, block)[needed, 0]
    return rows, scores


def _mined_rows(
    linker: EntityLinker, dataset: Dataset, settings: MiningSettings, number: int, *, progress: bool
) -> np.ndarray:
    """Entity rows of the negatives, int64 `[num_mentions, num_negatives]`, -1 after the last."""
    index, count = process_place()
    shares = share_bounds(len(dataset), MENTIONS_AT_ONCE, count)
    rows = np.full((len(dataset), settings.num_negatives), -1, np.int64)
    k = settings.rank_end + max((len(labels) for labels in dataset["label_ids"]), default=0)
    text = "mining hard negatives"
    shown = progress and index == 0
    with failing_together(text):
        for block in retrieved_blocks(linker, dataset, k, shares[index], progress=shown, text=text):
            rows[block.bounds] = select_negatives(linker, block, settings, number)
    exchange_rows(rows, shares)
    return rows


def _check_filter(settings: MiningSettings, cross_encoder: Any) -> None:
    if settings.cross_encoder_margin is not None and cross_encoder is None:
        raise ValueError(
            f"expected a cross-encoder for cross_encoder_margin={settings.cross_encoder_margin}, got None; pass "
            "cross_encoder=, or leave the margin out"
        )


def _check_work(
    dataset: Dataset, knowledge_base: KnowledgeBase, settings: MiningSettings, number: int
) -> None:
    """Refuses what cannot be mined, in every process and before long work."""
    check_same_work(knowledge_base, dataset, {"mining settings": settings, "number of the mining": number})
    if number < 0:
        raise ValueError(f"expected a number of the mining of at least 0, got {number}")
    gold = gold_rows_of(dataset, knowledge_base)
    if empty := [position for position, rows in enumerate(gold) if not rows]:
        raise ValueError(
            f"expected at least one gold entity a mention, got none for {len(empty)} of {len(gold)}, at the positions "
            f"{empty[:10]}; leave NIL mentions out"
        )
    candidate_worlds(worlds_of(dataset), knowledge_base)


def _with_columns(dataset: Dataset, **columns: list[Any]) -> Dataset:
    for name, values in columns.items():
        if name in dataset.column_names:
            dataset = dataset.remove_columns(name)
        dataset = dataset.add_column(name, values)
    return dataset
