"""ELQ's own numbers: questions and what the original program computed from them with tiny weights.

The reference files are not part of this project; see tests/oracle.py. tests/test_elq_golden.py guards the same paths for
everybody. Values in the reference are rounded to six digits.
"""

from copy import deepcopy
from typing import Any

import faiss
import numpy as np
import pytest
import torch

from hf_blink.elq_import import import_elq_model
from hf_blink.modeling.batch_encoding import encode_entities
from hf_blink.modeling.encoder_fingerprint import encoder_fingerprint
from hf_blink.modeling.entity_index import EntityIndex
from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.modeling_elq import ElqModel
from hf_blink.modeling.processing_elq import ElqProcessor
from hf_blink.modeling.span_detection import detect_spans
from hf_blink.modeling.span_linking import find_mentions
from hf_blink.original_entities import import_blink_encodings, import_blink_entities
from hf_blink.original_indexes import import_blink_index
from hf_blink.training.document_evaluation import evaluate_documents
from hf_blink.training.documents import document, documents_dataset
from hf_blink.training.elq_trainer import ElqTrainer
from hf_blink.training.losses import in_batch_softmax_loss
from hf_blink.training.span_collator import ElqCollator
from hf_blink.training.span_losses import pair_loss, span_detection_loss
from hf_blink.training.span_matching import SpanLink, count_matches
from tests.oracle import CHECKPOINTS
from tests.oracle import oracle as oracle
from tests.test_trainers import arguments

FILES = CHECKPOINTS / "elq"
NUM_CANDIDATES = 5  # of the reference runs
_TEXTS = ("input_ids", "attention_mask", "mention_rows", "mention_spans")
close: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(scope="module")
def expected(oracle):
    return oracle["elq_tiny"]


@pytest.fixture(scope="module")
def questions(oracle):
    return oracle["elq_questions"]


@pytest.fixture(scope="module")
def imported(oracle):
    """The model as the import reads it."""
    return import_elq_model(
        FILES / "elq_tiny.bin",
        FILES / "elq_tiny_params.txt",
        bert_model=str(CHECKPOINTS / "bert_tiny"),
        num_mentions=10,
    )


@pytest.fixture(scope="module")
def model(imported) -> ElqModel:
    return imported[0]


@pytest.fixture(scope="module")
def processor(imported) -> ElqProcessor:
    return imported[1]


@pytest.fixture(scope="module")
def knowledge_base(oracle) -> KnowledgeBase:
    return import_blink_entities(FILES / "entity.jsonl")


@pytest.fixture(scope="module")
def indexes(model, processor, knowledge_base):
    prints = {
        "encoder_fingerprint": encoder_fingerprint(model, processor),
        "knowledge_base_fingerprint": knowledge_base.fingerprint,
    }
    found = {
        kind: import_blink_index(FILES / f"faiss_{kind}_index.pkl", 64, count=12, **prints)
        for kind in ("flat", "hnsw", "ivfflat")
    }
    vectors = import_blink_encodings(FILES / "all_entities_tiny.t7", knowledge_base)
    return found | {"none": EntityIndex.from_vectors(vectors, **prints)}


def test_tokens_scores_and_logits_of_all_spans(expected, questions, model, processor):
    windows = [window.ids for window in processor.text_windows(questions)]
    assert windows == expected["question_ids"]
    with torch.no_grad():
        output = model(**processor.pad(windows))
    np.testing.assert_allclose(output.token_scores[0, :9], expected["start_end_mention_logits_q0"], **close)
    spans = expected["span_logits_q0"]
    ours = [output.span_logits[0, start, end - start] for start, end, _ in spans]
    np.testing.assert_allclose(ours, [logit for *_, logit in spans], **close)
    assert int(torch.isfinite(output.span_logits[0]).sum()) == len(spans), (
        "ELQ keeps reversed spans, with -inf"
    )


def test_pruned_spans_and_their_vectors(expected, questions, model, processor):
    spans = detect_spans(model, processor, questions, threshold=-2.9)
    pruned = expected["encode_context_k10_thr-2.9"]
    for number in range(len(questions)):
        own, count = spans.text_numbers == number, sum(pruned["mention_masks"][number])
        bounds = spans.tokens[own] + [1, 0]  # ELQ counts [CLS] and includes the last token
        assert bounds.tolist() == pruned["mention_bounds"][number][:count]
        logits = pruned["mention_logits"][number][:count]
        np.testing.assert_allclose(spans.logits[own], logits, **close)
        vectors = pruned["mention_reps_first16"][number][:count]
        np.testing.assert_allclose(spans.vectors[own][:, :16], vectors, **close)


