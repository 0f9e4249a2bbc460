import re

import pytest

from hf_blink.link_requests import LimitError, MentionLimit, RequestLimits, RequestReader
from hf_blink.modeling.pipeline_entity_linking import EntityLinkingPipeline

TEXT = "A Jaguar slept near Paris."
LIMITS = RequestLimits(texts=4, characters=1000, mentions=5, candidates=6)


@pytest.fixture
def reader(linker) -> RequestReader:
    return RequestReader(EntityLinkingPipeline(linker.bi_encoder, linker=linker, device="cpu"), LIMITS)


def prepared(text: str, mentions=None, world=None) -> dict:
    return {"text": text, "mentions": mentions, "world": world}


def test_read_gives_every_input_its_world_and_drops_options_that_are_none(reader):
    inputs = ["a", {"text": "b", "mentions": [[0, 1]]}, {"text": "c", "world": "firms"}]
    items, options = reader.read(inputs, worlds="animals", top_k=2, threshold=None, return_nil=False)
    assert items == [
        prepared("a", None, "animals"),
        prepared("b", [[0, 1]], "animals"),
        prepared("c", None, "firms"),
    ]
    assert options == {"top_k": 2, "return_nil": False}
    items, _ = reader.read(["a", "b"], worlds=["places", None])
    assert items == [prepared("a", None, "places"), prepared("b")]
    assert reader.read("a") == ([prepared("a")], {}) and reader.read([]) == ([], {})


def test_what_is_just_within_the_limits_is_read(reader, linker):
    items, options = reader.read(["a" * 1000] * 4, top_k=max(6, linker.num_candidates))
    assert len(items) == 4 and options == {"top_k": 16}
    assert reader.read({"text": "abc", "mentions": [[0, 1]] * 5})
    assert reader.read("[a]" * 5, marks=("[", "]"))


@pytest.mark.parametrize(
    ("inputs", "parameters", "message"),
    [
        (5, {}, "expected a str or a dict with the key 'text', got int: 5"),
        (None, {}, "expected a str or a dict with the key 'text', got NoneType"),
        ([TEXT, {"txt": "a"}], {}, "inputs[1]: expected a str or a dict with the key 'text'"),
        ({"text": "a", "span": 1}, {}, "expected the keys text, mentions, world in an input, got also span"),
        ({"text": "abc", "mentions": [[0, 9]]}, {}, "got start=0, end=9"),
        ({"text": "abc", "mentions": [[0, 1.0]]}, {}, "expected integer character offsets"),
        ({"text": "abc", "mentions": 5}, {}, "expected mentions as a list of [start, end], got int"),
        ({"text": "abc", "mentions": [[0]]}, {}, "expected a mention as (start, end)"),
        ({"text": "Paris", "world": "moon"}, {}, "expected a world of the knowledge base ('animals',"),
        (TEXT, {"worlds": "moon"}, "expected a world of the knowledge base"),
        (TEXT, {"worlds": 5}, "expected a world of the knowledge base"),
        ([TEXT], {"worlds": ["animals", "firms"]}, "one value of worlds for each of the 1 texts, got 2"),
        ("a [[b", {"marks": ("[[", "]]")}, "expected [[mention]], got '[[b'"),
        ("a", {"marks": ("", "]]")}, "expected two non-empty marks"),
        ({"text": "[a]", "mentions": [[0, 1]]}, {"marks": ("[", "]")}, "expected mentions or marks, got both"),
        (TEXT, {"top_k": "two"}, "expected top_k as an integer of at least 1, got 'two'"),
        (TEXT, {"top_k": 0}, "expected top_k as an integer of at least 1, got 0"),
        (TEXT, {"threshold": 2}, "expected a threshold between 0 and 1"),
        (["a"] * 5, {}, "expected at most 4 texts in a request, got 5"),
        (["a", "b" * 1001], {}, "inputs[1]: expected at most 1000 characters in a text, got 1001"),
        ({"text": "abc", "mentions": [[0, 1]] * 6}, {}, "expected at most 5 mentions in a text, got 6"),
        ("[a]" * 6, {"marks": ("[", "]")}, "expected at most 5 mentions in a text, got 6"),
        (TEXT, {"top_k": 17}, "expected at most 16 candidates (top_k), got 17"),
        ("a\ud83d", {}, "expected a text of Unicode characters, got half a surrogate pair at character 1"),
    ],
)  # fmt: skip
def test_read_refuses_what_the_linker_would_and_what_is_over_a_limit(reader, inputs, parameters, message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        reader.read(inputs, **parameters)


def test_mention_limit_passes_what_was_found_and_refuses_too_much():
    found = [[(0, 1)] * 2, []]
    assert MentionLimit(lambda texts: found, 2)(["a", "b"]) == found
    with pytest.raises(LimitError, match="expected at most 1 mentions in a text, got 2; send it in parts"):
        MentionLimit(lambda texts: found, 1)(["a", "b"])


@pytest.mark.parametrize("name", ["body_bytes", "texts", "characters", "mentions", "candidates"])
def test_limits_out_of_range_are_refused(name):
    with pytest.raises(ValueError, match=f"expected a limit of at least 1 {name}, got 0"):
        RequestLimits(**{name: 0})
