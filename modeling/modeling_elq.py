"""ELQ: one pass over a text scores every span as a mention and gives the vectors that find the spans' entities.

    text -> text tower -> hidden states H -> span head -> three numbers a token: start s, end e, inside m
                                |             logit(i, j) = s_i + e_j + m_i + ... + m_j       P(mention) = sigmoid(logit)
                                +-> mean over the tokens of a span = the span's vector \\
                                                                 inner product / temperature = score of an entity
    entity text -> entity tower -> pooling = the entity's vector                       /

Spans are held by start and width: entry [i, w] of `span_logits` is the span of the tokens i to i + w, both inclusive.
(Li et al. 2020, "Efficient One-Pass End-to-End Entity Linking for Questions"; elq/biencoder/biencoder.py.)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils import ModelOutput

from .configuration_blink import clean_sub_config
from .configuration_elq import ElqConfig
from .modeling_blink import BlinkPreTrainedModel, check_fields, copy_weights, pool, pretrained_backbone
from .modeling_blink_biencoder import build_backbone

NO_SPAN = float("-inf")  # the logit of a span that is none: out of the text, or ending before it starts


@dataclass
class ElqOutput(ModelOutput):
    """Output of [`ElqModel`].

    Args:
        token_scores: `[batch_size, text_length, 3]`, start, end and inside score of each token.
        span_logits: `[batch_size, text_length, max_mention_tokens]`, of the span that starts at a token and has so many
            tokens more; -inf where there is no such span.
        mention_embeddings: `[num_mentions, embed_dim]`, of the spans that were given; None without any.
        entity_embeddings: `[num_entities, embed_dim]`; None without entities.
    """

    token_scores: Tensor | None = None
    span_logits: Tensor | None = None
    mention_embeddings: Tensor | None = None
    entity_embeddings: Tensor | None = None


def span_logits(token_scores: Tensor, allowed: Tensor, width: int) -> Tensor:
    """Logits of all spans of up to `width` tokens.

    Args:
        token_scores: `[batch_size, text_length, 3]`, start, end and inside scores.
        allowed: `[batch_size, text_length]`, True at the tokens that a span may hold.
        width: tokens of the longest span.

    Returns:
        float32 `[batch_size, text_length, width]`; -inf where a span would hold a token that is not allowed.
    """
    starts, ends, inside = token_scores.float().unbind(dim=-1)
    length = starts.shape[1]
    sums = nn.functional.pad(inside.cumsum(dim=1), (1, 0))  # sums[:, i] is that of the tokens before i
    forbidden = nn.functional.pad((~allowed).long().cumsum(dim=1), (1, 0))
    ends = nn.functional.pad(ends, (0, width - 1)).unfold(1, width, 1)
    stops = torch.arange(1, length + 1, device=sums.device)[:, None] + torch.arange(width, device=sums.device)
    within = stops <= length
    stops = stops.clamp(max=length)
    logits = starts[:, :, None] + ends + sums[:, stops] - sums[:, :length, None]
    clean = forbidden[:, stops] == forbidden[:, :length, None]
    return logits.masked_fill(~(clean & within), NO_SPAN)


def span_vectors(hidden: Tensor, rows: Tensor, spans: Tensor, pooling: str) -> Tensor:
    """Vectors of spans.

    Args:
        hidden: `[batch_size, text_length, hidden_size]`.
        rows: `[num_mentions]`, the text that each span is in.
        spans: `[num_mentions, 2]`, token positions, end exclusive.
        pooling: `all_avg` or `first_last`.

    Returns:
        `[num_mentions, hidden_size]`.
    """
    starts, ends = spans[:, 0], spans[:, 1]
    if pooling == "first_last":
        return (hidden[rows, starts] + hidden[rows, ends - 1]) / 2
    lengths = ends - starts
    widest = int(lengths.max()) if len(lengths) else 0
    steps = torch.arange(widest, device=hidden.device)
    positions = torch.minimum(starts[:, None] + steps, ends[:, None] - 1)
    weights = (steps < lengths[:, None]).unsqueeze(-1).to(hidden.dtype)
    return (hidden[rows[:, None], positions] * weights).sum(dim=1) / lengths[:, None].to(hidden.dtype)


class ElqModel(BlinkPreTrainedModel):
    """Text tower, span head and entity tower; see the module's text and [`ElqConfig`]."""

    config: ElqConfig
    config_class = ElqConfig
    base_model_prefix = "elq"
    main_input_name = "input_ids"

    def __init__(self, config: ElqConfig):
        super().__init__(config)
        pooler = config.keep_pooler
        self.mention_encoder = build_backbone(config.mention_config, pooler=pooler)
        self.entity_encoder = None
        if not config.share_towers:
            self.entity_encoder = build_backbone(config.entity_config, pooler=pooler)
        size = config.embed_dim
        self.span_head: nn.Module = nn.Linear(size, 3)
        if config.span_head == "mlp":
            self.span_head = nn.Sequential(
                nn.Linear(size, size), nn.ReLU(), nn.Dropout(0.1), nn.Linear(size, 3)
            )
        self.post_init()
        self.freeze_unread()

    def freeze_unread(self) -> None:
        """Excludes poolers that are kept from training; nothing reads them."""
        for tower in (self.mention_encoder, self.entity_encoder):
            pooler: Any = getattr(tower, "pooler", None)
            if pooler is not None:
                pooler.requires_grad_(False)

    def _init_weights(self, module: Any) -> None:
        if any(module is part for part in self.span_head.modules()) and hasattr(module, "in_features"):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)

    @classmethod
    def from_encoder(
        cls, encoder: str, *, share_towers: bool = False, vocab_size: int | None = None, **settings: Any
    ) -> "ElqModel":
        """Starts from a pretrained encoder, plain or a saved bi-encoder's; the span head is new.

        Args:
            encoder: local folder or Hub name that `AutoModel` loads.
            share_towers: one set of weights for texts and entities, or two, of which the entities' can be frozen while
                the other learns from hard negatives.
            vocab_size: `len(processor.tokenizer)` when the processor had to add its markers to the vocabulary.
            **settings: fields of [`ElqConfig`] (`mention_pooling`, `similarity`, ...).

        Raises:
            ValueError: the encoder's model type is unknown to transformers, or a setting is not a field.
        """
        check_fields(ElqConfig, settings)
        backbone = pretrained_backbone(encoder, vocab_size)
        tower = clean_sub_config(backbone.config)
        model = cls(
            ElqConfig(mention_config=tower, entity_config=None if share_towers else tower, **settings)
        )
        copy_weights(backbone, model.mention_encoder)
        if model.entity_encoder is not None:
            copy_weights(backbone, model.entity_encoder)
        return model

    @classmethod
    def from_bi_encoder(cls, bi_encoder: Any, *, share_towers: bool = False, **settings: Any) -> "ElqModel":
        """Starts from the towers of a trained [`BlinkBiEncoder`] without projection; the span head is new.

        Args:
            bi_encoder: its towers are copied; entity pooling, similarity and temperature are its own.
            share_towers: one set of weights for texts and entities, or two, also of a bi-encoder that has one.
            **settings: other fields of [`ElqConfig`].

        Raises:
            ValueError: a bi-encoder with a projection or cut vectors, or with two towers where one is asked for, or a
                setting that is not a field.
        """
        check_fields(ElqConfig, settings)
        source = bi_encoder.config
        if source.projection_dim is not None or source.embed_dim != source.full_dim:
            raise ValueError(
                "expected a bi-encoder without projection_dim and truncate_dim, whose vectors are the tower's own, got "
                f"projection_dim {source.projection_dim} and truncate_dim {source.truncate_dim}"
            )
        if share_towers and not source.share_towers:
            raise ValueError("expected share_towers=False for a bi-encoder with two towers, got True")
        kept = {name: getattr(source, name) for name in ("entity_pooling", "similarity", "temperature")}
        tower = clean_sub_config(source.mention_config)
        entity_config = None if share_towers else clean_sub_config(source.entity_config) or tower
        model = cls(ElqConfig(mention_config=tower, entity_config=entity_config, **{**kept, **settings}))
        copy_weights(bi_encoder.mention_encoder, model.mention_encoder)
        if model.entity_encoder is not None:
            copy_weights(bi_encoder.entity_encoder or bi_encoder.mention_encoder, model.entity_encoder)
        return model

    def get_input_embeddings(self) -> Any:
        return self.mention_encoder.get_input_embeddings()

    def _finished(self, vectors: Tensor) -> Tensor:
        """Vectors as they are returned."""
        return nn.functional.normalize(vectors, dim=-1) if self.config.similarity == "cosine" else vectors

    def encode_texts(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Hidden states `[batch_size, text_length, embed_dim]` of texts `[batch_size, text_length]`."""
        return self.mention_encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    def score_spans(self, hidden: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of tokens and logits of spans.

        Args:
            hidden: `[batch_size, text_length, embed_dim]`.
            attention_mask: `[batch_size, text_length]`, 1 for tokens and 0 for padding.

        Returns:
            `token_scores` and `span_logits` of [`ElqOutput`].
        """
        scores = self.span_head(hidden)
        allowed = attention_mask.bool()
        if not self.config.frame_in_spans:
            positions = torch.arange(hidden.shape[1], device=hidden.device)
            last = attention_mask.sum(dim=1, keepdim=True) - 1
            allowed = allowed & (positions > 0) & (positions != last)
        return scores, span_logits(scores, allowed, self.config.max_mention_tokens)

    def mention_vectors(self, hidden: Tensor, rows: Tensor, spans: Tensor) -> Tensor:
        """Vectors `[num_mentions, embed_dim]` of spans; arguments as in `span_vectors`."""
        return self._finished(span_vectors(hidden, rows, spans, self.config.mention_pooling))

    def encode_mentions(
        self, input_ids: Tensor, attention_mask: Tensor, mention_spans: Tensor | None = None
    ) -> Tensor:
        """Vectors of texts with one given mention each.

        Args:
            input_ids: `[batch_size, text_length]`.
            attention_mask: `[batch_size, text_length]`.
            mention_spans: `[batch_size, 2]`, token positions of the mentions, end exclusive.

        Returns:
            `[batch_size, embed_dim]`.

        Raises:
            ValueError: no spans.
        """
        if mention_spans is None:
            raise ValueError(
                "expected mention_spans [batch_size, 2], got None; make them with the ElqProcessor"
            )
        rows = torch.arange(len(input_ids), device=input_ids.device)
        return self.mention_vectors(self.encode_texts(input_ids, attention_mask), rows, mention_spans)

    def encode_entities(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Vectors of entity texts: `[num_entities, entity_length]` in, `[num_entities, embed_dim]` out."""
        tower = self.mention_encoder if self.entity_encoder is None else self.entity_encoder
        hidden = tower(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self._finished(pool(hidden, attention_mask, self.config.entity_pooling))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        mention_rows: Tensor | None = None,
        mention_spans: Tensor | None = None,
        entity_input_ids: Tensor | None = None,
        entity_attention_mask: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> ElqOutput | tuple[Tensor, ...]:
        """One pass over texts, and over the entity texts of a training batch.

        Args:
            input_ids: `[batch_size, text_length]`.
            attention_mask: `[batch_size, text_length]`.
            mention_rows: `[num_mentions]`, the text of each given mention.
            mention_spans: `[num_mentions, 2]`, token positions of the given mentions, end exclusive.
            entity_input_ids: `[num_entities, entity_length]`.
            entity_attention_mask: `[num_entities, entity_length]`.
            return_dict: False for a plain tuple.
        """
        hidden = self.encode_texts(input_ids, attention_mask)
        scores, logits = self.score_spans(hidden, attention_mask)
        output = ElqOutput(token_scores=scores, span_logits=logits)
        if mention_rows is not None and mention_spans is not None:
            output["mention_embeddings"] = self.mention_vectors(hidden, mention_rows, mention_spans)
        if entity_input_ids is not None and entity_attention_mask is not None:
            output["entity_embeddings"] = self.encode_entities(entity_input_ids, entity_attention_mask)
        return output.to_tuple() if return_dict is False else output

    def entity_tower_state(self) -> Mapping[str, Tensor]:
        """Name to weight of all that makes an entity's vector (part of the encoder fingerprint)."""
        prefix = "mention_" if self.entity_encoder is None else "entity_"
        return {
            name.removeprefix(prefix): value
            for name, value in self.state_dict().items()
            if name.startswith(prefix) and not name.startswith(f"{prefix}encoder.pooler.")
        }
