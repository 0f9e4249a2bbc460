"""What a card says, gathered from the objects that are pushed and from the folders that training left.

The facts that nobody recorded are left out of the card; nothing is guessed. `runs_of` reads the output folder of
a training script, `evaluation_of` the metrics that it or `hf-blink evaluate` wrote.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
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

_HUB_NAME = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
_SHOWN_ARGUMENTS = (
    "learning_rate", "per_device_train_batch_size", "num_train_epochs", "max_steps", "warmup_ratio", "seed", "bf16",
    "mention_length", "entity_length", "mention_pooling", "entity_pooling", "similarity", "temperature",
    "num_hard_negatives", "mined_negatives", "num_candidates", "pooling", "retrieval_weight",
)  # fmt: skip
_OF_DISTILLATION = ("distillation_alpha", "distillation_temperature", "distillation_loss")
_LINKER_CANDIDATES = 16  # of an EntityLinker, where nobody says otherwise
_EXAMPLES = 5


@dataclass(frozen=True)
class CardNotes:
    """What only the author knows.

    Attributes:
        license: the Hub's keyword for the licence of the repository.
        language: codes such as `en`.
        runs: output folders of training runs, in order; None says nothing about training.
        metrics: file of `evaluate_linker`'s metrics (JSON) for each set of mentions, by name.
        benchmarks: of sets of `metrics` that the Hub has registered as benchmarks, by name (`user/dataset:split`), the task
            that the benchmark's `eval.yaml` names, with `:metric` behind it for another one than the unnormalised accuracy.
        source: where the entities come from, in a sentence.
        example_text: for the usage snippets; the first entity's title if empty.
    """

    license: str = "unknown"
    language: Sequence[str] = ()
    runs: Sequence[str | Path] | None = None
    metrics: Mapping[str, str | Path] = field(default_factory=dict)
    source: str | None = None
    example_text: str = ""
    benchmarks: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.benchmarks) - set(self.metrics)):
            raise ValueError(
                f"expected benchmarks among the sets with metrics ({', '.join(self.metrics) or 'none'}), got "
                f"{', '.join(unknown)}; give their metrics too"
            )


def card_of(part: Any, folder: Path, repo_id: str, notes: CardNotes) -> Card:
    """The card of anything that is pushed.

    Args:
        part: a linker, an encoder, an index or a knowledge base.
        folder: where it is saved, complete.
        repo_id: its repository.
        notes: what the author adds.

    Raises:
        TypeError: something else.
        ValueError: a fact that cannot be right; names it.
    """
    check_kind(part)
    kind, own = _GATHER[type(part).__name__](part, folder, notes)
    common: dict[str, Any] = {"repo_id": repo_id, "license": notes.license, "language": list(notes.language)}
    if kind in (LinkerCard, BiEncoderCard, CrossEncoderCard, ElqCard):
        runs = notes.runs
        common["training"] = (
            None if runs is None else [run for folder in runs for run in runs_of(Path(folder))]
        )
        common["evaluations"] = [
            evaluation_of(name, Path(file), notes.benchmarks.get(name))
            for name, file in notes.metrics.items()
        ]
    return kind.from_dict(common | own)


def check_kind(part: Any) -> None:
    """Raises TypeError for what has no card."""
    if type(part).__name__ not in _GATHER:
        raise TypeError(
            f"expected one of {', '.join(_GATHER)}, or the folder of one, got {type(part).__name__}"
        )


def runs_of(folder: Path) -> list[dict[str, Any]]:
    """The runs in an output folder of a training script: one for each round of a bi-encoder.

    Raises:
        FileNotFoundError: no finished run there.
    """
    recipe = _read(folder / "recipe.json", "the output folder of a training script")
    records = [
        file for file in (*sorted(folder.glob("round_*/round.json")), folder / "round.json") if file.is_file()
    ]
    if not records:
        raise FileNotFoundError(
            f"expected a finished training run in {folder}, got no round.json; resume the run"
        )
    names = (*_SHOWN_ARGUMENTS, *(_OF_DISTILLATION if "cross_encoder" in recipe else ()))
    shown = {name: recipe[name] for name in names if recipe.get(name) is not None}
    facts = []
    for number, file in enumerate(records):
        record = json.loads(file.read_text(encoding="utf-8"))
        facts.append(
            {
                "title": _title(number, recipe),
                "base_model": hub_name(recipe, "bi_encoder" if "cross_encoder" in recipe else "base_model"),
                "datasets": [{"name": Path(str(name)).name} for name in recipe.get("train", [])],
                "arguments": shown,
                "losses": record.get("losses", []),
                "recalls": record.get("recalls", []),
            }
        )
    return facts


def evaluation_of(name: str, file: Path, task: str | None = None) -> dict[str, Any]:
    """Metrics of `evaluate_linker` from a JSON file, as a card's evaluation.

    Args:
        name: what the mentions are called, with `:split` behind it if they are a part; a name like `user/data` is the
            Hub's.
        file: the metrics.
        task: where the set is a registered benchmark of the Hub, its task, perhaps with `:metric` behind it.

    Raises:
        ValueError: a benchmark without a Hub name.
    """
    name, _, split = name.partition(":")
    mentions = {"name": name, "hub_id": name if _HUB_NAME.fullmatch(name) else None}
    return {
        "benchmark": None if task is None else _benchmark(mentions, task),
        "mentions": mentions,
        "split": split or None,
        "metrics": _shown_metrics(_read(file, "metrics of `hf-blink evaluate --out`")),
    }


def _shown_metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    """Without what a card's table has no place for: NIL counted in, and how a threshold was fitted."""
    apart = ("with_nil/", "dev_", "joint_threshold")
    return {name: value for name, value in metrics.items() if not name.startswith(apart)}


