"""The bi-encoder script as users start it: recipes, resume, saved models, and two real processes."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.training import train_biencoder
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.biencoder_arguments import BiEncoderArguments
from hf_blink.training.biencoder_rounds import RoundParts
from hf_blink.training.hard_negatives import HardNegativeMiner
from hf_blink.training.mining_arguments import MiningArguments
from tests.broken_encoder import encoder_without_type
from tests.two_processes import launch_two


@pytest.fixture
def recipe(tiny_encoder, tmp_path, entities) -> Path:
    """A recipe of six mentions and four steps a round."""
    (tmp_path / "entities.jsonl").write_text("".join(json.dumps(entity) + "\n" for entity in entities))
    mentions = [
        {
            "id": entity["id"],
            "context_left": entity["description"],
            "mention": entity["title"],
            "context_right": "",
            "label_id": entity["id"],
        }
        for entity in entities
    ]
    (tmp_path / "mentions.jsonl").write_text("".join(json.dumps(mention) + "\n" for mention in mentions))
    values = {
        "entities": [str(tmp_path / "entities.jsonl")],
        "train": [str(tmp_path / "mentions.jsonl")],
        "base_model": tiny_encoder,
        "mention_length": 32,
        "entity_length": 32,
        "output_dir": str(tmp_path / "out"),
        "max_steps": 4,
        "per_device_train_batch_size": 2,
        "mined_negatives": 3,
        "use_cpu": True,
        "disable_tqdm": True,
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def weights(folder: Path) -> torch.Tensor:
    return torch.cat(
        [value.flatten() for value in BlinkBiEncoder.from_pretrained(folder).state_dict().values()]
    )


def test_biencoder_recipe_trains_rounds_and_saves_what_from_pretrained_loads(recipe, tmp_path):
    metrics = train_biencoder.main(
        [str(recipe), "--evaluation", str(tmp_path / "mentions.jsonl"), "--save_strategy", "no"]
    )
    assert metrics["num_mentions"] == 6 and 0 < metrics["recall@1"] <= 1
    record = json.loads((tmp_path / "out/round_1/round.json").read_text())
    assert record["num_processes"] == 1 and record["num_mentions"] == 6
    assert not torch.equal(weights(tmp_path / "out/round_0"), weights(tmp_path / "out/round_1"))
    assert torch.equal(weights(tmp_path / "out"), weights(tmp_path / "out/round_1"))
    assert BlinkProcessor.from_pretrained(tmp_path / "out").mention_length == 32


def test_an_interrupted_run_resumes_to_the_same_weights(recipe, tmp_path):
    options = ["--max_steps", "8", "--save_strategy", "steps", "--save_steps", "2", "--save_total_limit", "9"]
    options += ["--mine_again", "true"]
    train_biencoder.main([str(recipe), *options])
    expected = weights(tmp_path / "out")
    last = tmp_path / "out/round_1"
    (last / "round.json").unlink()
    (last / "checkpoint-4").rename(tmp_path / "gone")  # stopped after step 2 of the round's 4
    untouched = (tmp_path / "out/round_0/model.safetensors").stat().st_mtime_ns
    train_biencoder.main([str(recipe), *options, "--resume", "true"])
    assert torch.equal(weights(tmp_path / "out"), expected)
    assert (tmp_path / "out/round_0/model.safetensors").stat().st_mtime_ns == untouched


def test_a_run_interrupted_in_the_first_round_resumes_to_the_same_weights(recipe, tmp_path):
    """Six mentions in batches of two, each with an entity called alike: three steps an epoch, stopped after five."""
    options = [
        "--max_steps",
        "8",
        "--save_strategy",
        "steps",
        "--save_steps",
        "5",
        "--hard_negative_rounds",
        "0",
    ]
    train_biencoder.main([str(recipe), *options])
    expected, first = weights(tmp_path / "out"), tmp_path / "out/round_0"
    (first / "round.json").unlink()
    shutil.rmtree(first / "checkpoint-8")
    (first / "model.safetensors").unlink()
    train_biencoder.main([str(recipe), *options, "--resume", "true"])
    assert torch.equal(weights(tmp_path / "out"), expected)
    other = [*options, "--name_negatives", "0", "--output_dir", str(tmp_path / "other")]
    train_biencoder.main([str(recipe), *other])
    assert not torch.equal(weights(tmp_path / "other"), expected), "they are in the batches"


def test_two_processes_of_accelerate_launch_resume_to_the_same_weights(recipe, tmp_path):
    """Six mentions in batches of 2 x 2: step 1 of the second round is in the middle of its first epoch."""
    out = tmp_path / "out"
    options = ["--ddp_backend", "gloo", "--max_steps", "6", "--save_strategy", "steps", "--save_steps", "1"]
    options += ["--save_total_limit", "9", "--mine_again", "true"]
    launch_two("tests.resuming_example", str(out), str(recipe), *options, folder=tmp_path)
    for number in (0, 1):
        assert json.loads((out / f"round_{number}/round.json").read_text())["num_processes"] == 2
    whole, resumed = (torch.load(tmp_path / f"out-{name}.pt") for name in ("whole", "resumed"))
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())
    written = [(out / f"round_1/checkpoint-{step}/model.safetensors").stat().st_mtime for step in (1, 2, 3)]
    whole_at = (tmp_path / "out-whole.pt").stat().st_mtime
    assert written[0] < whole_at < written[1] < written[2], "it went on after step 1"


def test_a_run_is_not_mixed_with_an_older_one(recipe, tmp_path):
    """Start, start again with another learning rate, "resume": the old run's result must not come back."""
    options = ["--save_strategy", "no", "--max_steps", "1"]
    train_biencoder.main([str(recipe), *options])
    expected = weights(tmp_path / "out")
    with pytest.raises(ValueError, match="expected an empty output_dir, or --resume true.* round_0, round_1"):
        train_biencoder.main([str(recipe), *options, "--learning_rate", "0.01"])
    with pytest.raises(ValueError, match=r"learning_rate: 0.0001 then, 0.01 now"):
        train_biencoder.main([str(recipe), *options, "--learning_rate", "0.01", "--resume", "true"])
    assert torch.equal(weights(tmp_path / "out"), expected)


