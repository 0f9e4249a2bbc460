import numpy as np
import pytest

from hf_blink.modeling.linking_types import MentionContext
from hf_blink.modeling.processing_elq import (
    ElqProcessor,
    character_span,
    lower_with_offsets,
    owned_starts,
    token_span,
    window_bounds,
)
from tests.elq_example import elq_processor


@pytest.fixture(scope="module")
def processor(tiny_encoder) -> ElqProcessor:
    return elq_processor(tiny_encoder)


def test_tokens_know_their_characters_and_words(processor):
    text = "The Jaguar's car, in Texas"
    (tokens,) = processor.tokenize_texts([text])
    pieces = [text[start:end] for start, end in tokens.offsets]
    assert pieces == ["The", "Jaguar", "'", "s", "car", ",", "in", "Texas"]
    assert tokens.begins.all() and tokens.ends.all()
    (tokens,) = processor.tokenize_texts(["cats"])  # "cat" and "##s"
    assert tokens.begins.tolist() == [True, False] and tokens.ends.tolist() == [False, True]
    (empty,) = processor.tokenize_texts([""])
    assert empty.ids == [] and empty.offsets.shape == (0, 2) and not len(empty.begins)


def test_lower_casing_keeps_characters(tiny_encoder):
    assert lower_with_offsets("PaRis") == ("paris", None)
    text = "İn PARIS"  # its first letter is two characters in lower case
    lowered, places = lower_with_offsets(text)
    assert lowered.endswith("paris") and places[lowered.index("paris")] == text.index("PARIS")
    processor = elq_processor(tiny_encoder, do_lower_case=True)
    (tokens,) = processor.tokenize_texts([text])
    first, stop = token_span(tokens, text.index("PARIS"), len(text))
    assert character_span(text, tokens, first, stop) == (text.index("PARIS"), len(text))


def test_spans_of_characters_and_tokens_are_told_apart(processor):
    text = "in  the jaguar of paris"
    (tokens,) = processor.tokenize_texts([text])
    assert token_span(tokens, 8, 14) == (2, 3)
    assert token_span(tokens, 9, 20) == (2, 5), "a token that is hit in part counts"
    assert token_span(tokens, 2, 4) == (1, 1), "white space has none"
    assert character_span(text, tokens, 2, 5) == (8, 23)


def test_windows_cover_a_long_text_and_overlap():
    assert window_bounds(5, 8, 2) == [(0, 5)] and window_bounds(0, 8, 2) == [(0, 0)]
    assert window_bounds(20, 8, 2) == [(0, 8), (6, 14), (12, 20)]
    assert window_bounds(21, 8, 2) == [(0, 8), (6, 14), (12, 20), (13, 21)]


@pytest.mark.parametrize(
    ("count", "room", "overlap"), [(20, 8, 2), (21, 8, 5), (9, 8, 3), (40, 10, 9), (8, 8, 2)]
)
def test_every_span_up_to_the_overlap_is_of_exactly_one_window(count, room, overlap):
    bounds, widths = window_bounds(count, room, overlap), np.arange(overlap + 1)
    seen: dict[tuple[int, int], int] = {}
    for number, (first, _) in enumerate(bounds):
        for start, width in zip(*np.nonzero(owned_starts(bounds, number, count, widths)), strict=True):
            span = (first + int(start), int(width))
            seen[span] = seen.get(span, 0) + 1
    spans = [(start, width) for start in range(count) for width in widths.tolist() if start + width < count]
    assert all(seen.get(span) == 1 for span in spans)


def test_a_span_is_of_the_window_with_more_context_around_it():
    bounds = [(0, 10), (5, 15)]
    owned = owned_starts(bounds, 0, 15, np.arange(1))[:, 0]
    assert (
        owned.tolist() == [True] * 7 + [True] + [False] * 2
    )  # token 7: two tokens to each edge, the first window's


def test_text_windows_hold_all_tokens(processor):
    texts = ["the jaguar " * 30, "paris"]
    windows = processor.text_windows(texts, overlap=10)
    assert [window.text_number for window in windows] == [0, 0, 0, 1]
    assert all(len(window.ids) <= 32 for window in windows)
    cls_id, sep_id = processor.frame
    for window in windows:
        first, stop = window.bounds[window.number]
        assert window.ids == [cls_id, *window.text.ids[first:stop], sep_id]
    with pytest.raises(ValueError, match="window_overlap from 0 to 29 tokens for windows of 32, got 30"):
        processor.text_windows(texts, overlap=30)


def test_mention_windows_have_no_markers_and_know_the_mention(processor):
    contexts = [MentionContext("the car maker", "jaguar", ", is"), MentionContext("", "paris", ""),
                MentionContext("the " * 90, "jaguar of paris", "in " * 90), MentionContext("the", " ", "cat")]  # fmt: skip
    windows, spans = processor.mention_windows(contexts)
    words = [processor.tokenizer.convert_ids_to_tokens(window) for window in windows]
    assert words[0] == ["[CLS]", "the", "car", "maker", "jaguar", ",", "is", "[SEP]"] and spans[0] == (4, 5)
    assert words[1] == ["[CLS]", "paris", "[SEP]"] and spans[1] == (1, 2)
    assert len(words[2]) == 32 and words[2][slice(*spans[2])] == ["jaguar", "of", "paris"]
    assert spans[3] == (0, 1)
    marked = processor.marked_windows(contexts[:1])[0]
    assert processor.tokenizer.convert_ids_to_tokens(marked)[4:7] == ["[unused0]", "jaguar", "[unused1]"]


def test_a_window_around_mentions_drops_the_last_ones_that_do_not_fit(processor):
    (tokens,) = processor.tokenize_texts(["jaguar " * 100])
    ids, spans = processor.window_around(tokens, [(40, 41), (60, 62), (95, 96)])
    assert (
        len(ids) == 32
        and [stop - start for start, stop in spans] == [1, 2]
        and spans[1][0] - spans[0][0] == 20
    )
    ids, spans = processor.window_around(tokens, [(10, 90)])
    assert len(ids) == 32 and spans == [(1, 31)], "a mention longer than the window is cut"
    assert processor.window_around(tokens, [])[1] == []
