"""The small frozen records that the parts of the linker hand to each other.

The flow of one text: `Mention` (where) -> `MentionContext` (what the encoders read) -> `Candidate`s (which
entities may be meant, with their scores) -> `EntityLink` (the decision). `Entity` is one row of a knowledge
base.

All offsets are characters of the original text, end exclusive. Code loaded from the Hub makes other class
objects than an installed package, so readers of these records look at attributes and never test the class.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Entity:
    """One entry of a knowledge base.

    Attributes:
        entity_id: Identifier, unique in the knowledge base.
        title: Name under which the entity is listed; not empty.
        description: Text that tells the entity from others; "" where there is none.
        aliases: Further names.
        world: Sub-catalogue in which mentions of that world are resolved; None without worlds.
        url: Address of a page about the entity.
        metadata: Everything else that came with the entity; values must be JSON. Not part of the hash.
    """

    entity_id: str
    title: str
    description: str = ""
    aliases: tuple[str, ...] = ()
    world: str | None = None
    url: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Mention:
    """A span of a text that names an entity.

    Attributes:
        start: First character.
        end: Character after the last one.
        text: The characters of the span.

    Raises:
        ValueError: if the span is empty, reversed or starts before the text.
    """

    start: int
    end: int
    text: str

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(
                f"expected a mention with 0 <= start < end (characters, end exclusive), "
                f"got start={self.start}, end={self.end}"
            )


@dataclass(frozen=True, slots=True)
class MentionContext:
    """What the encoders see of a mention: the text before it, the mention, and the text after it."""

    left: str
    mention: str
    right: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entity that a mention may mean.

    Attributes:
        entity: The entity.
        retrieval_score: Raw similarity of the bi-encoder; higher is better.
        rerank_score: Raw logit of the cross-encoder; None where none was run.
        score: Probability of the entity among all candidates of the mention, P(entity | span), between 0 and 1.
    """

    entity: Entity
    retrieval_score: float
    rerank_score: float | None
    score: float


@dataclass(frozen=True, slots=True)
class EntityLink:
    """The decision for one mention.

    Attributes:
        mention: The span that was linked.
        entity: The chosen entity; None when `nil`.
        score: Probability of the best entity, between 0 and 1: the best candidate's `score`, P(entity | span); times
            `mention_score`, P(span is a mention), where a one-pass linker found the span. `threshold` cuts this one.
        nil: True when no entity of the knowledge base is meant.
        retrieval_score: Raw similarity of the best candidate; None where there was no candidate.
        rerank_score: Raw cross-encoder logit of the best candidate; None where none was run.
        candidates: The candidates, best first. Their scores are P(entity | span) alone, also where `score` is the joint one:
            how likely each entity is if the span is a mention.
        mention_score: Probability that the span is a mention, where a one-pass linker found it; None for a mention that was
            given, or found by another detector.

    Raises:
        ValueError: if `nil` and `entity` contradict each other.
    """

    mention: Mention
    entity: Entity | None
    score: float
    nil: bool
    retrieval_score: float | None
    rerank_score: float | None
    candidates: tuple[Candidate, ...] = ()
    mention_score: float | None = None

    def __post_init__(self) -> None:
        if self.nil != (self.entity is None):
            raise ValueError(
                f"expected entity=None exactly when nil=True, got nil={self.nil}, "
                f"entity={None if self.entity is None else self.entity.entity_id!r}"
            )

    def joint_score(self, candidate: Candidate) -> float:
        """A candidate's `score` on the scale of the link's: times `mention_score`, where there is one."""
        return candidate.score * (1.0 if self.mention_score is None else self.mention_score)