def test_a_wrong_gold_id_stops_the_run_before_the_model_is_loaded(recipe, tmp_path, monkeypatch):
    with (tmp_path / "mentions.jsonl").open("a") as file:
        file.write('{"context_left": "", "mention": "x", "context_right": "", "label_id": "nobody"}\n')
    monkeypatch.setattr(BiEncoderArguments, "load", lambda _: pytest.fail("too late"))
    with pytest.raises(ValueError, match="train: expected label_ids .*: 'nobody'"):
        train_biencoder.main([str(recipe)])


def test_a_saved_model_keeps_its_settings_and_others_are_refused(tiny_encoder, tmp_path):
    new = BiEncoderArguments(tiny_encoder, share_towers=False, similarity="dot", entity_length=24)
    model, processor = new.load()
    assert (model.config.share_towers, model.config.similarity) == (False, "dot")
    assert (processor.mention_length, processor.entity_length) == (128, 24)
    folder = str(tmp_path / "saved")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    model, processor = BiEncoderArguments(folder, similarity="dot").load()
    assert not model.config.share_towers and processor.entity_length == 24
    for name, value, saved in (
        ("share_towers", True, "False"),
        ("temperature", 1.0, "0.05"),
        ("entity_length", 64, "24"),
    ):
        with pytest.raises(
            ValueError, match=rf"got {name}: {value!r} \(saved: {saved}\); leave the keys out"
        ):
            BiEncoderArguments(folder, **{name: value}).load()  # type: ignore[arg-type]


def test_a_negative_number_of_name_negatives_is_refused():
    with pytest.raises(ValueError, match="expected name_negatives of at least 0, got -1"):
        BiEncoderArguments("encoder", name_negatives=-1)


@pytest.mark.parametrize("change", [{"hard_negative_rounds": -1}, {"hard_negative_share": 0.0}])
def test_rounds_that_make_no_sense_are_refused(change):
    with pytest.raises(ValueError, match="expected hard_negative_rounds >= 0 and hard_negative_share > 0"):
        BiEncoderArguments("encoder", **change)


@pytest.mark.parametrize("count", [0, 1])
def test_the_first_round_has_entities_of_similar_names_as_negatives(
    count, processor, bi_encoder, knowledge_base, mentions, tmp_path
):
    training = BlinkTrainingArguments(str(tmp_path), num_hard_negatives=7, use_cpu=True, disable_tqdm=True)
    settings = BiEncoderArguments("encoder", name_negatives=count)
    parts = RoundParts(processor, knowledge_base, mentions, training, settings, MiningArguments())
    trainer = parts.trainer(0, bi_encoder)
    # "the capital paris": the one entity called alike is the town in Texas.
    batch = trainer.data_collator([trainer.train_dataset[int(mentions["mention"][:].index("paris"))]])
    columns = knowledge_base.entity_ids(batch["entity_rows"].tolist())
    assert columns == ["paris-fr", "paris-tx"][: 1 + count]


