"""`hf-blink evaluate --documents`: what it prints, writes, fits, saves and refuses."""

import json
import re
import shlex
from pathlib import Path

import pytest

import hf_blink
from hf_blink import cli_evaluate
from hf_blink.cli import main
from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.training.document_readers import DOCUMENT_FORMS, read_documents
from hf_blink.training.nif import write_nif
from tests.elq_example import elq_linker

HEADER = ["match", "mentions", "precision", "recall", "F1", "macro precision", "macro recall", "macro F1"]


@pytest.fixture(scope="module")
def one_pass(tiny_encoder, knowledge_base, tmp_path_factory) -> str:
    """The folder of a linker that finds the tests' names."""
    folder = str(tmp_path_factory.mktemp("evaluate") / "linker")
    elq_linker(tiny_encoder, knowledge_base, joint_threshold=-4.5, temperature=0.3).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def records(one_pass) -> list[dict]:
    """Documents whose labels are what the linker says; the second one's mention is NIL, the third is incomplete."""
    linker = EntityLinker.from_pretrained(one_pass)
    texts = ["the puma of texas", "in paris", "a jaguar is a cat"]
    records: list[dict] = [
        {
            "text": text,
            "mentions": [
                {"start": k.mention.start, "end": k.mention.end, "label_id": k.entity.entity_id}
                for k in linker.link(text)
            ],
        }
        for text in texts
    ]
    records[1]["mentions"][0]["label_id"] = None
    records[2] |= {"mentions": [], "complete": False}
    return records


def write_jsonl(path: Path, records) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


def printed_rows(capsys) -> tuple[list[list[str]], dict[str, str]]:
    """The cells of the table of matches, and the other metrics that are printed."""
    printed = capsys.readouterr().out
    matches, _, others = printed[printed.index("match ") :].partition("\n\n")
    cells = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in matches.splitlines()]
    return [cells[0], *cells[2:]], dict(line.split()[:2] for line in others.splitlines())


def test_the_table_has_both_matches_in_kb_and_with_nil(one_pass, records, tmp_path, capsys):
    out = tmp_path / "metrics.json"
    arguments = [
        "evaluate",
        "--model",
        one_pass,
        write_jsonl(tmp_path / "test.jsonl", records),
        "--documents",
    ]
    assert main([*arguments, "--out", str(out)]) == 0
    rows, counted = printed_rows(capsys)
    in_kb = ["0.5000", "1.0000", "0.6667", "0.5000", "0.5000", "0.5000"]  # the link of "paris" is wrong
    assert rows == [
        HEADER,
        ["weak", "in-KB", *in_kb],
        ["weak", "with NIL", *["0.5000"] * 6],
        ["strong", "in-KB", *in_kb],
        ["strong", "with NIL", *["0.5000"] * 6],
    ]
    counts = {"documents": 2, "incomplete": 1, "mentions": 1, "nil": 1, "links": 2, "entities": 6}
    assert counts == {name: int(counted[f"num_{name}"]) for name in counts}
    metrics = json.loads(out.read_text())
    assert metrics["with_nil/strong_f1_macro"] == 0.5 and "joint_threshold" not in metrics


def test_the_options_of_linking_count(one_pass, records, tmp_path, capsys):
    file = write_jsonl(tmp_path / "test.jsonl", records)
    for option, num_links in (
        (["--joint-threshold", "-0.001"], "0"),  # nothing is found
        (["--threshold", "1"], "0"),  # all is found, as NIL
    ):
        assert main(["evaluate", "--model", one_pass, file, "--documents", *option]) == 0
        rows, counted = printed_rows(capsys)
        assert (counted["num_links"], counted["num_nil"]) == (num_links, "1")
        if "--threshold" in option:
            assert rows[2][2:5] == ["0.5000"] * 3  # the NIL mention is right


def test_mentions_that_overlap_are_kept_or_not_as_the_option_says(
    tiny_encoder, knowledge_base, one_pass, tmp_path, capsys
):
    """With a low threshold every span is a mention: of "the puma", its two words and both of them together."""
    file = write_jsonl(tmp_path / "test.jsonl", [{"text": "the puma", "mentions": []}])
    nested = str(tmp_path / "nested")
    elq_linker(tiny_encoder, knowledge_base, joint_threshold=-4.5, nested=True).save_pretrained(nested)

    def num_links(model, *options):
        command = ["evaluate", "--model", model, file, "--documents", "--joint-threshold", "-20"]
        assert main([*command, *options]) == 0
        return int(printed_rows(capsys)[1]["num_links"])

    assert [num_links(one_pass, *options) for options in ([], ["--no-nested"], ["--nested"])] == [2, 2, 3]
    assert [num_links(nested, *options) for options in ([], ["--no-nested"], ["--nested"])] == [3, 2, 3]


