from pathlib import Path

import numpy as np
import pytest

from hf_blink.modeling.entity_index import EntityIndex
from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.linking_types import MentionContext
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.processing_blink import BlinkProcessor

TEXT = "A jaguar slept in the forest. Later a puma came to Paris."
SPANS = [(2, 8), (38, 42), (51, 56)]


@pytest.fixture
def linker(bi_encoder, processor, knowledge_base, cross_encoder):
    index = EntityIndex.build(bi_encoder, processor, knowledge_base, kind="flat", progress=False)
    return EntityLinker(
        bi_encoder, processor, index, knowledge_base, cross_encoder=cross_encoder, num_candidates=4
    )


def summary(links):
    return [
        (
            link.mention.start,
            link.mention.end,
            [(c.entity.entity_id, round(c.score, 5)) for c in link.candidates],
        )
        for link in links
    ]


def test_a_missing_encoder_is_named(knowledge_base):
    for name in ("./missing", "missing/encoder"):
        with pytest.raises(FileNotFoundError, match=f"expected an encoder: '{name}' is no folder"):
            EntityLinker.from_knowledge_base(knowledge_base, name)


def test_repr_names_the_parts(linker):
    assert repr(linker) == (
        "EntityLinker(blink-biencoder, 6 entities in a flat index, with a cross-encoder, 4 candidates, "
        "mentions: titles and aliases, NIL under 0)"
    )


def test_link_returns_offsets_scores_and_ranked_candidates(linker):
    links = linker.link(TEXT, SPANS)
    assert [(link.mention.start, link.mention.end) for link in links] == SPANS
    assert [link.mention.text for link in links] == ["jaguar", "puma", "Paris"]
    for link in links:
        assert len(link.candidates) == 4
        assert link.entity == link.candidates[0].entity
        scores = [candidate.score for candidate in link.candidates]
        assert scores == sorted(scores, reverse=True) and sum(scores) == pytest.approx(1)
        assert [c.rerank_score for c in link.candidates] == sorted(
            (c.rerank_score for c in link.candidates), reverse=True
        )


def test_scores_are_the_softmax_of_the_models_own_numbers(linker, bi_encoder, processor, knowledge_base):
    linker.cross_encoder = None
    link = linker.link("paris", [(0, 5)])[0]
    mention = bi_encoder.encode_mentions(**processor.process_mentions([MentionContext("", "paris", "")]))
    entities = bi_encoder.encode_entities(**processor.process_entities(*knowledge_base.texts(0, 6)))
    cosine = (mention @ entities.T)[0].detach().numpy()
    best = np.sort(cosine)[::-1][:4]
    expected = np.exp(best / 0.05) / np.exp(best / 0.05).sum()
    assert [c.retrieval_score for c in link.candidates] == pytest.approx(best.tolist(), abs=1e-5)
    assert [c.score for c in link.candidates] == pytest.approx(expected.tolist(), abs=1e-4)
    assert link.rerank_score is None


def test_batching_does_not_change_results(linker):
    texts = [TEXT, "paris", TEXT[30:], "the " * 200 + "jaguar"]
    mentions = [SPANS, [(0, 5)], [(8, 12)], [(800, 806)]]
    together = linker.link(texts, mentions)
    alone = [linker.link(text, spans) for text, spans in zip(texts, mentions, strict=True)]
    for one, other in zip(together, alone, strict=True):
        for left, right in zip(one, other, strict=True):
            assert left.entity == right.entity
            assert left.score == pytest.approx(right.score, abs=1e-4)


def test_mentions_of_some_texts_are_given_and_looked_for_in_the_others(linker):
    links = linker.link(["Paris and Puma", "Paris", "Puma"], [[(0, 5)], None, []])
    assert [[link.mention.text for link in found] for found in links] == [["Paris"], ["Paris"], []]


def test_texts_without_mentions_give_empty_lists(linker):
    assert linker.link(["nothing here", "", "jaguar", "   "])[0] == []
    assert linker.link("", []) == []
    assert linker.link([]) == []
    assert [len(links) for links in linker.link(["nothing", "a Jaguar", "", "Puma and Paris"])] == [
        0,
        1,
        0,
        2,
    ]


def test_marks_give_offsets_of_the_text_as_given_and_the_same_links(linker):
    marked = "A [[jaguar]] slept near [[Paris]]."
    links = linker.link(marked, marks=("[[", "]]"))
    assert [marked[link.mention.start : link.mention.end] for link in links] == ["jaguar", "Paris"]
    plain = linker.link("A jaguar slept near Paris.", [(2, 8), (20, 25)])
    assert [link.score for link in links] == pytest.approx([link.score for link in plain], abs=1e-5)


