import json
import resource
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import hf_blink
from hf_blink.cli import main
from hf_blink.modeling.linking_types import Candidate, Entity, EntityLink, Mention

COMMANDS = ("build", "link", "evaluate", "quickstart", "index", "push", "push-space", "serve", "demo")
ENTITIES = [
    {"id": "jaguar-cat", "title": "Jaguar", "description": "A large spotted cat of American forests."},
    {"id": "jaguar-car", "title": "Jaguar", "description": "A British maker of luxury cars."},
    {"id": "paris-fr", "title": "Paris", "description": "The capital of France."},
]
MENTIONS = [
    {"text": "A jaguar hunts in the forest.", "start": 2, "end": 8, "label_id": "jaguar-cat"},
    {"text": "Paris is in France.", "start": 0, "end": 5, "label_id": "paris-fr"},
]


def write_jsonl(path, rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def linker_folder(tiny_encoder, tmp_path_factory) -> str:
    """A linker that `hf-blink build` made of three entities."""
    folder = tmp_path_factory.mktemp("cli")
    entities = write_jsonl(folder / "entities.jsonl", ENTITIES)
    out = str(folder / "linker")
    assert main(["build", entities, "--out", out, "--encoder", tiny_encoder, "--kind", "flat"]) == 0
    return out


class RecordingLinker:
    """Stands in for EntityLinker: keeps what it was asked and gives the links that it was told."""

    links: tuple[EntityLink, ...] = ()
    asked: tuple = ()

    @classmethod
    def from_pretrained(cls, path):
        return cls()

    def link(self, texts, **options):
        type(self).asked = (texts, options)
        return [list(self.links) for _ in texts]


@pytest.fixture
def recording_linker(monkeypatch) -> type[RecordingLinker]:
    linker = type("Linker", (RecordingLinker,), {})
    monkeypatch.setattr(hf_blink, "EntityLinker", linker)
    return linker


def failing(error):
    def run(*args, **kwargs):
        raise error

    return run


def test_help_is_instant_and_shows_every_command():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run(
        [sys.executable, "-m", "hf_blink", "--help"], capture_output=True, text=True, timeout=60
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1  # CPU seconds
    assert result.returncode == 0
    for command in COMMANDS:
        assert command in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_holds_an_example(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert "example:" in shown
    assert f"hf-blink {command} --" in shown or f"hf-blink {command} " in shown


def test_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"hf_blink {hf_blink.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unknown"],
        ["build", "entities.jsonl"],
        ["build", "entities.jsonl", "--out", "x", "--kind", "ivf"],
        ["link", "--model", "x"],
        ["link", "--model", "x", "a text", "--input", "a file"],
        ["link", "--model", "x", "a text", "--top-k", "two"],
        ["link", "--model", "x", "a text", "--top-k", "0"],
        ["link", "--model", "x", "a text", "--threshold", "3"],
        ["link", "--model", "x", "a text", "--threshold", "nan"],
        ["evaluate", "--model", "x", "mentions", "--recall-at", "0"],
        ["evaluate", "--model", "x"],
    ],
)
def test_wrong_arguments_end_with_usage_and_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: hf-blink" in capsys.readouterr().err


def test_build_link_and_evaluate_work_together(linker_folder, tmp_path, capsys):
    assert main(["link", "--model", linker_folder, "Paris is the capital of France."]) == 0
    header, _, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["mention", "entity", "id", "title", "score", "runner-up"]
    assert row.split()[0] == "Paris"

    test_set = write_jsonl(tmp_path / "test.jsonl", MENTIONS)
    assert main(["evaluate", "--model", linker_folder, test_set, "--recall-at", "1", "3"]) == 0
    shown = dict(line.split() for line in capsys.readouterr().out.splitlines()[2:])
    assert shown["recall@3"] == "1.0000"  # three entities, all of them candidates
    assert shown["num_mentions"] == "2"
    assert 0 <= float(shown["accuracy_unnormalised"]) <= 1

    assert main(["evaluate", "--model", linker_folder, test_set]) == 0
    shown = dict(line.split() for line in capsys.readouterr().out.splitlines()[2:])
    assert [name for name in shown if "recall" in name or "macro" in name] == [
        "recall@1"
    ]  # no world, 3 entities
    metrics = tmp_path / "metrics.json"
    assert main(["evaluate", "--model", linker_folder, test_set, "--out", str(metrics)]) == 0
    assert json.loads(metrics.read_text())["num_mentions"] == 2


def test_build_encodes_on_the_device_that_was_named(tiny_encoder, tmp_path, monkeypatch):
    asked = {}

    def from_knowledge_base(knowledge_base, **options):
        asked.update(options)
        raise ValueError("far enough")

    monkeypatch.setattr(hf_blink.EntityLinker, "from_knowledge_base", from_knowledge_base)
    entities = write_jsonl(tmp_path / "entities.jsonl", ENTITIES)
    arguments = ["build", entities, "--out", str(tmp_path / "linker"), "--encoder", tiny_encoder]
    assert main(arguments) == 2 and asked["device"] is None
    assert main([*arguments, "--device", "cuda:1"]) == 2 and asked["device"] == "cuda:1"