def test_a_linker_with_a_detector_is_measured(linker, tmp_path, capsys):
    linker.save_pretrained(tmp_path / "linker")
    file = write_jsonl(tmp_path / "test.jsonl", [{"text": "In Paris", "mentions": []}])
    dev = write_jsonl(tmp_path / "dev.jsonl", [{"text": "x", "mentions": []}])
    arguments = ["evaluate", "--model", str(tmp_path / "linker"), file, "--documents"]
    assert main(arguments) == 0
    assert printed_rows(capsys)[1]["num_links"] == "1"
    options = (
        (
            ["--joint-threshold", "-1", "--no-nested"],
            "one-pass (ELQ) linker with --joint-threshold and --nested",
        ),
        (["--fit-threshold", dev], "expected a linker with an ELQ model that finds the mentions"),
    )
    for option, message in options:
        assert main([*arguments, *option]) == 2
        assert message in capsys.readouterr().err


def test_the_threshold_is_fitted_on_other_documents_and_saved(one_pass, records, tmp_path, capsys):
    dev = write_jsonl(tmp_path / "dev.jsonl", [records[0], {"text": "in paris", "mentions": []}])
    test = write_jsonl(tmp_path / "test.jsonl", [{"text": "my puma", "mentions": []}])
    out, saved = tmp_path / "metrics.json", tmp_path / "saved"
    arguments = [
        "evaluate",
        "--model",
        one_pass,
        test,
        "--documents",
        "--fit-threshold",
        dev,
        "--match",
        "strong",
    ]
    assert main([*arguments, "--out", str(out), "--save", str(saved), "--threshold", "0.01"]) == 0
    shown = capsys.readouterr().out
    metrics = json.loads(out.read_text())
    fitted = metrics["joint_threshold"]
    assert f"joint threshold {fitted:.4f}: strong F1 {metrics['dev_strong_f1']:.4f} on {dev}" in shown
    assert f"thresholds of this run is in {saved}" in shown
    loaded = EntityLinker.from_pretrained(saved)
    assert loaded.bi_encoder.config.joint_threshold == fitted != -4.5 and loaded.threshold == 0.01
    assert loaded.link("the puma of texas")[0].mention.text == "puma"
    assert EntityLinker.from_pretrained(one_pass).bi_encoder.config.joint_threshold == -4.5


def test_a_linker_may_be_saved_where_it_was(tiny_encoder, knowledge_base, records, tmp_path):
    folder = str(tmp_path / "linker")
    elq_linker(tiny_encoder, knowledge_base, temperature=0.3).save_pretrained(folder)
    file = write_jsonl(tmp_path / "test.jsonl", records)
    options = ["--documents", "--joint-threshold", "-1.5", "--nested", "--save", folder]
    assert main(["evaluate", "--model", folder, file, *options]) == 0
    config = EntityLinker.from_pretrained(folder).bi_encoder.config
    assert (config.joint_threshold, config.nested) == (-1.5, True)


def test_the_same_documents_are_not_fitted_and_measured_on(one_pass, records, tmp_path, capsys, caplog):
    splits = [records[0] | {"split": "dev"}, records[1] | {"split": "test"}, records[0] | {"split": "test"}]
    file = write_jsonl(tmp_path / "all.jsonl", splits)
    arguments = ["evaluate", "--model", one_pass, file, "--documents", "--fit-threshold"]
    (tmp_path / "link.jsonl").symlink_to(file)
    for same in (
        [file],
        [str(tmp_path / "link.jsonl")],
        [file, "--split", "dev", "--fit-split", "dev"],
        [file, "--split", "x"],
    ):
        assert main([*arguments, *same]) == 2
        assert "expected other documents for --fit-threshold than are measured" in capsys.readouterr().err
    assert main([*arguments, file, "--split", "test", "--fit-split", "dev"]) == 0
    assert f"1 of the 2 documents of {file} are also in --fit-threshold" in caplog.text


def test_a_fit_without_a_right_link_is_an_error(one_pass, records, tmp_path, capsys):
    dev = write_jsonl(
        tmp_path / "dev.jsonl", [{"text": "puma", "mentions": [{"start": 0, "end": 4, "label_id": "x"}]}]
    )
    test = write_jsonl(tmp_path / "test.jsonl", records)
    arguments = ["evaluate", "--model", one_pass, test, "--documents", "--fit-threshold", dev]
    assert main([*arguments, "--save", str(tmp_path / "saved")]) == 2
    assert "on which some joint threshold gives a right link, got none" in capsys.readouterr().err
    assert not (tmp_path / "saved").exists()