def test_vectors_of_entities_from_every_file_and_from_the_model(
    expected, model, processor, knowledge_base, indexes
):
    own = encode_entities(model, processor, *knowledge_base.texts(0, 12))
    np.testing.assert_allclose(own, expected["entity_embeddings"], **close)
    for index in indexes.values():
        np.testing.assert_allclose(index.vectors(range(12)), expected["entity_embeddings"], **close)


def test_token_ids_of_entities_in_the_file_that_elq_encodes_from(processor, knowledge_base):
    saved = torch.load(FILES / "entity_token_ids_128.t7", weights_only=True)
    windows = processor.entity_windows(*knowledge_base.texts(0, 12))
    assert saved.dtype == torch.int64
    assert saved.tolist() == [[*window, *[0] * (128 - len(window))] for window in windows]


def test_facts_of_the_graph(expected, indexes):
    """ELQ's has no additional dimension, and searches by inner product; as imported it is the same."""
    facts = expected["hnsw_file"]
    index: Any
    for index in (faiss.read_index(str(FILES / "faiss_hnsw_index.pkl")), indexes["hnsw"].faiss_index):
        assert (type(index).__name__, index.d, index.metric_type) == (
            facts["type"],
            facts["d"],
            facts["metric"],
        )
        assert index.hnsw.efSearch == facts["efSearch"]


def ours_of(links, text, knowledge_base):
    """Entity row and words of links, with the logarithm of the score."""
    rows = knowledge_base.find_rows([link.entity.entity_id for link in links])
    return {
        (str(row), text[link.mention.start : link.mention.end]): np.log(link.score)
        for row, link in zip(rows, links, strict=True)
    }


def theirs_of(output, text, tokens):
    """The same of ELQ's output, without spans of [CLS] and [SEP] alone, which have no words."""
    found = {}
    for (entity, start, end), score in zip(output["pred_triples"], output["scores"], strict=True):
        inside = tokens.offsets[max(start, 0) : min(end, len(tokens.ids))]
        if len(inside):
            found[entity, text[inside[0, 0] : inside[-1, 1]]] = score
    return found


@pytest.mark.parametrize(
    ("threshold", "kind"), [(-2.9, "none"), (-4.5, "hnsw"), (-2.0, "flat"), (-2.9, "ivfflat")]
)
def test_linked_questions(expected, questions, model, processor, knowledge_base, indexes, threshold, kind):
    """Mentions in [CLS] or [SEP] alone, which ELQ may give, name nothing in the text: ours leaves them out."""
    model.config.joint_threshold = threshold
    linker = EntityLinker(model, processor, indexes[kind], knowledge_base, num_candidates=NUM_CANDIDATES)
    outputs = expected[f"run_joint_thr{threshold}_{kind}"]
    tokens = processor.tokenize_texts(questions)
    for text, links, output, own in zip(questions, linker.link(questions), outputs, tokens, strict=True):
        ours, theirs = ours_of(links, text, knowledge_base), theirs_of(output, text, own)
        assert ours.keys() == theirs.keys()
        np.testing.assert_allclose([ours[key] for key in theirs], list(theirs.values()), rtol=1e-4, atol=1e-5)


def test_all_mentions_above_a_mention_score_nested(
    expected, questions, model, processor, knowledge_base, indexes
):
    """ELQ's rule `top_entity_by_mention`: overlapping mentions stay, their score is the raw one of retrieval.

    ELQ may have two spans with the same words, one of which has [CLS] or [SEP] as well; of those ours has the likelier.
    """
    model.config.joint_threshold = -1000.0
    linker = EntityLinker(model, processor, indexes["flat"], knowledge_base, num_candidates=NUM_CANDIDATES)
    tokens = processor.tokenize_texts(questions)
    outputs = expected["run_top_entity_by_mention_mthr-0.6931_flat"]
    found = linker.link(questions, nested=True)
    for text, links, output, own in zip(questions, found, outputs, tokens, strict=True):
        likely = [link for link in links if link.mention_score > 1 / (1 + np.exp(0.6931))]
        assert ours_of(likely, text, knowledge_base).keys() == theirs_of(output, text, own).keys()
    # Each span's own score, by its tokens.
    worlds = [None] * len(questions)
    spans, scores, rows = find_mentions(linker, questions, worlds, NUM_CANDIDATES, nested=True)
    linked = [link.retrieval_score for links in found for link in links]
    assert scores[:, 0].tolist() == linked
    theirs = {
        (number, entity, start, end): score
        for number, output in enumerate(outputs)
        for (entity, start, end), score in zip(output["pred_triples"], output["scores"], strict=True)
    }
    above = spans.logits > -0.6931
    keys = [
        (number, str(row), *bounds)
        for number, row, bounds in zip(spans.text_numbers, rows[:, 0], spans.tokens.tolist(), strict=True)
    ]
    compared = [(score, theirs[key]) for score, key, kept in zip(linked, keys, above, strict=True) if kept]
    assert len(compared) == 41  # of 56 spans of ELQ; the others have only words that one of these has
    ours, original = zip(*compared, strict=True)
    np.testing.assert_allclose(ours, original, rtol=1e-4)