def _benchmark(mentions: dict[str, str | None], task: str) -> dict[str, str]:
    if mentions["hub_id"] is None:
        raise ValueError(
            f"expected a benchmark's Hub name (user/dataset) as the name of its metrics, got {mentions['name']!r}"
        )
    task_id, _, metric = task.partition(":")
    return {"dataset_id": mentions["hub_id"], "task_id": task_id} | ({"metric": metric} if metric else {})


def hub_name(recipe: Mapping[str, Any], setting: str) -> str | None:
    """The Hub name of a model in a run's settings; None where it was a folder when the run began."""
    name = str(recipe.get(setting) or "")
    return name if _HUB_NAME.fullmatch(name) and setting not in recipe.get("local_folders", ()) else None


def _title(number: int, recipe: Mapping[str, Any]) -> str:
    """The training script is known by the models that its recipe names."""
    if "span_head" in recipe:
        return "ELQ with hard negatives, frozen entities" if number else "ELQ, in-batch negatives"
    if "cross_encoder" in recipe:
        return "Bi-encoder distilled from a cross-encoder"
    if "bi_encoder" in recipe:
        return "Cross-encoder on mined candidates"
    return (
        f"Bi-encoder with mined hard negatives, round {number}"
        if number
        else "Bi-encoder, in-batch negatives"
    )


def _read(file: Path, what: str) -> Any:
    if not file.is_file():
        raise FileNotFoundError(f"expected {what}, got no {file}")
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"expected JSON in {file}, got {error}") from None


def _linker(linker: Any, folder: Path, notes: CardNotes) -> tuple[type[Card], dict[str, Any]]:
    title = linker.knowledge_base[0].title
    facts = {
        "example_text": notes.example_text or f"{title} is in the news.",
        **_lengths(linker.processor),
        "num_candidates": linker.num_candidates,
        "threshold": linker.threshold,
        "has_cross_encoder": linker.cross_encoder is not None,
        "calibrated": False,
        "index": _index_facts(linker.index, folder / "entity_index"),
        "knowledge_base": _entity_facts(
            linker.knowledge_base, folder / "knowledge_base", notes, _elsewhere(folder)
        ),
    }
    return LinkerCard, facts


def _elsewhere(folder: Path) -> str | None:
    """The repository of a linker's knowledge base, where it has one of its own."""
    description = json.loads((folder / "linker.json").read_text(encoding="utf-8"))
    reference = description.get("elsewhere", {}).get("knowledge_base")
    return reference.partition("@")[0] if reference else None


