"""The facts that several cards share: training runs, an index, the entities."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hf_blink.hub_cards.evaluation import MentionSet
from hf_blink.hub_cards.fields import Facts, mapping, matching, number


@dataclass(frozen=True, kw_only=True)
class TrainingFacts(Facts):
    """One training run, such as a round of the bi-encoder's.

    Args:
        title: what was trained and how: "Bi-encoder, in-batch negatives".
        base_model: Hub name of the model that it started from; None where that is not on the Hub.
        datasets: the labelled mentions.
        arguments: the arguments that a reader wants to see, by name, in the table's order.
        losses: `(step, loss)` as logged; drawn as a curve.
        recalls: `(step, recall)`, recall@64 on development mentions, between 0 and 1; drawn beside the losses.
    """

    title: str
    base_model: str | None
    datasets: tuple[MentionSet, ...]
    arguments: Mapping[str, Any]
    losses: tuple[tuple[float, float], ...] = ()
    recalls: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        self._check_text("title")
        self._check_optional_repo("base_model")
        self._nested_all("datasets", MentionSet)
        arguments = mapping(self.arguments, self._place("arguments"))
        self._set("arguments", {name: str(value) for name, value in arguments.items()})
        for name, what in (("losses", "loss"), ("recalls", "recall")):
            self._set(name, tuple(self._point(point, name, what) for point in self._items(name)))

    def _point(self, point: Any, name: str, what: str) -> tuple[float, float]:
        place = self._place(name)
        if not isinstance(point, (tuple, list)) or len(point) != 2:
            raise ValueError(f"{place}: expected (step, {what}), got {point!r}")
        step, value = number(point[0], place), number(point[1], place)
        if what == "recall" and not 0 <= value <= 1:
            raise ValueError(f"{place}: expected a recall between 0 and 1, got {value}")
        return step, value


@dataclass(frozen=True, kw_only=True)
class IndexFacts(Facts):
    """An entity index.

    Args:
        kind: "flat", "hnsw" or another kind of `EntityIndex.build`.
        num_entities: vectors in it.
        dimension: length of a vector.
        num_bytes: size of `index.faiss`.
        faiss_version: the FAISS that wrote its file.
        settings: parameters of the kind, such as `{"links": 32}`.
        encoder_fingerprint, knowledge_base_fingerprint: what it was built from; None where that is not recorded.
    """

    kind: str
    num_entities: int
    dimension: int
    num_bytes: int
    faiss_version: str
    settings: Mapping[str, Any]
    encoder_fingerprint: str | None
    knowledge_base_fingerprint: str | None

    def __post_init__(self) -> None:
        self._check_text("kind", "faiss_version")
        self._check_count("num_entities", "dimension", "num_bytes", least=1)
        settings = mapping(self.settings, self._place("settings"))
        self._set("settings", {name: str(value) for name, value in settings.items()})
        for name in ("encoder_fingerprint", "knowledge_base_fingerprint"):
            if getattr(self, name) is not None:
                _check_fingerprint(self, name)


@dataclass(frozen=True, kw_only=True)
class KnowledgeBaseFacts(Facts):
    """The entities.

    Args:
        num_entities: how many there are.
        num_bytes: size of the parquet files; None where they are in another repository.
        worlds: number of entities of each world; empty where no entity names one.
        fingerprint: `KnowledgeBase.fingerprint`.
        source: where the entities come from, in a sentence; None leaves that sentence out.
        hub_id: Hub name of the entities' own dataset repository; None where they have none.
    """

    num_entities: int
    num_bytes: int | None
    worlds: Mapping[str, int]
    fingerprint: str
    source: str | None = None
    hub_id: str | None = None

    def __post_init__(self) -> None:
        self._check_count("num_entities", least=1)
        if self.num_bytes is not None:
            self._check_count("num_bytes", least=1)
        worlds = mapping(self.worlds, self._place("worlds"))
        for name, count in worlds.items():
            if number(count, f"{self._place('worlds')}[{name!r}]") > self.num_entities:
                raise ValueError(
                    f"{self._place('worlds')}[{name!r}]: expected at most {self.num_entities} entities, got {count}"
                )
        self._set("worlds", worlds)
        _check_fingerprint(self, "fingerprint")
        if self.source is not None:
            self._check_text("source")
        self._check_optional_repo("hub_id")


@dataclass(frozen=True, kw_only=True)
class EntityExample(Facts):
    """An entity that a knowledge base's card shows."""

    entity_id: str
    title: str
    description: str

    def __post_init__(self) -> None:
        for name in ("entity_id", "title", "description"):
            self._set(name, str(getattr(self, name)))


def _check_fingerprint(facts: Facts, name: str) -> None:
    matching(getattr(facts, name), r"[0-9a-f]{64}", "64 hexadecimal digits", f"{type(facts).__name__}.{name}")
