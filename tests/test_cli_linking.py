"""`hf-blink link` with the options of a one-pass linker; the others are tested in test_cli."""

import json

import pytest

from hf_blink.cli import main
from hf_blink.modeling.entity_linker import EntityLinker
from tests.elq_example import elq_linker


@pytest.fixture(scope="module")
def one_pass(tiny_encoder, knowledge_base, tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("link") / "linker")
    elq_linker(tiny_encoder, knowledge_base, joint_threshold=-20).save_pretrained(folder)
    return folder


def found(capsys, *arguments: str) -> dict[str, float]:
    """The words of "jaguar paris" that are linked, with their scores."""
    assert main(["link", "jaguar paris", "--json", *arguments]) == 0
    return {link["word"]: link["score"] for link in json.loads(capsys.readouterr().out)["links"]}


def test_nested_and_the_joint_threshold_choose_the_mentions(one_pass, capsys):
    apart, nested = found(capsys, "--model", one_pass), found(capsys, "--model", one_pass, "--nested")
    assert sorted(apart) == ["jaguar", "paris"] and sorted(nested) == ["jaguar", "jaguar paris", "paris"]
    assert found(capsys, "--model", one_pass, "--no-nested") == apart
    assert found(capsys, "--model", one_pass, "--joint-threshold", "-0.001") == {}
    assert found(capsys, "--model", one_pass, "--joint-threshold", "-20") == apart


def test_the_runner_ups_score_is_the_joint_one_too(one_pass, capsys):
    (first, second) = EntityLinker.from_pretrained(one_pass).link("paris")[0].candidates[:2]
    assert main(["link", "paris", "--model", one_pass]) == 0
    score, *_, other = capsys.readouterr().out.splitlines()[-1].split()[3:]
    assert float(other) <= float(score) < first.score
    assert float(other) == pytest.approx(float(score) * second.score / first.score, abs=2e-4)


def test_another_linker_has_no_joint_threshold(linker, tmp_path, capsys):
    linker.save_pretrained(tmp_path / "linker")
    for options, named in (
        (["--nested"], "--nested"),
        (["--no-nested", "--joint-threshold", "-2"], "--joint-threshold and --nested"),
    ):
        assert main(["link", "--model", str(tmp_path / "linker"), "Paris", *options]) == 2
        message = capsys.readouterr().err
        assert (
            f"expected a one-pass (ELQ) linker with {named}, got EntityLinker(blink-biencoder, 6 ent"
            in message
        )


@pytest.mark.parametrize("value", ["0.5", "nan", "-inf", "low"])
def test_a_joint_threshold_is_a_log_probability(value, capsys):
    with pytest.raises(SystemExit):
        main(["link", "--model", "any", "text", f"--joint-threshold={value}"])
    assert f"expected a log-probability, a number of at most 0, got {value!r}" in capsys.readouterr().err