def test_build_refuses_a_folder_of_others_before_it_encodes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(hf_blink.EntityLinker, "from_knowledge_base", failing(AssertionError("encoded")))
    entities = write_jsonl(tmp_path / "entities.jsonl", ENTITIES)
    assert main(["build", entities, "--out", str(tmp_path), "--encoder", "any"]) == 2
    assert "expected a new folder or a linker's" in capsys.readouterr().err


def test_evaluate_reranks_as_many_candidates_as_linking(linker_folder, tmp_path, monkeypatch, capsys):
    description = json.loads((Path(linker_folder) / "linker.json").read_text())
    asked = {}
    evaluate_linker = hf_blink.evaluate_linker

    def evaluate(*arguments, **options):
        asked.update(options)
        return evaluate_linker(*arguments, **options)

    monkeypatch.setattr(hf_blink, "evaluate_linker", evaluate)
    test_set = write_jsonl(tmp_path / "test.jsonl", MENTIONS)
    assert main(["evaluate", "--model", linker_folder, test_set, "--recall-at", "1"]) == 0
    assert asked["rerank_k"] == description["num_candidates"]


def test_link_prints_json_for_every_line_of_a_file(linker_folder, tmp_path, capsys):
    texts = tmp_path / "texts.txt"
    texts.write_text("Paris, naïvely.\n\nNothing here.\n", encoding="utf-8")
    assert main(["link", "--model", linker_folder, "--input", str(texts), "--json", "--top-k", "2"]) == 0
    first, blank, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert blank == {"text": "", "links": []}
    assert first["text"] == "Paris, naïvely."
    (found,) = first["links"]
    assert (found["start"], found["end"], found["word"]) == (0, 5, "Paris")
    assert len(found["candidates"]) == 2
    assert second == {"text": "Nothing here.", "links": []}


def test_link_shows_the_runner_up_and_nil(recording_linker, capsys):
    cat, car = Entity("Q1", "Jaguar", "a cat"), Entity("Q2", "Jaguar Cars", "a firm")
    candidates = (Candidate(cat, 0.9, None, 0.75), Candidate(car, 0.5, None, 0.25))
    recording_linker.links = (
        EntityLink(Mention(2, 8, "jaguar"), cat, 0.75, False, 0.9, None, candidates),
        EntityLink(Mention(9, 12, "cub"), None, 0.25, True, 0.9, None, candidates[1:]),
        EntityLink(Mention(13, 16, "den"), None, 0.0, True, None, None, ()),
    )
    assert main(["link", "--model", "any", "A jaguar cub den"]) == 0
    assert [line.split("  ") for line in _squeezed(capsys.readouterr().out)][2:] == [
        ["jaguar", "Q1", "Jaguar", "0.7500", "Jaguar Cars [Q2] 0.2500"],
        ["cub", "NIL", "-", "0.2500", "Jaguar Cars [Q2] 0.2500"],
        ["den", "NIL", "-", "0.0000", "-"],
    ]


def _squeezed(table: str) -> list[str]:
    return ["  ".join(cell.strip() for cell in line.split("  ") if cell) for line in table.splitlines()]


def test_link_hands_its_options_on_and_says_where_nothing_was_found(recording_linker, capsys):
    arguments = ["link", "--model", "any", "A text", "--top-k", "3", "--threshold", "0.5"]
    assert main(arguments) == 0
    assert recording_linker.asked == (["A text"], {"top_k": 3, "threshold": 0.5})
    assert capsys.readouterr().out == "no mention found\n"


