"""Facts for a card of each kind, with every text of data given by the caller."""

import math
from typing import Any

from hf_blink.hub_cards.card_data import (
    BiEncoderCard,
    Card,
    CrossEncoderCard,
    ElqCard,
    IndexCard,
    KnowledgeBaseCard,
    LinkerCard,
)

REPO = "org/my-linker_1.0"
BASE = "sentence-transformers/all-MiniLM-L6-v2"
FINGERPRINT = "0123456789abcdef" * 4


def metrics(*worlds: str) -> dict[str, float]:
    """What evaluate_linker gives; the n-th world has n mentions."""
    shares = {"recall@1": 0.74, "recall@64": 0.991, "mrr": 0.8}
    shares |= {"accuracy_normalised": 0.769, "accuracy_unnormalised": 0.762}
    values: dict[str, float] = {**shares, **{f"{name}_macro": share / 2 for name, share in shares.items()}}
    for number, world in enumerate(worlds, start=1):
        values |= {f"world/{world}/{name}": share / 4 for name, share in shares.items()}
        values[f"world/{world}/num_mentions"] = number
    counts = {"num_mentions": 5426, "num_nil": 3, "num_entities": 356, "num_worlds": len(worlds)}
    return {**values, **counts, "seconds": 1.5}


def training_run(text: str = "In-batch negatives") -> dict[str, Any]:
    return {
        "title": text,
        "base_model": BASE,
        "datasets": [{"name": text, "hub_id": "org/mentions"}, {"name": f"more {text}"}],
        "arguments": {"learning_rate": 1e-4, text: text},
        "losses": [(step, 3 * math.exp(-step / 100)) for step in range(10, 200, 10)],
    }


def facts(kind: type[Card], text: str = "plain words") -> dict[str, Any]:
    """The fields of a card; `text` stands wherever a card shows a text of data."""
    common = {"repo_id": REPO, "license": "mit", "language": ["en"]}
    model = {
        "training": [training_run(text)],
        "evaluations": [
            {
                "mentions": {"name": text},
                "metrics": metrics(text, f"{text} 2"),
                "split": text,
                "date": "2026-05-31",
            }
        ],
    }
    index = {
        "kind": "hnsw",
        "num_entities": 356,
        "dimension": 384,
        "num_bytes": 546_861,
        "faiss_version": "1.15.1",
    }
    index |= {
        "settings": {text: text},
        "encoder_fingerprint": FINGERPRINT,
        "knowledge_base_fingerprint": None,
    }
    entities = {
        "num_entities": 356,
        "num_bytes": 30_000,
        "worlds": {text: 100, f"{text} 2": 256},
        "source": text,
    }
    entities |= {"fingerprint": FINGERPRINT, "hub_id": "org/entities"}
    lengths = {"mention_length": 64, "entity_length": 48}
    fields: dict[type[Card], dict[str, Any]] = {
        LinkerCard: {
            **model,
            **lengths,
            "example_text": text,
            "num_candidates": 16,
            "threshold": 0.25,
            "has_cross_encoder": True,
            "calibrated": False,
            "index": index,
            "knowledge_base": entities,
        },
        BiEncoderCard: {
            **model,
            **lengths,
            "embed_dim": 384,
            "share_towers": True,
            "mention_pooling": "mention_span",
            "entity_pooling": "mean",
            "similarity": "cosine",
            "temperature": 0.05,
        },
        CrossEncoderCard: {
            **model,
            **lengths,
            "bi_encoder": REPO,
            "subfolder": "cross_encoder",
            "num_candidates": 16,
            "pooling": "cls",
            "retrieval_weight": 1.0,
        },
        ElqCard: {
            **model,
            "text_length": 32,
            "max_mention_length": 10,
            "entity_length": 128,
            "embed_dim": 1024,
            "num_candidates": 10,
            "joint_threshold": -4.5,
        },
        IndexCard: {"index": index, "encoder": "org/encoder", "knowledge_base": "org/entities"},
        KnowledgeBaseCard: {
            "knowledge_base": entities,
            "examples": [{"entity_id": text, "title": text, "description": text}],
        },
    }
    return {**common, **fields[kind]}


KINDS = (LinkerCard, BiEncoderCard, CrossEncoderCard, ElqCard, IndexCard, KnowledgeBaseCard)
