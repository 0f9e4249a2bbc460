"""Mining with the current model: what it wrongly ranks high becomes training data.

Both functions retrieve the nearest entities of every training mention (in its own world, where there are worlds) and
return the dataset with new columns. Gold entities are never negatives, whichever of a mention's gold ids they are.
"""

from typing import Any

import numpy as np
from datasets import Dataset
from tqdm.auto import tqdm

from hf_blink.modeling.batch_encoding import encode_mentions
from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.linking_types import MentionContext
from hf_blink.training.dataset_readers import contexts_of
from hf_blink.training.mention_references import candidate_worlds

_MENTIONS_AT_ONCE = 1024


def _retrieve(linker: EntityLinker, dataset: Dataset, k: int, progress: bool, text: str):
    """Yields for each mention: its context, its gold entity rows, the nearest entity rows and their scores."""
    with tqdm(total=len(dataset), desc=text, disable=not progress, unit=" mentions") as bar:
        for start in range(0, len(dataset), _MENTIONS_AT_ONCE):
            rows = dataset.select(range(start, min(start + _MENTIONS_AT_ONCE, len(dataset)))).to_list()
            contexts = contexts_of(rows)
            worlds = candidate_worlds([row.get("world") for row in rows], linker.knowledge_base)
            scores, found = linker.retrieve(contexts, k, worlds)
            for row, context, row_scores, row_found in zip(rows, contexts, scores, found, strict=True):
                gold = linker.knowledge_base.find_rows(row["label_ids"])
                kept = row_found >= 0
                yield context, gold[gold >= 0], row_found[kept], row_scores[kept]
            bar.update(len(rows))


def mine_hard_negatives(
    linker: EntityLinker,
    dataset: Dataset,
    *,
    num_negatives: int = 10,
    range_min: int = 0,
    progress: bool = True,
) -> Dataset:
    """Adds the column `hard_negative_ids`: the model's top entities minus the gold ones, best first.

    Args:
        linker: the current model with an index of its own vectors.
        dataset: labelled mentions.
        num_negatives: entities a mention at most (the paper: 10).
        range_min: skips so many of the nearest non-gold entities, which may be unlabelled gold.
        progress: show a progress bar.

    Raises:
        ValueError: `num_negatives` below 1 or `range_min` below 0.
    """
    if num_negatives < 1 or range_min < 0:
        raise ValueError(
            f"expected num_negatives >= 1 and range_min >= 0, got {num_negatives} and {range_min}"
        )
    most_gold = max((len(labels) for labels in dataset["label_ids"]), default=0)
    k = num_negatives + range_min + most_gold
    mined = []
    for _, gold, found, _ in _retrieve(linker, dataset, k, progress, "mining hard negatives"):
        wrong = found[~np.isin(found, gold)][range_min : range_min + num_negatives]
        mined.append(linker.knowledge_base.entity_ids(wrong.tolist()))
    return _with_columns(dataset, hard_negative_ids=mined)


def mine_candidates(
    linker: EntityLinker, dataset: Dataset, *, num_candidates: int = 16, progress: bool = True
) -> Dataset:
    """Adds `candidate_ids` and `candidate_scores` (retrieval scores): the model's top entities, a gold one among them.

    A gold entity that was not retrieved takes the place of the last candidate, with the score that the model gives it;
    `gold_retrieved` says where that was not needed. Mentions without a gold entity in the knowledge base are left out.

    Args:
        linker: the current model with an index of its own vectors.
        dataset: labelled mentions.
        num_candidates: candidates a mention (BLINK: 64).
        progress: show a progress bar.

    Raises:
        ValueError: `num_candidates` below 2, or no mention has a gold entity in the knowledge base.
    """
    if num_candidates < 2:
        raise ValueError(f"expected num_candidates of at least 2, got {num_candidates}")
    columns: dict[str, list[Any]] = {"candidate_ids": [], "candidate_scores": [], "gold_retrieved": []}
    kept = []
    for number, (context, gold, found, scores) in enumerate(
        _retrieve(linker, dataset, num_candidates, progress, "mining candidates")
    ):
        if not len(gold):
            continue
        retrieved = bool(np.isin(found, gold).any())
        if not retrieved:
            found = np.append(found[: num_candidates - 1], gold[0])
            scores = np.append(scores[: num_candidates - 1], _score(linker, context, int(gold[0])))
        kept.append(number)
        columns["candidate_ids"].append(linker.knowledge_base.entity_ids(found.tolist()))
        columns["candidate_scores"].append(scores.tolist())
        columns["gold_retrieved"].append(retrieved)
    if not kept:
        raise ValueError(
            f"expected mentions with a gold entity in the knowledge base of {len(linker.knowledge_base)} entities, got "
            f"none among {len(dataset)}; check that the labels are its entity ids"
        )
    return _with_columns(dataset.select(kept), **columns)


def _score(linker: EntityLinker, context: MentionContext, row: int) -> float:
    """The retrieval score of one entity for one mention."""
    vector = encode_mentions(linker.bi_encoder, linker.processor, [context])[0]
    return float((linker.index.vectors([row]) @ vector)[0])


def _with_columns(dataset: Dataset, **columns: list[Any]) -> Dataset:
    for name, values in columns.items():
        if name in dataset.column_names:
            dataset = dataset.remove_columns(name)
        dataset = dataset.add_column(name, values)
    return dataset
