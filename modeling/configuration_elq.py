"""Configuration of the one-pass linker: every choice that changes a span, a vector or a decision is a field here.

The thresholds are fields too, so that what was fitted on a development set is saved with the weights, and a linker that
is loaded decides as the one that was saved.
"""

from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig
from transformers.configuration_utils import SubConfigSpec

from .configuration_blink import _BlinkConfig, settings_of_vectors


@strict
class ElqConfig(_BlinkConfig):
    """Configuration of [`ElqModel`].

    Args:
        mention_config: backbone configuration of the tower that reads texts (any `AutoModel` encoder).
        entity_config: the entity tower's; None means that both towers share the text tower's weights.
        mention_pooling: a span's vector: `all_avg`, the mean over its tokens (ELQ's released models), or `first_last`,
            the mean of its first and its last token (ELQ's `fl_avg`).
        entity_pooling: `cls` (ELQ) or `mean`.
        similarity: `dot` (ELQ) or `cosine`; with `cosine` all vectors have length 1.
        temperature: entity scores are similarities divided by it (ELQ: 1).
        span_head: `linear` (ELQ's `qa_linear`), or `mlp`, with a hidden layer of the tower's size (`qa_mlp`).
        max_mention_tokens: tokens of the longest span that is scored (ELQ: 11, its max_mention_length of 10 plus one).
        num_mentions: spans of a window that are looked up, the likeliest first.
        joint_threshold: a detected mention is kept where log P(span is a mention) + log P(entity | span) is above it; a
            log-probability, so at most 0 (ELQ: -4.5, tuned ones -2.9 to -0.9).
        nested: keep mentions that overlap; False keeps the best of them.
        window_overlap: tokens that two windows of a long text share; None means 32, or half a window where that is less.
        whole_words: detected mentions begin and end where words do; ELQ's may end inside one.
        keep_pooler: towers keep the pooler layer that nothing reads, as ELQ's own files do.
        frame_in_spans: spans may hold the window's first and last special token, as in ELQ; what such a span names in the
            text is the part without them.
    """

    model_type = "elq"
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "mention_config": SubConfigSpec(config_class=AutoConfig, model_type="bert"),
        "entity_config": SubConfigSpec(config_class=AutoConfig, model_type="bert", optional=True),
    }

    mention_config: Any = None
    entity_config: Any = None
    mention_pooling: Literal["all_avg", "first_last"] = "all_avg"
    entity_pooling: Literal["cls", "mean"] = "mean"
    similarity: Literal["cosine", "dot"] = "cosine"
    temperature: float | int = 0.05
    span_head: Literal["linear", "mlp"] = "linear"
    max_mention_tokens: int = 11
    num_mentions: int = 50
    joint_threshold: float | int = -4.5
    nested: bool = False
    window_overlap: int | None = None
    whole_words: bool = True
    frame_in_spans: bool = False
    keep_pooler: bool = False

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if not self.temperature > 0:
            raise ValueError(f"expected a temperature above 0, got {self.temperature}")
        for name in ("max_mention_tokens", "num_mentions"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}")
        check_joint_threshold(self.joint_threshold)

    @property
    def share_towers(self) -> bool:
        """Whether texts and entities are encoded with the same weights."""
        return self.entity_config is None

    @property
    def embed_dim(self) -> int:
        """Length of the vectors of mentions and entities."""
        return self.mention_config.hidden_size

    def entity_settings(self) -> dict[str, Any]:
        """The fields that change an entity's vector (part of the encoder fingerprint).

        They are those of a bi-encoder without projection, so that an index of one serves the other with equal towers.
        """
        tower = self.mention_config if self.entity_config is None else self.entity_config
        return {
            "entity_config": settings_of_vectors(tower),
            "entity_pooling": self.entity_pooling,
            "similarity": self.similarity,
            "projection_dim": None,
        }


def check_joint_threshold(threshold: float) -> None:
    """Refuses a joint threshold that is no log-probability.

    Raises:
        ValueError: it is above 0, or not a number.
    """
    if not threshold <= 0:
        raise ValueError(
            f"expected a joint_threshold of at most 0 (the logarithm of a probability), got {threshold!r}"
        )
