"""Which runs may use an output folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training import run_folder
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.run_folder import keep_run, last_checkpoint, open_run, write_metrics


@dataclass
class Part:
    """Settings as a script has them."""

    temperature: float = 0.05
    resume: bool = False


def start(folder: Path, part: Part | None = None, *, resume: bool = False, **options) -> None:
    arguments = BlinkTrainingArguments(str(folder), use_cpu=True, **options)
    begin(arguments, part or Part(), resume=resume)


def begin(arguments: BlinkTrainingArguments, part: Part, *, resume: bool = False, free=()) -> None:
    """Checks the folder, and keeps what a script keeps once everything is loaded."""
    kept = open_run(arguments, [part], resume=resume, free=free)
    knowledge_base = KnowledgeBase.from_entities([{"id": "1", "title": "Paris"}])
    mentions = {"id": ["a"], "context_left": [""], "mention": ["Paris"], "context_right": [""]}
    keep_run(
        arguments,
        kept,
        knowledge_base,
        Dataset.from_dict({**mentions, "label_ids": [["1"]], "world": [None]}),
    )


def test_a_new_run_keeps_its_settings_and_may_be_started_again_until_it_trains(tmp_path):
    start(tmp_path / "new", learning_rate=1e-3)
    kept = json.loads((tmp_path / "new/recipe.json").read_text())
    assert (kept["learning_rate"], kept["temperature"]) == (1e-3, 0.05)
    assert not {"resume", "output_dir", "logging_steps", "disable_tqdm", "local_rank"} & set(kept)
    start(tmp_path / "new", learning_rate=1e-4)
    assert json.loads((tmp_path / "new/recipe.json").read_text())["learning_rate"] == 1e-4
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["data.json", "recipe.json"]


def test_a_run_that_is_refused_before_it_is_kept_leaves_nothing(tmp_path):
    arguments = BlinkTrainingArguments(str(tmp_path / "new"), use_cpu=True)
    open_run(arguments, [Part()], resume=False)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("trace", ["round_0", "checkpoint-500"])
def test_a_used_folder_is_refused_without_resume(tmp_path, trace):
    (tmp_path / trace).mkdir()
    with pytest.raises(
        ValueError, match=f"an empty output_dir, or --resume true to go on, got .* with {trace}"
    ):
        start(tmp_path)
    assert not (tmp_path / "recipe.json").exists()


def test_resume_wants_the_settings_of_the_run(tmp_path):
    start(tmp_path, learning_rate=1e-3, lr_scheduler_kwargs={"num_cycles": 2})
    (tmp_path / "round_0").mkdir()
    same: dict[str, Any] = {"learning_rate": 1e-3, "lr_scheduler_kwargs": {"num_cycles": 2}}
    start(tmp_path, Part(resume=True), resume=True, **same, logging_steps=7, save_steps=3, disable_tqdm=True)
    with pytest.raises(ValueError, match=r"got learning_rate: 0.001 then, 0.01 now; give the old"):
        start(tmp_path, resume=True, **{**same, "learning_rate": 1e-2})
    with pytest.raises(ValueError, match="got temperature: 0.05 then, 1.0 now;"):
        start(tmp_path, Part(temperature=1.0), resume=True, **same)
    assert json.loads((tmp_path / "recipe.json").read_text())["learning_rate"] == 1e-3


def test_what_a_script_calls_free_is_not_kept_and_may_change(tmp_path):
    arguments = BlinkTrainingArguments(str(tmp_path), use_cpu=True)
    (tmp_path / "recipe.json").write_text('{"temperature": 0.05, "seed": 42}')  # of a version that kept it
    (tmp_path / "round_0").mkdir()
    open_run(arguments, [Part(temperature=1.0)], resume=True, free=("temperature",))
    other = BlinkTrainingArguments(str(tmp_path), use_cpu=True, seed=7)
    with pytest.raises(ValueError, match="got seed: 42 then, 7 now;"):
        open_run(other, [Part(temperature=1.0)], resume=True, free=("temperature",))
    new = BlinkTrainingArguments(str(tmp_path / "new"), use_cpu=True)
    begin(new, Part(), free=("temperature",))
    assert "temperature" not in json.loads((tmp_path / "new/recipe.json").read_text())


def test_resume_in_an_empty_folder_starts_and_without_settings_is_refused(tmp_path):
    start(tmp_path / "empty", resume=True)
    assert (tmp_path / "empty/recipe.json").is_file()
    (tmp_path / "old/round_0").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"expected .*recipe.json of the run to resume, got no file"):
        start(tmp_path / "old", resume=True)


def test_write_metrics_logs_all_but_single_worlds(tmp_path, caplog):
    with caplog.at_level("INFO"):
        write_metrics({"mrr": 0.5, "world/lego/mrr": 0.25}, tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"mrr": 0.5, "world/lego/mrr": 0.25}
    assert "mrr" in caplog.text and "lego" not in caplog.text


def test_the_weights_are_on_the_disk_before_a_round_is_called_finished(tmp_path, monkeypatch):
    file, found = tmp_path / "round.json", []
    monkeypatch.setattr(run_folder, "flush_disks", lambda: found.append(file.exists()))
    state = SimpleNamespace(log_history=[{"step": 1, "loss": 0.5}])
    run_folder.write_finished(
        tmp_path, SimpleNamespace(state=state, args=SimpleNamespace(world_size=2)), {"train_loss": 0.5}, 3
    )
    assert found == [False]
    assert json.loads(file.read_text()) == {
        "train_loss": 0.5, "num_processes": 2, "num_mentions": 3, "losses": [[1, 0.5]], "recalls": [],
    }  # fmt: skip


def test_data_are_kept_and_other_data_refused_once_something_was_trained(tmp_path, knowledge_base, mentions):
    arguments = BlinkTrainingArguments(str(tmp_path), use_cpu=True)
    keep_run(arguments, {}, knowledge_base, mentions.select([0, 1]))
    keep_run(arguments, {}, knowledge_base, mentions)  # nothing was trained yet
    (tmp_path / "round_0").mkdir()
    keep_run(arguments, {}, knowledge_base, mentions)
    with pytest.raises(ValueError, match=r"got another mentions; give the old files"):
        keep_run(arguments, {}, knowledge_base, mentions.select([1, 0]))
    with pytest.raises(ValueError, match=r"got another dev mentions; give the old files"):
        keep_run(arguments, {}, knowledge_base, mentions, dev=mentions.select([0]))
    other = KnowledgeBase.from_entities(knowledge_base.entities([0, 1]))
    with pytest.raises(ValueError, match=r"got another knowledge base and other mentions;"):
        keep_run(arguments, {}, other, mentions.select([0]))


def test_the_newest_whole_checkpoint_is_the_one_to_resume_from(tmp_path, caplog):
    arguments = BlinkTrainingArguments(str(tmp_path), use_cpu=True)
    assert last_checkpoint(tmp_path / "nowhere", arguments) is None
    for step in (9, 10, 90, 100, 200):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}/trainer_state.json").write_text("{}")
        (tmp_path / f"checkpoint-{step}/rng_state.pth").write_text("state")
    (tmp_path / "checkpoint-best").mkdir()
    (tmp_path / "checkpoint-200/trainer_state.json").write_text('{"epo')
    (tmp_path / "checkpoint-100/rng_state.pth").unlink()
    (tmp_path / "checkpoint-90/model.safetensors").touch()
    assert last_checkpoint(tmp_path, arguments) == str(tmp_path / "checkpoint-10")
    assert "checkpoint-200 is not whole" in caplog.text
    only_models = BlinkTrainingArguments(str(tmp_path), use_cpu=True, save_only_model=True)
    assert last_checkpoint(tmp_path, only_models) == str(tmp_path / "checkpoint-100")
