"""ELQ's paths on texts of our own: what tests/test_elq_parity.py compares where the original's numbers are at hand.

The weights are a formula (tests/elq_files.py). Tokens, spans and losses are computed here once more, from two plain BERTs
and by loops; the other numbers were computed once by the code that agrees with the original.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import BertModel

import hf_blink
from hf_blink.blink_import import ImportSettings
from hf_blink.elq_import import ELQ
from hf_blink.modeling.batch_encoding import encode_entities
from hf_blink.modeling.span_detection import detect_spans
from hf_blink.training.document_evaluation import evaluate_documents
from hf_blink.training.documents import document, documents_dataset
from hf_blink.training.elq_trainer import ElqTrainer
from hf_blink.training.span_collator import ElqCollator
from tests.blink_files import LENGTH, bert_config, vocabulary
from tests.elq_files import CATALOGUE, KINDS, NUM_MENTIONS, import_with
from tests.elq_files import elq as elq
from tests.test_trainers import arguments

QUESTIONS = [
    "the black star sailed to the old town",
    "Is the North Bank by the white river.",
    "who opened the new bank",
    "the song of the white town",
]
# Of each question its mentions with the catalogue's ids; the last one's song is in no catalogue.
GOLD: list[list[tuple[str, str | None]]] = [
    [("black star", "100"), ("old town", "121")],
    [("North Bank", "114"), ("white river", "128")],
    [("new bank", "114")],
    [("song", None), ("white town", "121")],
]
TOKEN_SCORES: list[list[float]] = [
    [2.309054, 2.906337, -1.443377],
    [2.044244, 2.959456, -1.401352],
    [2.060646, 2.550859, -1.307221],
]  # start, end and inside, of the first tokens of the third question
COUNTS = [3, 1, 0, 6]  # spans above -0.02
LINKS: list[tuple[int, str, str, float]] = [
    (0, "the", "121", -0.443058), (0, "to", "121", -0.812486), (0, "the", "121", -0.244331),
    (0, "old town", "121", -0.575466), (1, "the", "121", -0.138432), (1, "North", "121", -0.187563),
    (1, "Bank", "107", -1.038337), (1, "the", "121", -0.134962), (1, ".", "121", -0.153341),
    (2, "w", "121", -0.541968), (2, "o", "121", -0.548521), (2, "the", "121", -0.993142),
    (2, "new", "121", -0.286738), (3, "of", "114", -0.580568), (3, "the", "107", -0.768575),
    (3, "town", "114", -0.525107),
]  # fmt: skip
IN_BATCH = (2.876628, 2.210829)  # of entities and of spans
HARD_NEGATIVE = 7.139857
TOLERANCE: dict[str, Any] = {"rtol": 1e-4, "atol": 5e-5}


@pytest.fixture(scope="module")
def encoders(elq):
    files, _ = elq
    return hf_blink.import_elq_model(files.model, files.config, num_mentions=NUM_MENTIONS)


@pytest.fixture(scope="module")
def plain(elq, encoders):
    """Hidden states of the questions `[4, 24, 32]` and vectors of the entities `[5, 32]`, of two plain BERTs."""
    files, _ = elq
    _, processor = encoders
    state = torch.load(files.model, weights_only=True)
    texts = [window.ids for window in processor.text_windows(QUESTIONS)]
    windows = (texts, processor.entity_windows(*zip(*CATALOGUE, strict=True)))
    states = []
    for (prefix, _), rows in zip(ELQ.prefixes[:2], windows, strict=True):
        bert = BertModel(bert_config())
        own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        bert.load_state_dict(own)
        ids = torch.tensor([[*row, *[0] * (LENGTH - len(row))] for row in rows])
        with torch.inference_mode():
            states.append(bert.eval()(input_ids=ids, attention_mask=(ids != 0).long()).last_hidden_state)
    prefix = ELQ.prefixes[2][0]
    scores = states[0] @ state[f"{prefix}weight"].T + state[f"{prefix}bias"]
    return states[0], states[1][:, 0], scores, [len(row) for row in texts]


def span_logits(scores: torch.Tensor, length: int) -> dict[tuple[int, int], float]:
    """Of the spans of one question of up to four tokens, [CLS] and [SEP] included: first and last token."""
    return {
        (first, last): float(scores[first, 0] + scores[last, 1] + scores[first : last + 1, 2].sum())
        for first in range(length)
        for last in range(first, min(first + 4, length))
    }


def test_windows(encoders):
    _, processor = encoders
    words = vocabulary()
    assert [" ".join(words[i] for i in window.ids) for window in processor.text_windows(QUESTIONS)] == [
        "[CLS] the black star sailed to the old town [SEP]",
        "[CLS] is the north bank by the white river . [SEP]",
        "[CLS] w ##h ##o opened the new bank [SEP]",
        "[CLS] the song of the white town [SEP]",
    ]


def test_entities_scores_and_logits_of_all_spans(encoders, plain):
    model, processor = encoders
    _, entities, scores, lengths = plain
    np.testing.assert_allclose(
        encode_entities(model, processor, *zip(*CATALOGUE, strict=True)), entities, **TOLERANCE
    )
    with torch.no_grad():
        output = model(**processor.pad([window.ids for window in processor.text_windows(QUESTIONS)]))
    for number, length in enumerate(lengths):
        np.testing.assert_allclose(output.token_scores[number, :length], scores[number, :length], **TOLERANCE)
        expected = span_logits(scores[number], length)
        ours = [float(output.span_logits[number, first, last - first]) for first, last in expected]
        np.testing.assert_allclose(ours, list(expected.values()), **TOLERANCE)
        assert int(torch.isfinite(output.span_logits[number]).sum()) == len(expected)
    np.testing.assert_allclose(output.token_scores[2, :3].tolist(), TOKEN_SCORES, **TOLERANCE)


def test_the_likeliest_spans_and_their_vectors(encoders, plain):
    """The best six of a question whose log-probability is above the threshold; vectors are means over their tokens."""
    model, processor = encoders
    hidden, _, scores, lengths = plain
    spans = detect_spans(model, processor, QUESTIONS, threshold=-0.02)
    for number, length in enumerate(lengths):
        logits = span_logits(scores[number], length)
        best = sorted(logits, key=logits.__getitem__, reverse=True)[:NUM_MENTIONS]
        best = sorted(span for span in best if -np.log1p(np.exp(-logits[span])) > -0.02)
        own = spans.text_numbers == number
        assert (spans.tokens[own] + [1, 0]).tolist() == [list(span) for span in best]
        np.testing.assert_allclose(spans.logits[own], [logits[span] for span in best], **TOLERANCE)
        vectors = [hidden[number, first : last + 1].mean(dim=0) for first, last in best]
        np.testing.assert_allclose(spans.vectors[own], np.array(vectors).reshape(-1, 32), **TOLERANCE)
    assert np.bincount(spans.text_numbers).tolist() == COUNTS


@pytest.mark.parametrize("kind", KINDS)
def test_links_of_every_index(elq, tmp_path, kind):
    """The words, the entity and the joint score, log P(mention) + log P(entity | mention), above two thresholds."""
    linker = import_with(elq, kind, tmp_path / "linker", ImportSettings(num_candidates=3, progress=False))
    for threshold in (-4.5, -0.6):
        linker.bi_encoder.config.joint_threshold = threshold
        found = [
            (number, link.mention.text, link.entity.entity_id, np.log(link.score))
            for number, links in enumerate(linker.link(QUESTIONS))
            for link in links
        ]
        expected = [link for link in LINKS if link[3] > threshold]
        assert [link[:3] for link in found] == [link[:3] for link in expected]
        np.testing.assert_allclose([link[3] for link in found], [link[3] for link in expected], **TOLERANCE)


Place = tuple[int, int]


def best_of_places(plain, processor, number: int) -> dict[Place, tuple[float, str, float]]:
    """Joint score, entity and inner product of the six likeliest spans of a question, by their characters.

    Of spans with the same words, where one has [CLS] or [SEP] as well, the one with the best joint score.
    """
    hidden, entities, scores, lengths = plain
    (tokens,) = processor.tokenize_texts([QUESTIONS[number]])
    logits = span_logits(scores[number], lengths[number])
    found: dict[Place, tuple[float, str, float]] = {}
    for first, last in sorted(logits, key=logits.__getitem__, reverse=True)[:NUM_MENTIONS]:
        words = tokens.offsets[max(first - 1, 0) : min(last, len(tokens.ids))]
        if not len(words):
            continue  # [CLS] or [SEP] alone
        dots = (hidden[number, first : last + 1].mean(dim=0) @ entities.T).sort(descending=True)
        mention = -np.log1p(np.exp(-logits[first, last]))
        joint = float(dots.values[:3].log_softmax(dim=0)[0] + mention)
        link = joint, str(100 + 7 * int(dots.indices[0])), float(dots.values[0])
        place = int(words[0, 0]), int(words[-1, 1])
        found[place] = max(found.get(place, link), link)
    return found


def test_all_mentions_however_they_overlap(elq, encoders, plain, tmp_path):
    """ELQ's rule `top_entity_by_mention`: every likely span stays, with its best entity and their inner product."""
    linker = import_with(elq, "flat", tmp_path / "linker", ImportSettings(num_candidates=3, progress=False))
    linker.bi_encoder.config.joint_threshold = -1000.0
    overlapping = 0
    for number, links in enumerate(linker.link(QUESTIONS, nested=True)):
        expected = best_of_places(plain, encoders[1], number)
        places = [(link.mention.start, link.mention.end) for link in links]
        assert sorted(places) == sorted(expected)
        for place, link in zip(places, links, strict=True):
            joint, entity, retrieval = expected[place]
            assert link.entity.entity_id == entity
            assert (np.log(link.score), link.retrieval_score) == pytest.approx((joint, retrieval), rel=1e-4)
        overlapping += sum(one[1] > other[0] for one, other in pairwise(sorted(places)))
    assert overlapping == 3


