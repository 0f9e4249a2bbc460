"""A linker whose model finds the mentions: offsets, overlap, windows, thresholds, with and without a cross-encoder."""

import dataclasses
import json
import math

import numpy as np
import pytest
from transformers import AutoModel, pipeline

from hf_blink.modeling.entity_index import EntityIndex
from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.link_decision import softmax
from hf_blink.modeling.mention_detection import TitleMatcher
from hf_blink.modeling.modeling_elq import ElqModel
from hf_blink.modeling.span_detection import DetectedSpans, detect_spans, log_sigmoid
from hf_blink.modeling.span_linking import chosen_spans, joint_scores
from tests.elq_example import elq_linker, elq_model, elq_processor

TEXT = "The Jaguar of Paris is a cat. Puma!"
WORDS = ["Jaguar", "Paris", "Puma"]


@pytest.fixture(scope="module")
def linker(tiny_encoder, knowledge_base) -> EntityLinker:
    return elq_linker(tiny_encoder, knowledge_base)


def words(links):
    return [link.mention.text for link in links]


def spans_of(characters, tokens=None, texts=None) -> DetectedSpans:
    count = len(characters)
    bounds = np.array(characters).reshape(-1, 2)
    return DetectedSpans(
        np.zeros(count, np.int64) if texts is None else np.array(texts),
        bounds if tokens is None else np.array(tokens),
        bounds,
        np.zeros(count, np.float32),
        np.zeros((count, 2), np.float32),
    )


def test_mentions_are_found_with_offsets_and_entities(linker):
    links = linker.link(TEXT)
    assert words(links) == WORDS
    assert all(TEXT[link.mention.start : link.mention.end] == link.mention.text for link in links)
    for link in links:
        assert 0.95 < link.mention_score < 1 and len(link.candidates) == 6
        assert link.score == pytest.approx(link.mention_score * link.candidates[0].score)
        assert link.entity == link.candidates[0].entity
    assert linker.link("") == linker.link("   ") == linker.link("the cat of texas") == []


def test_the_score_is_the_product_of_mention_and_entity_probability(linker):
    (link,) = linker.link("puma")
    spans = detect_spans(linker.bi_encoder, linker.processor, ["puma"])
    scores, _ = linker.index.search(spans.vectors, 6)
    expected = softmax(scores / 0.05)[0, 0] / (1 + math.exp(-spans.logits[0]))
    assert link.score == pytest.approx(expected) and link.retrieval_score == pytest.approx(
        float(scores[0, 0])
    )


def test_many_texts_are_linked_as_each_alone_and_given_mentions_stay(linker):
    texts = [TEXT, "", "paris", "the " * 40 + "puma", "Puma and Paris"]
    together = linker.link(texts, [None, None, None, None, [(9, 14)]])
    assert [words(links) for links in together] == [WORDS, [], ["paris"], ["puma"], ["Paris"]]
    for text, links in zip(texts[:4], together, strict=False):
        alone = linker.link(text)
        assert [link.score for link in links] == pytest.approx([link.score for link in alone], abs=1e-5)
    assert together[4][0].mention_score is None


def test_long_texts_are_read_in_windows_and_each_mention_is_found_once(linker):
    text = " ".join(["the cat is in texas"] * 30).replace("cat is in texas the", "cat of Paris the")
    wanted = [i for i in range(len(text)) if text.startswith("Paris", i)]
    links = linker.link(text)
    assert [link.mention.start for link in links] == wanted and len(wanted) > 10
    far = "word " * 4_000 + "Puma"
    assert [link.mention.end for link in linker.link(far)] == [len(far)]


