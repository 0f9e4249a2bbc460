"""What a run of `train_elq` would do, told before hours are spent on it: `--dry_run true`, in the form of dry_run.

The stage with hard negatives is tried with random vectors in the place of the entities', as many as the run will have, so
that the search for neighbours, which each of its steps makes, takes the time and the memory that it will take.
"""

from functools import cache
from typing import Any

import numpy as np
from datasets import Dataset

from hf_blink.modeling.encoder_limits import check_fits
from hf_blink.modeling.entity_index import EntityIndex
from hf_blink.modeling.modeling_elq import ElqModel
from hf_blink.modeling.processing_elq import ElqProcessor
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.data_lines import complete_text, document_lines, num_entities
from hf_blink.training.document_arguments import DocumentArguments, DocumentData
from hf_blink.training.dry_run import Plan, Say, Stage, say_once, size_text, try_plan
from hf_blink.training.elq_arguments import ElqArguments, stage_name
from hf_blink.training.elq_trainer import ElqTrainer
from hf_blink.training.process_shares import failing_together
from hf_blink.training.span_collator import ElqCollator
from hf_blink.training.token_lengths import DocumentTexts, document_lengths

_DRAWN = 4096  # random vectors, which are repeated


def dry_run_documents(
    documents: DocumentArguments, settings: ElqArguments, training: BlinkTrainingArguments, say: Say = print
) -> dict[str, Any]:
    """Says what a run would do; collective.

    Args:
        documents: the recipe's files.
        settings: its model and stages.
        training: its training arguments.
        say: takes one line, or some, at a time.

    Returns:
        No metrics.

    Raises:
        ValueError: what the run would refuse.
        MemoryError: a step does not fit; says what to lower.
    """
    say = say_once(say, training)
    with failing_together("reading the data"):
        raw = documents.read()
    for line in document_lines(raw, documents):
        say(line)
    with failing_together("loading the model"):
        model, processor = settings.load()
        check_fits(processor, model)
    found = documents.prepared(raw, processor, training.seed)
    say(_trained_line(found.train))
    texts = DocumentTexts(raw.train, found.train, model.config.max_mention_tokens)
    lengths = document_lengths(processor, found.knowledge_base, texts, training.seed)
    return try_plan(_plan(model, processor, found, settings, training), lengths, found, training, say)


def _trained_line(texts: Dataset) -> str:
    labels = [mention["label_ids"] for row in texts["mentions"] for mention in row]
    empty = sum(not row for row in texts["mentions"])
    return (
        f"  {'trained on':<20} {len(texts):,} texts (windows), {complete_text(texts)}, {empty:,} without mentions; "
        f"{len(labels):,} mentions of {num_entities(labels):,} entities"
    )


def _plan(
    model: ElqModel,
    processor: ElqProcessor,
    data: DocumentData,
    settings: ElqArguments,
    training: BlinkTrainingArguments,
) -> Plan:
    collator = ElqCollator(processor, data.knowledge_base)
    size = (len(data.knowledge_base), model.config.embed_dim)

    @cache
    def index() -> EntityIndex:
        return EntityIndex.from_vectors(_random_vectors(size, training.seed))

    def first(args: BlinkTrainingArguments, texts: Dataset) -> ElqTrainer:
        return ElqTrainer(model, args, collator, texts)

    def later(args: BlinkTrainingArguments, texts: Dataset) -> ElqTrainer:
        return ElqTrainer(model, args, collator, texts, index=index())

    vectors = (
        f"  {'vectors':<12} {size_text(4 * size[0] * size[1])} a process (counted), twice while they are made"
    )
    stages = [
        Stage(
            stage_name(number),
            settings.stage_arguments(number, training),
            later if number else first,
            compared=_compared(number, training, size[0]),
            unit="texts",
            remarks=[vectors] if number else [],
        )
        for number in range(settings.num_stages)
    ]
    encoded = (
        "once, before the hard negatives" if len(stages) > 1 else "once, to fit the threshold and to measure"
    )
    return Plan(processor, model, stages, encoded, "encoding, fitting the threshold, evaluation and saving")


def _compared(number: int, training: BlinkTrainingArguments, count: int) -> str:
    """What a mention is compared with in a stage."""
    batch = "the global batch" if training.gather_negatives else "the batch"
    if not number:
        return f"the gold entities of {batch}"
    near = f"the {training.num_hard_negatives} entities nearest to each mention, of {count:,}"
    return near if training.hard_negative_loss == "bce" else f"{near}, and those of the others of {batch}"


def _random_vectors(size: tuple[int, int], seed: int) -> np.ndarray:
    """Vectors of length 1, float32 `[num_entities, embed_dim]`."""
    drawn = np.random.default_rng(seed).standard_normal((min(size[0], _DRAWN), size[1]), dtype=np.float32)
    return np.resize(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), size)
