"""Whether the processor's windows fit the encoders: as many positions as tokens, an embedding for every token id.

Too long a window would fail deep in torch, at the first text that fills it, with a message about an index; so the
lengths are compared once, before anything is encoded.
"""

from typing import Any

# Models that number positions from pad_token_id + 1 on and name the size of the whole table max_position_embeddings.
_OFFSET_MODELS = frozenset(
    {
        "camembert", "data2vec-text", "esm", "ibert", "layoutlmv3", "lilt", "longformer", "luke", "markuplm",
        "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
    }
)  # fmt: skip


def num_positions(config: Any) -> int | None:
    """Tokens that an encoder of this configuration can read; None where its positions have no end."""
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 1:
        return None
    offset = (config.pad_token_id or 0) + 1 if config.model_type in _OFFSET_MODELS else 0
    return positions - offset


def check_fits(processor: Any, bi_encoder: Any, cross_encoder: Any = None) -> None:
    """Refuses encoders that cannot read the processor's windows.

    Args:
        processor: a [`BlinkProcessor`].
        bi_encoder: a [`BlinkBiEncoder`].
        cross_encoder: a [`BlinkCrossEncoder`] or None.

    Raises:
        ValueError: fewer positions than tokens of a window, or fewer embeddings than the tokenizer has tokens.
    """
    config = bi_encoder.config
    mention, entity = processor.mention_length, processor.entity_length
    _check_positions("mention tower", config.mention_config, mention, "mention_length")
    _check_positions("entity tower", config.entity_config or config.mention_config, entity, "entity_length")
    name = type(bi_encoder).__name__
    _check_embeddings("mention tower", name, bi_encoder, processor)
    if bi_encoder.entity_encoder is not None:
        _check_embeddings("entity tower", name, bi_encoder.entity_encoder, processor)
    if cross_encoder is not None:
        pair, named = mention + entity - 1, "mention_length + entity_length - 1"
        pair = min(pair, cross_encoder.config.pair_length or pair)
        _check_positions("cross-encoder", cross_encoder.config.encoder_config, pair, named)
        _check_embeddings("cross-encoder", "BlinkCrossEncoder", cross_encoder, processor)


def _check_positions(what: str, config: Any, length: int, named: str) -> None:
    positions = num_positions(config)
    if positions is not None and positions < length:
        raise ValueError(
            f"expected a {what} with positions for {length} tokens ({named} of the processor), got {positions} "
            f"({config.model_type}); make the BlinkProcessor with shorter lengths, or take another encoder"
        )


def _check_embeddings(what: str, class_name: str, model: Any, processor: Any) -> None:
    vocabulary, embeddings = len(processor.tokenizer), model.get_input_embeddings().weight.shape[0]
    if vocabulary > embeddings:
        raise ValueError(
            f"expected a {what} with at least {vocabulary} token embeddings, got {embeddings}; build it with "
            f"{class_name}.from_encoder(..., vocab_size=len(processor.tokenizer))"
        )
