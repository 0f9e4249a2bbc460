"""Facts for a card of each kind, with every text of data given by the caller."""

import math
from collections.abc import Callable
from typing import Any

from hf_blink.hub_cards.card_data import (
    BiEncoderCard,
    Card,
    CrossEncoderCard,
    ElqCard,
    ElqLinkerCard,
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
        "recalls": [(50, 0.81), (100, 0.9), (150, 0.93)],
    }


LENGTHS = {"mention_length": 64, "entity_length": 48}


def model_facts(text: str) -> dict[str, Any]:
    evaluation = {
        "mentions": {"name": text},
        "metrics": metrics(text, f"{text} 2"),
        "split": text,
        "date": "2026-05-31",
    }
    return {"training": [training_run(text)], "evaluations": [evaluation]}


def index_facts(text: str) -> dict[str, Any]:
    sizes = {"num_entities": 356, "dimension": 384, "num_bytes": 546_861}
    built = {"kind": "hnsw", "faiss_version": "1.15.1", "settings": {text: text}}
    return {**sizes, **built, "encoder_fingerprint": FINGERPRINT, "knowledge_base_fingerprint": None}


def entity_facts(text: str) -> dict[str, Any]:
    sizes = {"num_entities": 356, "num_bytes": 30_000, "worlds": {text: 100, f"{text} 2": 256}}
    return {**sizes, "source": text, "fingerprint": FINGERPRINT, "hub_id": "org/entities"}


def linker_facts(text: str) -> dict[str, Any]:
    settings = {"num_candidates": 16, "threshold": 0.25, "has_cross_encoder": True, "calibrated": False}
    parts = {"index": index_facts(text), "knowledge_base": entity_facts(text)}
    return {**model_facts(text), **LENGTHS, "example_text": text, **settings, **parts}


def bi_encoder_facts(text: str) -> dict[str, Any]:
    pooling = {"mention_pooling": "mention_span", "entity_pooling": "mean"}
    scores = {"similarity": "cosine", "temperature": 0.05}
    return {**model_facts(text), **LENGTHS, "embed_dim": 384, "share_towers": True, **pooling, **scores}


def cross_encoder_facts(text: str) -> dict[str, Any]:
    place = {"bi_encoder": REPO, "subfolder": "cross_encoder"}
    settings = {"num_candidates": 16, "pooling": "cls", "retrieval_weight": 1.0}
    return {**model_facts(text), **LENGTHS, **place, **settings}


def elq_facts(text: str) -> dict[str, Any]:
    lengths = {"text_length": 32, "max_mention_length": 10, "entity_length": 128}
    return {**model_facts(text), **lengths, "embed_dim": 1024, "num_candidates": 10, "joint_threshold": -4.5}


def elq_linker_facts(text: str) -> dict[str, Any]:
    spans = {"max_mention_length": 11, "num_mentions": 50, "joint_threshold": -2.9, "nested": False}
    return {**linker_facts(text), **spans}


def index_card_facts(text: str) -> dict[str, Any]:
    return {"index": index_facts(text), "encoder": "org/encoder", "knowledge_base": "org/entities"}


def knowledge_base_facts(text: str) -> dict[str, Any]:
    example = {"entity_id": text, "title": text, "description": text}
    return {"knowledge_base": entity_facts(text), "examples": [example]}


FACTS: dict[type[Card], Callable[[str], dict[str, Any]]] = {
    LinkerCard: linker_facts,
    BiEncoderCard: bi_encoder_facts,
    CrossEncoderCard: cross_encoder_facts,
    ElqCard: elq_facts,
    ElqLinkerCard: elq_linker_facts,
    IndexCard: index_card_facts,
    KnowledgeBaseCard: knowledge_base_facts,
}
KINDS = tuple(FACTS)


def facts(kind: type[Card], text: str = "plain words") -> dict[str, Any]:
    """The fields of a card; `text` stands wherever a card shows a text of data."""
    return {"repo_id": REPO, "license": "mit", "language": ["en"], **FACTS[kind](text)}
