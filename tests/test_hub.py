"""Pushes with a card: what it says, where it comes from, and that it is the author's once it is there."""

import json
from typing import Any

import pytest
from datasets import load_dataset
from huggingface_hub import HfApi, ModelCard

from hf_blink.card_facts import CardNotes
from hf_blink.hub import push
from hf_blink.hub_cards.rendering import python_blocks
from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.run_facts import evaluation_of, hub_name, runs_of
from hf_blink.training.evaluation import evaluate_linker


@pytest.fixture
def run_folder(tmp_path):
    """What train_biencoder leaves: settings, and a record for each round."""
    folder = tmp_path / "run"
    recipe = {
        "base_model": "org/encoder",
        "train": ["data/mentions.jsonl"],
        "learning_rate": 1e-4,
        "fsdp": None,
    }
    for number, losses in enumerate(([[25, 2.5], [50, 1.5]], [[25, 1.0]])):
        (folder / f"round_{number}").mkdir(parents=True)
        recalls = [[25, 0.25], [50, 0.75]] if number == 0 else []
        record = {"losses": losses, "recalls": recalls}
        (folder / f"round_{number}" / "round.json").write_text(json.dumps(record))
    (folder / "recipe.json").write_text(json.dumps(recipe))
    return folder


def test_a_push_brings_the_card_that_the_notes_and_the_linker_give(
    linker, mentions, run_folder, hub, tmp_path
):
    metrics = evaluate_linker(linker, mentions, progress=False)
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    notes = CardNotes(
        "mit", ["en"], [run_folder], {"my mentions": tmp_path / "metrics.json"}, "Written for the tests."
    )
    linker.save_pretrained(tmp_path / "linker")
    info = push(tmp_path / "linker", "user/linker", notes)
    assert [commit.oid for commit in hub.commits("user/linker")[:-1]] == [info.oid]
    files = hub.files("user/linker")
    text = files["README.md"].decode()
    for said in ("mentions.jsonl", "learning_rate", "Written for the tests.", "6 entities", "my mentions"):
        assert said in text, said
    data: Any = ModelCard(text).data
    assert (data.license, data.language, data.library_name) == ("mit", ["en"], "hf_blink")
    assert data.base_model == "org/encoder"
    value = {result.metric_type: result.metric_value for result in data.eval_results}
    assert value["recall@1"] == pytest.approx(metrics["recall@1"])
    assert b"transformers" in files["requirements.txt"]
    assert b"recall@64 on dev" in files["loss_curve_1.svg"] and "75.0 % at step 50" in text


def test_the_python_of_a_pushed_card_runs(linker, cross_encoder, hub):
    linker.cross_encoder = cross_encoder
    linker.push_to_hub("user/linker")
    blocks = python_blocks(hub.files("user/linker")["README.md"].decode())
    assert len(blocks) >= 3
    for block in blocks:
        exec(compile(block, "card", "exec"), {})


def test_a_plain_push_adds_a_card_once_and_never_overwrites_one(linker, knowledge_base, hub):
    linker.push_to_hub("user/linker")
    assert "pipeline_tag" in hub.files("user/linker")["README.md"].decode()
    HfApi().upload_file(path_or_fileobj=b"my own words", path_in_repo="README.md", repo_id="user/linker")
    linker.push_to_hub("user/linker")
    assert hub.files("user/linker")["README.md"] == b"my own words"
    push(linker, "user/linker")  # this asks for the card
    assert "pipeline_tag" in hub.files("user/linker")["README.md"].decode()
    linker.index.push_to_hub("user/index")
    knowledge_base.push_to_hub("user/entities")
    assert "# index" in hub.files("user/index")["README.md"].decode()
    assert "configs:" in hub.files("user/entities", repo_type="dataset")["README.md"].decode()
    rows = load_dataset("user/entities")["train"]  # without hf_blink: a table that the Hub shows
    assert rows["entity_id"][:] == knowledge_base.entity_ids(range(len(knowledge_base)))


