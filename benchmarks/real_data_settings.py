"""The settings of benchmarks/real_data.py, its stages, and which settings a stage's result depends on."""

import argparse
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any


def _setting(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Settings:
    """Every choice of a run; each one is an option of the command line with its name (see `--help`)."""

    base_model: str = _setting(
        "", "folder or Hub name of the encoder to start from; all-MiniLM-L6-v2 if empty"
    )
    mention_length: int = _setting(64, "tokens of a mention window")
    entity_length: int = _setting(64, "tokens of an entity text")
    seed: int = _setting(13, "of the order of training mentions, of samples and of new weights")
    max_mentions_per_entity: int = _setting(30, "training mentions of one entity at most")
    batch_size: int = _setting(32, "mentions of a bi-encoder step")
    steps: int = _setting(120, "steps of in-batch training")
    lr: float = _setting(1.5e-4, "peak learning rate of in-batch training; linear warm-up and decay")
    mined_negatives: int = _setting(10, "hard negatives that are mined for a mention")
    num_hard_negatives: int = _setting(2, "of these, how many join a batch for a mention")
    hard_negative_steps: int = _setting(50, "steps of training with hard negatives")
    hard_negative_lr: float = _setting(1e-4, "peak learning rate of it")
    cross_encoder_mentions: int = _setting(
        1000, "training mentions of the cross-encoder, as equally as possible of each world"
    )
    cross_encoder_mentions_per_entity: int = _setting(
        5, "of these, mentions of one entity at most, where their documents are held out"
    )
    hold_out: bool = _setting(True, "keep the documents of these mentions out of the bi-encoder's training")
    num_candidates: int = _setting(
        16, "candidates of a mention for the cross-encoder, in training and in linking"
    )
    retrieval_weight: float = _setting(
        -1.0, "weight of the bi-encoder's score when the cross-encoder's training starts; -1 fits it"
    )
    weighing_share: float = _setting(
        0.15, "share of the cross-encoder's mentions on which the weights of both scores are fitted at last"
    )
    cross_encoder_pooling: str = _setting(
        "product",
        "the cross-encoder: product starts from the bi-encoder's tower; cls, mean or pooler from the base encoder",
    )
    cross_encoder_batch_size: int = _setting(4, "mentions of a cross-encoder step")
    cross_encoder_lr: float = _setting(5e-5, "peak learning rate of the cross-encoder")
    cross_encoder_epochs: int = _setting(1, "passes over the cross-encoder's mentions")
    sample_mentions: int = _setting(200, "held-out mentions that are reranked at --sample-candidates as well")
    sample_candidates: int = _setting(64, "candidates of each of these")


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    Args:
        after: the stage whose result it needs.
        settings: the settings that it depends on, besides those of the stages before it.
    """

    after: str | None = None
    settings: tuple[str, ...] = ()


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
    "hard_negatives": Stage("in_batch", _HARD_NEGATIVES),
    "cross_encoder": Stage("hard_negatives", _CROSS_ENCODER),
    "evaluate": Stage("cross_encoder", ("sample_mentions", "sample_candidates")),
}


def settings_of(stage: str, settings: Settings) -> dict[str, Any]:
    """The settings that a stage's result depends on, those of the stages before it included."""
    own = {name: getattr(settings, name) for name in STAGES[stage].settings}
    if stage == "in_batch" and settings.hold_out:  # then these decide what the bi-encoder does not see
        own["cross_encoder_mentions"] = settings.cross_encoder_mentions
    if "base_model" in own:
        own["base_model"] = Path(settings.base_model).name or "all-MiniLM-L6-v2"
    before = STAGES[stage].after
    return own if before is None else settings_of(before, settings) | own


def stages_after(stage: str) -> list[str]:
    """The stages that need the result of this one, directly or not."""
    direct = [name for name, other in STAGES.items() if other.after == stage]
    return [name for one in direct for name in (one, *stages_after(one))]


def add_options(parser: argparse.ArgumentParser) -> None:
    """One option for each setting."""
    for setting in fields(Settings):
        name, text = "--" + setting.name.replace("_", "-"), setting.metadata["help"]
        assert setting.default is not MISSING
        if isinstance(setting.default, bool):
            action = argparse.BooleanOptionalAction
            parser.add_argument(name, action=action, default=setting.default, help=text)
        else:
            shown = f"{text} (default: {setting.default})" if setting.default != "" else text
            parser.add_argument(name, type=type(setting.default), default=setting.default, help=shown)


def from_options(options: argparse.Namespace) -> Settings:
    """The settings of a parsed command line."""
    return Settings(**{setting.name: getattr(options, setting.name) for setting in fields(Settings)})


def changed_options(settings: Settings) -> list[str]:
    """The command-line words of the settings that are not the default; an absolute path shows as its last part."""
    words = []
    for setting in fields(Settings):
        value = getattr(settings, setting.name)
        if value != setting.default:
            name = "--" + setting.name.replace("_", "-")
            shown = Path(value).name if isinstance(value, str) and Path(value).is_absolute() else str(value)
            switch = name if value else name.replace("--", "--no-", 1)
            words += [switch] if isinstance(value, bool) else [name, shown]
    return words
