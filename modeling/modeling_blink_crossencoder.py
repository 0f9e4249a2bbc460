"""The cross-encoder: mention window and entity in one sequence, one score a candidate.

    [CLS] left [START] mention [END] right [SEP] title [TITLE] description [SEP] -> encoder -> one vector -> linear -> score

All candidates of a mention go through in one call; a softmax over them is the probability of each. BLINK's model
(crossencoder/crossencoder.py) reads the backbone's pooler output through dropout. `retrieval_weight` is ours: the
bi-encoder's score, times it, is added, so that few training mentions suffice to improve on the retrieval order. So is
`from_bi_encoder`: the trained mention tower, read with `product` pooling, scores pairs sensibly before any training.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel
from transformers.utils import ModelOutput

from .configuration_blink import BlinkCrossEncoderConfig, clean_sub_config
from .modeling_blink import (
    BlinkPreTrainedModel,
    check_fields,
    copy_weights,
    pool,
    pool_output,
    pretrained_backbone,
)


@dataclass
class BlinkCrossEncoderOutput(ModelOutput):
    """Output of [`BlinkCrossEncoder`].

    Args:
        scores: `[batch_size, num_candidates]`, higher is better; -inf where `candidate_mask` is False.
    """

    scores: Tensor | None = None


def _product(
    hidden: Tensor, attention_mask: Tensor, token_types: Tensor | None, spans: Tensor | None
) -> Tensor:
    """Mention vector times entity vector, element by element, `[num_pairs, hidden_size]`; of unit size on average."""
    if token_types is None or spans is None:
        raise ValueError(
            "expected token_type_ids and mention_spans for product pooling, got None; BlinkProcessor.process_pairs gives both"
        )
    mention = pool(hidden, attention_mask, "mention_span", spans)
    entity = pool(hidden, attention_mask * (token_types == 1), "mean")
    product = functional.normalize(mention, dim=-1) * functional.normalize(entity, dim=-1)
    return product * hidden.shape[-1] ** 0.5


class BlinkCrossEncoder(BlinkPreTrainedModel):
    """One encoder and a linear layer; see the module's text and [`BlinkCrossEncoderConfig`]."""

    config: BlinkCrossEncoderConfig
    config_class = BlinkCrossEncoderConfig
    base_model_prefix = "cross_encoder"
    main_input_name = "input_ids"

    def __init__(self, config: BlinkCrossEncoderConfig):
        super().__init__(config)
        self.encoder = AutoModel.from_config(config.encoder_config)
        if config.pooling == "pooler" and getattr(self.encoder, "pooler", None) is None:
            raise ValueError(
                f"expected an encoder with a pooler, got {config.encoder_config.model_type}; use pooling='cls'"
            )
        if config.pooling != "pooler" and getattr(self.encoder, "pooler", None) is not None:
            self.encoder.pooler = None
        self.dropout = nn.Dropout(config.dropout)
        self.score = nn.Linear(self.encoder.config.hidden_size, 1)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if module is self.score:
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)

    @classmethod
    def from_encoder(
        cls, encoder: str, *, vocab_size: int | None = None, **settings: Any
    ) -> "BlinkCrossEncoder":
        """Starts from a pretrained encoder, with a new linear layer.

        Args:
            encoder: local folder or Hub name that `AutoModel` loads.
            vocab_size: `len(processor.tokenizer)` when the processor had to add its markers to the vocabulary.
            **settings: fields of [`BlinkCrossEncoderConfig`].
        """
        check_fields(BlinkCrossEncoderConfig, settings)
        backbone = pretrained_backbone(encoder, vocab_size)
        model = cls(BlinkCrossEncoderConfig(encoder_config=clean_sub_config(backbone.config), **settings))
        copy_weights(backbone, model.encoder)
        return model

    @classmethod
    def from_bi_encoder(cls, bi_encoder: Any, **settings: Any) -> "BlinkCrossEncoder":
        """Starts from a trained bi-encoder's mention tower.

        With `product` pooling its own first scores are cosines / temperature, of the two texts read together.

        Args:
            bi_encoder: a [`BlinkBiEncoder`].
            **settings: fields of [`BlinkCrossEncoderConfig`]; if not given, `pooling` is `product` and
                `retrieval_weight` 1.

        Raises:
            ValueError: a setting is not a field.
        """
        check_fields(BlinkCrossEncoderConfig, settings)
        tower = bi_encoder.mention_encoder
        settings = {"pooling": "product", "retrieval_weight": 1.0, **settings}
        model = cls(BlinkCrossEncoderConfig(encoder_config=clean_sub_config(tower.config), **settings))
        copy_weights(tower, model.encoder)
        if model.config.pooling == "product":
            size = model.encoder.config.hidden_size
            nn.init.constant_(model.score.weight, 1 / (bi_encoder.config.temperature * size**0.5))
        return model.to(tower.device)

    def get_input_embeddings(self) -> Any:
        return self.encoder.get_input_embeddings()

    def score_pairs(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        mention_spans: Tensor | None = None,
    ) -> Tensor:
        """The cross-encoder's own score of pairs: `[num_pairs, pair_length]` (spans `[num_pairs, 2]`) in, `[num_pairs]` out.

        Raises:
            ValueError: `product` pooling without token types and spans.
        """
        length = self.config.pair_length
        input_ids, attention_mask = input_ids[:, :length], attention_mask[:, :length]
        token_type_ids = None if token_type_ids is None else token_type_ids[:, :length]
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None and getattr(self.encoder.config, "type_vocab_size", 0) >= 2:
            inputs["token_type_ids"] = token_type_ids
        output = self.encoder(**inputs)
        if self.config.pooling == "product":
            vectors = _product(output.last_hidden_state, attention_mask, token_type_ids, mention_spans)
        else:
            vectors = pool_output(output, attention_mask, self.config.pooling)
        return self.score(self.dropout(vectors)).squeeze(-1)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        mention_spans: Tensor | None = None,
        candidate_mask: Tensor | None = None,
        retrieval_scores: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> BlinkCrossEncoderOutput | tuple[Tensor, ...]:
        """Scores the candidates of each mention.

        Args:
            input_ids: `[batch_size, num_candidates, pair_length]`.
            attention_mask: `[batch_size, num_candidates, pair_length]`.
            token_type_ids: `[batch_size, num_candidates, pair_length]`, 1 for the entity's tokens.
            mention_spans: `[batch_size, num_candidates, 2]`, token positions of the mention, end exclusive.
            candidate_mask: `[batch_size, num_candidates]`, False for padding candidates, which are not computed.
            retrieval_scores: `[batch_size, num_candidates]`, similarity / temperature of the bi-encoder; needed when
                `retrieval_weight` is not 0.
            return_dict: False for a plain tuple.
        """
        if candidate_mask is None:
            candidate_mask = torch.ones(input_ids.shape[:2], dtype=torch.bool, device=input_ids.device)
        types = None if token_type_ids is None else token_type_ids[candidate_mask]
        spans = None if mention_spans is None else mention_spans[candidate_mask]
        pair_scores = self.score_pairs(
            input_ids[candidate_mask], attention_mask[candidate_mask], types, spans
        )
        scores = pair_scores.new_full(candidate_mask.shape, float("-inf"))
        scores[candidate_mask] = pair_scores
        output = BlinkCrossEncoderOutput(scores=self.add_retrieval_scores(scores, retrieval_scores))
        return output.to_tuple() if return_dict is False else output

    def add_retrieval_scores(self, scores: Tensor, retrieval_scores: Tensor | None) -> Tensor:
        """Adds `retrieval_weight` times the bi-encoder's scores; all are `[batch_size, num_candidates]`."""
        if not self.config.retrieval_weight:
            return scores
        if retrieval_scores is None:
            raise ValueError(
                f"expected retrieval_scores, since this cross-encoder has retrieval_weight {self.config.retrieval_weight}, "
                "got None; pass the bi-encoder's similarity / temperature"
            )
        return scores + self.config.retrieval_weight * retrieval_scores.to(scores.dtype)
