from typing import Any

import numpy as np
import pytest

from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.mention_detection import TitleMatcher
from hf_blink.modeling.span_linking import find_mentions, joint_scores
from hf_blink.training import joint_threshold
from hf_blink.training.document_evaluation import evaluate_documents, linked_documents
from hf_blink.training.documents import document, documents_dataset
from hf_blink.training.joint_threshold import fit_joint_threshold
from hf_blink.training.nif import write_nif
from hf_blink.training.span_matching import Counts, SpanLink, count_matches, matched_counts, matches
from tests.elq_example import elq_linker


def link(start, end, *ids):
    return SpanLink(start, end, ids)


class FixedLinker:
    """Gives the links that it is told to, with a real knowledge base."""

    def __init__(self, knowledge_base, answers):
        self.knowledge_base, self.answers = knowledge_base, answers

    def link(self, texts, **options):
        assert options["return_nil"] and options["top_k"] == 1
        return [self.answers[text] for text in texts]


class Answer:
    def __init__(self, start, end, entity_id):
        self.mention = type("M", (), {"start": start, "end": end})
        self.entity = None if entity_id is None else type("E", (), {"entity_id": entity_id})


def test_matching_wants_entity_and_span():
    assert matches(link(0, 5, "a", "b"), link(0, 5, "b"), strong=True)
    assert not matches(link(0, 5, "a"), link(0, 5, "b"), strong=False)
    assert matches(link(0, 5, "a"), link(4, 9, "a"), strong=False)
    assert not matches(link(0, 5, "a"), link(5, 9, "a"), strong=False), "ends are exclusive"
    assert not matches(link(0, 5, "a"), link(0, 4, "a"), strong=True)
    assert matches(link(0, 5), link(0, 5), strong=True) and not matches(
        link(0, 5), link(0, 5, "a"), strong=True
    )


def test_each_link_counts_once():
    gold = [link(0, 10, "a")]
    assert count_matches(gold, [link(0, 4, "a"), link(5, 9, "a")], strong=False) == 1
    assert count_matches([link(0, 4, "a"), link(6, 9, "a")], [link(3, 7, "a")], strong=False) == 1
    assert matched_counts(gold, [], strong=True) == Counts(0, 0, 1)


def test_precision_recall_and_f1_by_hand():
    counts = Counts(1, 2, 4)
    assert (counts.precision, counts.recall) == (0.5, 0.25) and counts.f1 == pytest.approx(1 / 3)
    assert (Counts(0, 0, 0).precision, Counts(0, 0, 0).recall, Counts(0, 0, 0).f1) == (1, 1, 1)
    assert (Counts(0, 2, 0).precision, Counts(0, 2, 0).recall, Counts(0, 2, 0).f1) == (0, 0, 0)
    assert (Counts(0, 0, 3).precision, Counts(0, 0, 3).recall, Counts(0, 0, 3).f1) == (0, 0, 0)


def test_micro_macro_in_kb_and_with_nil(knowledge_base):
    documents = documents_dataset(
        [
            document("1", "Paris and Puma", [(0, 5, ["paris-fr"]), (10, 14, ["unknown-id"])]),
            document("2", "a Jaguar", [(2, 8, ["jaguar-cat", "jaguar-car"])]),
            document("3", "left out", [], complete=False),
        ]
    )
    linker = FixedLinker(
        knowledge_base,
        {
            "Paris and Puma": [Answer(0, 5, "paris-fr"), Answer(10, 14, None), Answer(6, 9, "puma-cat")],
            "a Jaguar": [Answer(0, 8, "jaguar-car")],
        },
    )
    found = evaluate_documents(linker, documents)
    assert (found["num_documents"], found["num_incomplete"], found["num_mentions"], found["num_nil"]) == (
        2,
        1,
        2,
        1,
    )
    assert found["num_links"] == 3
    assert found["strong_precision"] == pytest.approx(1 / 3) and found["strong_recall"] == pytest.approx(
        1 / 2
    )
    assert found["weak_precision"] == pytest.approx(2 / 3) and found["weak_recall"] == 1
    assert found["weak_precision_macro"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["strong_f1_macro"] == pytest.approx((2 / 3 + 0) / 2)
    assert found["with_nil/strong_precision"] == pytest.approx(2 / 4)
    assert found["with_nil/strong_recall"] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="1 with complete=False; precision means nothing"):
        evaluate_documents(linker, documents.select([2]))


