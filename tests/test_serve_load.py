import json

import numpy as np
import pytest

from benchmarks import serve_load
from benchmarks.serve_load import command, main, parser, read_texts, row


def test_row_counts_requests_and_takes_percentiles():
    seconds = [0.010] * 98 + [0.500, 0.900]
    made = row(True, 8, seconds, 4.0, np.array([100.0, 20.0]))
    assert made["requests"] == 100 and made["requests_per_second"] == 25
    assert made["p50_ms"] == pytest.approx(10) and made["p99_ms"] == pytest.approx(504)  # 500 + 0.01 * 400
    assert made["mean_batch_texts"] == 5 and made["dynamic_batching"] is True and made["clients"] == 8


def test_texts_are_those_of_the_quickstart_each_once():
    texts = read_texts()
    assert len(texts) == len(set(texts)) > 100 and all(isinstance(text, str) for text in texts)


def test_command_repeats_the_run_and_names_no_folder():
    assert command(parser().parse_args([])) == "python benchmarks/serve_load.py"
    options = parser().parse_args(["--linker", "/some/where", "--seconds", "2", "--clients", "1", "4"])
    assert command(options) == "python benchmarks/serve_load.py --linker FOLDER --clients 1 4 --seconds 2"


def test_a_server_that_does_not_start_shows_its_log(tmp_path):
    with (
        pytest.raises(RuntimeError, match="expected a linker in .*, got no linker.json"),
        serve_load.server(tmp_path, 1),
    ):
        pass


def test_all_rows_are_measured_with_and_without_batching(linker, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(serve_load, "read_texts", lambda: ["A Jaguar in Paris.", "A puma.", "no name"])
    linker.save_pretrained(tmp_path / "linker")
    results = tmp_path / "docs" / "results"
    words = ["--linker", str(tmp_path / "linker"), "--clients", "1", "4", "--seconds", "0.6", "--rounds", "2"]
    main([*words, "--results", str(results)])
    written = json.loads((results / "serve.json").read_text())
    rows = {(each["dynamic_batching"], each["clients"]): each for each in written["rows"]}
    assert list(rows) == [(True, 1), (False, 1), (True, 4), (False, 4)]
    assert all(each["requests"] > 2 and 0 < each["p50_ms"] <= each["p99_ms"] for each in rows.values())
    assert rows[True, 1]["mean_batch_texts"] == rows[False, 1]["mean_batch_texts"] == 1
    assert rows[True, 4]["mean_batch_texts"] > 1 == rows[False, 4]["mean_batch_texts"]
    assert written["data"]["entities"] == 6 and written["about"]["libraries"]["fastapi"]
    page = (results.parent / "results.md").read_text()
    assert "## Server: requests under load" in page and "| yes | 4 |" in page
    assert str(tmp_path) not in page + json.dumps(written)
    assert "texts a batch" in capsys.readouterr().out
