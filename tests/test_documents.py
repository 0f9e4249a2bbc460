import pytest

from hf_blink.training.documents import document, documents_dataset, mentions_of, passages
from tests.elq_example import elq_processor


@pytest.fixture(scope="module")
def processor(tiny_encoder):
    return elq_processor(tiny_encoder)


def test_mentions_come_in_the_order_of_the_text_with_each_label_once():
    row = document("d", "Puma, Paris", [(6, 11, ["p", "p"]), (0, 4, [])], world="w", complete=True)
    assert [(m["start"], m["label_ids"]) for m in row["mentions"]] == [(0, []), (6, ["p"])]
    assert row["label_ids"] == ["p"] and row["world"] == "w" and row["complete"] is True
    with pytest.raises(ValueError, match="0 <= start < end <= 4 .*document d.* got 2 and 5"):
        document("d", "Puma", [(2, 5, [])])


def test_passages_fit_a_window_and_keep_their_mentions(processor):
    text = "the cat of texas " * 20 + "Paris is a town"
    start = text.index("Paris")
    cut = passages([document("d", text, [(4, 7, ["cat"]), (start, start + 5, ["p"])], world="w")], processor)
    assert len(cut) == 4 and set(cut["world"]) == {"w"} and cut["doc_id"][0] == "d#0"
    assert all(len(processor.tokenize_texts([row["text"]])[0].ids) <= 30 for row in cut)
    found = [(row["text"][m["start"] : m["end"]], m["label_ids"]) for row in cut for m in row["mentions"]]
    assert ("cat", ["cat"]) in found and ("Paris", ["p"]) in found
    whole = document("e", "Paris", [(0, 5, [])])
    assert passages([whole], processor).to_list() == [whole]


def test_passages_without_mentions_are_kept_where_that_is_known_to_be_right(processor):
    rows = [document(str(flag), "a town", [], complete=flag) for flag in (True, None, False)]
    assert passages(rows, processor)["doc_id"] == ["True", "None"]
    assert len(passages(rows, processor, keep_empty=False)) == 0
    assert len(passages([document("x", "", [])], processor)) == 0


def test_mentions_of_documents_are_labelled_mentions():
    data = documents_dataset([document("d", "In Paris and Texas", [(3, 8, ["p"]), (13, 18, [])], world="w")])
    first, second = mentions_of(data)
    assert first == {"id": "d#0", "context_left": "In ", "mention": "Paris", "context_right": " and Texas",
                     "label_ids": ["p"], "world": "w", "doc_id": "d"}  # fmt: skip
    assert second["label_ids"] == []
