"""The settings of benchmarks/elq.py, its stages, and the systems that are measured."""

from dataclasses import dataclass, replace
from typing import Any

from benchmarks.stages import Stage, setting

# What 0 stands for, by set. On one core this is about 40 minutes for questions and 75 for wiki_ed, of which the texts' many
# titles, each reranked, are a large part.
_QUESTIONS = {
    "mention_length": 32, "steps": 120, "elq_steps": 160, "hard_steps": 160, "num_candidates": 16, "dev_documents": 150,
}  # fmt: skip
_OTHERS = {
    "mention_length": 64, "steps": 90, "elq_steps": 330, "hard_steps": 200, "num_candidates": 8, "dev_documents": 50,
}  # fmt: skip
_OWN = "; 0 takes what suits the set"


@dataclass(frozen=True)
class Settings:
    """Every choice of a run; each one is an option of the command line with its name (see `--help`)."""

    base_model: str = setting(
        "", "folder or Hub name of the encoder to start from; all-MiniLM-L6-v2 if empty"
    )
    mention_length: int = setting(0, f"tokens of a text window{_OWN}")
    entity_length: int = setting(64, "tokens of an entity text")
    seed: int = setting(13, "of the order of documents and of new weights")
    max_entities: int = setting(0, "only so many entities, those of the documents first; 0 takes all")
    batch_size: int = setting(32, "mentions, or texts, of a step")
    lr: float = setting(1e-4, "peak learning rate of the bi-encoder and of ELQ")
    steps: int = setting(0, f"steps of the bi-encoder{_OWN}")
    elq_steps: int = setting(0, f"steps of ELQ's in-batch stage, from the bi-encoder's towers{_OWN}")
    hard_steps: int = setting(0, f"steps of its stage with hard negatives{_OWN}")
    hard_negatives: int = setting(10, "nearest entities of a mention in that stage")
    cross_mentions: int = setting(200, "training mentions of the cross-encoder")
    cross_lr: float = setting(5e-5, "peak learning rate of the cross-encoder")
    num_candidates: int = setting(0, f"candidates of a mention, in training and in linking{_OWN}")
    dev_documents: int = setting(
        0, f"documents, of those that are kept out of training, that a threshold is fitted on{_OWN}"
    )
    documents: int = setting(0, "held-out documents that are measured, drawn at random; 0 takes all")
    alone: int = setting(20, "of these, how many are linked one by one, for the speed of an answer")


@dataclass(frozen=True)
class System:
    """A system that is measured.

    Args:
        name: in the table.
        linker: the stage that leaves its linker.
        cross_encoder: whether the cross-encoder ranks its candidates.
    """

    name: str
    linker: str
    cross_encoder: bool = False


SYSTEMS = {
    "titles": System("titles + bi-encoder", "bi_encoder"),
    "titles_reranked": System("titles + bi-encoder + cross-encoder", "bi_encoder", True),
    "elq_in_batch_linking": System("ELQ, in-batch", "elq_in_batch"),
    "elq_linking": System("ELQ", "elq"),
    "elq_reranked": System("ELQ + cross-encoder", "elq", True),
}
_DATA = ("base_model", "mention_length", "entity_length", "seed", "max_entities")
_MEASURED = ("num_candidates", "dev_documents", "documents", "alone")

STAGES = {
    "bi_encoder": Stage(settings=(*_DATA, "batch_size", "lr", "steps")),
    "cross_encoder": Stage(("bi_encoder",), ("cross_mentions", "cross_lr", "num_candidates")),
    "elq_in_batch": Stage(("bi_encoder",), ("elq_steps",)),
    "elq": Stage(("elq_in_batch",), ("hard_steps", "hard_negatives")),
} | {
    stage: Stage((system.linker, *(("cross_encoder",) if system.cross_encoder else ())), _MEASURED)
    for stage, system in SYSTEMS.items()
}


def of_set(settings: Settings, name: str) -> Settings:
    """The settings for one set: numbers for those that are left to it."""
    own = _QUESTIONS if name == "questions" else _OTHERS
    values: dict[str, Any] = {key: getattr(settings, key) or value for key, value in own.items()}
    return replace(settings, **values)
