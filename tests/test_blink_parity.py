"""BLINK's own numbers, encoder by encoder: token ids, vectors, scores, losses, cross-encoder inputs and logits.

Twice: with a tiny checkpoint in BLINK's format, which goes through the import, and with MiniLM weights.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from hf_blink import import_blink_biencoder, import_blink_crossencoder
from hf_blink.modeling.batch_encoding import encode_entities, encode_mentions, score_pairs
from hf_blink.modeling.entity_index import EntityIndex
from hf_blink.training.losses import candidate_softmax_loss, in_batch_softmax_loss, target_and_ignored_columns
from hf_blink.training.ranking_metrics import gold_positions, recall_at
from hf_blink.training.span_losses import pair_loss
from tests import minilm_example as minilm
from tests.oracle import CHECKPOINTS, TOLERANCE, changed_settings, contexts, gold, texts
from tests.oracle import oracle as oracle

BLINK, BERT = CHECKPOINTS / "blink", str(CHECKPOINTS / "bert_tiny")
# Name, tokens of a mention window, tokens of a pair.
CROSS_RUNS = [
    ("crossencoder", 32, 160),
    ("crossencoder_trunc100", 32, 100),
    ("crossencoder_ctx128_seq256", 128, 256),
]


@dataclass
class Case:
    """A model, its reference numbers, and vectors of all mentions and entities."""

    numbers: dict[str, Any]
    bi_encoder: Any
    processor: Any
    mentions: np.ndarray
    entities: np.ndarray


def of_the_checkpoint(length: int, folder) -> tuple[Any, Any]:
    settings = changed_settings(BLINK / "biencoder_tiny.json", folder, max_context_length=length)
    return import_blink_biencoder(BLINK / "biencoder_tiny.bin", settings, bert_model=BERT)


@pytest.fixture(scope="module", params=["tiny", "minilm"])
def case(oracle, request, tmp_path_factory) -> Case:
    folder = tmp_path_factory.mktemp("settings")
    tiny = request.param == "tiny"
    model, processor = of_the_checkpoint(32, folder) if tiny else (minilm.bi_encoder(), minilm.processor(32))
    mentions = encode_mentions(model, processor, contexts(oracle))
    return Case(
        oracle[request.param], model, processor, mentions, encode_entities(model, processor, *texts(oracle))
    )


@pytest.mark.parametrize(
    ("name", "length"), [("tiny", 16), ("tiny", 32), ("tiny", 128), ("minilm", 32), ("minilm", 128)]
)
def test_token_ids_of_mention_windows_and_entities(oracle, tmp_path, name, length):
    processor = of_the_checkpoint(length, tmp_path)[1] if name == "tiny" else minilm.processor(length)
    windows, _ = processor.mention_windows(contexts(oracle))
    assert windows == oracle[name][f"context_ids_{length}"]
    assert processor.entity_windows(*texts(oracle)) == oracle[name]["entity_token_ids"]


def test_token_ids_in_the_file_that_blink_encodes_from(oracle, tmp_path):
    """`entity_token_ids_128.t7`: all windows at their full length."""
    saved = torch.load(BLINK / "entity_token_ids_128.t7", weights_only=True)
    processor = of_the_checkpoint(32, tmp_path)[1]
    windows = processor.entity_windows(*texts(oracle))
    assert saved.dtype == torch.int64
    assert saved.tolist() == [[*window, *[0] * (128 - len(window))] for window in windows]


def test_token_ids_of_entities_that_are_cut(oracle, tmp_path):
    settings = changed_settings(BLINK / "biencoder_tiny.json", tmp_path, max_cand_length=24)
    _, processor = import_blink_biencoder(BLINK / "biencoder_tiny.bin", settings, bert_model=BERT)
    titles, descriptions = texts(oracle)
    rows = gold(oracle)
    windows = processor.entity_windows([titles[row] for row in rows], [descriptions[row] for row in rows])
    padded = [[*window, *[0] * (24 - len(window))] for window in windows]
    assert padded == oracle["tiny"]["label_ids_24"]


def test_vectors_and_scores_of_the_bi_encoder(case):
    for name, vectors in (("entity", case.entities), ("mention", case.mentions)):
        expected = np.array(case.numbers[f"{name}_embeddings"])
        np.testing.assert_allclose(vectors[:, : expected.shape[1]], expected, **TOLERANCE)
        norms = case.numbers[f"{name}_embedding_norms"]
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), norms, rtol=1e-4)
    np.testing.assert_allclose(case.mentions @ case.entities.T, case.numbers["scores"], **TOLERANCE)


def test_in_batch_loss(oracle, case):
    expected = case.numbers["in_batch"]
    scores = torch.from_numpy(case.mentions @ case.entities[gold(oracle)].T)
    np.testing.assert_allclose(scores, expected["scores"], **TOLERANCE)
    loss = in_batch_softmax_loss(scores, torch.arange(len(scores)))
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-4)


def test_in_batch_loss_of_ours_leaves_out_what_blink_counts_as_wrong(oracle, case):
    """Mentions 1 and 2 mean the same entity: BLINK takes each other's gold entity for a negative, ours does not."""
    rows = torch.tensor(gold(oracle))
    assert rows[1] == rows[2]
    scores = torch.from_numpy(case.mentions @ case.entities[gold(oracle)].T)
    targets, ignore = target_and_ignored_columns(rows[:, None], rows, torch.arange(len(rows)))
    assert targets.tolist() == [0, 1, 1, *range(3, 10)]
    assert ignore[:, 2].all()  # the second copy of the entity
    ours = in_batch_softmax_loss(scores, targets, ignore)
    assert ours < case.numbers["in_batch"]["loss"] - 1e-3


