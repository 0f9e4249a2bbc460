"""Fits an ELQ model's joint threshold: the cut in its log-probabilities that gives the best F1 on development documents.

The documents are linked once without a threshold. Greedy choice of spans takes the best first, so a higher threshold
leaves the first ones of the same list: every cut is counted without linking again. The threshold that is kept lies in the
middle of the gap below the last link that helps.

The links are those that `EntityLinker.link` gives: where the linker has a cross-encoder it chooses the entities of all spans
(the cut itself is in the score of retrieval, as it is in linking), which takes long: some hundred documents do. Links under
the linker's own `threshold` are none.
"""

import logging
from dataclasses import dataclass

import numpy as np
from datasets import Dataset

from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.span_linking import find_mentions, joint_scores, links_of_mentions
from hf_blink.training.document_evaluation import gold_links
from hf_blink.training.mention_references import measured_worlds
from hf_blink.training.process_shares import blocks
from hf_blink.training.span_matching import Counts, SpanLink, matched_counts

logger = logging.getLogger(__name__)

_LOWEST = -20.0  # log-probability under which nothing is looked at
_CUTS = 200
_DOCUMENTS_AT_ONCE = 256  # whose spans' vectors are in memory


@dataclass(frozen=True, slots=True)
class FittedThreshold:
    """What `fit_joint_threshold` found.

    Attributes:
        joint_threshold: the threshold, a log-probability.
        f1: micro F1 on the documents with it.
        match: which F1, weak or strong.
    """

    joint_threshold: float
    f1: float
    match: str


def fit_joint_threshold(linker: EntityLinker, documents: Dataset, *, match: str = "weak") -> FittedThreshold:
    """Fits `joint_threshold` and sets it in the model's configuration, with which it is saved.

    Args:
        linker: with an ELQ model that finds its mentions, with a cross-encoder or without.
        documents: development documents, as `read_documents` gives them; incomplete ones are left out.
        match: weak or strong, whose F1 is to be best.

    Returns:
        The threshold, and its F1 on these documents; the threshold as it was, with a warning, where none gives a right link.

    Raises:
        ValueError: a linker that does not find mentions itself, another `match`, no complete document, or a
            world that the knowledge base lacks.
    """
    if match not in ("weak", "strong"):
        raise ValueError(f"expected match as weak or strong, got {match!r}")
    if not linker.finds_mentions:
        raise ValueError(
            "expected a linker with an ELQ model that finds the mentions, got one with a detector"
        )
    complete = documents.select([i for i, flag in enumerate(documents["complete"]) if flag is not False])
    if not len(complete):
        raise ValueError(f"expected complete documents to fit on, got {len(documents)} with complete=False")
    scores, owners, links = _scored_links(linker, complete)
    gold = [gold_links(row, linker.knowledge_base) for row in complete]
    gold = [[link for link in row if link.entity_ids] for row in gold]
    fitted = best_cut(scores, owners, links, gold, match)
    if not fitted.f1:
        kept = linker.bi_encoder.config.joint_threshold
        logger.warning(
            "no threshold gives a right link on %d documents, so %s stays; look whether their labels are ids of the knowledge "
            "base, and whether training was long enough", len(complete), kept,
        )  # fmt: skip
        return FittedThreshold(kept, 0.0, match)
    linker.bi_encoder.config.joint_threshold = fitted.joint_threshold
    return fitted


def _scored_links(linker: EntityLinker, documents: Dataset) -> tuple[np.ndarray, np.ndarray, list[SpanLink]]:
    """All links that any threshold can give: joint scores, documents, links; with the vectors of some documents at a time."""
    config = linker.bi_encoder.config
    kept = config.joint_threshold
    parts = []
    try:
        config.joint_threshold = _LOWEST
        for start, stop in blocks((0, len(documents)), _DOCUMENTS_AT_ONCE):
            joint, numbers, links = _links_of(linker, documents.select(range(start, stop)))
            parts.append((joint, numbers + start, links))
    finally:
        config.joint_threshold = kept
    scores, owners = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
    return scores, owners, [link for _, _, links in parts for link in links]


def _links_of(linker: EntityLinker, documents: Dataset) -> tuple[np.ndarray, np.ndarray, list[SpanLink]]:
    config, texts = linker.bi_encoder.config, list(documents["text"])
    worlds = measured_worlds(documents, linker.knowledge_base, "document") or [None] * len(texts)
    found = find_mentions(linker, texts, worlds, linker.num_candidates, nested=config.nested)
    spans, scores, _ = found
    links = list(links_of_mentions(linker, texts, found, top_k=1, threshold=linker.threshold))
    linked = np.array([link.entity is not None for link in links], dtype=bool)
    return (
        joint_scores(spans.logits, scores, config.temperature)[linked],
        spans.text_numbers[linked],
        [
            SpanLink(link.mention.start, link.mention.end, [link.entity.entity_id])
            for link in links
            if link.entity is not None
        ],
    )


def best_cut(
    scores: np.ndarray, owners: np.ndarray, links: list[SpanLink], gold: list[list[SpanLink]], match: str
) -> FittedThreshold:
    """Tries cuts at equal shares of the links.

    Args:
        scores: of the links, `[num_links]`.
        owners: the document of each.
        links: themselves.
        gold: the gold links of each document.
        match: weak or strong.

    Returns:
        The cut with the best F1; the highest one where several are equal.
    """
    best = FittedThreshold(0.0, 0.0, match)
    descending = np.sort(scores)[::-1]
    sizes: np.ndarray = np.unique(np.linspace(1, len(scores), min(len(scores), _CUTS)).astype(int))
    sizes = sizes[sizes <= len(scores)]
    for size in sizes:
        lowest = descending[size - 1]
        following = descending[size] if size < len(descending) else max(_LOWEST, lowest - 1)
        threshold = float((lowest + following) / 2)
        chosen: list[list[SpanLink]] = [[] for _ in gold]
        for place in np.flatnonzero(scores > threshold):
            chosen[owners[place]].append(links[place])
        counts = [
            matched_counts(wanted, found, strong=match == "strong")
            for wanted, found in zip(gold, chosen, strict=True)
        ]
        total = Counts(*np.sum(counts, axis=0).tolist())
        if total.f1 > best.f1:
            best = FittedThreshold(threshold, total.f1, match)
    return best