def test_link_reads_standard_input(recording_linker, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", type("Stdin", (), {"read": lambda self: "one\n\ntwo\n"})())
    assert main(["link", "--model", "any", "--input", "-"]) == 0
    assert recording_linker.asked[0] == ["one", "two"]
    assert capsys.readouterr().out == "one\nno mention found\n\ntwo\nno mention found\n\n"


def test_link_reads_given_mentions_and_worlds_from_json_lines(linker_folder, tmp_path, capsys):
    lines = [
        {"text": "the cat", "mentions": [[4, 7]]},
        {"text": "Paris and a town", "mentions": None},
        {"text": "Paris, the town", "mentions": [[11, 15], [0, 5]]},
        {"text": "Paris", "mentions": []},
        {"text": "In Paris"},
    ]
    path = write_jsonl(tmp_path / "texts.jsonl", lines)
    assert main(["link", "--model", linker_folder, "--input", path, "--json"]) == 0
    found = [json.loads(line)["links"] for line in capsys.readouterr().out.splitlines()]
    words = [[link["word"] for link in links] for links in found]
    assert words == [["cat"], ["Paris"], ["town", "Paris"], [], ["Paris"]]
    for wrong, said in (
        ("[]", "expected"),
        ("{", "expected a JSON object"),
        ('{"text": "abc", "mentions": [[0, 9]]}', "expected a mention with 0 <= start < end <= 3"),
        ('{"text": "abc", "mentions": [[2, 1]]}', "expected a mention with 0 <= start < end <= 3"),
        ('{"text": "abc", "mentions": [5]}', "expected a mention as (start, end)"),
        ('{"text": "abc", "mentions": "0-3"}', "expected mentions as [[start, end], ...]"),
        ('{"text": "abc", "world": "nowhere"}', "expected a world of the knowledge base"),
    ):
        with open(path, "a", encoding="utf-8") as file:
            file.write(wrong + "\n")
        assert main(["link", "--model", linker_folder, "--input", path]) == 2
        assert f"{path}, line 6: {said}" in capsys.readouterr().err
        write_jsonl(tmp_path / "texts.jsonl", lines)


def test_link_writes_a_page(linker_folder, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["link", "--model", linker_folder, "Paris <b>", "--html", str(page)]) == 0
    assert "&lt;b&gt;" in page.read_text() and "Paris" in page.read_text()
    (tmp_path / "two.txt").write_text("a\nb\n")
    arguments = ["link", "--model", linker_folder, "--input", str(tmp_path / "two.txt"), "--html", str(page)]
    assert main(arguments) == 2
    assert "one text for --html, got 2 lines" in capsys.readouterr().err


def test_json_has_one_line_for_each_line_of_the_input(linker_folder, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", type("Stdin", (), {"read": lambda self: "Paris\n\nnothing\n"})())
    assert main(["link", "--model", linker_folder, "--input", "-", "--json"]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(record["text"], len(record["links"])) for record in printed] == [
        ("Paris", 1),
        ("", 0),
        ("nothing", 0),
    ]


def test_quickstart_hands_its_options_on(monkeypatch):
    calls = []
    module = ModuleType("hf_blink.quickstart")
    module.run = lambda **options: calls.append(options)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hf_blink.quickstart", module)
    assert main(["quickstart"]) == 0
    assert main(["quickstart", "--base-model", "mine", "--out", "there", "--max-steps", "3"]) == 0
    assert calls == [
        {"base_model": None, "out": "quickstart-linker", "max_steps": None},
        {"base_model": "mine", "out": "there", "max_steps": 3},
    ]


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (ValueError("expected a, got b"), 2, "expected a, got b"),
        (FileNotFoundError(2, "No such file", "x.jsonl"), 2, "[Errno 2] No such file: 'x.jsonl'"),
        (KeyError("no entity Q1"), 2, "no entity Q1"),
        (RuntimeError("it broke"), 1, "it broke"),
        (AssertionError(), 1, "AssertionError"),
    ],
)
def test_error_is_one_line_and_a_code(recording_linker, monkeypatch, capsys, error, code, shown):
    monkeypatch.setattr(recording_linker, "from_pretrained", failing(error))
    assert main(["link", "--model", "any", "A text"]) == code
    printed = capsys.readouterr()
    assert printed.err == f"hf-blink link: {shown}\n"
    assert printed.out == ""


@pytest.mark.parametrize("arguments", [["--debug", "link"], ["link", "--debug"]])
def test_debug_shows_the_traceback(recording_linker, monkeypatch, arguments):
    monkeypatch.setattr(recording_linker, "from_pretrained", failing(ValueError("expected a, got b")))
    with pytest.raises(ValueError, match="expected a, got b"):
        main([*arguments, "--model", "any", "A text"])


def test_interrupt_ends_with_code_130(recording_linker, monkeypatch):
    monkeypatch.setattr(recording_linker, "from_pretrained", failing(KeyboardInterrupt()))
    assert main(["link", "--model", "any", "A text"]) == 130


def test_missing_files_are_named(linker_folder, tmp_path, tiny_encoder, capsys):
    missing, out = str(tmp_path / "missing.jsonl"), str(tmp_path / "out")
    for arguments in (
        ["build", missing, "--out", out, "--encoder", tiny_encoder],
        ["evaluate", "--model", linker_folder, missing],
        ["link", "--model", linker_folder, "--input", missing],
        ["link", "--model", missing, "A text"],
    ):
        assert main(arguments) == 2, arguments
        printed = capsys.readouterr().err
        assert "missing.jsonl" in printed
        assert "Traceback" not in printed


def test_input_file_without_text_is_refused(linker_folder, tmp_path, capsys):
    empty = tmp_path / "empty.txt"
    empty.write_text("\n  \n", encoding="utf-8")
    assert main(["link", "--model", linker_folder, "--input", str(empty)]) == 2
    assert "expected a text on each line of" in capsys.readouterr().err


def test_input_file_that_is_not_utf8_is_refused(linker_folder, tmp_path, capsys):
    latin = tmp_path / "latin.txt"
    latin.write_bytes("Zürich\n".encode("latin-1"))
    assert main(["link", "--model", linker_folder, "--input", str(latin)]) == 2
    assert "latin.txt" in capsys.readouterr().err