def test_hard_negative_loss(oracle, case):
    """As coded, never called by the original: a sigmoid for each pair, which ours has as `hard_negative_loss: bce`.

    That is an ELQ model's; a bi-encoder's hard negatives join the batch's softmax (tests/test_blink_training_parity.py).
    """
    expected = case.numbers["hard_negative"]
    rows = [*gold(oracle), *expected["negatives"]]
    scores = torch.from_numpy((np.tile(case.mentions, (2, 1)) * case.entities[rows]).sum(axis=1))
    np.testing.assert_allclose(scores, expected["pair_scores"], **TOLERANCE)
    loss = pair_loss(scores, torch.tensor(expected["labels"]).bool())
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-4)


def test_in_batch_accuracy_of_the_training_script(oracle, case):
    """Of batches of 5: recall@1 with the batch's entities as the catalogue. Ours is of all entities (`eval_recall@1`).

    Of batches of 4 the last is short, and the original stops there with an error.
    """
    assert "could not be broadcast" in case.numbers["train_evaluate_bs4_partial_batch"]
    found = []
    for start in (0, 5):
        entities = EntityIndex.from_vectors(case.entities[gold(oracle)[start : start + 5]])
        found.append(entities.search(case.mentions[start : start + 5], 1)[1])
    positions = gold_positions(np.concatenate(found), [[i % 5] for i in range(10)])
    expected = case.numbers["train_evaluate_bs5"]["normalized_accuracy"]
    assert recall_at(positions, 1) == pytest.approx(expected)


def test_an_overlong_mention_is_cut_where_blink_stops(oracle, case):
    """27 word pieces in a window of 32 make BLINK's assertion fail; ours cuts the mention and keeps its markers."""
    mention = contexts(oracle)[0]
    long = type(mention)("one two three " * 9, "river " * 40, "four five six " * 9)
    (window,), ((start, end),) = case.processor.mention_windows([long])
    assert len(window) == 32
    assert (window[start - 1], window[end]) == (1, 2)
    assert end - start == 28


def cross_encoder(oracle, name: str, length: int, pair_length: int, folder) -> tuple[Any, Any]:
    if name == "tiny":
        changes = {"max_context_length": length, "max_seq_length": pair_length}
        settings = changed_settings(BLINK / "crossencoder_tiny.json", folder, **changes)
        return import_blink_crossencoder(BLINK / "crossencoder_tiny.bin", settings, bert_model=BERT)
    return minilm.cross_encoder(oracle["minilm"], pair_length), minilm.processor(length)


@pytest.mark.parametrize("name", ["tiny", "minilm"])
@pytest.mark.parametrize(("run", "length", "pair_length"), CROSS_RUNS)
def test_logits_and_loss_of_the_cross_encoder(oracle, tmp_path, name, run, length, pair_length):
    expected, candidates = oracle[name][run], oracle[name]["crossencoder"]["candidates"]
    model, processor = cross_encoder(oracle, name, length, pair_length, tmp_path)
    windows, _ = processor.mention_windows(contexts(oracle))
    entities = processor.entity_windows(*texts(oracle))
    pairs = [(windows[i], entities[j]) for i, found in enumerate(candidates) for j in found]
    logits = score_pairs(model, processor, pairs).reshape(len(windows), -1)
    np.testing.assert_allclose(logits, expected["logits"], rtol=1e-4, atol=1e-5)
    labels = torch.tensor(oracle[name]["crossencoder"]["label_pos"])
    loss = candidate_softmax_loss(
        torch.from_numpy(logits), functional.one_hot(labels, logits.shape[1]).bool()
    )
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-4)


def test_input_of_the_cross_encoder_with_its_gap_of_padding(oracle, case):
    expected = case.numbers["crossencoder"]
    windows, _ = case.processor.mention_windows(contexts(oracle))
    entities = case.processor.entity_windows(*texts(oracle))
    pairs = [(windows[0], entities[j]) for j in expected["candidates"][0]]
    assert (
        expected["example_mask"][0].index("0") == len(windows[0]) or len(windows[0]) == 32
    )  # MiniLM's has a gap
    batch = case.processor.process_pairs(*zip(*pairs, strict=True))
    lengths = [len(row) for row in expected["example_input_ids"]]  # written without the padding behind them
    assert batch["input_ids"].shape[1] == max(lengths)
    ids = [row[:length] for row, length in zip(batch["input_ids"].tolist(), lengths, strict=True)]
    assert ids == expected["example_input_ids"]
    for name, key in (("token_type_ids", "example_segment_ids"), ("attention_mask", "example_mask")):
        written = ["".join(map(str, row)) for row in batch[name].tolist()]
        assert [row.ljust(expected["input_shape"][-1], "0") for row in written] == expected[key]
