import pytest

from hf_blink.modeling import mention_detection
from hf_blink.modeling.mention_detection import (
    TitleMatcher,
    TokenClassificationDetector,
    checked_mentions,
    detected_spans,
    marked_mentions,
)


def found(matcher, text):
    return [text[start:end] for start, end in matcher([text])[0]]


def test_title_matcher_takes_the_longest_name_and_whole_words():
    matcher = TitleMatcher(["New York", "New York Times", "York", "C++", "St. John's"])
    assert found(matcher, "The New York Times of new york, not Yorkshire; York.") == [
        "New York Times",
        "new york",
        "York",
    ]
    assert found(matcher, "C++ in St. John's") == ["C++", "St. John's"]


def test_title_matcher_wants_a_capital_for_capitalised_single_words():
    matcher = TitleMatcher(["It", "puma"])
    assert found(matcher, "It is what it is: IT, Puma, puma.") == ["It", "IT", "Puma", "puma"]


def test_title_matcher_of_a_knowledge_base_knows_aliases(knowledge_base):
    matcher = TitleMatcher.from_knowledge_base(knowledge_base, batch_size=2)
    assert found(matcher, "A cougar is no Jaguar, says Paris.") == ["cougar", "Jaguar", "Paris"]
    assert matcher(["", "none"]) == [[], []]


def test_title_matcher_ignores_names_without_letters():
    assert found(TitleMatcher(["...", "!", ""]), "wait ... !") == []


@pytest.mark.parametrize("block", [1, 3, 4096])
def test_title_matcher_does_not_depend_on_its_blocks(monkeypatch, block):
    monkeypatch.setattr(mention_detection, "_BLOCK_WORDS", block)
    matcher = TitleMatcher(["a b c", "b", "c d e f", "d e", "f g", "Z", "a"])
    assert found(matcher, "x a b c d e f g z Z, b a b c d") == ["a b c", "d e", "f g", "Z", "b", "a b c"]
    assert found(matcher, "a c d e f") == ["a", "c d e f"]


def test_title_matcher_hashes_only_where_a_name_may_begin(monkeypatch):
    matcher = TitleMatcher(["New York Times", "it", *(f"name{i} of {i}" for i in range(1000))])
    hashed: list[list[str]] = []
    key = mention_detection._key

    def counted(words):
        hashed.append(words)
        return key(words)

    monkeypatch.setattr(mention_detection, "_key", counted)
    assert matcher(["!? " * 50_000]) == [[]]
    assert len(hashed) <= 2 * (
        100_000 // mention_detection._BLOCK_WORDS + 1
    )  # the distinct words of each block
    hashed.clear()
    assert found(matcher, "it is new york times " * 100) == ["it", "new york times"] * 100
    assert len(hashed) == 5 + 100 * (1 + 3)  # distinct words; ranges of `it`, and of `new` up to three words


@pytest.mark.parametrize(("wrong", "got"), [([], "0 lists"), (None, "NoneType"), (iter("ab"), "str_")])
def test_detected_spans_are_one_sequence_a_text(wrong, got):
    assert detected_spans(lambda texts: [[(0, 1)], ()], ["a", "b"]) == [[(0, 1)], ()]
    with pytest.raises(
        ValueError, match=f"one list of spans a text from the detector, got {got}.* for 2 texts"
    ):
        detected_spans(lambda texts: wrong, ["a", "b"])


def test_checked_mentions_accepts_the_forms_people_have():
    mentions = checked_mentions("a Paris", [(2, 7), [2, 7], {"start": 2, "end": 7}])
    assert [(m.start, m.end, m.text) for m in mentions] == [(2, 7, "Paris")] * 3
    assert checked_mentions("a Paris", mentions) == mentions


def test_marked_mentions_by_hand():
    plain, mentions, spans = marked_mentions("in <Paris> and <York>.", ("<", ">"))
    assert plain == "in Paris and York."
    assert [(m.start, m.end, m.text) for m in mentions] == [(4, 9, "Paris"), (16, 20, "York")]
    assert [plain[start:end] for start, end in spans] == ["Paris", "York"]


@pytest.mark.parametrize("text", ["a [[b", "[[]]", "[[a [[b]] c]]", "a ]] b", "[[a]] b]]", "]] [[a]]"])
def test_marked_mentions_refuses_broken_marks(text):
    with pytest.raises(ValueError, match="expected"):
        marked_mentions(text, ("[[", "]]"))


def test_token_classification_detector_keeps_labels_and_empty_texts():
    def pipeline(texts, batch_size):
        return [
            [{"start": 0, "end": 4, "entity_group": "ORG"}, {"start": 5, "end": 6, "entity_group": "PER"}]
            for _ in texts
        ]

    assert TokenClassificationDetector(pipeline)(["Acme B", "", " "]) == [[(0, 4), (5, 6)], [], []]
    assert TokenClassificationDetector(pipeline, labels={"PER"})(["Acme B"]) == [[(5, 6)]]