def test_precision_recall_and_f1(elq, tmp_path):
    """Of the 16 links of `LINKS`. "the old town" has one that overlaps it; "North" is linked as it is labelled."""
    linker = import_with(elq, "flat", tmp_path / "linker", ImportSettings(num_candidates=3, progress=False))
    labels = [[("the old town", "121")], [("North", "121"), ("river", "128")], [], [("song", None)]]
    metrics = evaluate_documents(linker, labelled(QUESTIONS, labels))
    expected = {
        "weak_precision": 2 / 16, "weak_recall": 2 / 3, "weak_f1": 4 / 19,
        "strong_precision": 1 / 16, "strong_recall": 1 / 3, "strong_f1": 2 / 19,
    }  # fmt: skip
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)


def labelled(texts: list[str], labels: Any) -> Any:
    """Documents with their mentions, as words and ids."""
    rows = []
    for number, (text, mentions) in enumerate(zip(texts, labels, strict=True)):
        places = [(text.index(words), words, label) for words, label in mentions]
        spans = [(at, at + len(words), [label] if label else []) for at, words, label in places]
        rows.append(document(str(number), text, spans))
    return documents_dataset(rows)


@pytest.fixture(scope="module")
def documents():
    return labelled(QUESTIONS, GOLD)


@pytest.fixture(scope="module")
def linker(elq, tmp_path_factory):
    folder = tmp_path_factory.mktemp("flat") / "linker"
    return import_with(elq, "flat", folder, ImportSettings(progress=False))


