"""BLINK's own numbers on a small Zeshel of 16 worlds: conversion, and retrieval world by world."""

import json
import re

import numpy as np
import pytest

import hf_blink
from hf_blink.modeling.batch_encoding import encode_mentions
from hf_blink.modeling.encoder_fingerprint import encoder_fingerprint
from hf_blink.modeling.entity_index import EntityIndex
from hf_blink.original_entities import ZESHEL_WORLDS
from hf_blink.training.dataset_readers import contexts_of, read_blink_mentions
from tests.oracle import CHECKPOINTS
from tests.oracle import oracle as oracle

BLINK, BERT, ZESHEL = CHECKPOINTS / "blink", str(CHECKPOINTS / "bert_tiny"), CHECKPOINTS / "mini_zeshel"


@pytest.fixture(scope="module")
def linker(oracle, tmp_path_factory):
    files = hf_blink.BlinkFiles(
        BLINK / "biencoder_tiny.bin",
        BLINK / "biencoder_tiny.json",
        entities=ZESHEL / "documents",
        bert_model=BERT,
    )
    settings = hf_blink.ImportSettings(progress=False)
    folder = hf_blink.import_blink(files, tmp_path_factory.mktemp("imported") / "zeshel", settings)
    return hf_blink.EntityLinker.from_pretrained(folder)


@pytest.mark.parametrize(("split", "file"), [("train", "train"), ("valid", "val"), ("test", "test")])
def test_conversion_of_mentions(oracle, split, file):
    mentions, _ = hf_blink.read_zeshel(ZESHEL / "documents", ZESHEL / "mentions" / f"{file}.json")
    converted = [
        json.loads(line) for line in (ZESHEL / "blink_format" / f"{split}.jsonl").read_text().splitlines()
    ]
    assert len(mentions) == len(converted) == oracle["zeshel_tiny"]["n_converted"][split]
    for ours, theirs in zip(mentions, converted, strict=True):
        for key in ("context_left", "mention", "context_right"):  # lower-casing is the processor's work
            assert ours[key].lower().split() == theirs[key].split()
        assert ours["world"] == theirs["world"]
    theirs = read_blink_mentions(
        ZESHEL / "blink_format" / f"{split}.jsonl", documents_folder=ZESHEL / "documents"
    )
    assert list(theirs["label_ids"]) == list(mentions["label_ids"])


def test_worlds_are_blinks(oracle, linker):
    assert list(ZESHEL_WORLDS) == oracle["zeshel_tiny"]["worlds_order"]
    assert linker.knowledge_base.worlds == sorted(ZESHEL_WORLDS)
    first = [linker.knowledge_base.world_rows(world)[0] for world in ZESHEL_WORLDS]
    assert first == sorted(first)  # rows lie in BLINK's order of worlds


@pytest.fixture(scope="module")
def pool(oracle, linker) -> EntityIndex:
    """Vectors of the original's pool: the first 256 characters of a text, without a title."""
    knowledge_base, processor = linker.knowledge_base, linker.processor
    _, descriptions = knowledge_base.texts(0, len(knowledge_base))
    cls_id, sep_id = processor.frame
    windows = [
        [cls_id, *ids[: processor.entity_length - 2], sep_id]
        for ids in processor.token_ids([text[:256] for text in descriptions])
    ]
    for number, expected in oracle["zeshel_tiny"]["pool_token_ids"].items():
        rows = knowledge_base.world_rows(ZESHEL_WORLDS[int(number)])
        assert [windows[row] for row in rows] == expected
    batch = processor.pad(windows)
    vectors = linker.bi_encoder.encode_entities(batch["input_ids"], batch["attention_mask"]).detach().numpy()
    return EntityIndex.from_vectors(
        vectors,
        encoder_fingerprint=encoder_fingerprint(linker.bi_encoder, processor),
        knowledge_base_fingerprint=knowledge_base.fingerprint,
    )


def candidates(linker, index, mentions, k=4):
    """Local rows, within the mention's world, of the nearest entities."""
    found = []
    vectors = encode_mentions(linker.bi_encoder, linker.processor, contexts_of(mentions))
    for vector, world in zip(vectors, mentions["world"], strict=True):
        rows = linker.knowledge_base.world_rows(world)
        _, nearest = index.search(vector[None], k, rows=rows)
        found.append(np.searchsorted(rows, nearest[0]).tolist())
    return found


