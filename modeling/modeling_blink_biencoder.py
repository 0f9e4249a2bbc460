"""The bi-encoder: mentions and entities become vectors whose inner product says how well they fit.

    mention window -> mention tower -> pooling -> [projection] -> [first dimensions] -> [length 1]  \\
                                                                              inner product / temperature = score
    entity text    -> entity tower  -> pooling -> [projection] -> [first dimensions] -> [length 1]  /

Towers are any `AutoModel` encoders, two or one shared (then the entity tower does not exist as a module). BLINK's model
(Wu et al. 2020, section 4.1; biencoder/biencoder.py) is: two towers, `cls` pooling, `dot`, temperature 1. `truncated`
and `with_layers` make smaller models of a trained one.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel
from transformers.utils import ModelOutput

from .configuration_blink import BlinkBiEncoderConfig, clean_sub_config
from .layer_selection import chosen_layers, config_with_layers, copy_layers
from .modeling_blink import BlinkPreTrainedModel, check_fields, copy_weights, pool_output, pretrained_backbone


@dataclass
class BlinkBiEncoderOutput(ModelOutput):
    """Output of [`BlinkBiEncoder`].

    Args:
        scores: `[batch_size, num_entities]`, similarity / temperature of every mention with every entity.
        mention_embeddings: `[batch_size, embed_dim]`.
        entity_embeddings: `[num_entities, embed_dim]`.
    """

    scores: Tensor | None = None
    mention_embeddings: Tensor | None = None
    entity_embeddings: Tensor | None = None


def build_backbone(config: Any, *, pooler: bool = False, read_pooler: bool = False) -> PreTrainedModel:
    """An `AutoModel` encoder with random weights.

    Args:
        config: the encoder's configuration.
        pooler: keep the pooler layer.
        read_pooler: the pooler's output is read, so there must be one.

    Raises:
        ValueError: an encoder without a pooler whose output is to be read.
    """
    backbone = AutoModel.from_config(config)
    if getattr(backbone, "pooler", None) is None:
        if read_pooler:
            raise ValueError(f"expected an encoder with a pooler, got {config.model_type}; use pooling='cls'")
    elif not pooler and not read_pooler:
        backbone.pooler = None
    return backbone


def _projection(tower: Any, projection_dim: int | None) -> nn.Linear | None:
    return None if projection_dim is None else nn.Linear(tower.hidden_size, projection_dim)


class BlinkBiEncoder(BlinkPreTrainedModel):
    """Mention tower and entity tower; see the module's text and [`BlinkBiEncoderConfig`]."""

    config: BlinkBiEncoderConfig
    config_class = BlinkBiEncoderConfig
    base_model_prefix = "bi_encoder"
    main_input_name = "mention_input_ids"

    def __init__(self, config: BlinkBiEncoderConfig):
        super().__init__(config)
        config.check_truncation()
        self.mention_encoder = self._tower(config.mention_config, config.mention_pooling)
        self.mention_projection = _projection(config.mention_config, config.projection_dim)
        self.entity_encoder = self.entity_projection = None
        if not config.share_towers:
            self.entity_encoder = self._tower(config.entity_config, config.entity_pooling)
            self.entity_projection = _projection(config.entity_config, config.projection_dim)
        self.post_init()
        self.freeze_unread()

    def freeze_unread(self) -> None:
        """Excludes poolers that are kept and not read from training."""
        poolings = {
            "mention_encoder": self.config.mention_pooling,
            "entity_encoder": self.config.entity_pooling,
        }
        if self.config.share_towers and "pooler" in poolings.values():
            return
        for name, pooling in poolings.items():
            pooler = getattr(getattr(self, name), "pooler", None)
            if pooler is not None and pooling != "pooler":
                pooler.requires_grad_(False)

    def _tower(self, config: Any, pooling: str) -> PreTrainedModel:
        poolings = (pooling, self.config.entity_pooling) if self.config.share_towers else (pooling,)
        return build_backbone(config, pooler=self.config.keep_pooler, read_pooler="pooler" in poolings)

    def _init_weights(self, module: nn.Module) -> None:
        if module is self.mention_projection or module is self.entity_projection:
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
            nn.init.zeros_(module.bias)

    @classmethod
    def from_encoder(
        cls, encoder: str, *, share_towers: bool = True, vocab_size: int | None = None, **settings: Any
    ) -> "BlinkBiEncoder":
        """Starts from a pretrained encoder; both towers get its weights.

        Args:
            encoder: local folder or Hub name that `AutoModel` loads.
            share_towers: one set of weights for mentions and entities, or two.
            vocab_size: `len(processor.tokenizer)` when the processor had to add its markers to the vocabulary.
            **settings: fields of [`BlinkBiEncoderConfig`] (`mention_pooling`, `similarity`, ...).

        Raises:
            ValueError: the encoder's model type is unknown to transformers, or a setting is not a field.
        """
        check_fields(BlinkBiEncoderConfig, settings)
        backbone = pretrained_backbone(encoder, vocab_size)
        tower = clean_sub_config(backbone.config)
        config = BlinkBiEncoderConfig(
            mention_config=tower, entity_config=None if share_towers else tower, **settings
        )
        model = cls(config)
        copy_weights(backbone, model.mention_encoder)
        if model.entity_encoder is not None:
            copy_weights(backbone, model.entity_encoder)
        return model

    def truncated(self, dim: int | None) -> "BlinkBiEncoder":
        """A copy that returns the first `dim` dimensions of the vectors; its weights stay whole.

        Args:
            dim: from 1 to `config.full_dim`; None returns all dimensions again.

        Raises:
            ValueError: another number.
        """
        model = copy.deepcopy(self)
        model.config.truncate_dim = dim
        model.config.check_truncation()
        return model

    def with_layers(self, layers: int | Sequence[int]) -> "BlinkBiEncoder":
        """A copy whose towers keep these of their layers, a student to train (see `DistillationTrainer`).

        Args:
            layers: which, counted from 0 and in this order; a number keeps so many, spread evenly from the first to the last.

        Raises:
            ValueError: layers that a tower does not have, or a backbone whose layers are not one list of modules.
        """
        config = copy.deepcopy(self.config)
        kept = {}
        for name in ("mention", "entity")[: 1 if self.config.share_towers else 2]:
            tower = getattr(config, f"{name}_config")
            kept[name] = chosen_layers(layers, tower.num_hidden_layers)
            setattr(config, f"{name}_config", config_with_layers(tower, kept[name]))
        model: Any = type(self)(config)
        model.to(device=self.device, dtype=self.dtype)
        for name, numbers in kept.items():
            copy_layers(getattr(self, f"{name}_encoder"), getattr(model, f"{name}_encoder"), numbers)
            projection = getattr(self, f"{name}_projection")
            if projection is not None:
                getattr(model, f"{name}_projection").load_state_dict(projection.state_dict())
        return model.train(self.training)

    def get_input_embeddings(self) -> Any:
        return self.mention_encoder.get_input_embeddings()

    def _finished(self, vectors: Tensor) -> Tensor:
        """Pooled and projected vectors [batch_size, full_dim] as they are returned, [batch_size, embed_dim]."""
        vectors = vectors[:, : self.config.embed_dim]
        if self.config.similarity == "cosine":
            return nn.functional.normalize(vectors, dim=-1)
        return vectors

    def encode_mentions(
        self, input_ids: Tensor, attention_mask: Tensor, mention_spans: Tensor | None = None
    ) -> Tensor:
        """Vectors of mention windows.

        Args:
            input_ids: `[batch_size, mention_length]`.
            attention_mask: `[batch_size, mention_length]`.
            mention_spans: `[batch_size, 2]`, token positions of the mentions, end exclusive; for `mention_span` pooling.

        Returns:
            `[batch_size, embed_dim]`, of length 1 where the similarity is `cosine`.
        """
        output = self.mention_encoder(input_ids=input_ids, attention_mask=attention_mask)
        vectors = pool_output(output, attention_mask, self.config.mention_pooling, mention_spans)
        if self.mention_projection is not None:
            vectors = self.mention_projection(vectors)
        return self._finished(vectors)

    def encode_entities(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Vectors of entity texts: `[num_entities, entity_length]` in, `[num_entities, embed_dim]` out."""
        tower = self.mention_encoder if self.entity_encoder is None else self.entity_encoder
        projection = self.mention_projection if self.entity_encoder is None else self.entity_projection
        output = tower(input_ids=input_ids, attention_mask=attention_mask)
        vectors = pool_output(output, attention_mask, self.config.entity_pooling)
        if projection is not None:
            vectors = projection(vectors)
        return self._finished(vectors)

    def forward(
        self,
        mention_input_ids: Tensor,
        mention_attention_mask: Tensor,
        entity_input_ids: Tensor,
        entity_attention_mask: Tensor,
        mention_spans: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> BlinkBiEncoderOutput | tuple[Tensor, ...]:
        """Scores of every mention with every entity of the batch; losses are functions of `scores`.

        Args:
            mention_input_ids: `[batch_size, mention_length]`.
            mention_attention_mask: `[batch_size, mention_length]`.
            entity_input_ids: `[num_entities, entity_length]`.
            entity_attention_mask: `[num_entities, entity_length]`.
            mention_spans: `[batch_size, 2]`, see `encode_mentions`.
            return_dict: False for a plain tuple.
        """
        mentions = self.encode_mentions(mention_input_ids, mention_attention_mask, mention_spans)
        entities = self.encode_entities(entity_input_ids, entity_attention_mask)
        output = BlinkBiEncoderOutput(
            scores=mentions @ entities.T / self.config.temperature,
            mention_embeddings=mentions,
            entity_embeddings=entities,
        )
        return output.to_tuple() if return_dict is False else output

    def entity_tower_state(self) -> Mapping[str, Tensor]:
        """Name to weight of all that makes an entity's vector (part of the encoder fingerprint)."""
        prefix = "mention_" if self.entity_encoder is None else "entity_"
        unread = () if self.config.entity_pooling == "pooler" else (f"{prefix}encoder.pooler.",)
        return {
            name.removeprefix(prefix): value
            for name, value in self.state_dict().items()
            if name.startswith(prefix) and not name.startswith(unread)
        }