def test_of_overlapping_spans_the_best_stays_unless_nested():
    joint = np.array([-1.0, -0.5, -2.0, -0.7, -9.0])
    spans = spans_of([(0, 4), (2, 6), (6, 8), (0, 1), (9, 10)])
    assert chosen_spans(spans, joint, -5, nested=False).tolist() == [1, 3, 2]
    assert chosen_spans(spans, joint, -5, nested=True).tolist() == [1, 3, 0, 2]
    two_texts = spans_of([(0, 4), (2, 6)], texts=[0, 1])
    assert chosen_spans(two_texts, joint[:2], -5, nested=False).tolist() == [1, 0]
    same_characters = spans_of([(0, 3), (0, 3), (0, 0)], tokens=[(0, 1), (-1, 1), (-1, 0)])
    assert chosen_spans(same_characters, joint[:3], -5, nested=True).tolist() == [1]
    assert chosen_spans(same_characters, joint[:3], -5, nested=False).tolist() == [1]


def test_nested_mentions_by_choice(tiny_encoder, knowledge_base):
    nested = elq_linker(tiny_encoder, knowledge_base, nested=True, joint_threshold=-20)
    found = nested.link("jaguar paris")
    assert set(words(found)) == {"jaguar", "paris", "jaguar paris"}
    assert sorted(words(nested.link("jaguar paris", nested=False))) == ["jaguar", "paris"]
    pipe = pipeline("entity-linking", model=nested.bi_encoder, linker=nested)
    assert len(pipe("jaguar paris")) == 3 and len(pipe("jaguar paris", nested=False)) == 2


def test_joint_scores_by_hand():
    joint = joint_scores(np.array([0.0, 2.0]), np.array([[1.0, 0.0], [3.0, -np.inf]]), temperature=0.5)
    assert joint.tolist() == pytest.approx(
        [math.log(0.5) + 2 - math.log(math.exp(2) + 1), -math.log(1 + math.exp(-2))]
    )
    assert joint_scores(np.zeros(1), np.zeros((1, 0)), 1.0).tolist() == [-math.inf]
    assert np.isneginf(joint_scores(np.zeros(1), np.full((1, 2), -np.inf), 1.0)).all()
    assert log_sigmoid(np.array([0.0, -800.0])).tolist() == pytest.approx([-math.log(2), -800])


def test_the_joint_threshold_drops_and_the_threshold_makes_nil(linker):
    scores = [link.score for link in linker.link(TEXT)]
    middle = sorted(scores)[1]
    config = linker.bi_encoder.config
    try:
        config.joint_threshold = math.log(middle)
        assert [link.score for link in linker.link(TEXT)] == [score for score in scores if score > middle]
    finally:
        config.joint_threshold = -4.5
    kept = linker.link(TEXT, threshold=middle)
    assert [link.score for link in kept] == [score for score in scores if score >= middle]
    nil = linker.link(TEXT, threshold=1.0, return_nil=True)
    assert len(nil) == 3 and all(link.nil and link.entity is None and link.candidates for link in nil)


def test_worlds_restrict_and_unknown_ones_are_refused(linker):
    found = linker.link([TEXT, TEXT], worlds=["places", None])
    assert {c.entity.world for link in found[0] for c in link.candidates} == {"places"}
    with pytest.raises(ValueError, match="expected a world"):
        linker.link(TEXT, worlds="nowhere")


def test_whole_words(tiny_encoder, knowledge_base):
    texts = ["pumas of texascat"]  # "puma" and "##s"
    for whole_words, expected in ((True, set()), (False, {"puma"})):
        linker = elq_linker(tiny_encoder, knowledge_base, whole_words=whole_words)
        assert set(words(linker.link(texts)[0])) == expected


def test_a_detector_that_is_given_goes_before_the_model(linker, knowledge_base):
    with_detector = EntityLinker(
        linker.bi_encoder, linker.processor, linker.index, knowledge_base,
        detector=TitleMatcher(["cat"]),
    )  # fmt: skip
    assert words(with_detector.link(TEXT)) == ["cat"] and with_detector.link(TEXT)[0].mention_score is None


def test_repr_says_how_mentions_are_found(linker, knowledge_base, cross_encoder):
    assert repr(linker) == (
        "EntityLinker(elq, 6 entities in a flat index, no cross-encoder, 16 candidates, mentions: the model, "
        "joint threshold -4.5, NIL under 0)"
    )
    for detector, name in ((TitleMatcher(["cat"]), "TitleMatcher"), (len, "len")):
        other = EntityLinker(
            linker.bi_encoder, linker.processor, linker.index, knowledge_base,
            detector=detector, num_candidates=4, threshold=0.25, cross_encoder=cross_encoder,
        )  # fmt: skip
        assert repr(other) == (
            "EntityLinker(elq, 6 entities in a flat index, with a cross-encoder, 4 candidates, "
            f"mentions: {name}, NIL under 0.25)"
        )


