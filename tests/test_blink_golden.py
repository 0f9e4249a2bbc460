"""BLINK's paths on texts of our own: what tests/test_blink_parity.py compares where the original's numbers are at hand.

The weights are a formula (tests/blink_files.py), the token ids below were counted by hand, and the other numbers were
computed once by the code that agrees with the original.
"""

from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch.nn import functional
from transformers import BertModel

import hf_blink
from hf_blink.blink_encoders import BI_ENCODER
from hf_blink.modeling.batch_encoding import encode_entities, encode_mentions, score_pairs
from hf_blink.modeling.linking_types import MentionContext
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.collators import BiEncoderCollator
from hf_blink.training.losses import candidate_softmax_loss, in_batch_softmax_loss
from hf_blink.training.span_losses import pair_loss
from hf_blink.training.trainers import HardNegativeTrainer, InBatchTrainer
from tests.blink_files import ENTITIES, GOLD, LENGTH, MENTIONS, bert_config, chosen, vocabulary
from tests.blink_files import blink as blink

CONTEXTS = [MentionContext(*mention) for mention in MENTIONS]
TITLES, TEXTS = zip(*ENTITIES, strict=True)
SCORES: list[list[float]] = [
    [3.947196, 4.195627, 3.976872, 4.023159, 4.514933, 3.883699],
    [2.284822, 2.636963, 2.510578, 2.311882, 2.91112, 2.437055],
    [5.206798, 6.242122, 6.482214, 5.855854, 7.287962, 5.704808],
    [4.352305, 5.001368, 5.001801, 4.848026, 5.005533, 4.70151],
]  # of mentions and entities
LOGITS: list[list[float]] = [
    [-3.98682, -3.28841, -3.430339, -1.737955, -3.852482, -1.804806],
    [-2.665512, -2.905455, -4.1598, -0.8312, -1.823699, -1.374515],
    [-3.469684, -3.334674, -3.225632, -2.196381, -2.90641, -2.421256],
    [-2.605761, -3.360248, -4.359043, -1.995305, -2.805474, -1.559409],
]  # of the same
NEGATIVES = [2, 4, 3, 3]  # of each mention
ROWS = [
    {
        **dict(zip(("id", "context_left", "mention", "context_right"), (str(i), *mention), strict=True)),
        "label_ids": [str(100 + 7 * GOLD[i])],
        "hard_negative_ids": [str(100 + 7 * NEGATIVES[i])],
    }
    for i, mention in enumerate(MENTIONS)
]
LABELLED = Dataset.from_list(ROWS)
TOLERANCE: dict[str, Any] = {"rtol": 1e-4, "atol": 2e-5}


@pytest.fixture(scope="module")
def encoders(blink):
    bi_encoder, processor = hf_blink.import_blink_biencoder(blink["biencoder"], blink["biencoder_config"])
    cross_encoder, _ = hf_blink.import_blink_crossencoder(blink["crossencoder"], blink["crossencoder_config"])
    return bi_encoder, processor, cross_encoder


@pytest.fixture(scope="module")
def vectors(encoders):
    bi_encoder, processor, _ = encoders
    mentions = encode_mentions(bi_encoder, processor, CONTEXTS)
    return mentions, encode_entities(bi_encoder, processor, TITLES, TEXTS)


def tokens(ids: list[int]) -> str:
    words = vocabulary()
    return " ".join(words[i] for i in ids)


def test_windows(encoders):
    _, processor, _ = encoders
    windows, _ = processor.mention_windows(CONTEXTS)
    assert [tokens(window) for window in windows[:3]] == [
        "[CLS] the ship [unused0] black star [unused1] sailed from the town . [SEP]",
        "[CLS] s ##h ##e wrote [unused0] black star [unused1] in the old bank . [SEP]",
        "[CLS] [unused0] white river [unused1] is in the north [SEP]",
    ]
    # 24 tokens less [CLS], [SEP] and the mention's 4 leave 9 to the left, which keeps its end, and 9 to the right.
    assert tokens(windows[3]) == (
        "[CLS] town of the north , a ##n ##d the [unused0] north bank [unused1] was old . was old . was old . [SEP]"
    )
    entities = processor.entity_windows(TITLES, TEXTS)
    assert tokens(entities[2]) == "[CLS] north bank [unused2] the bank of the river in the north . [SEP]"
    assert tokens(entities[4]) == "[CLS] star of the north [unused2] [SEP]"
    assert [len(window) for window in entities] == [20, 12, 14, 21, 7, 24]  # the last is cut


