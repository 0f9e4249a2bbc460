"""Which entities a text names: every occurrence of a title or alias, with all the entities that share the name.

Finding is `TitleMatcher`'s (longest match first, whole words, case ignored but for capitalised one-word names). Each world
has a matcher of its own, so that a name of another world neither matches nor hides a match. A title's qualifier in
parentheses is no part of the name that texts use, so "Mercury (planet)" also counts as "Mercury".
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.mention_detection import TitleMatcher, folded_words

_QUALIFIER = re.compile(r"(?<=\S)\s+\([^()]*\)\s*$")
_ROWS_AT_ONCE = 10_000


class NameMatch(NamedTuple):
    """A name at characters [start, end) of a text, and the rows of all entities that have it, ascending."""

    start: int
    end: int
    rows: tuple[int, ...]


def name_key(name: str) -> str:
    """What is equal for names that count as one, whatever their case and spaces; "" for one without a word."""
    return " ".join(folded_words(name))


def names_of(title: str, aliases: tuple[str, ...]) -> list[str]:
    """The names that texts may use for an entity, each once: title, title without its qualifier, aliases."""
    spelled: dict[str, str] = {}
    for name in _spellings(title, aliases):
        spelled.setdefault(name_key(name), name)
    spelled.pop("", None)
    return list(spelled.values())


def _spellings(title: str, aliases: tuple[str, ...]) -> tuple[str, ...]:
    return title, _QUALIFIER.sub("", title), *aliases


class EntityNames:
    """The names of a knowledge base; holds all of them in memory.

    Args:
        knowledge_base: the entities.
    """

    def __init__(self, knowledge_base: KnowledgeBase):
        self.knowledge_base = knowledge_base
        self._worlds = knowledge_base.worlds
        self._known: dict[str | None, tuple[TitleMatcher, dict[str, list[int]]]] = {}

    def matches(self, text: str, world: str | None = None) -> Iterator[NameMatch]:
        """The names in a text, from left to right, without overlaps.

        Args:
            text: the text.
            world: only names of this world's entities count; None counts all.

        Raises:
            KeyError: the knowledge base has worlds, and this is none of them.
        """
        if not self._worlds:
            world = None
        if world not in self._known:
            self._known[world] = self._of_world(world)
        matcher, rows_of_name = self._known[world]
        for start, end in matcher([text])[0]:
            if rows := rows_of_name.get(name_key(text[start:end])):
                yield NameMatch(start, end, tuple(rows))

    def _of_world(self, world: str | None) -> tuple[TitleMatcher, dict[str, list[int]]]:
        wanted = None if world is None else set(self.knowledge_base.world_rows(world).tolist())
        names: list[str] = []
        rows_of_name: dict[str, list[int]] = {}
        for row, given in self._names():
            if wanted is None or row in wanted:
                names += _spellings(
                    *given
                )  # all of them: an alias "puma" lets the title "Puma" match in lower case
                for name in names_of(*given):
                    rows_of_name.setdefault(name_key(name), []).append(row)
        return TitleMatcher(names), rows_of_name

    def _names(self) -> Iterator[tuple[int, tuple[str, tuple[str, ...]]]]:
        for start in range(0, len(self.knowledge_base), _ROWS_AT_ONCE):
            stop = min(start + _ROWS_AT_ONCE, len(self.knowledge_base))
            yield from enumerate(self.knowledge_base.names(start, stop), start)