@pytest.mark.parametrize("run", ["topk4_bs1", "topk4_bs4"])
def test_retrieval_world_by_world(oracle, linker, pool, run):
    """Sorted by world, as here, the original is right for any batch size."""
    expected = oracle["zeshel_tiny"][run]
    mentions, _ = hf_blink.read_zeshel(ZESHEL / "documents", ZESHEL / "mentions" / "test.json")
    found = candidates(linker, pool, mentions)
    labels = [linker.knowledge_base.entity_row(label[0]) for label in mentions["label_ids"]]
    order = sorted(range(len(mentions)), key=lambda i: ZESHEL_WORLDS.index(mentions[i]["world"]))
    assert [found[i] for i in order] == expected["cand_local_ids"]
    assert [ZESHEL_WORLDS.index(mentions[i]["world"]) for i in order] == expected["worlds"]
    local = [
        label - linker.knowledge_base.world_rows(world)[0]
        for label, world in zip(labels, mentions["world"], strict=True)
    ]
    assert [found[i].index(local[i]) for i in order] == expected["labels"]


def logged(oracle) -> dict[str, tuple[int, float, float]]:
    """Number of mentions, r@1 and r@4 of each world, and of all as "all", as the original printed them."""
    found: dict[str, tuple[int, float, float]] = {}
    world = "all"
    for line in oracle["zeshel_tiny"]["topk4_bs1"]["log"]:
        if line.startswith("In world "):
            world = line.removeprefix("In world ")
        if numbers := re.fullmatch(r"Total: (\d+) examples\. r@1: (\S+) r@4: (\S+)", line.strip()):
            found[world] = int(numbers[1]), float(numbers[2]), float(numbers[3])
            world = "all"
    return found


def test_recall_of_each_world_and_of_all(oracle, linker, pool):
    """Of the original's pool. Its log counts right: one place short is only what its linking script prints."""
    mentions, _ = hf_blink.read_zeshel(ZESHEL / "documents", ZESHEL / "mentions" / "test.json")
    of_pool = hf_blink.EntityLinker(linker.bi_encoder, linker.processor, pool, linker.knowledge_base)
    metrics = hf_blink.evaluate_linker(of_pool, mentions, recall_at=(1, 4), progress=False)
    expected = logged(oracle)
    assert list(expected) == ["forgotten_realms", "lego", "star_trek", "yugioh", "all"]
    for world, (count, *recalls) in expected.items():
        prefix = "" if world == "all" else f"world/{world}/"
        assert metrics[f"{prefix}num_mentions"] == count
        ours = [metrics[f"{prefix}recall@{k}"] for k in (1, 4)]
        assert ours == pytest.approx(recalls, abs=5e-5)  # printed with four digits
    assert expected["all"][1] == 0.125
    # The original has no mean over worlds of this; ours counts the three without a right answer.
    assert metrics["recall@1_macro"] == pytest.approx(1 / 3 / 4)


def test_evaluation_is_of_title_and_text(oracle, linker, pool):
    """The original trains on title and text and measures on 256 characters without the title; ours measures as it trains."""
    mentions, _ = hf_blink.read_zeshel(ZESHEL / "documents", ZESHEL / "mentions" / "test.json")
    assert candidates(linker, linker.index, mentions) != candidates(linker, pool, mentions)
    metrics = hf_blink.evaluate_linker(linker, mentions, recall_at=(1, 4), progress=False)
    assert metrics["recall@4"] == metrics["world/lego/recall@4"] == 1.0  # every world has 4 entities
    assert metrics["num_worlds"] == 4
    assert metrics["recall@1"] == 0.25 > logged(oracle)["all"][1]


def test_worlds_in_turns_stay_apart(oracle, linker):
    """The original books the third of mentions from worlds A, B, A under B."""
    mentions, _ = hf_blink.read_zeshel(ZESHEL / "documents", ZESHEL / "mentions" / "test.json")
    of_a = [i for i, world in enumerate(mentions["world"]) if world == "star_trek"][:2]
    of_b = list(mentions["world"]).index("lego")
    turns = mentions.select([of_a[0], of_b, of_a[1]])
    _, together = linker.retrieve(contexts_of(turns), 4, turns["world"])
    alone = [linker.retrieve(contexts_of([row]), 4, [row["world"]])[1][0] for row in turns]
    np.testing.assert_array_equal(together, alone)
