"""Tests of the mentions of one call, with their contexts."""

import pytest

from hf_blink.modeling.linking_types import MentionContext
from hf_blink.modeling.mention_items import check_one_each, mention_items, text_list


def test_items_by_hand():
    items = mention_items(
        ["", "a cat b", "cat"], [[], [(2, 5), (0, 1)], [(0, 3)]], None, ["x", "y", None], 32
    )
    assert [(item.text_number, item.mention.start, item.world) for item in items] == [
        (1, 2, "y"),
        (1, 0, "y"),
        (2, 0, None),
    ]
    assert items[0].context == MentionContext("a ", "cat", " b")


def test_marks_are_no_part_of_the_context():
    (item,) = mention_items(["a [[cat]] b"], None, ("[[", "]]"), [None], 32)
    assert (item.mention.start, item.mention.end) == (4, 7)
    assert item.context == MentionContext("a ", "cat", " b")


def test_contexts_of_long_texts_are_cut():
    (item,) = mention_items(["x" * 10_000 + "cat" + "y" * 10_000], [[(10_000, 10_003)]], None, [None], 10)
    assert (len(item.context.left), len(item.context.right)) == (640, 640)


def test_text_list_takes_strings_alone():
    assert text_list("ab") == ["ab"] and text_list(t for t in "ab") == ["a", "b"] and text_list(()) == []
    for wrong in (5, None, {"text": "a"}):
        with pytest.raises(TypeError, match="expected texts as a str or a sequence of str, got"):
            text_list(wrong)
    with pytest.raises(TypeError, match="got NoneType at position 1"):
        text_list(["a", None])


def test_check_one_each_counts():
    check_one_each("worlds", ["x"], ["text"])
    with pytest.raises(ValueError, match="one value of worlds for each of the 1 texts, got 2"):
        check_one_each("worlds", ["x", "y"], ["text"])
    with pytest.raises(ValueError, match="one value of mentions for each of the 1 texts, got int"):
        check_one_each("mentions", 5, ["text"])
