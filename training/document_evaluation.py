"""Measures a linker from text to entities: it finds the mentions and links them, and both must be right.

A predicted link is right if its entity is the gold one and its span is the gold span (`strong`) or overlaps it (`weak`);
see span_matching. Micro figures count links over all documents, macro ones are means of the documents' own figures (macro F1
is the mean of their F1), as GERBIL's are (FMeasureCalculator.java). Every measured document counts in the means:

* without gold links and without predicted ones, its precision, recall and F1 are 1;
* without gold links but with predicted ones, or with gold ones of which none is predicted rightly, all three are 0.

In-KB, NIL mentions and NIL links are none, so a document whose mentions are all NIL has no gold links: it counts as 1 if the
linker links nothing of it to an entity, and as 0 if it does. With NIL, its mentions are to be found, as NIL, like all others.

The result is one flat dict:

| key | content |
|---|---|
| `strong_precision`, `strong_recall`, `strong_f1` | in-KB: mentions of entities of the knowledge base, links that are not NIL |
| `weak_precision`, `weak_recall`, `weak_f1` | the same with overlapping spans |
| `<metric>_macro` | mean over the documents, see above |
| `with_nil/<metric>` | NIL mentions count too: a link that is NIL is right for a mention without an entity |
| `num_documents`, `num_incomplete` | documents measured, and left out because their mentions are not all annotated |
| `num_mentions`, `num_nil`, `num_links` | gold mentions with an entity of the knowledge base and without, in-KB links |
| `num_entities` | entities of the knowledge base |
| `seconds`, `documents_per_second` | wall time of the linking alone |
"""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset

from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training.mention_references import measured_worlds
from hf_blink.training.span_matching import Counts, SpanLink, matched_counts

logger = logging.getLogger(__name__)


def evaluate_documents(linker: Any, documents: Dataset, **link_options: Any) -> dict[str, float]:
    """Links the texts of documents and compares with their mentions; returns the flat dict described above.

    Args:
        linker: an [`EntityLinker`], which finds mentions with its ELQ model or its detector.
        documents: as `read_documents` gives them; those with `complete` False are left out, since an unannotated mention
            would count as a wrong link.
        **link_options: of `EntityLinker.link` (`threshold`, `nested`).

    Raises:
        ValueError: no document to measure, labels of which the knowledge base has none, or a world that it lacks; names the
            document.
    """
    complete = [number for number, flag in enumerate(documents["complete"]) if flag is not False]
    if not complete:
        raise ValueError(
            f"expected documents whose mentions are all annotated, got {len(documents)} with complete=False; precision "
            "means nothing on them"
        )
    measured = documents.select(complete)
    gold = [gold_links(row, linker.knowledge_base) for row in measured]
    _tell_unknown(measured, gold, linker.knowledge_base)
    started = time.perf_counter()
    links = _links(linker, measured, link_options)
    seconds = time.perf_counter() - started
    metrics = _figures(gold, links, with_nil=False)
    metrics |= {f"with_nil/{name}": value for name, value in _figures(gold, links, with_nil=True).items()}
    known = [bool(link.entity_ids) for row in gold for link in row]
    return metrics | {
        "num_documents": len(measured),
        "num_incomplete": len(documents) - len(measured),
        "num_mentions": sum(known),
        "num_nil": len(known) - sum(known),
        "num_links": sum(bool(link.entity_ids) for row in links for link in row),
        "num_entities": len(linker.knowledge_base),
        "seconds": seconds,
        "documents_per_second": len(measured) / seconds,
    }


def _tell_unknown(
    documents: Dataset, gold: Sequence[Sequence[SpanLink]], knowledge_base: KnowledgeBase
) -> None:
    """Warns of labelled mentions that are NIL for want of their entity; if that is all of them, the labels are others."""
    unknown = [
        (row["doc_id"], mention["label_ids"])
        for row, links in zip(documents, gold, strict=True)
        for mention, link in zip(row["mentions"], links, strict=True)
        if mention["label_ids"] and not link.entity_ids
    ]
    if not unknown:
        return
    (place, ids), known = unknown[0], sum(bool(link.entity_ids) for links in gold for link in links)
    got = (
        f"{len(unknown)} of {known + len(unknown)} labelled mentions name no entity of the knowledge base of "
        f"{len(knowledge_base)}, the first {ids[0]!r} in {place}"
    )
    if not known:
        raise ValueError(
            f"expected labels that are ids of the knowledge base, got: {got}; use the knowledge base that the labels belong "
            "to, say how it writes the ids (id_format, label_field), or write null for mentions that are meant to be NIL"
        )
    logger.warning("%s; they count as NIL", got)


def _links(linker: Any, documents: Dataset, options: dict[str, Any]) -> list[list[SpanLink]]:
    texts, worlds = list(documents["text"]), measured_worlds(documents, linker.knowledge_base, "document")
    found = linker.link(texts, worlds=worlds, top_k=1, return_nil=True, **options)
    return [
        [
            SpanLink(
                link.mention.start, link.mention.end, [] if link.entity is None else [link.entity.entity_id]
            )
            for link in links
        ]
        for links in found
    ]


def gold_links(row: Mapping[str, Any], knowledge_base: Any) -> list[SpanLink]:
    """The mentions of a document; gold entities that the knowledge base lacks are NIL."""
    links = []
    for mention in row["mentions"]:
        rows = knowledge_base.find_rows(list(mention["label_ids"]))
        known = [label for label, place in zip(mention["label_ids"], rows, strict=True) if place >= 0]
        links.append(SpanLink(mention["start"], mention["end"], known))
    return links


def _figures(
    gold: Sequence[Sequence[SpanLink]], links: Sequence[Sequence[SpanLink]], *, with_nil: bool
) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, strong in (("strong", True), ("weak", False)):
        counts = [
            matched_counts(
                [link for link in wanted if with_nil or link.entity_ids],
                [link for link in found if with_nil or link.entity_ids],
                strong=strong,
            )
            for wanted, found in zip(gold, links, strict=True)
        ]
        total = Counts(*np.sum(counts, axis=0).tolist())
        for metric in ("precision", "recall", "f1"):
            figures[f"{name}_{metric}"] = getattr(total, metric)
            figures[f"{name}_{metric}_macro"] = float(np.mean([getattr(count, metric) for count in counts]))
    return figures


def linked_documents(linker: EntityLinker, documents: Dataset, **link_options: Any) -> list[dict[str, Any]]:
    """The documents with the linker's links in the place of the gold mentions, for `write_nif`; NIL ones have no label.

    Args:
        linker: the linker.
        documents: as `read_documents` gives them.
        **link_options: of `EntityLinker.link`.
    """
    return [
        {
            **row,
            "mentions": [
                {"start": link.start, "end": link.end, "label_ids": list(link.entity_ids)} for link in found
            ],
        }
        for row, found in zip(documents, _links(linker, documents, link_options), strict=True)
    ]