def _bi_encoder(model: Any, folder: Path, notes: CardNotes) -> tuple[type[Card], dict[str, Any]]:
    names = ("share_towers", "embed_dim", "mention_pooling", "entity_pooling", "similarity", "temperature")
    return BiEncoderCard, {**_saved_lengths(folder), **{name: getattr(model.config, name) for name in names}}


def _elq(model: Any, folder: Path, notes: CardNotes) -> tuple[type[Card], dict[str, Any]]:
    lengths, config = _saved_lengths(folder), model.config
    facts = {
        "text_length": lengths.get("mention_length"),
        "entity_length": lengths.get("entity_length"),
        "max_mention_length": config.max_mention_tokens,
        "embed_dim": config.embed_dim,
        "num_candidates": _LINKER_CANDIDATES,
        "joint_threshold": config.joint_threshold,
    }
    return ElqCard, {name: value for name, value in facts.items() if value is not None}


def _cross_encoder(model: Any, folder: Path, notes: CardNotes) -> tuple[type[Card], dict[str, Any]]:
    recipes = [
        _read(Path(run) / "recipe.json", "the output folder of a training script") for run in notes.runs or ()
    ]
    candidates = next((recipe["num_candidates"] for recipe in recipes if "num_candidates" in recipe), None)
    if candidates is None:
        raise ValueError(
            "expected the run that trained the cross-encoder, for its card to say how many candidates it saw, got none; "
            "name its output folder (CardNotes.runs, --runs)"
        )
    facts = {
        "bi_encoder": next((name for recipe in recipes if (name := hub_name(recipe, "bi_encoder"))), None),
        **_saved_lengths(folder),
        "num_candidates": candidates,
        "pooling": model.config.pooling,
        "retrieval_weight": model.config.retrieval_weight,
    }
    return CrossEncoderCard, facts


def _index(index: Any, folder: Path, notes: CardNotes) -> tuple[type[Card], dict[str, Any]]:
    return IndexCard, {"index": _index_facts(index, folder), "encoder": None, "knowledge_base": None}


def _knowledge_base(entities: Any, folder: Path, notes: CardNotes) -> tuple[type[Card], dict[str, Any]]:
    examples = [
        {"entity_id": entity.entity_id, "title": entity.title, "description": entity.description}
        for entity in entities.entities(range(min(_EXAMPLES, len(entities))))
    ]
    return KnowledgeBaseCard, {"knowledge_base": _entity_facts(entities, folder, notes), "examples": examples}


_GATHER = {
    "EntityLinker": _linker,
    "BlinkBiEncoder": _bi_encoder,
    "BlinkCrossEncoder": _cross_encoder,
    "ElqModel": _elq,
    "EntityIndex": _index,
    "KnowledgeBase": _knowledge_base,
}


def _lengths(processor: Any) -> dict[str, int]:
    return {"mention_length": processor.mention_length, "entity_length": processor.entity_length}


def _saved_lengths(folder: Path) -> dict[str, int]:
    """The lengths of the processor beside an encoder; of an encoder alone nobody knows them."""
    file = folder / "processor_config.json"
    values = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return {name: values[name] for name in ("mention_length", "entity_length") if name in values}


def _index_facts(index: Any, folder: Path) -> dict[str, Any]:
    import faiss

    file = folder / "index.faiss"
    vectors = 4 * len(index) * index.dimension
    return {
        "kind": index.kind,
        "num_entities": len(index),
        "dimension": index.dimension,
        "num_bytes": file.stat().st_size if file.is_file() else vectors,
        "faiss_version": faiss.__version__,
        "settings": index.settings,
        "encoder_fingerprint": index.encoder_fingerprint,
        "knowledge_base_fingerprint": index.knowledge_base_fingerprint,
    }


def _entity_facts(
    entities: Any, folder: Path, notes: CardNotes, elsewhere: str | None = None
) -> dict[str, Any]:
    shards = [file.stat().st_size for file in folder.glob("entities-*.parquet")]
    return {
        "num_entities": len(entities),
        "num_bytes": sum(shards) or None,
        "worlds": {world: len(entities.world_rows(world)) for world in entities.worlds},
        "fingerprint": entities.fingerprint,
        "source": notes.source,
        "hub_id": elsewhere,
    }
