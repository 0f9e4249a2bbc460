"""Silver mentions: training mentions made from a catalogue and raw text, without any label.

Three sources, told apart by the column `source`:

* `texts`: names of entities found in texts;
* `descriptions`: names of entities found in the descriptions of other entities of their world;
* `own`: an entity's name in a part of its own description (see `own_occurrence`).

A name that several entities share says nothing about which of them is meant (but in a description of its own): such
mentions are dropped, or kept in proportion to the chance that a guess is right. So are lower-case words that stand in many
of the texts and descriptions: a method called "to" is not meant wherever the word is. Other names that are everywhere may
not flood the data: a name and an entity have so many mentions at most, drawn from all of their occurrences by a hash of
the seed and the mention's id. So the result depends on the seed alone, and memory on the names that occur, not on the
length of the texts. Of entities' own descriptions, 50,000 mentions are kept at most.

A model that sees names alone learns to compare strings. So in a share of the mentions the name is varied: another name of
the entity stands there, or a name of several words lacks one.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import chain
from random import Random
from typing import Any

from datasets import Dataset, Features, Value
from tqdm.auto import tqdm

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training.dataset_readers import MENTION_FEATURES
from hf_blink.training.entity_names import EntityNames, name_key, names_of
from hf_blink.training.mention_rows import text_window
from hf_blink.training.silver_sources import Occurrence, Text, in_descriptions, in_texts

SILVER_FEATURES = Features({**MENTION_FEATURES, "source": Value("string")})
SOURCES = ("texts", "descriptions", "own")
AMBIGUOUS = ("drop", "weight")
COMMON = 0.02  # share of the documents; a lower-case word that stands in more of them is no name
MOST_OWN = 50_000  # mentions in own descriptions
COMMON_LEAST = 20  # documents, so that a small catalogue loses none of its names

Row = dict[str, Any]


def silver_mentions(
    knowledge_base: KnowledgeBase,
    texts: Iterable[Text] | None = None,
    *,
    ambiguous: str = "drop",
    max_per_name: int = 8,
    max_per_entity: int = 16,
    varied: float = 0.5,
    seed: int = 13,
    progress: bool = False,
) -> Dataset:
    """Makes labelled mentions without labels; see the module's text.

    Args:
        knowledge_base: the catalogue.
        texts: raw texts, read once and one after the other: strings, or mappings with `text`, and `world` and `doc_id` if
            they are known. None takes the descriptions alone.
        ambiguous: of the mentions of a name that n entities share, "drop" keeps none, "weight" one in n, drawn at random,
            with all n entities as labels, any of which counts as right.
        max_per_name: mentions of one name of one world at most.
        max_per_entity: mentions of one entity at most.
        varied: share of the mentions in texts and others' descriptions whose name is varied, where it can be; 0 to 1.
        seed: of all choices.
        progress: show a progress bar.

    Returns:
        Mentions as `read_mentions` gives them, in random order, with the column `source`.

    Raises:
        ValueError: an unknown `ambiguous`, a bound below 1, a share out of 0 to 1, or nothing was found.
    """
    _check(ambiguous, max_per_name, max_per_entity, varied)
    names = EntityNames(knowledge_base)
    found: Iterable[Occurrence] = in_descriptions(names, knowledge_base, seed)
    if texts is not None:
        found = chain(found, in_texts(names, texts))
    sample = _Sample(max_per_name, seed)
    for occurrence in tqdm(found, desc="looking for names", unit=" names", disable=not progress):
        if len(occurrence.rows) == 1 or (
            ambiguous == "weight" and _draw(seed, occurrence.id).random() * len(occurrence.rows) < 1
        ):
            sample.offer(occurrence)
    rows = list(_capped(sample.kept(), max_per_entity))
    if not rows:
        raise ValueError(
            f"expected names of the {len(knowledge_base)} entities in their descriptions or in the texts, got none; give "
            "longer descriptions, aliases, or texts about these entities"
        )
    made = [_row(occurrence, knowledge_base, varied, seed) for occurrence in rows]
    return Dataset.from_list(made, features=SILVER_FEATURES)


def count_sources(dataset: Dataset) -> dict[str, int]:
    """The number of silver mentions of each source."""
    counted = Counter(dataset["source"])
    return {source: counted[source] for source in SOURCES}


def _check(ambiguous: str, max_per_name: int, max_per_entity: int, varied: float) -> None:
    if ambiguous not in AMBIGUOUS:
        raise ValueError(f"expected ambiguous to be one of {', '.join(AMBIGUOUS)}, got {ambiguous!r}")
    if max_per_name < 1 or max_per_entity < 1:
        raise ValueError(
            f"expected max_per_name and max_per_entity of at least 1, got {max_per_name} and {max_per_entity}"
        )
    if not 0 <= varied <= 1:
        raise ValueError(f"expected varied to be a share from 0 to 1, got {varied}")


def _priority(seed: int, occurrence_id: str) -> int:
    """A number of 64 bits; the lowest ones are a random sample."""
    digest = blake2b(f"{seed}\x1f{occurrence_id}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _draw(seed: int, occurrence_id: str) -> Random:
    """Random numbers that depend on the occurrence, not on what came before it."""
    return Random(_priority(seed, f"{occurrence_id}\x1fdraw"))


class _Sample:
    """The occurrences of lowest priority of each name and world, and those in own descriptions as one more group."""

    def __init__(self, max_per_name: int, seed: int):
        self._most = max_per_name
        self._seed = seed
        self._heaps: dict[tuple[str, str | None], list[tuple[int, str, Occurrence]]] = {}
        self._documents: dict[
            str, tuple[int, str]
        ] = {}  # with a name: how many, and the last one; "" for any name

    def _count(self, name: str, document: str) -> None:
        count, last = self._documents.get(name, (0, ""))
        if last != document:
            self._documents[name] = count + 1, document

    def offer(self, occurrence: Occurrence) -> None:
        document = occurrence.id.rpartition("#")[0]
        self._count("", document)
        key: tuple[str, str | None] = ("", None)
        most = MOST_OWN
        if occurrence.source != "own":
            spelled = occurrence.text[occurrence.start : occurrence.end]
            key, most = (name_key(spelled), occurrence.world), self._most
            if spelled.isalpha() and spelled.islower():
                self._count(spelled, document)
        heap = self._heaps.setdefault(key, [])
        priority = _priority(self._seed, occurrence.id)
        if len(heap) < most:
            heapq.heappush(heap, (-priority, occurrence.id, _window(occurrence)))
        elif priority < -heap[0][0]:
            heapq.heapreplace(heap, (-priority, occurrence.id, _window(occurrence)))

    def kept(self) -> Iterator[Occurrence]:
        """What is kept, in random order, but for common words."""
        most = max(COMMON_LEAST, COMMON * self._documents.get("", (0, ""))[0])
        common = {word for word, (count, _) in self._documents.items() if count > most}
        everything = [item for heap in self._heaps.values() for item in heap]
        for _, _, occurrence in sorted(everything, key=lambda item: (-item[0], item[1])):
            spelled = occurrence.text[occurrence.start : occurrence.end]
            if occurrence.source == "own" or spelled not in common:
                yield occurrence


def _window(occurrence: Occurrence) -> Occurrence:
    """The occurrence with the words around it, as labelled mentions have them, instead of its whole text."""
    left, mention, right = text_window(occurrence.text, occurrence.start, occurrence.end)
    end = len(left) + len(mention)
    return occurrence._replace(text=left + mention + right, start=len(left), end=end)


def _capped(occurrences: Iterable[Occurrence], most: int) -> Iterator[Occurrence]:
    seen: Counter[int] = Counter()
    for occurrence in occurrences:
        if all(seen[row] < most for row in occurrence.rows):
            seen.update(occurrence.rows)
            yield occurrence


def _row(occurrence: Occurrence, knowledge_base: KnowledgeBase, varied: float, seed: int) -> Row:
    entities = knowledge_base.entities(occurrence.rows)
    worlds = {entity.world for entity in entities}
    mention = occurrence.text[occurrence.start : occurrence.end]
    draw = _draw(seed, f"{occurrence.id}\x1fname")
    if occurrence.source != "own" and len(entities) == 1 and draw.random() < varied:
        mention = _varied(mention, names_of(entities[0].title, entities[0].aliases), draw)
    return {
        "id": occurrence.id,
        "context_left": occurrence.text[: occurrence.start],
        "mention": mention,
        "context_right": occurrence.text[occurrence.end :],
        "label_ids": [entity.entity_id for entity in entities],
        "world": worlds.pop() if len(worlds) == 1 else None,
        "doc_id": occurrence.doc_id,
        "source": occurrence.source,
    }


def _varied(mention: str, names: list[str], draw: Random) -> str:
    """Another name of the entity; without one, the mention less one of its words."""
    others = [name for name in names if name_key(name) != name_key(mention)]
    if others:
        return draw.choice(others)
    words = mention.split()
    if len(words) > 1:
        del words[draw.randrange(len(words))]
    return " ".join(words)