def test_options_that_do_not_fit_are_refused_before_anything_is_loaded(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(hf_blink, "EntityLinker", None)
    file = write_jsonl(tmp_path / "test.jsonl", [])
    for options, message in (
        (["--form", "nif", "--no-nested"], "expected --documents with --form, --nested, got none"),
        (["--save", "x"], "expected --documents with --save"),
        (["--documents", "--recall-at", "1"], "expected --recall-at without --documents"),
        (
            ["--documents", "--joint-threshold", "-1", "--fit-threshold", "x"],
            "expected --joint-threshold or --fit-threshold, which finds one, got both",
        ),
        (["--documents", "--match", "weak"], "expected --fit-threshold with --match, got none"),
        (["--documents", "--fit-threshold", "missing.jsonl"], "missing.jsonl"),
        (["--documents", "--save", str(tmp_path)], "expected a new folder or a linker's"),
    ):
        assert main(["evaluate", "--model", "any", file, *options]) == 2
        assert message in capsys.readouterr().err


def test_the_commands_of_the_training_page_run(tiny_encoder, knowledge_base, records, tmp_path, monkeypatch):
    page = (Path(__file__).parents[1] / "docs/training.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```bash\n(hf-blink evaluate .*?)```", page, flags=re.DOTALL)
    commands = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert [("nif" in words, "--save" in words) for words in commands] == [
        (False, False),
        (True, False),
        (False, True),
    ]
    monkeypatch.chdir(tmp_path)
    elq_linker(tiny_encoder, knowledge_base, temperature=0.3).save_pretrained("my-linker")
    write_jsonl(Path("test.jsonl"), records[1:])
    write_jsonl(Path("dev.jsonl"), records[:1])
    write_nif(read_documents("dev.jsonl"), "test.ttl", entity_prefix="http://dbpedia.org/resource/")
    for words in commands:
        assert main(words[1:]) == 0
    assert json.loads(Path("metrics.json").read_text())["num_documents"] == 1


def test_forms_and_their_options_reach_the_reader(one_pass, knowledge_base, tmp_path, capsys):
    incomplete = {"blink", "kilt"}  # a mention a record, so that there is no precision
    assert set(cli_evaluate.DOCUMENT_FORMS) == set(DOCUMENT_FORMS) - incomplete
    lines = ["-DOCSTART- (1 x)", "in", "paris\tB\tparis\tfr\thttp://x\t1\t/m/1", ""]
    file = tmp_path / "aida.tsv"
    file.write_text("\n".join(lines) + "\n")
    options = ["--form", "aida", "--label-field", "title", "--id-format", "paris-{}"]
    assert main(["evaluate", "--model", one_pass, str(file), "--documents", *options]) == 0
    rows, counted = printed_rows(capsys)
    assert (counted["num_mentions"], counted["num_nil"]) == ("1", "0")
    assert [row[:2] for row in rows[1::2]] == [["weak", "in-KB"], ["strong", "in-KB"]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--form", "nif", "--split", "val"], "expected a split of a form that names it"),
        (["--id-format", "x"], "expected an id_format with one {}"),
        (["--label-field", "title"], "expected a label_field of common"),
        (["--out", "nowhere/metrics.json"], "expected a folder for the metrics, got no folder nowhere"),
        (["--out", "."], "expected a file for the metrics, got the folder ."),
    ],
)
def test_bad_options_are_found_before_the_linker_is_loaded(options, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(EntityLinker, "from_pretrained", lambda *_, **__: pytest.fail("loaded"))
    file = write_jsonl(tmp_path / "test.jsonl", [{"text": "In Paris", "mentions": []}])
    assert main(["evaluate", "--model", "x", file, "--documents", *options]) != 0
    assert message in capsys.readouterr().err


def test_labelled_mentions_and_labels_of_another_catalogue_are_no_documents(one_pass, tmp_path, capsys):
    mention = {"text": "In Paris", "start": 3, "end": 8, "label_id": "paris-fr"}
    file = write_jsonl(tmp_path / "mentions.jsonl", [mention])
    assert main(["evaluate", "--model", one_pass, file, "--documents"]) != 0
    assert (
        "expected a list of all mentions of the text, got one labelled mention with start"
        in capsys.readouterr().err
    )
    documents = [{"text": "In Paris", "mentions": [{"start": 3, "end": 8, "label_id": "Q90"}]}]
    assert (
        main(["evaluate", "--model", one_pass, write_jsonl(tmp_path / "d.jsonl", documents), "--documents"])
        != 0
    )
    assert (
        "1 of 1 labelled mentions name no entity of the knowledge base of 6, the first 'Q90' in d.jsonl:1"
        in (capsys.readouterr().err)
    )
