import pytest

from hf_blink.modeling.linking_types import MentionContext
from hf_blink.modeling.processing_blink import BlinkProcessor, mention_window, nearest_text, window_quotas

MARKERS = (101, 1, 2, 102)  # [CLS], start, end, [SEP]


def blink_window(left, mention, right, length):
    """BLINK's arithmetic, written down apart from ours, for mentions that it can handle."""
    marked = [1, *mention, 2]
    left_quota = (length - len(marked)) // 2 - 1
    right_quota = length - len(marked) - left_quota - 2
    if len(left) <= left_quota:
        if len(right) > right_quota:
            right_quota += left_quota - len(left)
    elif len(right) <= right_quota:
        left_quota += right_quota - len(right)
    return [101, *left[-left_quota:], *marked, *right[:right_quota], 102]


@pytest.mark.parametrize("num_left", [0, 1, 3, 4, 5, 20])
@pytest.mark.parametrize("num_right", [0, 1, 4, 5, 6, 20])
@pytest.mark.parametrize("num_mention", [1, 2, 5])
def test_mention_window_follows_blinks_quotas(num_left, num_right, num_mention):
    left, mention, right = (
        list(range(base, base + n)) for base, n in ((200, num_left), (300, num_mention), (400, num_right))
    )
    ids, (start, end) = mention_window(left, mention, right, MARKERS, 16)
    assert ids == blink_window(left, mention, right, 16)
    assert ids[start:end] == mention


def test_window_quotas_by_hand():
    # 16 tokens, mention with markers 4: (16-4)//2-1 = 5 left, 16-4-5-2 = 5 right
    assert window_quotas(4, 10, 10, 16) == (5, 5)
    assert window_quotas(4, 2, 10, 16) == (5, 8)  # 3 unused on the left go right
    assert window_quotas(4, 10, 1, 16) == (9, 5)  # 4 unused on the right go left
    assert window_quotas(4, 2, 1, 16) == (5, 5)  # both fit


@pytest.mark.parametrize("num_mention", [11, 12, 13, 14, 15, 500])
def test_mention_window_cuts_long_mentions_where_blink_crashes(num_mention):
    ids, (start, end) = mention_window([7] * 50, [9] * num_mention, [8] * 50, MARKERS, 16)
    assert len(ids) == 16
    assert ids[start:end] == [9] * min(num_mention, 12)
    assert ids[start - 1] == 1 and ids[end] == 2


def test_mention_window_of_empty_mention_has_no_markers():
    assert mention_window([7], [], [8], MARKERS, 16) == ([101, 7, 8, 102], (0, 1))


def test_nearest_text_keeps_the_near_side_and_bounds_long_words():
    assert nearest_text("a b c d", 2, side="left") == "c d"
    assert nearest_text("a b c d", 2, side="right") == "a b"
    assert nearest_text("x" * 135_000 + " end", 8, side="left") == "x" * (8 * 64 - 4) + " end"
    assert len(nearest_text("y" * 10_000, 64, side="right")) == 1000


def test_marker_text_in_user_text_is_data(processor):
    context = MentionContext("see [unused0] [SEP] [CLS]", "the [unused1] car", "[unused0] [MASK] [PAD]")
    batch = processor.process_mentions([context])
    ids = batch["input_ids"][0].tolist()
    tokenizer = processor.tokenizer
    for token, count in (
        ("[unused0]", 1),
        ("[unused1]", 1),
        ("[SEP]", 1),
        ("[CLS]", 1),
        ("[MASK]", 0),
        ("[PAD]", 0),
    ):
        assert ids.count(tokenizer.convert_tokens_to_ids(token)) == count, token


def test_added_markers_in_user_text_are_data(tiny_encoder):
    processor = BlinkProcessor.from_base(
        tiny_encoder, mention_length=64, mention_start="[ENT]", mention_end="[/ENT]", entity_marker="[TITLE]"
    )
    ids = processor.process_mentions([MentionContext("a [ENT] b", "car [/ENT]", "")])["input_ids"][0].tolist()
    assert ids.count(processor.tokenizer.convert_tokens_to_ids("[ENT]")) == 1
    assert ids.count(processor.tokenizer.convert_tokens_to_ids("[/ENT]")) == 1