def test_encoders_go_with_their_processor_and_card(
    bi_encoder, cross_encoder, processor, run_folder, hub, tmp_path
):
    for part, name in ((bi_encoder, "bi"), (cross_encoder, "cross")):
        part.save_pretrained(tmp_path / name)
        processor.save_pretrained(tmp_path / name)
    push(tmp_path / "bi", "user/bi", CardNotes(runs=[run_folder]))
    files = hub.files("user/bi")
    assert {"README.md", "processor_config.json", "processing_blink.py", "model.safetensors"} <= set(files)
    (run_folder / "round.json").write_text("{}")
    (run_folder / "recipe.json").write_text(json.dumps({"bi_encoder": "user/bi", "num_candidates": 16}))
    push(tmp_path / "cross", "user/cross", CardNotes(runs=[run_folder]))
    assert "16" in hub.files("user/cross")["README.md"].decode()
    with pytest.raises(ValueError, match="the run that trained the cross-encoder.*--runs"):
        push(tmp_path / "cross", "user/cross")


def test_runs_and_metrics_are_read_with_checks(run_folder, tmp_path):
    first, second = runs_of(run_folder)
    assert first["losses"] == [[25, 2.5], [50, 1.5]] and first["arguments"] == {"learning_rate": 1e-4}
    assert first["recalls"] == [[25, 0.25], [50, 0.75]] and second["recalls"] == []
    assert "round 1" in second["title"]
    with pytest.raises(FileNotFoundError, match="output folder of a training script"):
        runs_of(tmp_path)
    for record in run_folder.glob("round_*/round.json"):
        record.unlink()
    with pytest.raises(FileNotFoundError, match="finished training run"):
        runs_of(run_folder)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ValueError, match="expected JSON in"):
        evaluation_of("x", tmp_path / "bad.json")
    recipe = {"base_model": "org/name", "bi_encoder": "runs/bi", "local_folders": ["bi_encoder"]}
    assert hub_name(recipe, "base_model") == "org/name"
    assert hub_name(recipe, "bi_encoder") is None and hub_name({"base_model": "bert"}, "base_model") is None
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(ValueError, match=r"benchmark's Hub name \(user/dataset\).*'my set'"):
        evaluation_of("my set", tmp_path / "metrics.json", "linking")
    named = evaluation_of("org/data:test", tmp_path / "metrics.json")
    assert (named["mentions"], named["split"]) == ({"name": "org/data", "hub_id": "org/data"}, "test")


def test_a_distilled_bi_encoder_names_the_one_it_was_made_of(run_folder):
    recipe = {
        "bi_encoder": "user/bi",
        "cross_encoder": "user/cross",
        "distillation_alpha": 0.5,
        "student_layers": [],
    }
    for record in run_folder.glob("round_*/round.json"):
        record.unlink()
    (run_folder / "round.json").write_text("{}")
    (run_folder / "recipe.json").write_text(json.dumps(recipe))
    (run,) = runs_of(run_folder)
    assert run["title"] == "Bi-encoder distilled from a cross-encoder" and run["base_model"] == "user/bi"
    assert run["arguments"] == {"distillation_alpha": 0.5}


def test_what_cannot_be_pushed_is_refused(tmp_path, hub):
    with pytest.raises(FileNotFoundError, match="linker, encoder, index or knowledge base"):
        push(tmp_path, "user/x")
    with pytest.raises(TypeError, match="expected one of EntityLinker"):
        push(EntityLinker, "user/x")


def test_notes_and_token_are_checked_before_the_linker_is_loaded(tmp_path, hub, monkeypatch):
    (tmp_path / "linker.json").write_text("{}")
    monkeypatch.setattr(EntityLinker, "from_pretrained", lambda _: pytest.fail("too late"))
    for notes, error, message in (
        (CardNotes(license="My Own!"), ValueError, "license"),
        (CardNotes(runs=[tmp_path]), FileNotFoundError, "output folder of a training script"),
        (CardNotes(metrics={"x": tmp_path / "none.json"}), FileNotFoundError, "evaluate --out"),
    ):
        with pytest.raises(error, match=message):
            push(tmp_path, "user/x", notes)
    with pytest.raises(PermissionError, match="the push to user/x failed.*hf auth login"):
        push(tmp_path, "user/x", token="hf_unknown")
