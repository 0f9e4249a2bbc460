"""The settings of benchmarks/real_data.py, its stages, and which settings a stage's result depends on."""

from dataclasses import dataclass
from typing import Any

from benchmarks import stages
from benchmarks.stages import Stage, setting


@dataclass(frozen=True)
class Settings:
    """Every choice of a run; each one is an option of the command line with its name (see `--help`)."""

    base_model: str = setting(
        "", "folder or Hub name of the encoder to start from; all-MiniLM-L6-v2 if empty"
    )
    mention_length: int = setting(64, "tokens of a mention window")
    entity_length: int = setting(64, "tokens of an entity text")
    seed: int = setting(13, "of the order of training mentions, of samples and of new weights")
    max_mentions_per_entity: int = setting(30, "training mentions of one entity at most")
    batch_size: int = setting(32, "mentions of a bi-encoder step")
    steps: int = setting(120, "steps of in-batch training")
    lr: float = setting(1.5e-4, "peak learning rate of in-batch training; linear warm-up and decay")
    mined_negatives: int = setting(10, "hard negatives that are mined for a mention")
    num_hard_negatives: int = setting(2, "of these, how many join a batch for a mention")
    hard_negative_steps: int = setting(50, "steps of training with hard negatives")
    hard_negative_lr: float = setting(1e-4, "peak learning rate of it")
    cross_encoder_mentions: int = setting(
        1000, "training mentions of the cross-encoder, as equally as possible of each world"
    )
    cross_encoder_mentions_per_entity: int = setting(
        5, "of these, mentions of one entity at most, where their documents are held out"
    )
    hold_out: bool = setting(True, "keep the documents of these mentions out of the bi-encoder's training")
    num_candidates: int = setting(
        16, "candidates of a mention for the cross-encoder, in training and in linking"
    )
    retrieval_weight: float = setting(
        -1.0, "weight of the bi-encoder's score when the cross-encoder's training starts; -1 fits it"
    )
    weighing_share: float = setting(
        0.15,
        "share of the cross-encoder's mentions that is not trained on, to fit the weights of both scores",
    )
    cross_encoder_pooling: str = setting(
        "product",
        "the cross-encoder: product starts from the bi-encoder's tower; cls, mean or pooler from the base encoder",
    )
    cross_encoder_batch_size: int = setting(4, "mentions of a cross-encoder step")
    cross_encoder_lr: float = setting(5e-5, "peak learning rate of the cross-encoder")
    cross_encoder_epochs: int = setting(1, "passes over the cross-encoder's mentions")
    sample_mentions: int = setting(200, "held-out mentions that are reranked at --sample-candidates as well")
    sample_candidates: int = setting(64, "candidates of each of these")


_ENCODER = ("base_model", "mention_length", "entity_length")
_IN_BATCH = ("seed", "max_mentions_per_entity", "batch_size", "steps", "lr", "hold_out")
_HARD_NEGATIVES = ("mined_negatives", "num_hard_negatives", "hard_negative_steps", "hard_negative_lr")
_CROSS_ENCODER = (
    "cross_encoder_mentions", "cross_encoder_mentions_per_entity", "num_candidates", "retrieval_weight",
    "weighing_share", "cross_encoder_pooling", "cross_encoder_batch_size", "cross_encoder_lr", "cross_encoder_epochs",
)  # fmt: skip

STAGES = {
    "bm25": Stage(),
    "exact": Stage(),
    "untuned": Stage(settings=_ENCODER),
    "in_batch": Stage(settings=(*_ENCODER, *_IN_BATCH)),
    "hard_negatives": Stage(("in_batch",), _HARD_NEGATIVES),
    "cross_encoder": Stage(("hard_negatives",), _CROSS_ENCODER),
    "weights": Stage(("cross_encoder",)),
    "evaluate": Stage(("weights",), ("sample_mentions", "sample_candidates")),
}


def settings_of(stage: str, settings: Settings) -> dict[str, Any]:
    """The settings that a stage's result depends on, those of the stages before it included."""
    found = stages.settings_of(STAGES, stage, settings)
    if found.get("hold_out"):  # then these decide what the bi-encoder does not see
        found["cross_encoder_mentions"] = settings.cross_encoder_mentions
    return found
