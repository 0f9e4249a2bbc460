import gzip
import json

import pytest

from hf_blink.training.raw_texts import read_texts


def test_txt_has_a_text_on_each_line(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffParis is big.\r\n\n  Zürich \n".encode())
    assert list(read_texts(tmp_path / "a.txt")) == [{"text": "Paris is big."}, {"text": "Zürich"}]


def test_jsonl_keeps_world_and_doc_id_and_comes_after_txt_in_the_given_order(tmp_path):
    (tmp_path / "a.txt").write_text("first\n")
    rows = [{"text": "second", "world": "w", "doc_id": "d", "more": 1}, {"text": "third", "world": None}]
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    assert list(read_texts([tmp_path / "a.txt", str(tmp_path / "b.jsonl.gz")])) == [
        {"text": "first"},
        {"text": "second", "world": "w", "doc_id": "d"},
        {"text": "third"},
    ]


def test_a_missing_file_is_named_before_anything_is_read(tmp_path):
    (tmp_path / "a.txt").write_text("first\n")
    with pytest.raises(FileNotFoundError, match=r"expected a text file at '.*nowhere\.txt', got nothing"):
        read_texts([tmp_path / "a.txt", tmp_path / "nowhere.txt"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"title": "x"}', r'line 1: expected \{"text": "\.\.\."\}, got \{\'title\''),
        ("[1]", r"line 1: expected"),
        ("{nothing", r"line 1: .*expected"),
        ('{"text": "x", "world": 3}', "line 1: expected world to be a string, got 3"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    (tmp_path / "a.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match=message):
        list(read_texts(tmp_path / "a.jsonl"))


def test_a_text_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(ValueError, match=r"a\.txt: expected UTF-8 text"):
        list(read_texts(tmp_path / "a.txt"))