def test_more_than_ten_negatives_by_name_are_as_many(processor, bi_encoder, mentions, tmp_path):
    alike = KnowledgeBase.from_entities({"id": str(i), "title": f"paris {i}"} for i in range(14))
    mentions = mentions.select([0]).map(lambda _: {"label_ids": ["0"]})
    training = BlinkTrainingArguments(str(tmp_path), use_cpu=True, disable_tqdm=True)
    settings = BiEncoderArguments("encoder", name_negatives=12)
    parts = RoundParts(processor, alike, mentions, training, settings, MiningArguments())
    trainer = parts.trainer(0, bi_encoder)
    assert len(trainer.data_collator([trainer.train_dataset[0]])["entity_rows"]) == 13


@pytest.mark.parametrize("count", [0, 2])
def test_a_dry_run_says_what_a_mention_is_compared_with_in_the_first_round(recipe, count, capsys):
    train_biencoder.main([str(recipe), "--dry_run", "true", "--name_negatives", str(count)])
    assert (", and 2 of similar names for each of its mentions" in capsys.readouterr().out) == bool(count)


def test_a_round_mines_with_the_current_model_at_each_epoch_or_once(recipe, tmp_path, monkeypatch):
    """Six mentions in batches of two: three steps an epoch, and seven steps are three epochs."""
    minings: list[tuple[int, torch.Tensor]] = []
    mine = HardNegativeMiner.mine

    def recorded(self, model, dataset, number=0):
        minings.append(
            (number, torch.cat([value.flatten().clone() for value in model.state_dict().values()]))
        )
        return mine(self, model, dataset, number)

    monkeypatch.setattr(HardNegativeMiner, "mine", recorded)
    options = ["--save_strategy", "no", "--max_steps", "7", "--hard_negative_share", "1"]
    train_biencoder.main([str(recipe), *options, "--mine_again", "true"])
    assert [number for number, _ in minings] == [0, 1, 2]
    assert not torch.equal(minings[0][1], minings[1][1])
    assert [file.name for file in (tmp_path / "out/round_1/mined").iterdir()] == ["epoch-2.npz"]
    minings.clear()
    every_two = ["--mine_every_steps", "2", "--output_dir", str(tmp_path / "every_two")]
    train_biencoder.main([str(recipe), *options, *every_two])
    assert [number for number, _ in minings] == [0, 1, 2, 3]
    minings.clear()
    once = [str(recipe), *options, "--output_dir", str(tmp_path / "once")]
    train_biencoder.main(once)
    assert len(minings) == 1
    (tmp_path / "once/round_1/round.json").unlink()
    train_biencoder.main([*once, "--resume", "true"])
    assert len(minings) == 1, "what was mined is kept"


def test_a_batch_larger_than_the_number_of_entities_is_refused_before_the_model_is_loaded(
    recipe, monkeypatch
):
    monkeypatch.setattr(BiEncoderArguments, "load", lambda _: pytest.fail("too late"))
    with pytest.raises(ValueError, match="expected a batch of at most 6 mentions.* got 7 in each of 1"):
        train_biencoder.main([str(recipe), "--per_device_train_batch_size", "7"])


def test_a_loaded_round_mines_on_the_device_of_the_training(recipe, tmp_path, monkeypatch):
    """A model that `from_pretrained` gives is on the CPU, whatever the training uses."""
    options = ["--save_strategy", "no", "--max_steps", "1"]
    train_biencoder.main([str(recipe), *options])
    shutil.rmtree(tmp_path / "out/round_1")
    moves: list[str] = []
    to, mine = BlinkBiEncoder.to, HardNegativeMiner.mine

    def recorded(self, device):
        moves.append(str(device))
        return to(self, device)

    def mine_after_the_move(*args, **options):
        assert moves == ["cpu", "cpu"], "once when round_0 is loaded, once before mining"
        return mine(*args, **options)

    monkeypatch.setattr(BlinkBiEncoder, "to", recorded)
    monkeypatch.setattr(HardNegativeMiner, "mine", mine_after_the_move)
    train_biencoder.main([str(recipe), *options, "--resume", "true"])
    assert moves


