"""benchmarks/ablation.py: its arms, its budget, and a whole run on a tiny data set."""

import gzip
import json

import numpy as np
import pytest

from benchmarks import ablation, real_data
from benchmarks.ablation_arms import ARMS, IN_BATCH
from benchmarks.ablation_measuring import prepare, training_side
from benchmarks.ablation_table import arms_of, picture
from benchmarks.ablation_training import Budget
from benchmarks.real_data_run import Run
from benchmarks.real_data_settings import Settings

COLOURS = ("red", "green", "blue", "white", "black", "brown")


def test_arms_switch_from_blinks_recipe_to_ours_one_thing_after_the_other():
    blink, ours = ARMS[0], next(arm for arm in ARMS if arm.key == "one_tower")
    assert blink.values == {
        "share_towers": False, "mention_pooling": "cls", "entity_pooling": "cls", "similarity": "dot", "temperature": 1.0,
        "blink_optimizer": True, "fixed_length": True, "unique_entities": False, "same_world_batches": False,
        "learning_rate": 3e-5, "name_negatives": 0,
    }  # fmt: skip
    assert ours.values == {
        "share_towers": True, "mention_pooling": "mention_span", "entity_pooling": "mean", "similarity": "cosine",
        "temperature": 0.05, "blink_optimizer": False, "fixed_length": False, "unique_entities": True,
        "same_world_batches": True, "learning_rate": 1e-4, "name_negatives": 0,
    }  # fmt: skip
    known = {arm.key: arm for arm in ARMS}
    for arm in ARMS[1:]:
        before = known[arm.before]
        changed = {key for key in arm.values if arm.values[key] != before.values[key]}
        other = [
            arm.phases != before.phases,
            arm.batch_size != before.batch_size,
            arm.silver != before.silver,
        ]
        assert bool(changed) + sum(other) == 1, arm.key
        assert sum(share for _, share in arm.phases) == pytest.approx(1)
    assert all(arm.phases == IN_BATCH for arm in ARMS[:8])
    assert known["name_negatives"].values == {**ours.values, "name_negatives": 2}


def test_a_budget_counts_the_clock_but_for_free_time(monkeypatch):
    now = iter([100.0, 105.0, 105.0, 125.0, 130.0])
    monkeypatch.setattr("time.process_time", lambda: next(now))
    budget = Budget(20)
    assert budget.used == pytest.approx(0.25)
    with budget.free() as free:
        pass
    assert free.seconds == pytest.approx(20)
    assert budget.used == pytest.approx(0.5)  # 130 - 100 - 20 of 20


def test_intervals_of_shares_paired_gains_and_the_second_stage():
    found = ablation.intervals({"positions": [1, 1, 2, 0]}, {"positions": [1, 1, 1, 1]})
    assert found["gain"] == pytest.approx(-0.5)
    assert found["gain_low"] <= -0.5 <= found["gain_high"]
    record = {"positions": [1, 2, 1, 3], "two_stages_right": [True] * 4}
    same = ablation.intervals(record, {"positions": [1, 5, 1, 0]})
    assert (same["gain"], same["gain_low"], same["gain_high"]) == (0, 0, 0)
    assert 0 <= same["low"] < 0.5 < same["high"] <= 1
    assert (same["two_stages_low"], same["two_stages_high"]) == (1, 1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_encoder):
    """A run of four arms on a tiny data set of two worlds: its folder."""
    folder = tmp_path_factory.mktemp("ablation")
    write_data(folder / "data" / "tiny")
    words = ["--data", str(folder / "data"), "--sets", "tiny", "--work", str(folder / "work")]
    results = ["--results", str(folder / "docs/results"), "--base-model", tiny_encoder]
    tiny = [
        "--mention-length", "16", "--entity-length", "16", "--steps", "2", "--batch-size", "4", "--hard-negative-steps", "1",
        "--cross-encoder-mentions", "6", "--num-candidates", "4", "--cross-encoder-batch-size", "2", "--sample-mentions", "4",
        "--sample-candidates", "5",
    ]  # fmt: skip
    patch = pytest.MonkeyPatch()
    patch.setattr(
        real_data,
        "run_child",
        lambda file, given, name, stage: real_data.main([*given, "--child", name, stage]),
    )
    stages = ["--only", "in_batch", "hard_negatives", "cross_encoder"]
    real_data.main([*words, *results, *tiny, *stages])
    patch.undo()
    command = [
        *words,
        *results,
        "--seconds",
        "0.5",
        "--window",
        "16",
        "--mentions",
        "8",
        "--mined-mentions",
        "8",
    ]
    arms = ["blink_2020", "name_negatives", "full", "no_labels"]
    ablation.main([*command, "--arms", *arms])
    return folder, command


