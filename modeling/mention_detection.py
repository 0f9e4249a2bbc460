"""Where the mentions of a text are: given spans, marks in the text, or a detector.

A detector is any callable from texts to one list of (start, end) character spans a text. Two are here: `TitleMatcher`
finds the titles and aliases of a knowledge base without any model; `TokenClassificationDetector` wraps a transformers
token-classification (NER) model. Whatever the source, spans pass through `checked_mentions`, the one border check.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np

from .linking_types import Mention

_WORD = re.compile(r"\w+|[^\w\s]")
_MOST_WORDS = 10  # of a name that the title matcher looks for


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
    plain.append(text[position:])
    return "".join(plain), mentions, spans


def _words(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in _WORD.finditer(text)]


def _key(words: Sequence[str]) -> int:
    return int.from_bytes(
        blake2b("\x1f".join(words).encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"
    )


class TitleMatcher:
    """Finds the titles and aliases of a knowledge base in texts: longest match first, left to right, whole words.

    Case is ignored, except that a lower-case word is no match for a capitalised one-word name ("it" is not the film
    "It"). Holds 8 bytes a name, no strings.

    Args:
        names: titles and aliases; of a knowledge base: `TitleMatcher.from_knowledge_base`.
    """

    def __init__(self, names: Iterable[str]):
        anyhow: list[int] = []
        capitalised: list[int] = []
        self._longest = 0
        for name in names:
            words = [name[start:end] for start, end in _words(name)]
            if not 0 < len(words) <= _MOST_WORDS or not any(word[0].isalnum() for word in words):
                continue
            self._longest = max(self._longest, len(words))
            strict = len(words) == 1 and name != name.lower()
            (capitalised if strict else anyhow).append(_key([word.casefold() for word in words]))
        self._anyhow = np.unique(np.array(anyhow, dtype=np.uint64))
        self._capitalised = np.unique(np.array(capitalised, dtype=np.uint64))

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
        words = _words(text)
        found = self._known(text, words)
        spans, first = [], 0
        while first < len(words):
            last = next(
                (
                    last
                    for last in range(min(first + self._longest, len(words)), first, -1)
                    if (first, last) in found
                ),
                None,
            )
            if last is None:
                first += 1
                continue
            spans.append((words[first][0], words[last - 1][1]))
            first = last
        return spans

    def _known(self, text: str, words: list[tuple[int, int]]) -> set[tuple[int, int]]:
        """All (first, last) word ranges of the text that are a name."""
        folded = [text[start:end].casefold() for start, end in words]
        ranges = [
            (first, last)
            for first in range(len(words))
            for last in range(first + 1, min(first + self._longest, len(words)) + 1)
        ]
        keys = np.array([_key(folded[first:last]) for first, last in ranges], dtype=np.uint64)
        anyhow, capitalised = _is_in(keys, self._anyhow), _is_in(keys, self._capitalised)
        return {
            (first, last)
            for (first, last), free, strict in zip(ranges, anyhow, capitalised, strict=True)
            if free or (strict and text[slice(*words[first])] != folded[first])
        }


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
