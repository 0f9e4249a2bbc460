"""What a card says, gathered from the objects that are pushed and from the folders that training left.

The facts that nobody recorded are left out of the card; nothing is guessed. Runs and metrics are read by run_facts.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
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
    ModelCardFacts,
)
from hf_blink.run_facts import evaluation_of, hub_name, read_json, runs_of

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
    common = _noted(notes, repo_id)
    if not issubclass(kind, ModelCardFacts):
        common = {name: common[name] for name in ("repo_id", "license", "language")}
    return kind.from_dict(common | own)


def check_notes(notes: CardNotes, repo_id: str) -> None:
    """Raises what `card_of` would for the notes, before the object is at hand."""
    ModelCardFacts.from_dict(_noted(notes, repo_id))


def _noted(notes: CardNotes, repo_id: str) -> dict[str, Any]:
    """What the notes say, as fields of a model's card."""
    runs = None if notes.runs is None else [run for folder in notes.runs for run in runs_of(Path(folder))]
    evaluations = [
        evaluation_of(name, Path(file), notes.benchmarks.get(name)) for name, file in notes.metrics.items()
    ]
    common = {"repo_id": repo_id, "license": notes.license, "language": list(notes.language)}
    return {**common, "training": runs, "evaluations": evaluations}


def check_kind(part: Any) -> None:
    """Raises TypeError for what has no card."""
    if type(part).__name__ not in _GATHER:
        raise TypeError(
            f"expected one of {', '.join(_GATHER)}, or the folder of one, got {type(part).__name__}"
        )


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
    config = linker.bi_encoder.config
    if config.model_type == "elq":
        return ElqLinkerCard, facts | _span_facts(config)
    return LinkerCard, facts


def _span_facts(config: Any) -> dict[str, Any]:
    """How an ELQ model decides which spans are mentions."""
    names = ("num_mentions", "joint_threshold", "nested")
    return {
        "max_mention_length": config.max_mention_tokens,
        **{name: getattr(config, name) for name in names},
    }


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
        read_json(Path(run) / "recipe.json", "the output folder of a training script")
        for run in notes.runs or ()
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