def write_data(folder) -> None:
    entities = [
        {
            "id": f"{word}-{world}",
            "title": f"{word} thing",
            "description": f"a {word} thing of {world}",
            "world": f"w{world}",
        }
        for world in range(2)
        for word in COLOURS
    ]
    mentions = [
        {
            "id": f"m{number}", "context_left": "the", "mention": COLOURS[number % 6], "context_right": f"of {number}",
            "label_ids": [f"{COLOURS[number % 6]}-{number % 2}"], "world": f"w{number % 2}", "doc_id": f"d{number // 3}",
        }
        for number in range(36)
    ]  # fmt: skip
    documents = [
        {
            "text": f"the {COLOURS[number % 6]} thing of {number}",
            "world": f"w{number % 2}",
            "doc_id": f"t{number}",
            "split": "train",
        }
        for number in range(12)
    ]
    folder.mkdir(parents=True)
    parts: dict[str, list[dict]] = {
        "entities": entities, "mentions_train": mentions[:24], "mentions_val": mentions[24:], "documents": documents,
    }  # fmt: skip
    for name, records in parts.items():
        with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as stream:
            stream.writelines(json.dumps(record) + "\n" for record in records)


def test_a_run_writes_a_row_for_each_arm_the_page_and_the_picture(finished):
    folder, _ = finished
    result = json.loads((folder / "docs/results/ablation.json").read_text())["tiny, 0.5 s"]
    rows = arms_of(result)
    assert list(rows) == ["blink_2020", "name_negatives", "full", "no_labels"]
    assert all(0 <= row["recall@1"] <= row["recall@64"] <= 1 for row in rows.values())
    assert all(row["low"] <= row["recall@1"] <= row["high"] for row in rows.values())
    assert all(row["steps"] >= 1 and row["mentions_seen"] >= row["steps"] for row in rows.values())
    assert all(row["train_seconds"] >= 0.5 for row in rows.values())
    full = rows["full"]
    assert 0 <= full["accuracy_unnormalised"] <= 1 and full["teacher_seconds"] > 0
    assert full["two_stages_low"] <= full["accuracy_unnormalised"] <= full["two_stages_high"]
    assert full["two_stages"] and len(full["final_losses"]) == 3
    assert full["against"] is None  # the arm before it is not there
    assert not rows["no_labels"]["two_stages"]
    assert result["data"]["mentions"] == 8
    page = (folder / "docs/results.md").read_text()
    assert "| full: + distillation |" in page and "results/ablation.svg" in page
    assert (folder / "docs/results/ablation.svg").read_text().startswith("<svg")


def test_the_arms_have_the_split_of_the_teacher(finished):
    folder, _ = finished
    result = json.loads((folder / "docs/results/ablation.json").read_text())["tiny, 0.5 s"]
    assert result["settings"]["teacher"]["cross_encoder_mentions"] == 6
    assert result["blink_2020"]["training_mentions"] == 24 - 9  # three documents of three are held out
    assert result["no_labels"]["training_entities"] == 12


