"""An arm of benchmarks/ablation.py: what it trains on, and what it then finds for the held-out mentions."""

import argparse
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from benchmarks.ablation_arms import NAMES, Arm
from benchmarks.ablation_training import Data, Teacher, Trained, train_arm
from benchmarks.measuring import RECALL_AT, RecordedRanking, measured_row
from benchmarks.real_data_run import Run
from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training.adaptation import evenly_from_sources
from hf_blink.training.dataset_readers import contexts_of
from hf_blink.training.mention_references import candidate_worlds, entity_rows, worlds_of
from hf_blink.training.name_neighbours import add_name_neighbours
from hf_blink.training.silver_mentions import silver_mentions


@cache
def teacher_of(folder: Path) -> Teacher:
    """The teacher of a set, loaded once."""
    return Teacher(folder)


def prepare(run: Run, arm: Arm, options: argparse.Namespace) -> Data | None:
    """The training data of an arm; None where it would be the arm before it again, for want of worlds."""
    mentions = run.training_parts()[0]
    if (
        "same_world_batches" in arm.switched
        and arm.name == "+ world batches"
        and set(mentions["world"]) == {None}
    ):
        return None
    needed = arm.two_stages or any(kind == "distillation" for kind, _ in arm.phases)
    teacher = teacher_of(run.work / "cross_encoder") if needed else None
    if arm.silver:
        from benchmarks.adapt import training_texts

        texts = training_texts(run.data / "documents.jsonl.gz")
        found = silver_mentions(run.knowledge_base, texts, seed=options.seed)
        mentions = evenly_from_sources(found, options.train_mentions)
        mined = run.knowledge_base
    else:
        mentions = mentions.select(range(min(options.train_mentions, len(mentions))))
        mined = training_side(run, mentions, options.mined_entities, options.seed)
    if arm.values[NAMES]:
        mentions = add_name_neighbours(mentions, run.knowledge_base, seed=options.seed)
    return Data(
        mentions,
        run.knowledge_base,
        mined,
        run.base_model(),
        options.window,
        options.mined_mentions,
        teacher,
        options.seed,
    )


def training_side(run: Run, mentions: Dataset, num_entities: int, seed: int) -> KnowledgeBase:
    """The gold entities of the training mentions and random others of their worlds, so many in all where there are."""
    whole = run.knowledge_base
    gold = {row for rows in entity_rows(list(mentions["label_ids"]), whole) for row in rows}
    worlds = candidate_worlds(worlds_of(mentions), whole)
    named = sorted({world for world in worlds or () if world is not None})
    allowed = np.concatenate([whole.world_rows(world) for world in named]) if named else np.arange(len(whole))
    others = np.random.default_rng(seed).permutation([row for row in allowed.tolist() if row not in gold])
    rows = sorted([*gold, *others[: max(0, num_entities - len(gold))].tolist()])
    return KnowledgeBase.from_entities(whole.entities(np.array(rows)))


def measure(run: Run, arm: Arm, data: Data, options: argparse.Namespace, reranked: int) -> dict[str, Any]:
    """Trains an arm and measures it.

    Returns:
        Recall, the gold entities' positions, what the training was, and the accuracy with the second stage.
    """
    trained = train_arm(arm, data, options.seconds, options.clock)
    held_out = run.validation
    chosen = np.random.default_rng(0).permutation(len(held_out))[: options.mentions]
    held_out = held_out.select(np.sort(chosen).tolist())
    pool = run.validation_pool()
    linker = EntityLinker.from_knowledge_base(
        pool, trained.model, processor=trained.processor, index_kind="flat", progress=False
    )
    row, positions = measured_row(arm.key, RecordedRanking(linker), held_out)
    result = {f"recall@{k}": row[f"recall@{k}"] for k in RECALL_AT} | facts_of(trained)
    result["positions"] = positions.tolist()
    result["accuracy_unnormalised"] = row["recall@1"]  # of the bi-encoder alone
    result["two_stages"] = arm.two_stages
    if arm.two_stages and data.teacher is not None:
        right = _two_stages(linker, data.teacher, held_out, reranked)
        result |= {"accuracy_unnormalised": float(np.mean(right)), "two_stages_right": right}
    result |= {"training_mentions": len(data.mentions), "training_entities": len(data.mined)}
    return result | {"data": {"entities": len(pool), "mentions": len(held_out)}}


def facts_of(trained: Trained) -> dict[str, Any]:
    """What a training was, without its model."""
    names = ("mentions_seen", "steps", "mining_seconds", "teacher_seconds", "train_seconds", "final_losses")
    return {name: getattr(trained, name) for name in names}


def _two_stages(linker: EntityLinker, teacher: Teacher, held_out: Dataset, reranked: int) -> list[bool]:
    """Whether each mention is right when the teacher's second stage ranks the arm's candidates."""
    worlds = candidate_worlds(worlds_of(held_out), linker.knowledge_base)
    _, rows = linker.retrieve(contexts_of(held_out.to_list()), reranked, worlds)
    ids = [linker.knowledge_base.entity_ids(found[found >= 0]) for found in rows]
    scores = teacher.scores(held_out, ids)
    best = [candidates[int(np.argmax(found))] for candidates, found in zip(ids, scores, strict=True)]
    return [entity in gold for entity, gold in zip(best, held_out["label_ids"], strict=True)]