def test_documents_without_gold_links_count_in_the_means_as_gerbils_do(knowledge_base):
    texts: dict[str, tuple[list[Any], list[Any]]] = {
        "right Paris": ([(6, 11, ["paris-fr"])], [Answer(6, 11, "paris-fr")]),
        "nil unlinked": ([(0, 3, [])], []),
        "nil linked": ([(0, 3, [])], [Answer(0, 3, "paris-fr")]),
        "nil as nil": ([(0, 3, [])], [Answer(0, 3, None)]),
        "nothing predicted Paris": ([(18, 23, ["paris-fr"])], []),
    }
    documents = documents_dataset([document(text, text, gold) for text, (gold, _) in texts.items()])
    linker = FixedLinker(knowledge_base, {text: links for text, (_, links) in texts.items()})
    found = evaluate_documents(linker, documents)
    for metric in ("precision", "recall", "f1"):
        assert found[f"strong_{metric}_macro"] == (1 + 1 + 0 + 1 + 0) / 5
        assert found[f"with_nil/strong_{metric}_macro"] == (1 + 0 + 0 + 1 + 0) / 5
    assert (found["strong_precision"], found["strong_recall"]) == (1 / 2, 1 / 2)
    only_nil = evaluate_documents(linker, documents.select([2]))
    assert only_nil["strong_precision"] == only_nil["strong_recall"] == only_nil["strong_f1"] == 0


def test_a_world_that_the_knowledge_base_lacks_names_the_document(linker, knowledge_base):
    documents = documents_dataset([document("a", "x", []), document("b", "puma", [(0, 4, [])], world="moon")])
    for measure in (evaluate_documents, fit_joint_threshold):
        with pytest.raises(
            ValueError, match="one of .* worlds .*'places'.*, got 'moon' for document 'b'; correct"
        ):
            measure(linker, documents)


@pytest.fixture(scope="module")
def linker(tiny_encoder, knowledge_base) -> EntityLinker:
    return elq_linker(tiny_encoder, knowledge_base, joint_threshold=-0.5, temperature=0.3)


@pytest.fixture(scope="module")
def documents(linker):
    """Gold labels are what the model links with a threshold between the two words' scores."""
    return gold_documents(linker)