def test_an_arm_with_negatives_by_name_trains_on_them(finished):
    folder, command = finished
    options = ablation.parser().parse_args(command)
    run = Run(folder / "data" / "tiny", folder / "work" / "tiny", Settings(cross_encoder_mentions=6))
    with_names, without = (
        prepare(run, next(arm for arm in ARMS if arm.key == key), options)
        for key in ("name_negatives", "one_tower")
    )
    assert with_names is not None and without is not None
    assert "hard_negative_ids" not in without.mentions.column_names
    assert with_names.mentions["label_ids"][:] == without.mentions["label_ids"][:]
    for row in with_names.mentions.to_list():  # all six of a world are things
        others = {f"{colour}-{row['world'][1]}" for colour in COLOURS} - set(row["label_ids"])
        assert set(row["hard_negative_ids"]) == others


def test_an_arm_that_was_another_one_is_trained_again(finished):
    _, command = finished
    options, arm = ablation.parser().parse_args(command), ARMS[0]
    file = ablation._file(options, "tiny", arm)
    kept = file.read_text()
    assert ablation._record(options, "tiny", arm) is not None
    file.write_text(kept.replace('"name_negatives": 0', '"name_negatives": 1'))
    assert file.read_text() != kept and ablation._record(options, "tiny", arm) is None
    file.write_text(kept)


def test_arms_that_are_there_are_not_trained_again(finished, monkeypatch):
    _, command = finished
    monkeypatch.setattr("benchmarks.ablation_measuring.train_arm", lambda *_: pytest.fail("trained again"))
    ablation.main([*command, "--arms", "blink_2020"])


def test_wrong_arms_and_missing_parts_are_named(finished, tmp_path):
    folder, command = finished
    with pytest.raises(SystemExit, match="expected arms of blink_2020, .*got other"):
        ablation.main([*command, "--arms", "other"])
    with pytest.raises(SystemExit, match=r"run benchmarks/real_data.py with the same --work first"):
        ablation.main(["--data", str(folder / "data"), "--sets", "tiny", "--work", str(tmp_path)])
    work = tmp_path / "held_in"
    (work / "tiny").mkdir(parents=True)
    (work / "tiny/cross_encoder.json").write_text('{"settings": {"hold_out": false}}')
    with pytest.raises(SystemExit, match="expected a teacher of documents that no arm trains on"):
        ablation.main(["--data", str(folder / "data"), "--sets", "tiny", "--work", str(work)])
    with pytest.raises(SystemExit, match=r"expected entities.jsonl.gz in .*none"):
        ablation.main(["--data", str(folder / "data"), "--sets", "none", "--work", str(tmp_path)])


def test_the_picture_draws_the_arms_that_are_there():
    row = {"name": "a & b", "recall@1": 0.5, "recall@64": 0.8, "low": 0.4, "high": 0.6}
    drawn = picture({"s": {"x": row, "about": {}}, "t": {"about": {}, "settings": {}, "data": {}}})
    assert "a &amp; b" in drawn and drawn.count('opacity="0.75"') == 1
    assert 'width="220.0"' in drawn  # half of 100 percent at 4.4 pixels


def test_an_arm_is_compared_with_the_one_before_a_set_without_worlds():
    arms = {arm.key: arm for arm in ARMS}
    there: dict = {"duplicate_mask": {}, "hard_negatives": {}}
    assert ablation._measured_before(arms["span_pooling"], there) == "duplicate_mask"
    assert ablation._measured_before(arms["mined_again"], there) == "hard_negatives"
    assert ablation._measured_before(arms["full"], there) is None
    assert ablation._measured_before(arms["blink_2020"], there) is None


def test_the_training_side_has_all_gold_entities_and_random_others(finished):
    folder, _ = finished
    run = Run(folder / "data" / "tiny", folder / "work" / "tiny", Settings(cross_encoder_mentions=6))
    mentions = run.training_parts()[0].select(range(3))
    gold = {ids[0] for ids in mentions["label_ids"]}
    side = training_side(run, mentions, 6, seed=1)
    assert len(side) == 6 and gold <= set(side.entity_ids(np.arange(6)))
    assert len(training_side(run, mentions, 1, seed=1)) == len(gold)
