"""`hf-blink quickstart`: the whole main line on the package's own small data, in a few minutes on two cores.

    base encoder -> bi-encoder in-batch -> mined hard negatives -> bi-encoder again -> cross-encoder -> linker folder
    -> pipeline("entity-linking") -> links of a short article, as a table and as an HTML page

The data are 356 entities whose names collide (two Ronaldos, three Mercuries) and 1,080 labelled mentions in sentences
written for it, split by families of names. The test entities are in no training batch, neither as gold nor as negatives.
"""

import math
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from hf_blink.training.text_table import format_table

SEED = 13
BATCH_SIZE = 32
IN_BATCH_EPOCHS = 2
HARD_NEGATIVE_EPOCHS = 1
CROSS_ENCODER_MENTIONS = 120
NUM_CANDIDATES = 8
WINDOW = 64  # tokens of a mention window and of an entity text
RECALL_AT = (1, NUM_CANDIDATES)


def data_path(name: str) -> str:
    """Path of a file of the quickstart's data."""
    return str(files("hf_blink") / "data" / name)


def _quieten_transformers() -> None:
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def run(
    base_model: str | None = None,
    out: str = "quickstart-linker",
    say: Callable[[str], Any] = print,
    max_steps: int | None = None,
) -> list[dict[str, Any]]:
    """Trains, measures, saves and uses a linker.

    Args:
        base_model: folder or Hub name of the base encoder; None takes the one of the extra `[quickstart]`.
        out: folder for the linker, `links.html` in it.
        say: receives the lines for the user.
        max_steps: steps of each of the three trainings at most; None trains in full.

    Returns:
        The rows of the printed table: `system`, `recall@1`, `recall@8`, `accuracy` (shares of 1, unseen entities).
    """
    from transformers import set_seed

    from hf_blink.default_encoder import default_encoder
    from hf_blink.modeling.linker_storage import check_save_folder
    from hf_blink.training.name_ranking import ExactNameRanking

    check_save_folder(out)
    _quieten_transformers()
    set_seed(SEED)
    work = _Work(base_model or default_encoder(), max_steps)
    everything, test = work.knowledge_base, work.test
    say(f"{len(everything)} entities, {len(work.train)} training mentions, {len(test)} test mentions")
    say(f"base encoder: {work.base_model}\n")
    rows = [
        _row("exact title or alias", ExactNameRanking(everything), test),
        _row("untrained encoder", work.linker(), test),
    ]
    say("1/3  bi-encoder, the batch's other entities as negatives")
    work.train_bi_encoder(hard=False)
    rows.append(_row("bi-encoder, in-batch", work.linker(), test))
    say("2/3  bi-encoder, with mined hard negatives")
    work.train_bi_encoder(hard=True)
    rows.append(_row("+ hard negatives", work.linker(), test))
    say("3/3  cross-encoder on the bi-encoder's candidates")
    trained = work.linker(cross_encoder=work.trained_cross_encoder())
    rows.append(_row("+ cross-encoder", trained, test))
    sizes = f"{len(test)} test mentions; candidates are all {len(everything)} entities"
    say(f"\nUnseen entities ({sizes}), percent:")
    say(_table(rows))
    if work.shortened:
        say(f"The trainings were cut short (--max-steps {max_steps}): {', '.join(work.shortened)}.")
    trained.save_pretrained(out)
    _link_article(out, say)
    return rows


