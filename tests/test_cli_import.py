"""`hf-blink import blink` as users type it."""

import subprocess
import sys

import pytest
import torch

from hf_blink import EntityLinker
from hf_blink.cli import main
from tests.blink_files import blink as blink

ENCODERS = ("biencoder", "biencoder-config", "crossencoder", "crossencoder-config")


@pytest.fixture
def arguments(blink):
    """The command with some of the files."""

    def arguments(*names: str) -> list[str]:
        given = [(name, blink[name.replace("-", "_")]) for name in (*ENCODERS, *names)]
        return ["import", "blink", *(word for name, file in given for word in (f"--{name}", str(file)))]

    return arguments


def test_import_makes_a_linker(arguments, blink, tmp_path, capsys):
    out = str(tmp_path / "linker")
    options = ["--index", str(blink["hnsw"]), "--num-candidates", "3", "--out", out]
    assert main([*arguments("entities", "encodings"), *options]) == 0
    said = capsys.readouterr().out
    assert f"6 entities and a hnsw index are in {out}" in said
    assert f"next: hf-blink link --model {out}" in said
    assert EntityLinker.from_pretrained(out).num_candidates == 3
    assert main(["link", "--model", out, "The White River is in the north."]) == 0
    assert "White River" in capsys.readouterr().out


def test_import_of_encoders_says_what_to_do_with_them(arguments, tmp_path, capsys):
    out = str(tmp_path / "encoders")
    assert main([*arguments(), "--out", out]) == 0
    assert f"hf-blink build entities.jsonl --encoder {out}" in capsys.readouterr().out


def test_import_pushes_where_that_is_asked_for(arguments, hub, tmp_path, capsys):
    options = ["--out", str(tmp_path / "linker"), "--push-to-hub", "user/blink", "--private"]
    assert main([*arguments("entities"), *options]) == 0
    (commit,) = hub.commits("user/blink")[:1]
    assert commit.oid in capsys.readouterr().out
    assert "user/blink" in hub.files("user/blink")["README.md"].decode()
    assert len(EntityLinker.from_pretrained("user/blink").knowledge_base) == 6


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--encodings", "none.t7"], "expected a file for encodings at 'none.t7', got nothing"),
        (["--push-to-hub", "user/blink"], "expected the entities (--entities) with --push-to-hub"),
        (["--bert-model", "./none"], "name another folder or Hub name of it with --bert-model"),
    ],
)
def test_wrong_input_ends_with_2_and_writes_nothing(arguments, tmp_path, capsys, words, said):
    names = ["entities"] if "--encodings" in words else []
    assert main([*arguments(*names), "--out", str(tmp_path / "linker"), *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("hf-blink import: ") and said in error
    assert list(tmp_path.iterdir()) == []


def test_a_pickle_with_code_is_refused(arguments, tmp_path, capsys):
    class Code:
        def __reduce__(self):
            return print, ("code of the file runs",)

    torch.save({"a": Code()}, tmp_path / "bad.bin")
    assert main([*arguments(), "--biencoder", str(tmp_path / "bad.bin"), "--out", str(tmp_path / "out")]) == 2
    caught = capsys.readouterr()
    assert "got a pickle that asks for" in caught.err and "nothing of it was run" in caught.err
    assert "code of the file runs" not in caught.out


def test_help_shows_an_example_and_loads_no_torch():
    code = (
        "import sys; from hf_blink.cli import main\n"
        "try: main(['import', 'blink', '--help'])\n"
        "except SystemExit: print('torch' in sys.modules or 'faiss' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "hf-blink import blink --biencoder models/biencoder_wiki_large.bin" in result.stdout
    assert result.stdout.strip().endswith("False")
