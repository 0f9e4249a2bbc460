"""The ELQ script as users start it: recipes, resume, what it saves, and two real processes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModel, AutoTokenizer

from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.modeling_elq import ElqModel
from hf_blink.modeling.processing_elq import ElqProcessor
from hf_blink.training import train_elq
from tests.broken_encoder import encoder_without_type
from tests.elq_recipe import elq_recipe, row, write_lines
from tests.two_processes import launch_two


@pytest.fixture
def recipe(tiny_encoder, tmp_path, entities) -> Path:
    return elq_recipe(tiny_encoder, tmp_path, entities)


def state(folder: Path) -> dict[str, torch.Tensor]:
    return ElqModel.from_pretrained(folder).state_dict()


def test_a_recipe_trains_both_stages_fits_the_threshold_and_measures(recipe, tmp_path, caplog, monkeypatch):
    encoded, encode = [], train_elq.shared_linker

    def shared_linker(*parts):
        encoded.append(parts)
        return encode(*parts)

    monkeypatch.setattr(train_elq, "shared_linker", shared_linker)
    caplog.set_level("INFO")
    dev = [
        row("the spotted jaguar is a cat", ("jaguar", "jaguar-cat")),
        row("a town in texas is paris", ("paris", "paris-tx")),
        row("the river is in the forest"),
    ]
    evaluation = [
        row("the jaguar is a spotted cat in the forest", ("jaguar", "jaguar-cat")),
        row("the maker of the car is jaguar", ("jaguar", "jaguar-car")),
        row("shoes of puma", ("puma", None), complete=False),
    ]
    files = ["--dev", write_lines(tmp_path / "dev.jsonl", dev)]
    files += ["--evaluation", write_lines(tmp_path / "evaluation.jsonl", evaluation)]
    metrics = train_elq.main([str(recipe), "--learning_rate", "2e-3", "--max_steps", "60", *files])
    assert (metrics["num_documents"], metrics["num_incomplete"], metrics["num_mentions"]) == (2, 1, 2)
    assert metrics["dev_weak_f1"] > 0.4 and "are also in" not in caplog.text
    said = [record.getMessage() for record in caplog.records]
    assert "the hard-negative stage (round_1): 6 texts with 7 mentions" in said
    assert said[-1] == f"next: hf-blink build ENTITIES --encoder {tmp_path / 'out'} --out my-linker"
    assert said[-2].startswith("match ") and "the default" not in caplog.text
    assert len(encoded) == 1, "the second stage's vectors are measured with"
    first, second, final = (state(tmp_path / name) for name in ("out/round_0", "out/round_1", "out"))
    frozen = [name for name in first if name.startswith("entity_encoder")]
    assert all(torch.equal(first[name], second[name]) for name in frozen)
    assert not torch.equal(first["span_head.weight"], second["span_head.weight"])
    assert all(torch.equal(second[name], final[name]) for name in second)
    assert json.loads((tmp_path / "out/round_1/round.json").read_text())["num_mentions"] == 7
    files = [str(tmp_path / name) for name in ("entities.jsonl", "out")]
    linker = EntityLinker.from_knowledge_base(*files, progress=False)
    assert linker.finds_mentions
    assert linker.bi_encoder.config.joint_threshold == metrics["joint_threshold"] < 0
    assert json.loads((tmp_path / "out/metrics.json").read_text()) == metrics


def test_an_interrupted_run_resumes_to_the_same_weights(recipe, tmp_path):
    options = ["--save_strategy", "steps", "--save_steps", "1", "--save_total_limit", "9"]
    train_elq.main([str(recipe), *options])
    expected = state(tmp_path / "out")
    (tmp_path / "out/round_1/round.json").unlink()
    (tmp_path / "out/round_1/checkpoint-2").rename(tmp_path / "gone")  # stopped after the first of two steps
    with pytest.raises(ValueError, match="--resume true"):
        train_elq.main([str(recipe), *options])
    train_elq.main([str(recipe), *options, "--resume", "true"])
    resumed = state(tmp_path / "out")
    assert all(torch.equal(resumed[name], value) for name, value in expected.items())


def test_a_finished_run_is_given_dev_documents_later(recipe, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    options = [str(recipe), "--learning_rate", "2e-3", "--max_steps", "12", "--hard_negative_share", "0"]
    assert train_elq.main(options) == {}
    *_, threshold, following = (record.getMessage() for record in caplog.records)
    assert threshold.startswith(
        "the joint threshold is the default, -4.500, since no dev documents were given;"
    )
    assert "--resume true --dev DOCUMENTS" in threshold and following.startswith("next: hf-blink build")
    trained = state(tmp_path / "out")
    monkeypatch.setattr(train_elq, "ElqTrainer", None)
    text = row("the cat puma", ("puma", "puma-cat"), split="dev")
    dev = ["--dev", write_lines(tmp_path / "dev.jsonl", [text]), "--dev_split", "dev", "--match", "strong"]
    metrics = train_elq.main([*options, "--resume", "true", *dev])
    assert metrics.keys() == {"joint_threshold", "dev_strong_f1"}
    assert "the in-batch stage (round_0) is finished, loading it" in caplog.text
    assert f"fitted the joint threshold {metrics['joint_threshold']:.3f}: strong F1" in caplog.text
    saved = ElqModel.from_pretrained(tmp_path / "out")
    assert saved.config.joint_threshold == metrics["joint_threshold"]
    assert all(torch.equal(saved.state_dict()[name], value) for name, value in trained.items())
    with pytest.raises(ValueError, match="got max_steps: 12 then, 13 now"):
        train_elq.main([*options, "--resume", "true", *dev, "--max_steps", "13"])


def test_two_processes_step_together_and_as_one_does(recipe, tiny_encoder, tmp_path):
    """One step of SGD in each stage, without dropout, on texts with 2, 1, 1 and no mentions."""
    plain = AutoModel.from_pretrained(tiny_encoder, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    plain.save_pretrained(tmp_path / "encoder")
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(tmp_path / "encoder")
    texts = [
        row("a jaguar is a car of the maker puma", ("jaguar", "jaguar-car"), ("puma", "puma-shoe")),
        row("in paris texas", ("paris", "paris-tx")),
        row("the spotted cat jaguar", ("jaguar", "jaguar-cat"), complete=False),
        row("a town in the forest"),
    ]
    options = [
        "--train", write_lines(tmp_path / "texts.jsonl", texts), "--base_model", str(tmp_path / "encoder"),
        "--max_steps", "1", "--hard_negative_share", "1", "--optim", "sgd", "--learning_rate", "0.05",
        "--lr_scheduler_type", "constant", "--warmup_steps", "0", "--max_grad_norm", "0", "--weight_decay", "0",
    ]  # fmt: skip
    train_elq.main([str(recipe), *options, "--per_device_train_batch_size", "4"])
    options += ["--per_device_train_batch_size", "2", "--ddp_backend", "gloo", "--output_dir", "two"]
    launch_two("hf_blink.training.train_elq", str(recipe), *options, folder=tmp_path)
    assert json.loads((tmp_path / "two/round_1/round.json").read_text())["num_processes"] == 2
    stages = ("round_0", "round_1")
    before = ElqModel.from_encoder(str(tmp_path / "encoder")).state_dict()
    for alone, two in zip(
        *([state(tmp_path / folder / s) for s in stages] for folder in ("out", "two")), strict=True
    ):
        moved = max((alone[name] - before[name]).abs().max() for name in alone if "span_head" not in name)
        assert moved > 1e-3
        assert max((alone[name] - two[name]).abs().max() for name in alone) < 3e-4 * moved
        before = alone
    assert (tmp_path / "two/model.safetensors").is_file()


def test_settings_and_data_of_another_run_are_refused(recipe, tmp_path):
    with pytest.raises(
        ValueError, match="that train_elq uses, got early_stopping_patience \\(of train_biencoder"
    ):
        train_elq.main([str(recipe), "--early_stopping_patience", "2"])
    with pytest.raises(ValueError, match="that train_elq uses, got eval_strategy; leave it out"):
        train_elq.main([str(recipe), "--eval_strategy", "epoch"])
    assert not (tmp_path / "out").exists()
    options = [str(recipe), "--max_steps", "1", "--hard_negative_share", "0"]
    train_elq.main(options)
    file = tmp_path / "documents.jsonl"
    file.write_text(file.read_text().replace("spotted", "texas"))
    with pytest.raises(ValueError, match="got another mentions; give the old files"):
        train_elq.main([*options, "--resume", "true"])


def test_an_encoder_that_does_not_load_is_refused_before_anything_is_written(recipe, tmp_path):
    encoder = encoder_without_type(yaml.safe_load(recipe.read_text())["base_model"], tmp_path / "encoder")
    options = [str(recipe), "--max_steps", "1", "--hard_negative_share", "0"]
    with pytest.raises(ValueError, match="expected a model_type in the config.json of .*, got none; add"):
        train_elq.main([*options, "--base_model", encoder])
    assert not (tmp_path / "out").exists()
    train_elq.main(options)
    assert (tmp_path / "out/recipe.json").is_file() and (tmp_path / "out/data.json").is_file()


def test_data_that_make_no_sense_are_refused(recipe, tmp_path):
    with pytest.raises(ValueError, match="expected entities and train, got no train"):
        train_elq.DocumentArguments(["x"])
    missing = train_elq.DocumentArguments(["missing"], ["missing"])
    with pytest.raises(FileNotFoundError, match="expected a file at entities: missing"):
        missing.read()
    with pytest.raises(ValueError, match="max_train_documents of at least 0"):
        train_elq.DocumentArguments([str(recipe)], [str(recipe)], max_train_documents=-1)


@pytest.mark.parametrize(
    ("part", "document", "message"),
    [
        ("train", row("puma", ("puma", "nobody")), "expected label_ids .* got 1 that are not: 'nobody'"),
        ("dev", row("puma", ("puma", "nobody")), "expected label_ids .* got 1 that are not: 'nobody'"),
        ("evaluation", row("puma", ("puma", "puma-cat"), world="zoo"), "expected worlds .* got 1 that are not: 'zoo'"),
        ("train", row("puma", ("puma", "puma-cat"), world="zoo"), "expected worlds .* got 1 that are not: 'zoo'"),
        ("dev", row("puma", ("puma", None)), "expected mentions with a gold entity, got 1 without"),
        ("evaluation", row("puma", ("puma", "puma-cat"), complete=False), "expected .* got 1 with complete=False"),
    ],
)  # fmt: skip
def test_documents_that_do_not_fit_are_refused_before_anything_is_trained(
    recipe, tmp_path, part, document, message
):
    file = write_lines(tmp_path / "bad.jsonl", [document])
    with pytest.raises(ValueError, match=f"^{part}: {message}"):
        train_elq.main([str(recipe), f"--{part}", file])
    assert not (tmp_path / "out").exists()


def test_documents_that_are_measured_and_trained_on_are_warned_of(recipe, processor, tmp_path, caplog):
    shared = [row("In  Paris Texas", ("Paris", "paris-tx")), row("a puma", ("puma", "puma-cat"))]
    own = [row("a PUMA", ("PUMA", "puma-cat"))]
    files = [str(tmp_path / "entities.jsonl")], [str(tmp_path / "documents.jsonl")]
    dev, evaluation = write_lines(tmp_path / "dev.jsonl", shared), write_lines(tmp_path / "own.jsonl", own)
    documents = train_elq.DocumentArguments(*files, dev=[dev], evaluation=[evaluation])
    documents.load(ElqProcessor(processor.tokenizer, mention_length=32), seed=1)
    assert [record.getMessage().partition(", so")[0] for record in caplog.records] == [
        "1 of the 2 documents of dev are also in train",
        "1 of the 1 documents of evaluation are also in dev",
    ]


def test_a_threshold_is_not_fitted_on_what_is_trained_on_or_reported(recipe, tmp_path):
    entities, train = [str(tmp_path / "entities.jsonl")], [str(tmp_path / "documents.jsonl")]
    other = [write_lines(tmp_path / "other.jsonl", [row("the cat puma", ("puma", "puma-cat"))])]
    both = r"files in dev, which the threshold is fitted on, than in {}, .*got \S+{}.jsonl in both; divide the doc"
    with pytest.raises(ValueError, match=both.format("train", "documents")):
        train_elq.DocumentArguments(entities, train, dev=[*other, *train])
    with pytest.raises(ValueError, match=both.format("evaluation", "other")):
        train_elq.DocumentArguments(entities, train, dev=other, evaluation=other, evaluation_split="val")
    with pytest.raises(ValueError, match=both.format("evaluation", "other")):
        train_elq.DocumentArguments(
            entities, train, dev=other, evaluation=other, dev_split="a", evaluation_split="a"
        )
    train_elq.DocumentArguments(
        entities,
        train,
        dev=train,
        evaluation=train,
        train_split="train",
        dev_split="dev",
        evaluation_split="val",
    )


def test_a_measuring_that_fails_loses_neither_the_model_nor_the_threshold(recipe, tmp_path, monkeypatch):
    def fail(*arguments: Any) -> dict[str, Any]:
        raise RuntimeError("no measure")

    monkeypatch.setattr(train_elq, "evaluate_documents", fail)
    dev, own = (
        write_lines(tmp_path / name, [row("the cat puma", ("puma", "puma-cat"))])
        for name in ("dev.jsonl", "own.jsonl")
    )
    options = ["--max_steps", "12", "--learning_rate", "2e-3", "--dev", dev, "--evaluation", own]
    with pytest.raises(RuntimeError, match="no measure"):
        train_elq.main([str(recipe), *options])
    trained = ElqModel.from_pretrained(tmp_path / "out")
    assert torch.equal(
        trained.state_dict()["span_head.weight"], state(tmp_path / "out/round_1")["span_head.weight"]
    )
    assert (
        trained.config.joint_threshold
        != ElqModel.from_pretrained(tmp_path / "out/round_1").config.joint_threshold
    )
    assert ElqProcessor.from_pretrained(tmp_path / "out").mention_length == 32