def losses(linker, documents, folder, index: Any) -> tuple[float, float]:
    """With the settings of the original: the loss of entities and that of spans."""
    found = []
    for weight in (0.0, 1.0):
        options = {"unique_entities": False, "num_hard_negatives": 3, "hard_negative_loss": "bce"}
        trainer = ElqTrainer(
            linker.bi_encoder.eval(), arguments(folder, span_loss_weight=weight, **options),
            ElqCollator(linker.processor, linker.knowledge_base), documents, index=index,
        )  # fmt: skip
        with torch.no_grad():
            batch = trainer.data_collator(documents.to_list())
            found.append(trainer.compute_loss(linker.bi_encoder, batch).item())
    return found[0], found[1] - found[0]


def pairs_of(plain) -> tuple[torch.Tensor, list[int]]:
    """Scores of the labelled mentions and all entities, `[6, 5]`, and their gold entities."""
    hidden, entities, _, _ = plain
    bounds = [(0, 2, 4), (0, 7, 9), (1, 3, 5), (1, 7, 9), (2, 6, 8), (3, 5, 7)]
    mentions = torch.stack([hidden[text, first:stop].mean(dim=0) for text, first, stop in bounds])
    return mentions @ entities.T, [0, 3, 2, 4, 2, 3]


def test_in_batch_and_span_loss(linker, plain, documents, tmp_path):
    entities, spans = losses(linker, documents, tmp_path, None)
    scores, gold = pairs_of(plain)
    assert entities == pytest.approx(
        functional.cross_entropy(scores[:, gold], torch.arange(6)).item(), rel=1e-4
    )
    golden = {(0, 2, 3), (0, 7, 8), (1, 3, 4), (1, 7, 8), (2, 6, 7), (3, 2, 2), (3, 5, 6)}
    terms = [
        np.logaddexp(0, -logit if (number, *span) in golden else logit)
        for number, length in enumerate(plain[3])
        for span, logit in span_logits(plain[2][number], length).items()
    ]
    assert spans == pytest.approx(np.mean(terms), rel=1e-4)
    assert (entities, spans) == pytest.approx(IN_BATCH, rel=1e-4)


def test_hard_negative_loss(linker, plain, documents, tmp_path):
    """Pairs of each mention with its gold entity, and with those of its three nearest that are not gold."""
    entities, spans = losses(linker, documents, tmp_path, linker.index)
    scores, gold = pairs_of(plain)
    terms = []
    for row, own in zip(scores.numpy(), gold, strict=True):
        terms.append(np.logaddexp(0, -row[own]))
        terms += [np.logaddexp(0, row[near]) for near in np.argsort(-row)[:3] if near != own]
    assert entities == pytest.approx(np.mean(terms), rel=1e-4)
    assert (entities, spans) == pytest.approx((HARD_NEGATIVE, IN_BATCH[1]), rel=1e-4)
