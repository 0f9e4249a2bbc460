import pytest

from hf_blink.training.text_table import format_table


def test_format_table_aligns_text_left_and_numbers_right():
    table = format_table(("name", "score", "n"), [("Paris", 0.5, 12), ("Ulm", 0.12345, 3)])
    assert table.splitlines() == [
        "name    score   n",
        "-----  ------  --",
        "Paris  0.5000  12",
        "Ulm    0.1235   3",
    ]


def test_format_table_cuts_long_cells_and_joins_their_lines():
    table = format_table(("title",), [("a\nb" * 20,), (None,)], max_width=8)
    assert table.splitlines()[2:] == ["a ba ba…", "-"]


def test_format_table_without_rows_is_the_header():
    assert format_table(("a", "bc"), []).splitlines() == ["a  bc", "-  --"]


def test_format_table_refuses_ragged_rows():
    with pytest.raises(ValueError, match="expected 2 cells in every row, got 1 in row 1"):
        format_table(("a", "b"), [(1, 2), (1,)])