def test_worlds_restrict_candidates(linker):
    links = linker.link(["jaguar", "jaguar"], [[(0, 6)], [(0, 6)]], worlds=["firms", "places"])
    assert [{c.entity.world for c in found[0].candidates} for found in links] == [{"firms"}, {"places"}]
    assert len(links[0][0].candidates) == 2


def test_threshold_drops_links_or_marks_them_nil(linker):
    assert linker.link("jaguar", [(0, 6)], threshold=1.0) == []
    link = linker.link("jaguar", [(0, 6)], threshold=1.0, return_nil=True)[0]
    assert link.nil and link.entity is None and 0 < link.score < 1 and len(link.candidates) == 4


def test_top_k_bounds_candidates_and_may_exceed_the_knowledge_base(linker):
    assert len(linker.link("jaguar", [(0, 6)], top_k=1)[0].candidates) == 1
    assert len(linker.link("jaguar", [(0, 6)], top_k=1_000_000)[0].candidates) == 6


@pytest.mark.parametrize(
    "spans",
    [
        [(-1, 3)],
        [(3, 3)],
        [(4, 2)],
        [(0, 7)],
        [("0", 3)],
        [(0.0, 3.0)],
        [(True, 3)],
        ["ab"],
        [(1, 2, 3)],
        [{}],
    ],
)
def test_bad_spans_are_refused(linker, spans):
    with pytest.raises(ValueError, match="expected"):
        linker.link("jaguar", spans)


def test_overlapping_spans_are_each_linked(linker):
    links = linker.link("the jaguar cat", [(4, 10), (4, 14), (4, 10)])
    assert [(link.mention.start, link.mention.end) for link in links] == [(4, 10), (4, 14), (4, 10)]
    assert links[0].score == pytest.approx(links[2].score, abs=1e-6)


def test_offsets_count_characters_with_emoji_and_combining_marks(linker):
    text = "\U0001f406 e\u0301te\u0301 \U0001f1eb\U0001f1f7 Paris \u200d!"
    start = text.index("Paris")
    link = linker.link(text)[0]
    assert (link.mention.start, link.mention.end, link.mention.text) == (start, start + 5, "Paris")


def test_huge_text_and_huge_mention(linker):
    text = "word " * 200_000 + "Paris" + " word" * 200
    links = linker.link(text)
    assert [link.mention.text for link in links] == ["Paris"]
    long = "jaguar " * 1500
    assert len(linker.link(long, [(0, len(long))])) == 1


@pytest.mark.parametrize("worlds", ["nowhere", ["nowhere"], [5], [["firms"]]])
def test_an_unknown_world_is_refused_before_anything_is_encoded(linker, monkeypatch, worlds):
    monkeypatch.setattr(linker.bi_encoder, "encode_mentions", None)
    with pytest.raises(
        ValueError, match=r"expected a world .*'animals', 'firms', 'places'.* got .*(nowhere|5|firms)"
    ):
        linker.link(["jaguar"], [[(0, 6)]], worlds=worlds)
    with pytest.raises(ValueError, match="expected a world"):
        linker.link("a text without mentions", worlds="nowhere")
    with pytest.raises(ValueError, match="expected a world"):
        linker.retrieve([MentionContext("", "jaguar", "")], 2, ["nowhere"])


@pytest.mark.parametrize("found", [[], [[(0, 6)]] * 3, None, iter([])])
def test_a_detector_gives_one_list_a_text(linker, found):
    linker.detector = lambda texts: found
    with pytest.raises(
        ValueError, match="expected one list of spans a text from the detector, got .* for 2 texts"
    ):
        linker.link(["jaguar", "puma"])


def test_a_huge_top_k_does_not_reserve_memory_for_it(linker):
    contexts = [MentionContext("", "jaguar", "")] * 3
    scores, rows = linker.retrieve(contexts, 10**12)
    assert scores.shape == rows.shape == (3, 6)
    scores, rows = linker.retrieve(contexts, 10**12, ["firms", None, "places"])
    assert (rows >= 0).sum(axis=1).tolist() == [2, 6, 2] and np.isneginf(scores[0, 2:]).all()


def test_wrong_input_types(linker):
    for wrong in (5, None, {"text": "jaguar"}):
        with pytest.raises(TypeError, match="expected texts as a str or a sequence of str, got"):
            linker.link(wrong)
    with pytest.raises(TypeError, match="position 1"):
        linker.link(["a", 5])
    with pytest.raises(ValueError, match="2 texts, got 1"):
        linker.link(["a", "b"], [[(0, 1)]])
    with pytest.raises(ValueError, match="got both"):
        linker.link("[[a]]", [(0, 1)], marks=("[[", "]]"))
    for top_k in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="top_k"):
            linker.link("jaguar", top_k=top_k)
    with pytest.raises(ValueError, match="threshold between 0 and 1"):
        linker.link("jaguar", threshold=-4.5)


