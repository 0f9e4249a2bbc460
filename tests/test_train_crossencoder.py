"""The cross-encoder script as users start it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.modeling_blink_crossencoder import BlinkCrossEncoder
from hf_blink.training import candidate_files, score_weights, train_crossencoder
from tests.broken_encoder import encoder_without_type


@pytest.fixture
def recipe(tiny_encoder, bi_encoder, processor, tmp_path, entities) -> Path:
    """A recipe of six mentions and two steps, with an untrained bi-encoder."""
    for part in (bi_encoder, processor):
        part.save_pretrained(tmp_path / "bi_encoder")
    mentions = [
        {
            "context_left": entity["description"],
            "mention": entity["title"],
            "context_right": "",
            "label_id": entity["id"],
        }
        for entity in entities
    ]
    for name, records in (("entities", entities), ("mentions", mentions)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    values = {
        "entities": [str(tmp_path / "entities.jsonl")],
        "train": [str(tmp_path / "mentions.jsonl")],
        "bi_encoder": str(tmp_path / "bi_encoder"),
        "base_model": tiny_encoder,
        "num_candidates": 3,
        "output_dir": str(tmp_path / "out"),
        "max_steps": 2,
        "per_device_train_batch_size": 2,
        "use_cpu": True,
        "disable_tqdm": True,
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_without_a_base_model_it_starts_from_the_bi_encoder(recipe, tmp_path, bi_encoder):
    values = yaml.safe_load(recipe.read_text()) | {
        "base_model": None,
        "learning_rate": 1e-9,
        "save_strategy": "no",
    }
    recipe.write_text(yaml.safe_dump(values))
    train_crossencoder.main([str(recipe)])
    cross_encoder = BlinkCrossEncoder.from_pretrained(tmp_path / "out")
    assert (cross_encoder.config.retrieval_weight, cross_encoder.config.pooling) == (1.0, "product")
    tower, trained = bi_encoder.mention_encoder.state_dict(), cross_encoder.encoder.state_dict()
    assert all(torch.allclose(trained[name], value, atol=1e-6) for name, value in tower.items())


def test_recipe_trains_a_reranker_of_what_the_biencoder_retrieves(recipe, tmp_path):
    evaluation = str(tmp_path / "mentions.jsonl")
    metrics = train_crossencoder.main([str(recipe), "--evaluation", evaluation, "--save_strategy", "no"])
    assert 0 <= metrics["accuracy_unnormalised"] <= 1
    assert json.loads((tmp_path / "out/metrics.json").read_text()) == metrics
    cross_encoder = BlinkCrossEncoder.from_pretrained(tmp_path / "out")
    assert (cross_encoder.config.retrieval_weight, cross_encoder.config.pooling) == (1.0, "cls")
    linker = EntityLinker.from_knowledge_base(
        str(tmp_path / "entities.jsonl"), str(tmp_path / "bi_encoder"), cross_encoder=cross_encoder
    )
    assert linker.link("Paris")[0].rerank_score is not None


def test_a_folder_with_checkpoints_is_resumed_with_the_same_settings_or_refused(recipe, tmp_path):
    train_crossencoder.main([str(recipe)])
    with pytest.raises(ValueError, match="expected an empty output_dir, or --resume true.* checkpoint-2"):
        train_crossencoder.main([str(recipe)])
    with pytest.raises(ValueError, match="num_candidates: 3 then, 4 now"):
        train_crossencoder.main([str(recipe), "--resume", "true", "--num_candidates", "4"])
    assert train_crossencoder.main([str(recipe), "--resume", "true"]) == {}


def test_a_saved_model_keeps_its_settings_and_others_are_refused(
    tiny_encoder, processor, bi_encoder, tmp_path
):
    new = train_crossencoder.CrossEncoderArguments("bi", tiny_encoder, pooling="mean", retrieval_weight=0.5)
    new.load(processor, bi_encoder).save_pretrained(tmp_path)
    folder = str(tmp_path)
    saved = train_crossencoder.CrossEncoderArguments("bi", folder, pooling="mean").load(processor, bi_encoder)
    assert (saved.config.pooling, saved.config.retrieval_weight) == ("mean", 0.5)
    with pytest.raises(ValueError, match=r"got retrieval_weight: 1.0 \(saved: 0.5\); leave the keys out"):
        train_crossencoder.CrossEncoderArguments("bi", folder, retrieval_weight=1.0).load(
            processor, bi_encoder
        )


def test_the_weights_of_both_scores_are_fitted_on_dev(recipe, tmp_path, monkeypatch):
    """The saved model has the weights that fit `dev`; the encoder is as it is without, and a given weight stays."""
    monkeypatch.setattr(score_weights, "FEWEST", 3)
    shutil.copy(tmp_path / "mentions.jsonl", tmp_path / "dev.jsonl")
    arguments = [str(recipe), "--save_strategy", "no", "--dev", str(tmp_path / "dev.jsonl")]

    def trained(*more: str) -> tuple[BlinkCrossEncoder, dict]:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        train_crossencoder.main([*arguments, *more])
        record = json.loads((tmp_path / "out/round.json").read_text())
        return BlinkCrossEncoder.from_pretrained(tmp_path / "out"), record

    fitted, record = trained()
    assert record["num_mentions"] == 6
    assert record["retrieval_weight"] == pytest.approx(fitted.config.retrieval_weight) != 1.0
    given, record = trained("--retrieval_weight", str(0.5))
    assert given.config.retrieval_weight == 0.5 and "own_weight" not in record
    monkeypatch.setattr(train_crossencoder, "weigh_scores", lambda *_, **options: None)
    plain, _ = trained()
    scale = (fitted.score.weight / plain.score.weight).detach()
    assert torch.allclose(scale, scale[0, 0].expand_as(scale), rtol=1e-3)
    for name, value in plain.encoder.state_dict().items():
        assert torch.equal(fitted.encoder.state_dict()[name], value)


def test_too_few_candidates_are_refused():
    with pytest.raises(ValueError, match="num_candidates of at least 2, got 1"):
        train_crossencoder.CrossEncoderArguments("bi", "base", num_candidates=1)


def test_the_biencoder_mines_on_the_device_of_the_training(recipe, monkeypatch):
    moves: list[str] = []
    to = BlinkBiEncoder.to

    def recorded(self, device):
        moves.append(str(device))
        return to(self, device)

    monkeypatch.setattr(BlinkBiEncoder, "to", recorded)

    def stop(linker, dataset, **options):
        assert moves == ["cpu"]
        raise InterruptedError

    monkeypatch.setattr(candidate_files, "mine_candidates", stop)
    with pytest.raises(InterruptedError):
        train_crossencoder.main([str(recipe)])


def test_pairs_longer_than_the_encoder_reads_are_refused_before_mining(recipe, tmp_path):
    settings = json.loads((tmp_path / "bi_encoder/processor_config.json").read_text())
    settings |= {"mention_length": 100, "entity_length": 100}
    (tmp_path / "bi_encoder/processor_config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="expected a cross-encoder with positions for 199 tokens .* got 160"):
        train_crossencoder.main([str(recipe)])


def test_an_interrupted_run_resumes_to_the_same_weights(recipe, tmp_path, monkeypatch):
    """Six mentions in batches of two: step 2 is in the middle of the first epoch."""
    options = ["--max_steps", "4", "--save_strategy", "steps", "--save_steps", "1", "--save_total_limit", "9"]
    train_crossencoder.main([str(recipe), *options])
    expected = BlinkCrossEncoder.from_pretrained(tmp_path / "out").state_dict()
    monkeypatch.setattr(train_crossencoder, "shared_linker", lambda *_: pytest.fail("entities encoded again"))
    for gone in ((3, 4), (1, 2, 3, 4)):  # stopped in the middle, and before the first checkpoint
        for step in gone:
            shutil.rmtree(tmp_path / f"out/checkpoint-{step}")
        (tmp_path / "out/model.safetensors").unlink()
        train_crossencoder.main([str(recipe), *options, "--resume", "true"])
        again = BlinkCrossEncoder.from_pretrained(tmp_path / "out").state_dict()
        assert all(torch.equal(again[name], value) for name, value in expected.items())


def test_a_world_of_one_entity_has_no_other_candidates_and_trains(recipe, tmp_path, entities):
    """Its mentions have nothing to tell apart; they are no reason to stop."""
    lone = {"id": "moon", "title": "Moon", "description": "A rock.", "world": "sky"}
    with (tmp_path / "entities.jsonl").open("a") as file:
        file.write(json.dumps(lone) + "\n")
    rows = [{**entity, "label_id": entity["id"]} for entity in [*entities, lone]]
    fields = {"context_left": "the", "context_right": "", "mention": "it"}
    lines = [json.dumps({**fields, "label_id": row["id"], "world": row["world"]}) + "\n" for row in rows]
    (tmp_path / "mentions.jsonl").write_text("".join(lines))
    train_crossencoder.main([str(recipe), "--max_steps", "4", "--save_strategy", "no"])
    losses = json.loads((tmp_path / "out/round.json").read_text())
    assert losses["num_mentions"] == 7 and 0 <= losses["train_loss"] < 10


def test_the_best_model_on_dev_is_the_result(recipe, tmp_path):
    """At this learning rate the loss on dev goes up and down."""
    options = [
        "--dev",
        str(shutil.copy(tmp_path / "mentions.jsonl", tmp_path / "dev.jsonl")),
        "--early_stopping_patience",
        "3",
        "--max_steps",
        "5",
    ]
    steps = [
        "--save_strategy",
        "steps",
        "--save_steps",
        "1",
        "--save_total_limit",
        "9",
        "--learning_rate",
        "3e-3",
    ]
    train_crossencoder.main([str(recipe), *options, *steps])
    states = {
        path: json.loads((path / "trainer_state.json").read_text())
        for path in tmp_path.glob("out/checkpoint-*")
    }
    losses = {path: state["log_history"][-1]["eval_loss"] for path, state in states.items()}
    best = min(losses, key=losses.__getitem__)
    assert len(losses) >= 4 and len(set(losses.values())) > 1
    expected, result = (
        BlinkCrossEncoder.from_pretrained(path).state_dict() for path in (best, tmp_path / "out")
    )
    assert all(torch.equal(result[name], value) for name, value in expected.items())
    assert not (tmp_path / "out/metrics.json").exists(), "nothing to report was named"


def test_an_encoder_that_does_not_load_is_refused_before_anything_is_written(recipe, tiny_encoder, tmp_path):
    encoder = encoder_without_type(tiny_encoder, tmp_path / "encoder")
    with pytest.raises(ValueError, match="expected a model_type in the config.json of .*, got none; add"):
        train_crossencoder.main([str(recipe), "--base_model", encoder])
    assert not (tmp_path / "out").exists()
