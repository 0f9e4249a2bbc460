"""The YAML at the top of a card, as huggingface_hub writes and reads it.

`library_name` is `hf_blink`, and linkers have the pipeline tag `token-classification` with the tag `entity-linking`:
the Hub has no task of that name, and token classification (mark spans of a text) is the one under which people look
for it. transformers cannot be misled by it: `pipeline(model=REPO)` without a task takes the task from the
configuration's `custom_pipelines`, and where there are none, it refuses a repository whose library is not transformers
instead of loading our weights into its own token-classification pipeline. Encoders have the tags of what they give:
vectors (`feature-extraction`), ranked pairs (`text-ranking`). The entities of a knowledge base are a retrieval set,
for which the Hub's data set task `entity-linking-retrieval` exists.
"""

import re
from typing import Any

from huggingface_hub import CardData, DatasetCardData, ModelCardData

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
from hf_blink.hub_cards.escaping import plain_line
from hf_blink.hub_cards.evaluation import eval_results

LIBRARY = "hf_blink"
ENTITY_FILES = "entities-*.parquet"  # what KnowledgeBase.save_pretrained writes

_TAGS: dict[type[Card], tuple[str | None, tuple[str, ...]]] = {
    LinkerCard: ("token-classification", ("entity-linking", "blink", "faiss")),
    ElqLinkerCard: ("token-classification", ("entity-linking", "elq", "blink", "faiss")),
    BiEncoderCard: ("feature-extraction", ("entity-linking", "blink", "bi-encoder")),
    CrossEncoderCard: ("text-ranking", ("entity-linking", "blink", "cross-encoder")),
    ElqCard: ("token-classification", ("entity-linking", "elq")),
    IndexCard: (None, ("entity-linking", "faiss", "entity-index")),
}
_HUB_METRIC = re.compile(r"accuracy|precision|recall|f1")
_SIZES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
)


def card_metadata(card: Card) -> CardData:
    """The metadata of a card; `to_yaml()` gives the text."""
    if isinstance(card, KnowledgeBaseCard):
        return _dataset_metadata(card)
    pipeline_tag, tags = _TAGS[type(card)]
    if isinstance(card, ModelCardFacts):
        facts = _model_facts(card)
    elif isinstance(card, IndexCard):
        facts = {"datasets": [card.knowledge_base] if card.knowledge_base else None}
    return ModelCardData(
        **_common(card), library_name=LIBRARY, pipeline_tag=pipeline_tag, tags=list(tags), **facts
    )


def _common(card: Card) -> dict[str, Any]:
    return {
        "language": list(card.language) or None,
        "license": card.license,
        "license_name": None if card.license_name is None else plain_line(card.license_name),
        "license_link": card.license_link,
    }


def _model_facts(card: ModelCardFacts) -> dict[str, Any]:
    runs = card.training or ()
    base_models = list(dict.fromkeys(run.base_model for run in runs if run.base_model))
    datasets = list(
        dict.fromkeys(mentions.hub_id for run in runs for mentions in run.datasets if mentions.hub_id)
    )
    metrics = [
        name for evaluation in card.evaluations for name in map(_hub_metric, evaluation.overall()) if name
    ]
    return {
        "base_model": base_models[0] if len(base_models) == 1 else base_models or None,
        "datasets": datasets or None,
        "metrics": list(dict.fromkeys(metrics)) or None,
        "eval_results": eval_results(card.evaluations) or None,
        "model_name": card.repo_id.rpartition("/")[2] if card.evaluations else None,
    }


def _hub_metric(key: str) -> str | None:
    """The Hub's name for a metric of ours."""
    found = _HUB_METRIC.match(key)
    return None if found is None else found[0]


def _dataset_metadata(card: KnowledgeBaseCard) -> DatasetCardData:
    count = card.knowledge_base.num_entities
    data_files = [{"split": "train", "path": ENTITY_FILES}]
    return DatasetCardData(
        **_common(card),
        pretty_name=card.repo_id.rpartition("/")[2],
        size_categories=[next((name for limit, name in _SIZES if count < limit), "n>10M")],
        task_categories=["text-retrieval"],
        task_ids=["entity-linking-retrieval"],
        tags=["entity-linking", "knowledge-base", LIBRARY],
        # Names the parquet files for the dataset viewer and load_dataset, whatever else lies beside them.
        configs=[{"config_name": "default", "data_files": data_files}],
    )
