"""Where silver mentions come from: texts, the descriptions of other entities, and an entity's own description.

Each source is a stream of `Occurrence`s; which of them are kept is decided in `silver_mentions`.
"""

from collections.abc import Iterable, Iterator, Mapping
from random import Random
from typing import Any, NamedTuple

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.linking_types import Entity
from hf_blink.training.entity_names import EntityNames, NameMatch, name_key, names_of

BEGINNING_WORDS = 40  # of a description; what follows is mostly beyond the window that an encoder reads
SIDE_WORDS = (4, 16)  # context of a mention in its own description: fewest and most words a side
LEAST_WORDS = 2 * SIDE_WORDS[0]  # a shorter description gives no mention of its own entity
PHRASES = 0.25  # share of the mentions in own descriptions that are a phrase, not a name
PHRASE_WORDS = (1, 4)  # fewest and most

Text = str | Mapping[str, Any]


class Occurrence(NamedTuple):
    """A name in a text.

    Args:
        id: differs for every occurrence.
        source: texts, descriptions or own.
        text: the text that it is in.
        start: its first character in the text.
        end: the character after its last one.
        rows: rows of the entities that it may mean.
        world: in which the entities were looked for; None for all.
        doc_id: of the text, where it has one; an entity's id for a description.
    """

    id: str
    source: str
    text: str
    start: int
    end: int
    rows: tuple[int, ...]
    world: str | None
    doc_id: str | None


def in_texts(names: EntityNames, texts: Iterable[Text]) -> Iterator[Occurrence]:
    """Names of entities in texts.

    Args:
        names: of the catalogue.
        texts: strings, or mappings with `text`, and `world` and `doc_id` if known.

    Raises:
        TypeError: a text that is none of these.
        ValueError: a world that no entity is in.
    """
    worlds = set(names.knowledge_base.worlds)
    for number, item in enumerate(texts):
        record = {"text": item} if isinstance(item, str) else item
        if not isinstance(record, Mapping) or not isinstance(record.get("text"), str):
            raise TypeError(f"text {number}: expected a string or a mapping with text, got {item!r:.80}")
        world = record.get("world") if worlds else None
        if world is not None and world not in worlds:
            known = ", ".join(map(repr, sorted(worlds)[:10]))
            raise ValueError(
                f"text {number}: expected a world of the knowledge base, such as {known}, got {world!r}"
            )
        for start, end, rows in names.matches(record["text"], world):
            place = (f"text:{number}#{start}", "texts", record["text"], start, end)
            yield Occurrence(*place, rows, world, record.get("doc_id"))


def in_descriptions(names: EntityNames, knowledge_base: KnowledgeBase, seed: int) -> Iterator[Occurrence]:
    """Names in the descriptions of a catalogue: of other entities, and once of the entity itself."""
    for row, entity in enumerate(knowledge_base):
        own = []
        for match in names.matches(entity.description, entity.world):
            if row in match.rows:
                own.append(match)
                continue
            place = (f"{entity.entity_id}#{match.start}", "descriptions", entity.description)
            yield Occurrence(*place, match.start, match.end, match.rows, entity.world, entity.entity_id)
        if (occurrence := own_occurrence(row, entity, own, seed)) is not None:
            yield occurrence


def own_occurrence(row: int, entity: Entity, own: list[NameMatch], seed: int) -> Occurrence | None:
    """A mention of an entity in a part of its own description.

    An encoder that compares it with the description must not merely find the same text again: the part is short, from
    beyond the description's beginning where it is long enough, and the name is another one than in the text where the
    entity has several. Where the description names its entity nowhere, a name is put into the middle of a part. A quarter
    of the mentions are no names but phrases of the description: with names alone the task is to compare strings, with many
    phrases the encoder loses what it knew of names.

    Args:
        row: of the entity.
        entity: the entity.
        own: where its description names it.
        seed: of the choices.

    Returns:
        The mention with its context as the whole text; None where the description is too short.
    """
    draw = Random(f"{seed}:{entity.entity_id}")
    if len(entity.description.split()) < LEAST_WORDS:
        return None
    if draw.random() < PHRASES:
        left, mention, right = _phrase(entity.description.split(), draw)
    else:
        left, mention, right = _named_part(entity, own, draw)
    if not mention:
        return None
    before = " ".join(left[-draw.randint(*SIDE_WORDS) :])
    after = " ".join(right[: draw.randint(*SIDE_WORDS)])
    start = len(before) + bool(before)
    text = " ".join(filter(None, (before, mention, after)))
    place = (f"{entity.entity_id}#own", "own", text, start, start + len(mention))
    return Occurrence(*place, (row,), entity.world, entity.entity_id)


def _named_part(entity: Entity, own: list[NameMatch], draw: Random) -> tuple[list[str], str, list[str]]:
    """A name with the words around it: at one of the places `own`, or put into the description where there is none."""
    description = entity.description
    names = names_of(entity.title, entity.aliases)
    if not own:
        words = description.split()
        cut = draw.randint(_first_word(words), len(words) - SIDE_WORDS[0])
        return words[:cut], draw.choice(names) if names else "", words[cut:]
    late = [match for match in own if len(description[: match.start].split()) >= BEGINNING_WORDS]
    start, end, _ = draw.choice(late or own)
    used = description[start:end]
    others = [name for name in names if name_key(name) != name_key(used)]
    return description[:start].split(), draw.choice(others or [used]), description[end:].split()


def _phrase(words: list[str], draw: Random) -> tuple[list[str], str, list[str]]:
    """Some words in a row, as a text calls an entity by what it does, with the words around them."""
    start = draw.randint(_first_word(words), len(words) - SIDE_WORDS[0])
    end = start + draw.randint(*PHRASE_WORDS)
    return words[:start], " ".join(words[start:end]), words[end:]


def _first_word(words: list[str]) -> int:
    """Where a part of a description may begin, so that it is beyond the beginning if enough words are."""
    return SIDE_WORDS[0] + (BEGINNING_WORDS if len(words) >= BEGINNING_WORDS + LEAST_WORDS else 0)