def test_scores_are_those_of_two_plain_berts(blink, encoders, vectors):
    """[CLS] states of windows that are padded to their full length, as the original runs them."""
    _, processor, _ = encoders
    state = torch.load(blink["biencoder"], weights_only=True)
    windows = (processor.mention_windows(CONTEXTS)[0], processor.entity_windows(TITLES, TEXTS))
    for (prefix, _), rows, ours in zip(BI_ENCODER.prefixes[::2], windows, vectors, strict=True):
        bert = BertModel(bert_config())
        own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        bert.load_state_dict(own)
        ids = torch.tensor([[*row, *[0] * (LENGTH - len(row))] for row in rows])
        with torch.inference_mode():
            hidden = bert.eval()(input_ids=ids, attention_mask=(ids != 0).long()).last_hidden_state
        np.testing.assert_allclose(ours, hidden[:, 0], **TOLERANCE)
    np.testing.assert_allclose(vectors[0] @ vectors[1].T, SCORES, **TOLERANCE)


def test_losses(encoders, vectors, blink, tmp_path):
    """Of our functions, and of the trainers with BLINK's batch; the second value of hard negatives is a softmax, ours."""
    mentions, entities = map(torch.from_numpy, vectors)
    scores = mentions @ entities[GOLD].T
    assert in_batch_softmax_loss(scores, torch.arange(4)).item() == pytest.approx(1.389529, rel=1e-4)
    pairs = torch.cat([scores.diagonal(), scores.diagonal(1)])  # each gold entity, and another mention's
    loss = pair_loss(pairs, torch.tensor([1.0] * 4 + [0.0] * 3).bool())
    assert loss.item() == pytest.approx(1.901924, rel=1e-4)

    bi_encoder, processor, _ = encoders
    collator = BiEncoderCollator(processor, hf_blink.import_blink_entities(blink["entities"]))
    options: dict[str, Any] = {"unique_entities": False, "num_hard_negatives": 1}
    arguments = BlinkTrainingArguments(str(tmp_path), use_cpu=True, **options)
    for trainer_class, columns, expected in (
        (InBatchTrainer, GOLD, 1.389529),
        (HardNegativeTrainer, [*GOLD, *NEGATIVES], 2.203547),
    ):
        trainer = trainer_class(bi_encoder, arguments, collator, LABELLED)
        batch = trainer.data_collator(ROWS)
        assert batch["entity_rows"].tolist() == columns
        loss = trainer.vectors_loss(mentions, entities[columns], batch)
        assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_logits_and_loss_of_the_cross_encoder(encoders):
    _, processor, cross_encoder = encoders
    windows, _ = processor.mention_windows(CONTEXTS)
    entities = processor.entity_windows(TITLES, TEXTS)
    batch = processor.process_pairs(windows[2:3], entities[4:5])
    assert tokens(batch["input_ids"][0].tolist()) == " ".join(
        [
            "[CLS] [unused0] white river [unused1] is in the north [SEP]",
            *["[PAD]"] * 14,
            "star of the north [unused2] [SEP]",
        ]
    )
    assert batch["attention_mask"][0].tolist() == [1] * 10 + [0] * 14 + [1] * 6
    assert batch["token_type_ids"][0].tolist() == [0] * 24 + [1] * 6
    pairs = [(window, entity) for window in windows for entity in entities]
    logits = score_pairs(cross_encoder, processor, pairs).reshape(4, 6)
    np.testing.assert_allclose(logits, LOGITS, **TOLERANCE)
    gold = functional.one_hot(torch.tensor([0, 0, 2, 1]), 3).bool()
    of_three = torch.from_numpy(logits[:, [0, 2, 5]])
    assert candidate_softmax_loss(of_three, gold).item() == pytest.approx(1.941057, rel=1e-4)


