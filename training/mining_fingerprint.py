"""What a mining depends on, as one number, by which its result is found again on disk and never taken for another's."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from datasets import Dataset

from hf_blink.modeling.configuration_blink import settings_of_vectors
from hf_blink.modeling.encoder_fingerprint import encoder_fingerprint, fingerprint_tensors
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.training.mention_retrieval import mentions_digest

_OF_THE_WINDOWS = (
    "mention_length", "entity_length", "mention_start", "mention_end", "entity_marker", "do_lower_case",
    "pad_mention_in_pairs",
)  # fmt: skip


def mining_fingerprint(
    bi_encoder: Any,
    processor: BlinkProcessor,
    knowledge_base: KnowledgeBase,
    mentions: Dataset,
    settings: Mapping[str, Any],
    *,
    cross_encoder: Any = None,
) -> str:
    """SHA-256 over everything that decides which entities are found for mentions, and their scores.

    Args:
        bi_encoder: finds them.
        processor: of the encoders.
        knowledge_base: the entities.
        mentions: labelled mentions, in their order.
        settings: of the mining, as JSON takes them.
        cross_encoder: scores or filters what was found; None where there is none.

    Returns:
        64 hexadecimal digits.
    """
    config = bi_encoder.config
    facts = {
        "knowledge_base": knowledge_base.fingerprint,
        "entities": encoder_fingerprint(bi_encoder, processor),
        "mentions": [settings_of_vectors(config.mention_config), config.mention_pooling, config.temperature],
        "windows": [getattr(processor, name) for name in _OF_THE_WINDOWS],
        "weights": fingerprint_tensors(bi_encoder.state_dict()),
        "settings": dict(settings),
        "cross_encoder": None if cross_encoder is None else _facts_of(cross_encoder),
    }
    whole = hashlib.sha256(b"hf_blink mining 1\n" + json.dumps(facts, sort_keys=True).encode())
    whole.update(mentions_digest(mentions).encode())
    return whole.hexdigest()


def _facts_of(cross_encoder: Any) -> list[Any]:
    config = cross_encoder.config
    settings = [settings_of_vectors(config.encoder_config), config.pooling, config.retrieval_weight]
    return [*settings, fingerprint_tensors(cross_encoder.state_dict())]