def documents_of(expected, processor, knowledge_base):
    """The labelled questions; ELQ reads the token bounds, and the character bounds of one of them are another word's."""
    for sample in expected["labelled"]:
        (tokens,) = processor.tokenize_texts([sample["text"]])
        spans = [
            (int(tokens.offsets[start, 0]), int(tokens.offsets[end - 1, 1]), knowledge_base.entity_ids([row]))
            for (start, end), row in zip(sample["tokenized_mention_idxs"], sample["label_id"], strict=True)
        ]
        yield document(str(sample["id"]), sample["text"], spans)


@pytest.fixture(scope="module")
def collator(processor, knowledge_base):
    short = ElqProcessor(processor.tokenizer, mention_length=20, entity_length=128, do_lower_case=True)
    return ElqCollator(short, knowledge_base, unique_columns=False, fixed_length=True)


@pytest.fixture(scope="module")
def training(expected, collator):
    return documents_dataset(documents_of(expected, collator.processor, collator.knowledge_base))


@pytest.fixture(scope="module")
def batch(collator, training):
    return collator(training.to_list())


def trainer_of(model, folder, collator, training, index=None) -> ElqTrainer:
    """With ELQ's settings: a column for each mention, windows of full length, its loss of hard negatives."""
    options = {
        "unique_entities": False,
        "fixed_length": True,
        "num_hard_negatives": 3,
        "hard_negative_loss": "bce",
    }
    return ElqTrainer(deepcopy(model), arguments(folder, **options), collator, training, index=index)


def test_windows_and_gold_spans_of_labelled_questions(expected, batch):
    processed = expected["processed_len20"]
    assert batch["input_ids"].tolist() == processed["context"]
    spans = [
        [text, start, end - start]
        for text, (bounds, mask) in enumerate(zip(processed["mention_idx"], processed["mask"], strict=True))
        for (start, end), real in zip(bounds, mask, strict=True)
        if real
    ]
    assert batch["gold_spans"].tolist() == spans
    rows = [label for labels in processed["label_idx"] for label in labels if label >= 0]
    assert batch["entity_rows"].tolist() == rows


def test_in_batch_losses(expected, batch, model, collator, training, tmp_path):
    names = ("targets", "gold_rows", "entity_rows", "gold_spans", "complete", "worlds", "mention_ids")
    with torch.no_grad():
        output = model(**{name: value for name, value in batch.items() if name not in names})
    scores = output.mention_embeddings @ output.entity_embeddings.T
    np.testing.assert_allclose(scores, expected["in_batch"]["scores"], **close)
    span = span_detection_loss(output.span_logits, batch["gold_spans"]).item()
    assert span == pytest.approx(expected["in_batch"]["span_loss"], rel=1e-4)
    total = span + in_batch_softmax_loss(scores, batch["targets"]).item()
    assert total == pytest.approx(expected["in_batch"]["total_loss"], rel=1e-4)
    trainer = trainer_of(model, tmp_path, collator, training)
    loss = trainer.compute_loss(trainer.model, trainer.data_collator(training.to_list()))
    assert loss.item() == pytest.approx(expected["in_batch"]["total_loss"], rel=1e-4)
    gold = np.array(expected["hard_negative"]["mention_reps_gold"])
    np.testing.assert_allclose(output.mention_embeddings[:, :16], gold, **close)