@pytest.fixture(scope="module", params=["flat", "hnsw"])
def linker(blink, request, tmp_path_factory):
    """Imported, with either kind of index."""
    files = chosen(blink, "crossencoder", "crossencoder_config", "entities", index=request.param)
    folder = tmp_path_factory.mktemp("imported") / "linker"
    return hf_blink.EntityLinker.from_pretrained(hf_blink.import_blink(files, folder))


def test_the_imported_linker_ranks_so(linker):
    scores, rows = linker.retrieve(CONTEXTS, 6)
    expected = np.argsort(-np.array(SCORES), axis=1)
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(scores, np.take_along_axis(np.array(SCORES), expected, axis=1), **TOLERANCE)
    logits = linker.rerank(CONTEXTS, np.tile([0, 2, 5], (4, 1)), np.zeros((4, 3), np.float32))
    assert logits is not None
    np.testing.assert_allclose(logits, np.array(LOGITS)[:, [0, 2, 5]], **TOLERANCE)


def test_it_links_so(linker):
    """The three best of each mention, by the cross-encoder: of [4, 1, 3], [4, 1, 2], and [4, 2, 1] twice."""
    linker.num_candidates = 3
    texts = [f"{left} {mention} {right}".strip() for left, mention, right in MENTIONS]
    places = [(len(f"{left} ".lstrip()), mention) for left, mention, _ in MENTIONS]
    links = linker.link(texts, [[(start, start + len(mention))] for start, mention in places])
    expected = [[3, 1, 4], [4, 1, 2], [4, 2, 1], [4, 1, 2]]
    found = [[candidate.entity.entity_id for candidate in link.candidates] for (link,) in links]
    assert found == [ids(rows) for rows in expected]
    logits = [[candidate.rerank_score for candidate in link.candidates] for (link,) in links]
    np.testing.assert_allclose(
        logits, np.take_along_axis(np.array(LOGITS), np.array(expected), 1), **TOLERANCE
    )


def ids(rows: list[int]) -> list[str]:
    """Of entities."""
    return [str(100 + 7 * row) for row in rows]


def test_mining(linker):
    """Of [4, 1, 3], [4, 1, 2], and [4, 2, 1] twice, where gold is 0, 1, 5 and 2: 0 and 5 take the last places."""
    mined = hf_blink.mine_candidates(linker, LABELLED, num_candidates=3, progress=False)
    expected = [[4, 1, 0], [4, 1, 2], [4, 2, 5], [4, 2, 1]]
    assert mined["candidate_ids"] == list(map(ids, expected))
    assert mined["gold_retrieved"] == [False, True, False, True]
    scores = np.take_along_axis(np.array(SCORES), np.array(expected), axis=1)
    np.testing.assert_allclose(mined["candidate_scores"], scores, **TOLERANCE)
    mined = hf_blink.mine_hard_negatives(linker, LABELLED, num_negatives=2, progress=False)
    assert mined["hard_negative_ids"] == list(map(ids, [[4, 1], [4, 2], [4, 2], [4, 1]]))


def test_a_run_with_labels(linker):
    """Gold is 3, 0, 2 and 4 here: third, last, second and first by the bi-encoder. Of the first three candidates the
    cross-encoder puts 3 and 4 first, and 2 second.
    """
    rows = [{**row, "label_ids": ids([label])} for row, label in zip(ROWS, [3, 0, 2, 4], strict=True)]
    metrics = hf_blink.evaluate_linker(
        linker, Dataset.from_list(rows), recall_at=(1, 2, 3), rerank_k=3, progress=False
    )
    expected = {
        "recall@1": 1 / 4, "recall@2": 2 / 4, "recall@3": 3 / 4, "mrr": (1 / 3 + 0 + 1 / 2 + 1) / 4,
        "accuracy_normalised": 2 / 3, "accuracy_unnormalised": 2 / 4,
    }  # fmt: skip
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)