class _Work:
    """The data and the bi-encoder that the stages share, and the stages."""

    def __init__(self, base_model: str, max_steps: int | None = None):
        from hf_blink import BlinkBiEncoder, BlinkProcessor, KnowledgeBase, read_mentions

        self.base_model, self.max_steps = base_model, max_steps
        self.shortened: list[str] = []
        self.knowledge_base = KnowledgeBase.from_jsonl(data_path("entities.jsonl"))
        self.train, self.test = (
            read_mentions(data_path(f"mentions_{part}.jsonl")) for part in ("train", "test")
        )
        self.seen = without_entities_of(self.test, self.knowledge_base)
        self.processor = BlinkProcessor.from_base(base_model, mention_length=WINDOW, entity_length=WINDOW)
        self.model = BlinkBiEncoder.from_encoder(base_model, vocab_size=len(self.processor.tokenizer))

    def linker(self, *, seen: bool = False, cross_encoder: Any = None) -> Any:
        """The bi-encoder as it is now with an index of its own: of the entities that training may know, or of all."""
        from hf_blink import EntityLinker

        return EntityLinker.from_knowledge_base(
            self.seen if seen else self.knowledge_base,
            self.model,
            processor=self.processor,
            progress=False,
            cross_encoder=cross_encoder,
            num_candidates=NUM_CANDIDATES,
        )

    def train_bi_encoder(self, *, hard: bool) -> None:
        """Trains the bi-encoder in place: in-batch, or with the hard negatives that it mines."""
        from hf_blink import BiEncoderCollator, HardNegativeTrainer, InBatchTrainer, mine_hard_negatives

        linker, train = self.linker(seen=True), self.train
        collator = BiEncoderCollator(linker.processor, linker.knowledge_base)
        options: dict[str, Any] = {"per_device_train_batch_size": BATCH_SIZE, "num_hard_negatives": 1}
        if hard:
            train = mine_hard_negatives(linker, train, num_negatives=NUM_CANDIDATES, progress=False)
            options |= {"num_train_epochs": HARD_NEGATIVE_EPOCHS, "learning_rate": 1e-4}
        else:
            options |= {"num_train_epochs": IN_BATCH_EPOCHS, "learning_rate": 2e-4}
        self._train(HardNegativeTrainer if hard else InBatchTrainer, self.model, collator, train, **options)

    def trained_cross_encoder(self) -> Any:
        """A cross-encoder trained on the bi-encoder's candidates."""
        from hf_blink import BlinkCrossEncoder, CrossEncoderCollator, CrossEncoderTrainer, mine_candidates

        linker = self.linker(seen=True)
        train = self.train.shuffle(seed=SEED).select(range(CROSS_ENCODER_MENTIONS))
        dataset = mine_candidates(linker, train, num_candidates=NUM_CANDIDATES, progress=False)
        temperature = self.model.config.temperature
        collator = CrossEncoderCollator(self.processor, linker.knowledge_base, temperature)
        vocab_size = len(self.processor.tokenizer)
        # Not from the bi-encoder's tower, whose first scores need a few hundred mentions before they are better than none.
        model = BlinkCrossEncoder.from_encoder(
            self.base_model, vocab_size=vocab_size, pooling="mean", retrieval_weight=1.0
        )
        options = {"num_train_epochs": 1, "learning_rate": 1e-4, "per_device_train_batch_size": 8}
        return self._train(CrossEncoderTrainer, model, collator, dataset, **options)

    def _train(self, trainer_class: Any, model: Any, collator: Any, dataset: Any, **options: Any) -> Any:
        """Trains, in `max_steps` steps where the epochs of `options` have more."""
        from hf_blink.training.short_training import train_briefly

        batches = math.ceil(len(dataset) / options["per_device_train_batch_size"])
        steps = math.ceil(options["num_train_epochs"] * batches)
        if self.max_steps is not None and self.max_steps < steps:
            self.shortened.append(f"{self.max_steps} of {steps} steps")
            options["max_steps"] = self.max_steps
        return train_briefly(trainer_class, model, collator, dataset, seed=SEED, **options)


def without_entities_of(test: Any, knowledge_base: Any) -> Any:
    """The knowledge base that training may know: no entity of a test mention, not even as a negative."""
    from hf_blink import KnowledgeBase

    unseen = {label for labels in test["label_ids"] for label in labels}
    return KnowledgeBase.from_entities(entity for entity in knowledge_base if entity.entity_id not in unseen)


def _table(rows: list[dict[str, Any]]) -> str:
    names = ("recall@1", f"recall@{NUM_CANDIDATES}", "accuracy")
    body = [[row["system"], *(f"{100 * row[name]:.1f}" for name in names)] for row in rows]
    return format_table(["system", "R@1", f"R@{NUM_CANDIDATES}", "accuracy"], body)


def _row(system: str, linker: Any, test: Any) -> dict[str, Any]:
    from hf_blink import evaluate_linker

    metrics = evaluate_linker(linker, test, recall_at=RECALL_AT, rerank_k=NUM_CANDIDATES, progress=False)
    recalls = {f"recall@{k}": metrics[f"recall@{k}"] for k in RECALL_AT}
    return {"system": system, **recalls, "accuracy": metrics["accuracy_unnormalised"]}


def _link_article(out: str, say: Callable[[str], Any]) -> None:
    """Loads the saved linker as a user would and links the article."""
    from transformers import pipeline

    from hf_blink.link_page import render_page
    from hf_blink.modeling.full_disk import write_text_whole

    text = Path(data_path("article.txt")).read_text(encoding="utf-8").strip()
    linker = pipeline("entity-linking", model=out, device="cpu")
    links = linker(text)
    say(f"\n{text}\n")
    body = []
    for link in links:
        best, *others = link["candidates"]
        second = f"{others[0]['entity_id']} ({100 * others[0]['score']:.0f} %)" if others else ""
        body.append([link["word"], best["entity_id"], f"{100 * best['score']:.0f} %", second])
    say(format_table(["mention", "linked to", "probability", "runner-up"], body))
    page = Path(out) / "links.html"
    write_text_whole(
        page, render_page(text, linker.linker.link(text), title="hf_blink quickstart"), "the page"
    )
    say(f"\nthe linker is in {out}, the article with its links in {page}")
    say(f'next: hf-blink link --model {out} "Jordan won six titles in Chicago."')