def test_an_index_of_another_encoder_or_knowledge_base_is_refused(
    linker, processor, tiny_encoder, knowledge_base
):
    other = BlinkBiEncoder.from_encoder(tiny_encoder, entity_pooling="cls").eval()
    with pytest.raises(ValueError, match="encoder"):
        EntityLinker(other, processor, linker.index, knowledge_base)
    other_kb = KnowledgeBase.from_entities([{"id": str(i), "title": "x"} for i in range(6)])
    with pytest.raises(ValueError, match="knowledge base"):
        EntityLinker(linker.bi_encoder, processor, linker.index, other_kb)


def test_from_knowledge_base_takes_paths_and_trained_encoders(tiny_encoder, bi_encoder, processor, tmp_path):
    catalogue = tmp_path / "entities.jsonl"
    catalogue.write_text('{"id": "a", "name": "Jaguar", "text": "a cat"}\n{"id": "b", "label": "Paris"}\n')
    untrained = EntityLinker.from_knowledge_base(str(catalogue), tiny_encoder, progress=False)
    assert untrained.link("Jaguar")[0].entity.entity_id in {"a", "b"}
    bi_encoder.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    for as_given in (str, Path):
        trained = EntityLinker.from_knowledge_base(
            as_given(catalogue), as_given(tmp_path / "model"), progress=False, device="cpu"
        )
        assert trained.processor.mention_length == 32
    assert EntityLinker.from_knowledge_base(catalogue, Path(tiny_encoder), progress=False).link("Paris")
    with pytest.raises(ValueError, match="processor"):
        EntityLinker.from_knowledge_base(str(catalogue), bi_encoder)


@pytest.mark.parametrize("given", ["object", "saved", "plain"])
def test_a_linker_of_fewer_dimensions(tiny_encoder, bi_encoder, processor, knowledge_base, tmp_path, given):
    """Its vectors and its index are short, links come as from any other, and another length is another encoder."""
    bi_encoder.save_pretrained(tmp_path / "bi_encoder")
    processor.save_pretrained(tmp_path / "bi_encoder")
    encoder = {"object": bi_encoder, "saved": tmp_path / "bi_encoder", "plain": tiny_encoder}[given]
    linker = EntityLinker.from_knowledge_base(
        knowledge_base, encoder, processor=processor, truncate_dim=8, progress=False
    )
    assert linker.index.dimension == 8 and bi_encoder.config.truncate_dim is None
    assert len(linker.link("Paris")[0].candidates) == 6
    linker.save_pretrained(tmp_path / "linker")
    loaded = EntityLinker.from_pretrained(tmp_path / "linker")
    assert loaded.bi_encoder.config.embed_dim == loaded.index.dimension == 8
    assert loaded.link("Paris")[0].score == linker.link("Paris")[0].score
    with pytest.raises(ValueError, match="encoder"):
        EntityLinker(bi_encoder, processor, linker.index, knowledge_base)
    with pytest.raises(ValueError, match="truncate_dim from 1 to 32"):
        EntityLinker.from_knowledge_base(knowledge_base, encoder, processor=processor, truncate_dim=64)


def test_the_device_is_chosen_before_anything_is_encoded(tiny_encoder, knowledge_base):
    with pytest.raises(
        RuntimeError, match="meta"
    ):  # torch: the meta device computes nothing; it got that far
        EntityLinker.from_knowledge_base(knowledge_base, tiny_encoder, device="meta", progress=False)


def test_windows_that_are_too_long_are_refused_before_anything_is_encoded(
    tiny_encoder, bi_encoder, cross_encoder, knowledge_base, monkeypatch
):
    long = BlinkProcessor.from_base(tiny_encoder, mention_length=161)
    with (
        monkeypatch.context() as patch,
        pytest.raises(ValueError, match="mention tower with positions for 161"),
    ):
        patch.setattr(EntityIndex, "build", None)
        EntityLinker.from_knowledge_base(knowledge_base, bi_encoder, processor=long, progress=False)
    pairs = BlinkProcessor.from_base(tiny_encoder)
    linker = EntityLinker.from_knowledge_base(knowledge_base, bi_encoder, processor=pairs, progress=False)
    with pytest.raises(ValueError, match="cross-encoder with positions for 255 tokens"):
        EntityLinker(bi_encoder, pairs, linker.index, knowledge_base, cross_encoder=cross_encoder)
