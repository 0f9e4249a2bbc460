"""What a card says: one dataclass for each kind of repository.

All are keyword-only and take plain Python values; `LinkerCard.from_dict(values)` takes nested mappings. A field
without a default must be given, and None has the meaning that the field's text says: nothing is ever shown as unknown.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from hf_blink.hub_cards.card_parts import EntityExample, IndexFacts, KnowledgeBaseFacts, TrainingFacts
from hf_blink.hub_cards.evaluation import Evaluation
from hf_blink.hub_cards.fields import Facts, matching


@dataclass(frozen=True, kw_only=True)
class Card(Facts):
    """What every card says.

    Args:
        repo_id: Hub name of the repository that the card is for.
        license: the Hub's keyword for a licence, such as "mit"; "other" with the two fields below, "unknown" where the
            authors name none. The Hub itself checks the keyword when the card is pushed.
        language: two- or three-letter codes, or "multilingual"; empty where that is not known.
        license_name: name of a licence that has no keyword.
        license_link: its address (https://…), or LICENSE for a file of the repository.
    """

    template: ClassVar[str]

    repo_id: str
    license: str
    language: tuple[str, ...]
    license_name: str | None = None
    license_link: str | None = None

    def __post_init__(self) -> None:
        self._check_repo("repo_id")
        matching(self.license, r"[a-z0-9][a-z0-9.+-]*", "mit or apache-2.0", self._place("license"))
        codes = self._items("language")
        for code in codes:
            matching(code, r"[a-z]{2,3}|multilingual|code", "en", self._place("language"))
        self._set("language", tuple(codes))
        named = self.license_name is not None, self.license_link is not None
        if named != (self.license == "other",) * 2:
            raise ValueError(
                f"{self._place('license')}: expected 'other' with license_name and license_link, or another keyword "
                f"without both, got {self.license!r}, {self.license_name!r} and {self.license_link!r}"
            )
        if self.license == "other":
            self._check_text("license_name")
            pattern = r"LICENSE(\.\w+)?|https://[\w./%?&=#~+,;@-]+"
            matching(
                self.license_link,
                pattern,
                "https://example.org/licence or LICENSE",
                self._place("license_link"),
            )


@dataclass(frozen=True, kw_only=True)
class ModelCardFacts(Card):
    """What the cards of all models say.

    Args:
        training: the runs, in order; empty for a model that was not trained on mentions, None where the runs are not
            recorded.
        evaluations: what was measured; may be empty.
    """

    training: tuple[TrainingFacts, ...] | None
    evaluations: tuple[Evaluation, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.training is not None:
            self._nested_all("training", TrainingFacts)
        self._nested_all("evaluations", Evaluation)
        places = [(evaluation.dataset_type, evaluation.split) for evaluation in self.evaluations]
        if len(set(places)) < len(places):
            raise ValueError(
                f"{self._place('evaluations')}: expected each set of mentions and split once, got "
                f"{', '.join(f'{name} ({split})' for name, split in places)}"
            )


@dataclass(frozen=True, kw_only=True)
class LinkerCard(ModelCardFacts):
    """A whole linker: encoders, index and knowledge base in one repository.

    Args:
        example_text: a short text with names of the knowledge base, for the usage snippets.
        mention_length, entity_length: tokens of a mention's window, and of an entity's title and description.
        num_candidates: entities retrieved for a mention.
        threshold: links with a lower score are dropped.
        has_cross_encoder: whether candidates are reranked.
        calibrated: whether scores were fitted to be calibrated.
        index, knowledge_base: its parts.
    """

    template = "linker.md"

    example_text: str
    mention_length: int
    entity_length: int
    num_candidates: int
    threshold: float
    has_cross_encoder: bool
    calibrated: bool
    index: IndexFacts
    knowledge_base: KnowledgeBaseFacts

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_text("example_text")
        self._check_count("mention_length", "entity_length", "num_candidates", least=1)
        self._check_number("threshold")
        self._check_flag("has_cross_encoder", "calibrated")
        self._nested("index", IndexFacts)
        self._nested("knowledge_base", KnowledgeBaseFacts)
        if self.index.num_entities != self.knowledge_base.num_entities:
            raise ValueError(
                f"{self._place('index')}: expected the {self.knowledge_base.num_entities} entities of the knowledge base, "
                f"got {self.index.num_entities}"
            )


@dataclass(frozen=True, kw_only=True)
class ElqLinkerCard(LinkerCard):
    """A whole linker whose ELQ model finds the mentions; `mention_length` is that of a text's windows.

    Args:
        max_mention_length: tokens of the longest mention that is looked for.
        num_mentions: spans of a window that are looked up, at most.
        joint_threshold: spans whose joint score of mention and entity (a log-probability) is not above it are dropped.
        nested: whether mentions that overlap are all kept.
    """

    template = "elq_linker.md"

    max_mention_length: int
    num_mentions: int
    joint_threshold: float
    nested: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_count("max_mention_length", "num_mentions", least=1)
        self._check_number("joint_threshold")
        self._check_flag("nested")

    @property
    def least_score(self) -> float:
        """Without a cross-encoder, the scores of links are above it."""
        return math.exp(self.joint_threshold)


@dataclass(frozen=True, kw_only=True)
class BiEncoderCard(ModelCardFacts):
    """A bi-encoder with its processor; all but the card's common fields are fields of the two configurations."""

    template = "bi_encoder.md"

    mention_length: int
    entity_length: int
    embed_dim: int
    share_towers: bool
    mention_pooling: str
    entity_pooling: str
    similarity: str
    temperature: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_count("mention_length", "entity_length", "embed_dim", least=1)
        self._check_flag("share_towers")
        self._check_text("mention_pooling", "entity_pooling", "similarity")
        self._check_number("temperature")


@dataclass(frozen=True, kw_only=True)
class CrossEncoderCard(ModelCardFacts):
    """A cross-encoder in a repository of its own, or inside a linker's.

    Args:
        bi_encoder: Hub name of the bi-encoder whose candidates it reranks; None where that is not on the Hub.
        subfolder: where it lies in the repository; None for the root.
        mention_length, entity_length: tokens, as in the bi-encoder's processor.
        num_candidates: candidates a mention in training.
        pooling, retrieval_weight: of its configuration.
    """

    template = "cross_encoder.md"

    bi_encoder: str | None
    subfolder: str | None = None
    mention_length: int
    entity_length: int
    num_candidates: int
    pooling: str
    retrieval_weight: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_optional_repo("bi_encoder")
        if self.subfolder is not None:
            matching(self.subfolder, r"\w+", "cross_encoder", self._place("subfolder"))
        self._check_count("mention_length", "entity_length", "num_candidates", least=1)
        self._check_text("pooling")
        self._check_number("retrieval_weight")


@dataclass(frozen=True, kw_only=True)
class ElqCard(ModelCardFacts):
    """An ELQ model: finds and links the mentions of a short text in one pass.

    Args:
        text_length: tokens of a text that are read.
        max_mention_length: tokens of the longest mention that is looked for.
        entity_length: tokens of an entity's title and description.
        embed_dim: length of the vectors.
        num_candidates: entities that are scored for each mention.
        joint_threshold: mentions whose joint score of span and entity (a log-probability) is lower are dropped.
    """

    template = "elq.md"

    text_length: int
    max_mention_length: int
    entity_length: int
    embed_dim: int
    num_candidates: int
    joint_threshold: float

    def __post_init__(self) -> None:
        super().__post_init__()
        names = ("text_length", "max_mention_length", "entity_length", "embed_dim", "num_candidates")
        self._check_count(*names, least=1)
        self._check_number("joint_threshold")


@dataclass(frozen=True, kw_only=True)
class IndexCard(Card):
    """An entity index in a repository of its own.

    Args:
        index: the index.
        encoder: Hub name of the bi-encoder that made the vectors; None where that is not on the Hub.
        knowledge_base: Hub name of the dataset repository with the entities; None where there is none.
    """

    template = "index.md"

    index: IndexFacts
    encoder: str | None
    knowledge_base: str | None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._nested("index", IndexFacts)
        self._check_optional_repo("encoder", "knowledge_base")


@dataclass(frozen=True, kw_only=True)
class KnowledgeBaseCard(Card):
    """A knowledge base as a dataset repository.

    Args:
        knowledge_base: the entities.
        examples: a few of them to show.
    """

    template = "knowledge_base.md"

    knowledge_base: KnowledgeBaseFacts
    examples: tuple[EntityExample, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._nested("knowledge_base", KnowledgeBaseFacts)
        self._nested_all("examples", EntityExample)
