"""Where the mentions of a text are: given spans, marks in the text, or a detector.

A detector is any callable from texts to one list of (start, end) character spans a text. Two are here: `TitleMatcher`
finds the titles and aliases of a knowledge base without any model; `TokenClassificationDetector` wraps a transformers
token-classification (NER) model. Whatever the source, spans pass through `checked_mentions`, the one border check.
"""

import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np

from .linking_types import Mention

_WORD = re.compile(r"\w+|[^\w\s]")
_MOST_WORDS = 10  # of a name that the title matcher looks for
_BLOCK_WORDS = 4096  # of a text that the title matcher looks at together


class MentionDetector(Protocol):
    """Any callable that finds mentions."""

    def __call__(self, texts: Sequence[str]) -> Sequence[Sequence[Any]]:
        """One sequence of spans a text, each `(start, end)` or an object with `start` and `end`: characters, end exclusive."""


def _bounds(span: Any) -> tuple[Any, Any]:
    if isinstance(span, dict):
        return span.get("start"), span.get("end")
    if hasattr(span, "start") and hasattr(span, "end"):
        return span.start, span.end
    if isinstance(span, (tuple, list)) and len(span) == 2:
        return span[0], span[1]
    raise ValueError(
        f"expected a mention as (start, end), a dict or an object with start and end, got {span!r}"
    )


def checked_mentions(text: str, spans: Iterable[Any]) -> list[Mention]:
    """Spans as mentions of a text, in the given order. Overlapping and repeated spans are allowed, each stands for itself.

    Args:
        text: the text.
        spans: `(start, end)`, dicts or objects with `start` and `end`; characters of `text`, end exclusive.

    Raises:
        ValueError: a span that is no pair of integers, is empty or reversed, or reaches out of the text.
    """
    mentions = []
    for span in spans:
        start, end = _bounds(span)
        if not all(
            isinstance(value, (int, np.integer)) and not isinstance(value, bool) for value in (start, end)
        ):
            raise ValueError(f"expected integer character offsets, got {span!r}")
        if not 0 <= start < end <= len(text):
            raise ValueError(
                f"expected a mention with 0 <= start < end <= {len(text)} (characters of the text, end exclusive), "
                f"got start={start}, end={end}"
            )
        mentions.append(Mention(int(start), int(end), text[start:end]))
    return mentions


def detected_spans(detector: Callable[[Sequence[str]], Any], texts: Sequence[str]) -> Sequence[Any]:
    """Asks a detector for the mentions of texts: one sequence of spans a text, yet to be checked one by one.

    Raises:
        ValueError: the detector gave something else than one sequence a text.
    """
    found = detector(texts)
    if not isinstance(found, Sequence) or len(found) != len(texts):
        got = f"{len(found)} lists" if isinstance(found, Sequence) else type(found).__name__
        raise ValueError(
            f"expected one list of spans a text from the detector, got {got} for {len(texts)} texts; "
            "a text without mentions gets an empty list"
        )
    return found


def marked_mentions(text: str, marks: tuple[str, str]) -> tuple[str, list[Mention], list[tuple[int, int]]]:
    """Reads mentions that are marked in a text, such as `[[Paris]] is small`.

    Args:
        text: text with marks; marks do not nest.
        marks: opening and closing mark, not empty.

    Returns:
        The text without marks; the mentions, with offsets of the text *as given*; and their offsets in the text without.

    Raises:
        ValueError: a mark without its partner, an empty mention, or empty marks.
    """
    opening, closing = marks
    if not opening or not closing:
        raise ValueError(f"expected two non-empty marks, got {marks!r}")
    plain, mentions, spans = [], [], []
    length = position = 0
    while (start := text.find(opening, position)) >= 0:
        _refuse_lone_mark(text, closing, position, start)
        inner = start + len(opening)
        end = text.find(closing, inner)
        nested = text.find(opening, inner, max(end, inner))
        if end <= inner or nested >= 0:
            raise ValueError(
                f"expected {opening}mention{closing}, got {text[start : start + 40]!r} at character {start}"
            )
        plain += [text[position:start], text[inner:end]]
        mentions.append(Mention(inner, end, text[inner:end]))
        length += start - position
        spans.append((length, length + end - inner))
        length += end - inner
        position = end + len(closing)
    _refuse_lone_mark(text, closing, position, len(text))
    plain.append(text[position:])
    return "".join(plain), mentions, spans


def _refuse_lone_mark(text: str, closing: str, start: int, stop: int) -> None:
    lone = text.find(closing, start, stop)
    if lone >= 0:
        raise ValueError(
            f"expected an opening mark before {closing}, got {text[max(lone - 40, 0) : lone + 40]!r} at character {lone}"
        )


def folded_words(text: str) -> list[str]:
    """Words and punctuation marks of a text, case-folded: two names with the same ones are one for `TitleMatcher`."""
    return [match.group().casefold() for match in _WORD.finditer(text)]


