"""Links the mentions that a one-pass linker finds by itself.

    spans and their vectors (`span_detection`) -> index top-k -> P(entity | span) = softmax over the candidates
    joint score = log P(span is a mention) + log P(best entity | span); spans above `joint_threshold` stay, best first,
    and of those that overlap the best one alone, unless mentions may be nested
    -> [cross-encoder on the candidates of the spans that stay] -> links, score = P(mention) P(entity | span)

Which spans stay is decided before the cross-encoder, which is slow, sees them. (Li et al. 2020, section 3.3.)
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .candidate_ranking import search_worlds
from .link_decision import decide_links, log_softmax
from .linking_types import EntityLink, Mention, MentionContext
from .span_detection import DetectedSpans, detect_spans, log_sigmoid


def joint_scores(logits: np.ndarray, scores: np.ndarray, temperature: float) -> np.ndarray:
    """Joint log-probabilities of spans and their best entities.

    Args:
        logits: of the spans, `[num_spans]`.
        scores: retrieval scores of their candidates, best first, -inf for none, `[num_spans, k]`.
        temperature: of the model.

    Returns:
        float64 `[num_spans]`, at most 0; -inf for a span without candidates.
    """
    if not len(logits) or not scores.shape[1]:
        return np.full(len(logits), -np.inf)
    best = np.full(len(logits), -np.inf)
    found = np.isfinite(scores[:, 0])
    best[found] = log_softmax(scores[found] / temperature)[:, 0]
    return log_sigmoid(logits) + best


def chosen_spans(spans: DetectedSpans, joint: np.ndarray, threshold: float, *, nested: bool) -> np.ndarray:
    """Positions of the spans that are mentions, best first.

    Args:
        spans: the spans of some texts.
        joint: their joint scores, `[num_spans]`.
        threshold: only scores above it count.
        nested: keep spans that overlap others; of spans with the same characters the best one stays.
    """
    has_text = spans.characters[:, 0] < spans.characters[:, 1]
    order = np.argsort(-joint, kind="stable")
    order = order[(joint[order] > threshold) & has_text[order]]
    taken: dict[int, set[Any]] = {}
    kept = []
    for position in order:
        used = taken.setdefault(int(spans.text_numbers[position]), set())
        bounds = spans.characters if nested else spans.tokens
        start, end = bounds[position].tolist()
        own = {(start, end)} if nested else set(range(start, end))
        if used.isdisjoint(own):
            used |= own
            kept.append(position)
    return np.array(kept, dtype=np.int64)


def find_mentions(
    linker: Any, texts: Sequence[str], worlds: Sequence[str | None], k: int, *, nested: bool
) -> tuple[DetectedSpans, np.ndarray, np.ndarray]:
    """The mentions of texts with their candidates.

    Args:
        linker: with an [`ElqModel`].
        texts: the texts.
        worlds: the world of each text.
        k: entities a mention.
        nested: keep mentions that overlap.

    Returns:
        The spans in the order of the texts and tokens, and their retrieval scores and entity rows `[num_spans, k]`.
    """
    config = linker.bi_encoder.config
    spans = detect_spans(linker.bi_encoder, linker.processor, texts)
    of_spans = [worlds[number] for number in spans.text_numbers]
    scores, rows = search_worlds(linker.index, linker.knowledge_base, spans.vectors, k, of_spans)
    joint = joint_scores(spans.logits, scores, config.temperature)
    kept = np.sort(chosen_spans(spans, joint, config.joint_threshold, nested=nested))
    kept = kept[np.lexsort((spans.tokens[kept, 0], spans.text_numbers[kept]))]
    return spans.part(kept), scores[kept], rows[kept]


def link_detected(
    linker: Any,
    texts: Sequence[str],
    worlds: Sequence[str | None],
    *,
    top_k: int,
    threshold: float,
    nested: bool,
) -> Iterable[tuple[int, EntityLink]]:
    """Finds and links the mentions of texts; `EntityLinker.link` tells the arguments.

    Yields:
        The position of a text, and one of its links.
    """
    k = max(linker.num_candidates, top_k)
    found = find_mentions(linker, texts, worlds, k, nested=nested)
    links = links_of_mentions(linker, texts, found, top_k=top_k, threshold=threshold)
    yield from zip(found[0].text_numbers.tolist(), links, strict=True)


def links_of_mentions(
    linker: Any,
    texts: Sequence[str],
    found: tuple[DetectedSpans, np.ndarray, np.ndarray],
    *,
    top_k: int,
    threshold: float,
) -> Iterable[EntityLink]:
    """One link for each mention that `find_mentions` found, by the cross-encoder where there is one.

    Args:
        linker: with an [`ElqModel`].
        texts: the texts.
        found: mentions, retrieval scores and entity rows of the texts.
        top_k: candidates that a link keeps.
        threshold: a lower `score` makes a link NIL.
    """
    spans, scores, rows = found
    mentions, contexts = [], []
    reach = linker.processor.mention_length * 64  # see processing_blink.nearest_text
    for number, (start, end) in zip(spans.text_numbers, spans.characters.tolist(), strict=True):
        text = texts[number]
        mentions.append(Mention(start, end, text[start:end]))
        left, right = text[max(start - reach, 0) : start], text[end : end + reach]
        contexts.append(MentionContext(left, mentions[-1].text, right))
    links = decide_links(
        mentions,
        linker.knowledge_base,
        rows,
        scores,
        linker.rerank(contexts, rows, scores) if mentions else None,
        temperature=linker.bi_encoder.config.temperature,
        top_k=top_k,
        threshold=0.0,
    )
    probabilities = np.exp(log_sigmoid(spans.logits))
    for link, probability in zip(links, probabilities, strict=True):
        yield _with_mention_score(link, float(probability), threshold)


def _with_mention_score(link: EntityLink, probability: float, threshold: float) -> EntityLink:
    """A link whose score counts that its mention may be none."""
    score = link.score * probability
    nil = link.nil or score < threshold
    return replace(link, score=score, nil=nil, entity=None if nil else link.entity, mention_score=probability)