def gold_documents(linker):
    texts = ["the puma of texas", "a jaguar is a cat", "in paris", "puma and jaguar", "paris is paris"]
    found, joint = [], []
    kept = linker.bi_encoder.config.joint_threshold
    linker.bi_encoder.config.joint_threshold = -50
    for text in texts:
        spans, scores, _ = find_mentions(linker, [text], [None], linker.num_candidates, nested=False)
        joint.append(joint_scores(spans.logits, scores, linker.bi_encoder.config.temperature))
        found.append(linker.link(text))
    linker.bi_encoder.config.joint_threshold = kept
    ordered = sorted(np.concatenate(joint))
    cut = (ordered[len(ordered) // 2] + ordered[len(ordered) // 2 - 1]) / 2
    rows = [
        document(
            str(number), text,
            [(k.mention.start, k.mention.end, [k.entity.entity_id]) for k, s in zip(links, own, strict=True) if s > cut],
        )
        for number, (text, links, own) in enumerate(zip(texts, found, joint, strict=True))
    ]  # fmt: skip
    assert 0 < sum(len(row["mentions"]) for row in rows) < len(ordered)
    return documents_dataset(rows)


def test_the_fitted_threshold_finds_what_is_gold_and_is_saved(linker, documents, tmp_path):
    for match in ("weak", "strong"):
        fitted = fit_joint_threshold(linker, documents, match=match)
        assert fitted.f1 == 1 and fitted.match == match
        assert linker.bi_encoder.config.joint_threshold == fitted.joint_threshold < 0
        found = evaluate_documents(linker, documents)
        assert found[f"{match}_f1"] == 1 and found["documents_per_second"] > 0
    linker.save_pretrained(tmp_path / "linker")
    loaded = EntityLinker.from_pretrained(tmp_path / "linker")
    assert loaded.bi_encoder.config.joint_threshold == fitted.joint_threshold
    assert evaluate_documents(loaded, documents)["strong_f1"] == 1


def test_the_cross_encoders_entities_count_and_documents_are_linked_some_at_a_time(
    tiny_encoder, knowledge_base, cross_encoder, monkeypatch
):
    settings = {"joint_threshold": -0.5, "temperature": 0.3}
    linker = elq_linker(tiny_encoder, knowledge_base, cross_encoder=cross_encoder, **settings)
    documents = gold_documents(linker)
    retrieved = elq_linker(tiny_encoder, knowledge_base, **settings)
    assert documents["label_ids"][:] != gold_documents(retrieved)["label_ids"][:]
    monkeypatch.setattr(joint_threshold, "_DOCUMENTS_AT_ONCE", 2)
    fitted = fit_joint_threshold(linker, documents, match="strong")
    assert fitted.f1 == evaluate_documents(linker, documents)["strong_f1"] == 1
    without = fit_joint_threshold(retrieved, documents, match="strong")
    assert (
        without.f1 == pytest.approx(evaluate_documents(retrieved, documents)["strong_f1"]) and without.f1 < 1
    )


def test_links_under_the_linkers_own_threshold_are_none(tiny_encoder, knowledge_base):
    linker = elq_linker(tiny_encoder, knowledge_base, joint_threshold=-0.5, temperature=0.3)
    documents = gold_documents(linker)
    linker.threshold = 0.9999
    assert fit_joint_threshold(linker, documents).f1 == 0


def test_a_threshold_that_finds_nothing_right_is_not_taken(linker, caplog, monkeypatch):
    monkeypatch.setattr(linker.bi_encoder.config, "joint_threshold", -3.0)
    unknown = documents_dataset([document("x", "puma", [(0, 4, ["no-such-id"])])])
    fitted = fit_joint_threshold(linker, unknown)
    assert (fitted.joint_threshold, fitted.f1) == (-3.0, 0.0)
    assert linker.bi_encoder.config.joint_threshold == -3.0
    assert "no threshold gives a right link on 1 documents, so -3.0 stays" in caplog.text


def test_what_cannot_be_fitted_is_refused(linker, documents, knowledge_base):
    with pytest.raises(ValueError, match="match as weak or strong, got 'exact'"):
        fit_joint_threshold(linker, documents, match="exact")
    with pytest.raises(ValueError, match="expected complete documents to fit on, got 1"):
        fit_joint_threshold(linker, documents_dataset([document("x", "puma", [], complete=False)]))
    other = EntityLinker(
        linker.bi_encoder, linker.processor, linker.index, knowledge_base, detector=TitleMatcher(["puma"])
    )
    with pytest.raises(ValueError, match="a linker with an ELQ model that finds the mentions"):
        fit_joint_threshold(other, documents)


def test_links_are_exported_as_documents(linker, documents, tmp_path):
    rows = linked_documents(linker, documents)
    assert [row["text"] for row in rows] == list(documents["text"])
    assert rows[0]["mentions"][0]["label_ids"][0] in set(linker.knowledge_base.entity_ids(range(6)))
    write_nif(rows, tmp_path / "links.ttl", entity_prefix="http://example.org/")
    assert "taIdentRef <http://example.org/" in (tmp_path / "links.ttl").read_text()


def test_some_unknown_labels_are_told_and_count_as_nil(knowledge_base, caplog):
    documents = documents_dataset([document("d", "Paris or Rome", [(0, 5, ["paris-fr"]), (9, 13, ["Q220"])])])
    metrics = evaluate_documents(FixedLinker(knowledge_base, {"Paris or Rome": []}), documents)
    assert (metrics["num_mentions"], metrics["num_nil"]) == (1, 1)
    assert "1 of 2 labelled mentions name no entity" in caplog.text and "'Q220' in d; they" in caplog.text