def _key(words: Sequence[str]) -> int:
    return int.from_bytes(
        blake2b("\x1f".join(words).encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"
    )


class TitleMatcher:
    """Finds the titles and aliases of a knowledge base in texts: longest match first, left to right, whole words.

    Case is ignored, except that a lower-case word is no match for a capitalised one-word name ("it" is not the film
    "It"). A match is looked for at those words alone that begin a name, up to the length of the longest such name, and
    in blocks of words, so that time and memory do not grow with words that cannot match. Holds 8 bytes a name and 9 a
    distinct first word, no strings.

    Args:
        names: titles and aliases; of a knowledge base: `TitleMatcher.from_knowledge_base`.
    """

    def __init__(self, names: Iterable[str]):
        anyhow, capitalised, firsts, lengths = array("Q"), array("Q"), array("Q"), array("B")
        for name in names:
            folded = folded_words(name)
            if not 0 < len(folded) <= _MOST_WORDS or not any(word[0].isalnum() for word in folded):
                continue
            strict = len(folded) == 1 and name != name.lower()
            (capitalised if strict else anyhow).append(_key(folded))
            firsts.append(_key(folded[:1]))
            lengths.append(len(folded))
        self._anyhow = np.unique(np.array(anyhow, dtype=np.uint64))
        self._capitalised = np.unique(np.array(capitalised, dtype=np.uint64))
        self._firsts, positions = np.unique(np.array(firsts, dtype=np.uint64), return_inverse=True)
        self._most_words = np.zeros(
            len(self._firsts), dtype=np.uint8
        )  # of the names that begin with a first word
        np.maximum.at(self._most_words, positions, np.array(lengths, dtype=np.uint8))

    @classmethod
    def from_knowledge_base(cls, knowledge_base: Any, batch_size: int = 10_000) -> "TitleMatcher":
        """A matcher of all titles and aliases of a knowledge base."""

        def names() -> Iterator[str]:
            for start in range(0, len(knowledge_base), batch_size):
                for title, aliases in knowledge_base.names(
                    start, min(start + batch_size, len(knowledge_base))
                ):
                    yield title
                    yield from aliases

        return cls(names())

    def __call__(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [self._matches(text) for text in texts]

    def _matches(self, text: str) -> list[tuple[int, int]]:
        bounds = np.fromiter(
            (edge for match in _WORD.finditer(text) for edge in match.span()), dtype=np.int64
        )
        bounds = bounds.reshape(-1, 2)
        spans: list[tuple[int, int]] = []
        free = 0  # the first word that no match has taken yet
        for start in range(0, len(bounds), _BLOCK_WORDS):
            block = bounds[start : start + _BLOCK_WORDS + _MOST_WORDS - 1].tolist()
            for first, last in self._longest_matches(text, block):
                if start + first >= free:
                    spans.append((block[first][0], block[last - 1][1]))
                    free = start + last
        return spans

    def _longest_matches(self, text: str, words: list[list[int]]) -> list[tuple[int, int]]:
        """The longest name at each of the block's first `_BLOCK_WORDS` words, as ranges of words, in order."""
        folded = [text[start:end].casefold() for start, end in words]
        ranges = [
            (first, last)
            for first, most in self._starts(folded[:_BLOCK_WORDS])
            for last in range(min(first + most, len(words)), first, -1)
        ]
        keys = np.array([_key(folded[first:last]) for first, last in ranges], dtype=np.uint64)
        anyhow, capitalised = _is_in(keys, self._anyhow), _is_in(keys, self._capitalised)
        longest: dict[int, int] = {}
        for (first, last), free, strict in zip(ranges, anyhow, capitalised, strict=True):
            if free or (strict and text[slice(*words[first])] != folded[first]):
                longest.setdefault(first, last)
        return list(longest.items())

    def _starts(self, folded: list[str]) -> list[tuple[int, int]]:
        """Words that begin a name, each with the number of words of the longest such name."""
        distinct = sorted(set(folded))
        keys = np.array([_key([word]) for word in distinct], dtype=np.uint64)
        known = np.flatnonzero(_is_in(keys, self._firsts))
        most = self._most_words[np.searchsorted(self._firsts, keys[known])]
        words = {distinct[position]: int(length) for position, length in zip(known, most, strict=True)}
        return [(first, words[word]) for first, word in enumerate(folded) if word in words]


def _is_in(keys: np.ndarray, known: np.ndarray) -> np.ndarray:
    if not len(known):
        return np.zeros(len(keys), dtype=bool)
    places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return known[places] == keys


class TokenClassificationDetector:
    """Mentions from a transformers token-classification model (named-entity recognition).

    Args:
        model: a local folder or Hub name, or a ready token-classification pipeline.
        labels: entity groups to keep (`{"PER", "ORG"}`); None keeps all.
        batch_size: texts a batch.
        **pipeline_options: passed to `transformers.pipeline` (`device`, `dtype`, `revision`, ...).
    """

    def __init__(
        self,
        model: str | Callable[..., Any],
        labels: Iterable[str] | None = None,
        batch_size: int = 8,
        **pipeline_options: Any,
    ):
        if isinstance(model, str):
            from transformers import pipeline

            options = {"aggregation_strategy": "first", **pipeline_options}
            self._pipeline: Callable[..., Any] = pipeline("token-classification", model=model, **options)
        else:
            self._pipeline = model
        self._labels = None if labels is None else set(labels)
        self._batch_size = batch_size

    def __call__(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        found: list[list[tuple[int, int]]] = [[] for _ in texts]
        filled = [number for number, text in enumerate(texts) if text.strip()]
        if filled:
            groups = self._pipeline([texts[number] for number in filled], batch_size=self._batch_size)
            for number, group in zip(filled, groups, strict=True):
                found[number] = [(span["start"], span["end"]) for span in group if self._keeps(span)]
        return found

    def _keeps(self, span: dict[str, Any]) -> bool:
        return self._labels is None or span.get("entity_group", span.get("entity")) in self._labels