def test_hard_negative_loss(expected, model, collator, training, indexes, tmp_path):
    """Of the nearest entities ELQ drops one for all mentions of a question where it is gold for any; ours keeps those.

    That is one pair more here, of the second mention and the first one's entity, whose score the in-batch reference has.
    """
    wanted, (gold, other) = expected["hard_negative"], (4, 10)
    trainer = trainer_of(model, tmp_path, collator, training, indexes["hnsw"])
    assert trainer.data_collator is not None and trainer.model is not None
    batch = trainer.data_collator(training.to_list())
    assert "entity_input_ids" not in batch and batch["entity_rows"][:2].tolist() == [other, gold]
    with torch.no_grad():
        output = trainer.model(**{name: batch[name] for name in _TEXTS})
        near = trainer._neighbours(output.mention_embeddings, batch)
        loss = trainer.compute_loss(trainer.model, batch).item()
    assert near.tolist() == expected["hardneg_neighbours"]
    pairs = len(wanted["labels"])
    assert pairs == near.numel() + len(near) - 4  # three own gold entities and the pair that ours keeps
    theirs = wanted["total_loss"] - expected["in_batch"]["span_loss"]
    more = np.logaddexp(0.0, expected["in_batch"]["scores"][1][0])
    ours = (theirs * pairs + more) / (pairs + 1)
    assert loss == pytest.approx(ours + expected["in_batch"]["span_loss"], rel=1e-4)


def test_hard_negative_pairs(expected, batch, model, indexes):
    """ELQ's own pairs, without those that it drops."""
    wanted = expected["hard_negative"]
    with torch.no_grad():
        output = model(**{name: batch[name] for name in _TEXTS})
    _, found = indexes["hnsw"].search(output.mention_embeddings.numpy(), 3)
    assert found.tolist() == expected["hardneg_neighbours"]
    gold = batch["gold_rows"][:, 0].numpy()
    texts = batch["mention_rows"].numpy()
    theirs = [
        (mention, row)
        for mention, rows in enumerate(found)
        for row in rows
        if row not in gold[texts == texts[mention]]
    ]
    pairs = [*enumerate(gold), *theirs]
    vectors = torch.from_numpy(indexes["hnsw"].vectors([row for _, row in pairs]))
    mentions = output.mention_embeddings[[mention for mention, _ in pairs]]
    scores = (mentions * vectors).sum(dim=1)
    is_gold = torch.arange(len(pairs)) < len(gold)
    # The order of the reference: negatives by their place among the neighbours.
    np.testing.assert_allclose(sorted(scores), sorted(wanted["pair_scores"]), rtol=1e-4, atol=1e-4)
    assert is_gold.int().tolist() == wanted["labels"]
    span_loss = expected["in_batch"]["span_loss"]
    assert pair_loss(scores, is_gold).item() + span_loss == pytest.approx(wanted["total_loss"], rel=1e-4)


def test_matching_of_links(expected):
    """Ids of the reference ignore case, ours do not: they are lower-cased here."""
    for sample in expected["tp_with_overlap"]:
        gold, predicted = (
            [SpanLink(start, end, [entity.lower()]) for entity, start, end in sample[name]]
            for name in ("gold", "pred")
        )
        found = [count_matches(gold, predicted, strong=strong) for strong in (False, True)]
        assert found == sample["weak_strong"]


def test_precision_recall_and_f1_of_the_labelled_run(expected, model, processor, knowledge_base, indexes):
    """Our linker's links of the labelled questions, and what they are worth, weak and strong."""
    run = expected["labelled_run_thr-4.5"]
    model.config.joint_threshold = -4.5
    linker = EntityLinker(model, processor, indexes["flat"], knowledge_base, num_candidates=NUM_CANDIDATES)
    documents = documents_dataset(documents_of(expected, processor, knowledge_base))
    texts = list(documents["text"])
    tokens = processor.tokenize_texts(texts)
    for text, links, output, own in zip(texts, linker.link(texts), run["outs"], tokens, strict=True):
        ours, theirs = ours_of(links, text, knowledge_base), theirs_of(output, text, own)
        assert ours.keys() == theirs.keys()
        np.testing.assert_allclose([ours[key] for key in theirs], list(theirs.values()), rtol=1e-4, atol=1e-5)
    metrics = evaluate_documents(linker, documents)
    for match, first in (("weak", 0), ("strong", 8)):
        printed = [float(line.split("=")[-1]) for line in run["stdout"][first + 1 : first + 4]]
        assert [metrics[f"{match}_{name}"] for name in ("precision", "recall", "f1")] == pytest.approx(
            printed
        )