def test_process_mentions_pads_and_marks_spans(processor):
    batch = processor.process_mentions(
        [MentionContext("the", "car", "is"), MentionContext("", "paris texas", "")]
    )
    tokens = [processor.tokenizer.convert_ids_to_tokens(row) for row in batch["input_ids"].tolist()]
    assert tokens[0] == ["[CLS]", "the", "[unused0]", "car", "[unused1]", "is", "[SEP]"]
    assert tokens[1] == ["[CLS]", "[unused0]", "paris", "texas", "[unused1]", "[SEP]", "[PAD]"]
    assert batch["mention_spans"].tolist() == [[3, 4], [2, 4]]
    assert batch["attention_mask"].tolist() == [[1] * 7, [1] * 6 + [0]]


def test_entity_windows_are_title_marker_description_cut(processor):
    batch = processor.process_entities(["paris", "car"], ["the capital of france", ""])
    tokens = [processor.tokenizer.convert_ids_to_tokens(row) for row in batch["input_ids"].tolist()]
    assert tokens[0] == ["[CLS]", "paris", "[unused2]", "the", "capital", "of", "france", "[SEP]"]
    assert tokens[1][:4] == ["[CLS]", "car", "[unused2]", "[SEP]"]
    long = processor.process_entities(["car " * 100], ["cat"])["input_ids"][0].tolist()
    assert len(long) == 32 and long[-1] == processor.tokenizer.sep_token_id


def test_process_pairs_layouts(tiny_encoder):
    close = BlinkProcessor.from_base(tiny_encoder, mention_length=8, entity_length=8)
    apart = BlinkProcessor.from_base(
        tiny_encoder, mention_length=8, entity_length=8, pad_mention_in_pairs=True
    )
    mention, entity = [5, 1, 20, 2, 6], [5, 21, 3, 6]
    batch = close.process_pairs([mention], [entity])
    assert batch["input_ids"].tolist() == [[5, 1, 20, 2, 6, 21, 3, 6]]
    assert batch["token_type_ids"].tolist() == [[0] * 5 + [1] * 3]
    batch = apart.process_pairs([mention], [entity])  # BLINK: padding in the middle, masked
    assert batch["input_ids"].tolist() == [[5, 1, 20, 2, 6, 0, 0, 0, 21, 3, 6]]
    assert batch["attention_mask"].tolist() == [[1] * 5 + [0] * 3 + [1] * 3]
    assert batch["token_type_ids"].tolist() == [[0] * 8 + [1] * 3]


def test_processor_round_trip_keeps_every_setting(processor, tiny_encoder, tmp_path):
    changed = BlinkProcessor.from_base(
        tiny_encoder,
        mention_length=24,
        entity_length=16,
        do_lower_case=True,
        pad_mention_in_pairs=True,
        mention_start="[ENT]",
    )
    changed.save_pretrained(tmp_path)
    loaded = BlinkProcessor.from_pretrained(tmp_path)
    for name in (
        "mention_length",
        "entity_length",
        "do_lower_case",
        "pad_mention_in_pairs",
        "mention_start",
        "entity_marker",
    ):
        assert getattr(loaded, name) == getattr(changed, name), name
    context = [MentionContext("The river of", "Jaguar", "cars in Texas")]
    assert (
        loaded.process_mentions(context)["input_ids"].tolist()
        == changed.process_mentions(context)["input_ids"].tolist()
    )
    assert loaded.entity_settings() == changed.entity_settings()


def test_token_ids_leave_the_users_tokenizer_alone(processor):
    before = processor.tokenizer("paris [SEP]")["input_ids"]
    processor.token_ids(["paris [SEP]"])
    assert processor.tokenizer("paris [SEP]")["input_ids"] == before


def test_long_texts_and_mentions_cost_a_window(processor):
    batch = processor.process_mentions([MentionContext("cat " * 250_000, "car " * 2500, "river " * 250_000)])
    assert batch["input_ids"].shape == (1, 32)


def test_processor_refuses_slow_tokenizers_and_short_lengths(processor):
    with pytest.raises(ValueError, match="fast tokenizer"):
        BlinkProcessor(object())
    with pytest.raises(ValueError, match="at least 8 tokens"):
        BlinkProcessor(processor.tokenizer, mention_length=4)
