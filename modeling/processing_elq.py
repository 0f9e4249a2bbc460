"""Texts to token windows for the one-pass linker, with the way back to characters.

    text window      [CLS] tokens of the text [SEP]     no markers; a long text gives several, which overlap
    mention window   [CLS] left mention right [SEP]     one given mention with as much context as fits, no markers
    entity text, pairs for a cross-encoder              as in `processing_blink`

Every token knows its characters in the text as given. Where two windows overlap, a span is taken from the one in which it
has more context, so that each span of a text is scored once (`owned_starts`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np

from .linking_types import MentionContext
from .processing_blink import BlinkProcessor, nearest_text, window_quotas


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """The tokens of a whole text.

    Attributes:
        ids: token ids, without special tokens.
        offsets: first character and the one after the last of each token, in the text as given, int64 `[num_tokens, 2]`.
        begins: True where a token begins a word, `[num_tokens]`.
        ends: True where a token ends a word, `[num_tokens]`.
    """

    ids: list[int]
    offsets: np.ndarray
    begins: np.ndarray
    ends: np.ndarray


@dataclass(frozen=True, slots=True)
class TextWindow:
    """A window of a text.

    Attributes:
        text_number: position of the text in the call.
        text: the whole text's tokens.
        bounds: all windows of the text: tokens of the text, `stop` exclusive.
        number: this window among them.
        ids: token ids with [CLS] and [SEP].
    """

    text_number: int
    text: TokenizedText
    bounds: Sequence[tuple[int, int]]
    number: int
    ids: list[int]


def window_bounds(num_tokens: int, room: int, overlap: int) -> list[tuple[int, int]]:
    """Where the windows of a text begin and stop.

    Args:
        num_tokens: tokens of the text.
        room: tokens of the text that a window holds.
        overlap: tokens that a window shares with the next; the last one may share more, as it ends with the text.

    Returns:
        One pair a window, `stop` exclusive; one window for a text that fits, or is empty.
    """
    if num_tokens <= room:
        return [(0, num_tokens)]
    step = room - overlap
    starts = [*range(0, num_tokens - room, step), num_tokens - room]
    return [(start, start + room) for start in starts]


def owned_starts(
    bounds: Sequence[tuple[int, int]], number: int, num_tokens: int, widths: np.ndarray
) -> np.ndarray:
    """Which spans of a window are its own: those with no more context in another window, and as much in no earlier one.

    The context of a span is the shorter of its two sides within the window; at an end of the text it is no limit.

    Args:
        bounds: all windows of the text.
        number: the window.
        num_tokens: tokens of the text.
        widths: tokens of a span minus one, `[num_widths]`.

    Returns:
        bool `[window_tokens, num_widths]`, by the span's first token in the window and its width.
    """
    first, stop = bounds[number]
    starts = np.arange(first, stop)[:, None]
    ends = starts + widths[None, :] + 1

    def context(window: tuple[int, int]) -> np.ndarray:
        left = np.where(window[0] == 0, num_tokens, starts - window[0])
        right = np.where(window[1] == num_tokens, num_tokens, window[1] - ends)
        return np.where((starts >= window[0]) & (ends <= window[1]), np.minimum(left, right), -1)

    own = context(bounds[number])
    owned = own >= 0
    for window in takewhile(lambda window: first < window[1], reversed(bounds[:number])):
        owned &= own > context(window)
    for window in takewhile(lambda window: window[0] < stop, bounds[number + 1 :]):
        owned &= own >= context(window)
    return owned


class ElqProcessor(BlinkProcessor):
    """Turns texts, mentions in context, entities and pairs into tensors; saved beside the weights of an [`ElqModel`].

    Arguments are those of [`BlinkProcessor`]; `mention_length` is that of a text window, and of the mention windows of a
    cross-encoder, which alone have markers.
    """

    def tokenize_texts(self, texts: Sequence[str]) -> list[TokenizedText]:
        """The tokens of whole texts, uncut, with their characters."""
        lowered = [lower_with_offsets(text) if self.do_lower_case else (text, None) for text in texts]
        encodings = self._backend.encode_batch([text for text, _ in lowered], add_special_tokens=False)
        tokenized = []
        for encoding, (_, places) in zip(encodings, lowered, strict=True):
            offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
            if places is not None:
                starts, ends = places[offsets[:, 0]], places[np.maximum(offsets[:, 1] - 1, 0)] + 1
                offsets = np.stack([starts, np.where(offsets[:, 1] > offsets[:, 0], ends, starts)], axis=1)
            words = np.array([-1 if word is None else word for word in encoding.word_ids], dtype=np.int64)
            change = words[1:] != words[:-1]
            edge = np.ones(min(len(words), 1), dtype=bool)
            tokenized.append(
                TokenizedText(
                    encoding.ids, offsets, np.concatenate([edge, change]), np.concatenate([change, edge])
                )
            )
        return tokenized

    def text_windows(self, texts: Sequence[str], overlap: int | None = None) -> list[TextWindow]:
        """The windows of texts, text by text; an empty text has one without tokens.

        Args:
            texts: the texts.
            overlap: tokens that two windows of a long text share: at least the longest mention, to lose none; None means
                32, or half a window where that is less.

        Raises:
            ValueError: an overlap that leaves a window nothing new.
        """
        cls_id, sep_id = self.frame
        room = self.mention_length - 2
        overlap = min(32, room // 2) if overlap is None else overlap
        if not 0 <= overlap < room:
            raise ValueError(
                f"expected a window_overlap from 0 to {room - 1} tokens for windows of {self.mention_length}, got {overlap}"
            )
        windows = []
        for number, text in enumerate(self.tokenize_texts(texts)):
            bounds = window_bounds(len(text.ids), room, overlap)
            for place, (first, stop) in enumerate(bounds):
                ids = [cls_id, *text.ids[first:stop], sep_id]
                windows.append(TextWindow(number, text, bounds, place, ids))
        return windows

    def mention_windows(
        self, contexts: Sequence[MentionContext]
    ) -> tuple[list[list[int]], list[tuple[int, int]]]:
        """Token ids of windows around given mentions, unmarked and unpadded, and the token span of each (end exclusive).

        Context and mention are joined by a space where there is none, and tokenised as one text.
        """
        texts, spans = [], []
        for context in contexts:
            left = nearest_text(context.left, self.mention_length, side="left")
            mention = nearest_text(context.mention, self.mention_length, side="right")
            right = nearest_text(context.right, self.mention_length, side="right")
            start = len(left) + 1 if left else 0
            texts.append(" ".join(part for part in (left, mention, right) if part))
            spans.append((start, start + len(mention)))
        tokenized = self.tokenize_texts(texts)
        found = [
            self.window_around(text, [token_span(text, *span)])
            for text, span in zip(tokenized, spans, strict=True)
        ]
        return [ids for ids, _ in found], [kept[0] for _, kept in found]

    def window_around(
        self, text: TokenizedText, spans: Sequence[tuple[int, int]]
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """One window around given mentions: as many of the first ones as fit, with as much context as fits (ELQ).

        Args:
            text: the text's tokens.
            spans: token spans of the mentions in the text, end exclusive, in order.

        Returns:
            Token ids with [CLS] and [SEP], and the spans of the kept mentions in them, cut to the window; an empty span
            becomes that of [CLS].
        """
        room = self.mention_length - 2
        kept = list(spans)
        while len(kept) > 1 and max(end for _, end in kept) - kept[0][0] > room:
            kept.pop()
        first = min((start for start, _ in kept), default=0)
        stop = min(max((end for _, end in kept), default=first), first + room)
        left, right = window_quotas(stop - first, first, len(text.ids) - stop, self.mention_length)
        begin, close = max(first - left, 0), min(stop + right, len(text.ids))
        cls_id, sep_id = self.frame
        ids = [cls_id, *text.ids[begin:close], sep_id]
        moved = [(start - begin + 1, min(end, close) - begin + 1) for start, end in kept]
        return ids, [span if span[0] < span[1] else (0, 1) for span in moved]

    def marked_windows(self, contexts: Sequence[MentionContext]) -> list[list[int]]:
        """Mention windows with markers, for a cross-encoder."""
        return super().mention_windows(contexts)[0]


def token_span(text: TokenizedText, start: int, end: int) -> tuple[int, int]:
    """The tokens that have a character of a span.

    Args:
        text: the text's tokens.
        start, end: characters of the text, end exclusive.

    Returns:
        First token and the one after the last; equal where there is no such token.
    """
    first = int(np.searchsorted(text.offsets[:, 1], start, side="right"))
    stop = int(np.searchsorted(text.offsets[:, 0], end, side="left"))
    return first, max(first, stop)


def character_span(text: str, tokens: TokenizedText, first: int, stop: int) -> tuple[int, int]:
    """The characters of the tokens `first` to `stop` (exclusive), without white space at the ends."""
    start, end = int(tokens.offsets[first, 0]), int(tokens.offsets[stop - 1, 1])
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def lower_with_offsets(text: str) -> tuple[str, Any]:
    """A lower-cased text, and for each of its characters the position of the one that it came from.

    Returns:
        The text, and int64 `[num_characters + 1]`, or None where lower-casing moves no character.
    """
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered, None
    parts = [character.lower() for character in text]
    places = np.repeat(np.arange(len(text)), [len(part) for part in parts])
    return "".join(parts), np.append(places, len(text))
