"""Runs a one-pass linker's span head over texts: which spans are mentions, how likely, and their vectors.

    texts -> overlapping windows -> one forward pass each -> logits of all spans
          -> of each window its own spans, at word boundaries -> the `num_mentions` likeliest above a threshold -> vectors

Windows go through the model sorted by length; spans come back in the order of the texts and of their tokens.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from .batch_encoding import batch_budget, length_sorted_batches
from .processing_elq import TextWindow, character_span, owned_starts


class DetectedSpans(NamedTuple):
    """Spans of some texts that may be mentions.

    Attributes:
        text_numbers: the text of each span, int64 `[num_spans]`.
        tokens: its tokens in the text, end exclusive, int64 `[num_spans, 2]`; with `frame_in_spans` from -1, the [CLS]
            token, to one after the last token, [SEP].
        characters: its characters, end exclusive, int64 `[num_spans, 2]`; equal where it has none.
        logits: of being a mention, float32 `[num_spans]`.
        vectors: float32 `[num_spans, embed_dim]`.
    """

    text_numbers: np.ndarray
    tokens: np.ndarray
    characters: np.ndarray
    logits: np.ndarray
    vectors: np.ndarray

    def part(self, chosen: np.ndarray) -> "DetectedSpans":
        """Some of the spans, by position or mask."""
        return DetectedSpans(*(values[chosen] for values in self))


def log_sigmoid(logits: np.ndarray) -> np.ndarray:
    """Logarithms of the probabilities of logits, float64."""
    return -np.logaddexp(0.0, -logits.astype(np.float64))


def detect_spans(
    model: Any,
    processor: Any,
    texts: Sequence[str],
    *,
    threshold: float | None = None,
    whole_words: bool | None = None,
) -> DetectedSpans:
    """The likeliest mentions of texts.

    Args:
        model: an [`ElqModel`]; works where it is.
        processor: its [`ElqProcessor`].
        texts: the texts.
        threshold: spans whose log-probability is not above it are left out; None takes the model's `joint_threshold`,
            which no such span can reach with any entity.
        whole_words: spans begin and end where words do; None takes the model's setting.
    """
    config = model.config
    threshold = config.joint_threshold if threshold is None else threshold
    whole_words = config.whole_words if whole_words is None else whole_words
    windows = processor.text_windows(texts, config.window_overlap)
    parts: list[Any] = [None] * len(windows)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for positions in length_sorted_batches([len(w.ids) for w in windows], batch_budget(model)):
                chosen = [windows[i] for i in positions]
                allowed = [_allowed(window, config, whole_words) for window in chosen]
                found = _batch_spans(model, processor, chosen, allowed, threshold)
                for position, part in zip(positions, found, strict=True):
                    parts[position] = part
    finally:
        model.train(was_training)
    if not parts:
        empty = np.zeros((0, 2), np.int64)
        vectors = np.zeros((0, config.embed_dim), np.float32)
        return DetectedSpans(empty[:, 0], empty, empty, np.zeros(0, np.float32), vectors)
    return DetectedSpans(*map(np.concatenate, zip(*_with_characters(windows, parts, texts), strict=True)))


def _allowed(window: TextWindow, config: Any, whole_words: bool) -> np.ndarray | None:
    """Which spans of a window may be chosen, bool `[window_length, max_mention_tokens]`; None for all."""
    if len(window.bounds) == 1 and not whole_words:
        return None
    widths = np.arange(config.max_mention_tokens)
    first, stop = window.bounds[window.number]
    count, length = len(window.text.ids), stop - first
    starts = np.arange(length + 2)[:, None]  # 0 is [CLS], length + 1 is [SEP]
    allowed = np.ones((length + 2, len(widths)), dtype=bool)
    own = owned_starts(window.bounds, window.number, count, widths)
    # A span with [CLS] or [SEP] is in no other window; it counts at the ends of the text alone.
    allowed[1:-1] = own | ((starts[1:-1] + widths == length + 1) & (stop == count))
    allowed[0] = first == 0
    if whole_words:
        begins = np.concatenate([[True], window.text.begins[first:stop], [True]])
        ends = np.concatenate([[True], window.text.ends[first:stop], [True]])
        allowed &= begins[:, None] & ends[np.minimum(starts + widths, length + 1)]
    return allowed


def _batch_spans(
    model: Any,
    processor: Any,
    windows: Sequence[TextWindow],
    allowed: Sequence[np.ndarray | None],
    threshold: float,
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of each window: spans in its tokens (end exclusive), logits and vectors, in span order."""
    batch = processor.pad([window.ids for window in windows]).to(model.device)
    hidden = model.encode_texts(batch["input_ids"], batch["attention_mask"])
    _, logits = model.score_spans(hidden, batch["attention_mask"])
    for row, mask in enumerate(allowed):
        if mask is not None:
            logits[row, : len(mask)].masked_fill_(~torch.from_numpy(mask).to(logits.device), float("-inf"))
    width = logits.shape[2]
    flat = logits.flatten(1)
    best, places = flat.topk(min(model.config.num_mentions, flat.shape[1]), dim=1)
    kept = torch.nn.functional.logsigmoid(best) > threshold
    kept &= torch.isfinite(best)
    places, order = places.masked_fill(~kept, flat.shape[1]).sort(dim=1)
    kept, best = kept.gather(1, order), best.gather(1, order)
    rows = torch.arange(len(windows), device=flat.device)[:, None].expand_as(places)[kept]
    starts = places[kept] // width
    spans = torch.stack([starts, starts + places[kept] % width + 1], dim=1)
    vectors = model.mention_vectors(hidden, rows, spans)
    counts = kept.sum(dim=1).tolist()
    values = [values.cpu().split(counts) for values in (spans, best[kept].float(), vectors.float())]
    return [tuple(part.numpy() for part in parts) for parts in zip(*values, strict=True)]


def _with_characters(
    windows: Sequence[TextWindow], parts: Sequence[Any], texts: Sequence[str]
) -> list[tuple[Any, ...]]:
    """The fields of `DetectedSpans`, window by window."""
    results: list[tuple[Any, ...]] = []
    for window, (spans, logits, vectors) in zip(windows, parts, strict=True):
        tokens = spans + (window.bounds[window.number][0] - 1)
        characters = np.zeros_like(tokens)
        inside = np.clip(tokens, 0, len(window.text.ids))
        for row, (first, stop) in enumerate(inside):
            if first < stop:
                characters[row] = character_span(texts[window.text_number], window.text, first, stop)
        numbers = np.full(len(tokens), window.text_number, dtype=np.int64)
        results.append((numbers, tokens, characters, logits, vectors))
    return results