def test_the_best_model_on_dev_is_the_result_and_training_stops_early(recipe, tmp_path):
    """All six entities are among the 64 nearest from the first evaluation on: nothing later is better."""
    dev = str(shutil.copy(tmp_path / "mentions.jsonl", tmp_path / "dev.jsonl"))
    (tmp_path / "val.jsonl").write_text((tmp_path / "mentions.jsonl").read_text().splitlines()[0] + "\n")
    options = ["--dev", dev, "--evaluation", str(tmp_path / "val.jsonl"), "--early_stopping_patience", "2"]
    steps = ["--save_strategy", "steps", "--save_steps", "1", "--logging_steps", "1", "--max_steps", "9"]
    metrics = train_biencoder.main([str(recipe), *options, *steps, "--hard_negative_rounds", "0"])
    assert metrics["num_mentions"] == 1, "the mentions of evaluation, and none of dev"
    record = json.loads((tmp_path / "out/round_0/round.json").read_text())
    assert record["recalls"] == [[1, 1.0], [2, 1.0], [3, 1.0]] and len(record["losses"]) == 3
    best, last = (weights(tmp_path / f"out/round_0/checkpoint-{step}") for step in (1, 3))
    assert not torch.equal(best, last)
    assert torch.equal(weights(tmp_path / "out"), best)


@pytest.mark.parametrize("options", [[], ["--evaluation", "MENTIONS"], ["--dry_run", "true"]])
def test_early_stopping_wants_mentions_that_are_not_reported(recipe, tmp_path, options):
    options = [str(tmp_path / "mentions.jsonl") if option == "MENTIONS" else option for option in options]
    with pytest.raises(ValueError, match="expected dev files in the recipe for eval_strategy or early"):
        train_biencoder.main([str(recipe), "--early_stopping_patience", "2", *options])
    assert not (tmp_path / "out").exists()


def test_tensorboard_has_the_curves_of_loss_and_recall(recipe, tmp_path):
    pytest.importorskip("tensorboard", reason="not installed (pip install 'hf_blink[tensorboard]')")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    dev = str(shutil.copy(tmp_path / "mentions.jsonl", tmp_path / "dev.jsonl"))
    options = ["--dev", dev, "--eval_strategy", "epoch"]
    logging = ["--report_to", "tensorboard", "--logging_steps", "1", "--hard_negative_rounds", "0"]
    train_biencoder.main([str(recipe), *options, *logging, "--max_steps", "3", "--save_strategy", "no"])
    (events,) = (tmp_path / "out/round_0").rglob("events.out.tfevents.*")
    curves = EventAccumulator(str(events)).Reload()
    assert {"train/loss", "eval/recall@1", "eval/recall@64"} <= set(curves.Tags()["scalars"])
    assert [point.step for point in curves.Scalars("train/loss")] == [1, 2, 3]
    assert [(point.step, point.value) for point in curves.Scalars("eval/recall@64")] == [(3, 1.0)]


def test_windows_longer_than_the_encoder_reads_are_refused_before_training(recipe):
    with pytest.raises(ValueError, match="expected a mention tower with positions for 200 tokens .* got 160"):
        train_biencoder.main([str(recipe), "--mention_length", "200"])


def test_dimensions_that_the_vectors_do_not_have_are_refused_before_training(recipe):
    with pytest.raises(ValueError, match="matryoshka_dims"):
        train_biencoder.main([str(recipe), "--matryoshka_dims", "999"])


def test_resume_refuses_other_data(recipe, tmp_path):
    options = ["--save_strategy", "no", "--max_steps", "1"]
    train_biencoder.main([str(recipe), *options])
    lines = (tmp_path / "mentions.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "mentions.jsonl").write_text("".join(reversed(lines)))
    with pytest.raises(
        ValueError, match="expected the data that the run .*got another mentions; give the old"
    ):
        train_biencoder.main([str(recipe), *options, "--resume", "true"])


def test_resume_passes_over_a_checkpoint_whose_writing_was_killed(recipe, tmp_path):
    options = ["--save_strategy", "steps", "--save_steps", "1", "--save_total_limit", "9"]
    train_biencoder.main([str(recipe), *options])
    expected = weights(tmp_path / "out")
    last = tmp_path / "out/round_1"
    (last / "round.json").unlink()
    assert (last / "checkpoint-2").is_dir()
    (last / "checkpoint-2/trainer_state.json").unlink()
    train_biencoder.main([str(recipe), *options, "--resume", "true"])
    assert torch.equal(weights(tmp_path / "out"), expected)


def test_an_encoder_that_does_not_load_is_refused_before_anything_is_written(recipe, tiny_encoder, tmp_path):
    encoder = encoder_without_type(tiny_encoder, tmp_path / "encoder")
    with pytest.raises(ValueError, match="expected a model_type in the config.json of .*, got none; add"):
        train_biencoder.main([str(recipe), "--base_model", encoder])
    assert not (tmp_path / "out").exists()