def test_a_cross_encoder_orders_the_candidates_of_the_spans_that_were_found(
    tiny_encoder, knowledge_base, cross_encoder
):
    linker = elq_linker(tiny_encoder, knowledge_base, cross_encoder=cross_encoder)
    links = linker.link(TEXT)
    assert words(links) == WORDS
    for link in links:
        logits = [candidate.rerank_score for candidate in link.candidates]
        assert logits == sorted(logits, reverse=True)
        assert link.score == pytest.approx(link.mention_score * link.candidates[0].score)
    given = linker.link(TEXT, [(4, 10)])[0]
    assert given.rerank_score == pytest.approx(links[0].rerank_score, abs=1e-4)


def test_saved_loaded_and_served_by_the_pipeline(tiny_encoder, knowledge_base, cross_encoder, tmp_path):
    linker = elq_linker(tiny_encoder, knowledge_base, cross_encoder=cross_encoder, joint_threshold=-3)
    linker.save_pretrained(tmp_path / "linker")
    loaded = EntityLinker.from_pretrained(tmp_path / "linker")
    assert loaded.finds_mentions and loaded.bi_encoder.config.joint_threshold == -3
    assert loaded.link(TEXT) == linker.link(TEXT)
    pipe = pipeline("entity-linking", model=str(tmp_path / "linker"))
    found = pipe([TEXT, "nothing"])
    assert [link["word"] for link in found[0]] == WORDS and found[1] == []
    assert found[0][0]["mention_score"] == pytest.approx(linker.link(TEXT)[0].mention_score)
    assert json.loads(json.dumps(found)) == found
    assert type(AutoModel.from_pretrained(tmp_path / "linker")) is ElqModel
    code = {path.name for path in (tmp_path / "linker").glob("*.py")}
    assert {"modeling_elq.py", "configuration_elq.py", "processing_elq.py", "span_linking.py"} <= code
    maps = json.loads((tmp_path / "linker/processor_config.json").read_text())["auto_map"]
    assert maps == {"AutoProcessor": "processing_elq.ElqProcessor"}


def test_entities_are_added_and_removed(tiny_encoder, knowledge_base):
    linker = elq_linker(tiny_encoder, knowledge_base)
    linker.add_entities([{"id": "new", "title": "Puma", "description": "puma puma puma"}])
    assert "new" in {candidate.entity.entity_id for candidate in linker.link("puma")[0].candidates}
    linker.remove_entities(["new"])
    assert len(linker.link("puma")[0].candidates) == 6


def test_saved_elq_models_are_encoders_of_linkers(tiny_encoder, knowledge_base, tmp_path):
    processor = elq_processor(tiny_encoder)
    model = elq_model(tiny_encoder)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    linker = EntityLinker.from_knowledge_base(knowledge_base, str(tmp_path), progress=False)
    assert linker.finds_mentions
    with pytest.raises(ValueError, match="truncate_dim=None for an ELQ model"):
        EntityLinker.from_knowledge_base(knowledge_base, str(tmp_path), progress=False, truncate_dim=8)


def test_the_processor_of_a_bi_encoder_is_refused(tiny_encoder, processor, knowledge_base):
    model = elq_model(tiny_encoder)
    index = EntityIndex.build(model, processor, knowledge_base, progress=False)
    with pytest.raises(ValueError, match="expected an ElqProcessor for an ELQ model, got BlinkProcessor"):
        EntityLinker(model, processor, index, knowledge_base)


def test_links_of_other_linkers_have_no_mention_score(linker):
    link = linker.link("paris", [(0, 5)])[0]
    assert link.mention_score is None and "mention_score" in {
        field.name for field in dataclasses.fields(link)
    }
