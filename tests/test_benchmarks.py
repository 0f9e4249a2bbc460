"""The real-data benchmark: its baselines and rows on numbers counted by hand, and all stages on a tiny set."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from benchmarks import baselines, real_data, result_files
from benchmarks.baselines import Bm25Ranking
from benchmarks.measuring import RecordedRanking, TwoStageRanking, measured_row
from benchmarks.real_data_run import Run, unseen_first
from benchmarks.real_data_settings import STAGES, Settings, settings_of
from benchmarks.result_files import render, write_json
from benchmarks.stages import changed_options, stages_after
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.linking_types import MentionContext
from hf_blink.training.name_ranking import ExactNameRanking

SCRIPT = Path(real_data.__file__)
WORDS = ("river", "forest", "town", "car", "cat", "shoes")
TINY = [
    "--mention-length", "16", "--entity-length", "16", "--steps", "2", "--batch-size", "4", "--hard-negative-steps", "2",
    "--mined-negatives", "3", "--cross-encoder-mentions", "6", "--num-candidates", "4", "--sample-mentions", "5",
]  # fmt: skip


def context(mention: str) -> MentionContext:
    return MentionContext("", mention, "")


def rows_of(ranking, mention: str, world: str | None = None) -> list[int]:
    _, rows = ranking.retrieve([context(mention)], 4, [world])
    return rows[0].tolist()


def mention(number: int, split: str) -> dict:
    word = WORDS[number % 6]
    return {
        "id": f"{split}-{number}", "context_left": "the", "mention": word, "context_right": f"of {number}",
        "label_ids": [f"{word}-{number % 2}"], "world": f"world-{number % 2}", "doc_id": f"{split}-{number // 3}",
    }  # fmt: skip


@pytest.fixture
def data(tmp_path) -> Path:
    """A data set of two worlds: 12 entities, 24 mentions to train on, 12 held out."""
    entities = [
        {
            "id": f"{word}-{world}",
            "title": word,
            "description": f"a {word} in {world}",
            "world": f"world-{world}",
        }
        for world in range(2)
        for word in WORDS
    ]
    files = {
        "entities": entities,
        "mentions_train": [mention(number, "train") for number in range(24)],
        "mentions_val": [mention(number, "val") for number in range(12)],
    }
    folder = tmp_path / "data"
    (folder / "tiny").mkdir(parents=True)
    for name, records in files.items():
        with gzip.open(folder / "tiny" / f"{name}.jsonl.gz", "wt", encoding="utf-8") as stream:
            stream.writelines(json.dumps(record) + "\n" for record in records)
    return folder


def words(data: Path, *more: str) -> list[str]:
    folder = data.parent
    return [
        "--data", str(data), "--sets", "tiny", "--work", str(folder / "work"), "--results", str(folder / "docs/results"), *more
    ]  # fmt: skip


@pytest.fixture
def run(data, tiny_encoder, monkeypatch):
    """Runs the command line with its stages in this process; returns the stages that ran."""
    ran: list[str] = []

    def here(file: str, given: list[str], name: str, stage: str) -> None:
        ran.append(stage)
        real_data.main([*given, "--child", name, stage])

    def command_line(*more: str) -> list[str]:
        ran.clear()
        real_data.main(words(data, "--base-model", tiny_encoder, *TINY, *more))
        return list(ran)

    monkeypatch.setattr(real_data, "run_child", here)
    return command_line


def test_exact_names_match_titles_and_aliases_in_the_order_of_the_knowledge_base(knowledge_base):
    ranking = ExactNameRanking(knowledge_base)
    assert rows_of(ranking, "JAGUAR") == [0, 1, -1, -1]
    assert rows_of(ranking, "Cougar") == [2, -1, -1, -1]
    assert rows_of(ranking, "jaguar", "firms") == [1, -1, -1, -1]
    assert rows_of(ranking, "Jag") == [-1, -1, -1, -1]


def test_bm25_reads_title_description_and_aliases_of_the_world(knowledge_base):
    ranking = Bm25Ranking(knowledge_base)
    assert rows_of(ranking, "cougar") == [2, -1, -1, -1]
    assert rows_of(ranking, "sports shoes") == [3, -1, -1, -1]
    assert rows_of(ranking, "maker", "firms")[:3] in ([1, 3, -1], [3, 1, -1])
    assert rows_of(ranking, "maker", "places") == [-1, -1, -1, -1]
    assert rows_of(ranking, "Paris") == [4, 5, -1, -1]  # equal scores keep the order
    assert rows_of(ranking, "?!") == [-1, -1, -1, -1]


def test_bm25_without_its_library_names_the_extra(knowledge_base, monkeypatch):
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(ImportError, match=r"hf_blink\[benchmark\]"):
        baselines.Bm25Ranking(knowledge_base)


class Fixed:
    """Retrieves rows 0 to 5 for every mention; its second stage prefers higher rows."""

    def __init__(self, knowledge_base: KnowledgeBase):
        self.knowledge_base = knowledge_base

    def retrieve(self, contexts, k, worlds=None):
        rows = np.full((len(contexts), k), -1)
        rows[:, :6] = np.arange(6)
        return -rows.astype(np.float32), rows

    def rerank(self, contexts, rows, scores):
        return rows.astype(np.float32)


@pytest.fixture
def held_out() -> Dataset:
    golds = ["jaguar-cat", "jaguar-cat", "jaguar-car", "paris-tx"]  # rows 0, 0, 1 and 5
    columns = {name: [""] * 4 for name in ("context_left", "mention", "context_right")}
    worlds = ["animals", "animals", "firms", "places"]
    return Dataset.from_dict({**columns, "label_ids": [[gold] for gold in golds], "world": worlds})


def test_measured_row_counts_mentions_worlds_and_entities(knowledge_base, held_out):
    row, positions = measured_row("fixed", RecordedRanking(Fixed(knowledge_base)), held_out)
    assert positions.tolist() == [1, 1, 2, 6]
    assert (row["recall@1"], row["recall@4"], row["recall@16"]) == (0.5, 0.75, 1.0)
    assert row["recall@1_macro"] == pytest.approx(1 / 3)  # worlds: 1, 0, 0
    assert row["recall@4_entity_macro"] == pytest.approx(2 / 3)  # entities: 1, 1, 0
    assert row["accuracy_normalised"] == row["accuracy_unnormalised"] == 0.5
    assert row["worlds"]["animals"]["recall@1"] == 1.0
    assert row["num_entities"] == 6 and row["num_mentions"] == 4 and row["num_gold_entities"] == 3


def test_two_stage_ranking_reorders_the_first_candidates_only(knowledge_base, held_out):
    row, positions = measured_row("two", TwoStageRanking(Fixed(knowledge_base), 2), held_out, 2)
    assert positions.tolist() == [2, 2, 1, 6]  # 0 1 2 ... -> 1 0 2 ...
    assert (row["recall@1"], row["recall@4"], row["recall@16"]) == (0.25, 0.75, 1.0)
    assert row["accuracy_unnormalised"] == 0.25
    assert row["accuracy_normalised"] == pytest.approx(1 / 3)  # of the three whose gold entity was reranked
    assert row["normalised_over"] == 2


def test_two_stage_ranking_needs_a_cross_encoder(knowledge_base, held_out):
    with pytest.raises(ValueError, match="expected a linker with a cross-encoder"):
        measured_row("two", TwoStageRanking(RecordedRanking(Fixed(knowledge_base)), 2), held_out, 2)


def test_training_parts_are_seeded_capped_and_can_be_held_out(data, tmp_path):
    def parts(**settings):
        return Run(data / "tiny", tmp_path, Settings(**settings)).training_parts()

    shared = {"max_mentions_per_entity": 3, "cross_encoder_mentions": 5, "hold_out": False}
    bi, cross = parts(**shared)
    assert (len(bi), len(cross)) == (18, 5)  # 6 entities, each mentioned 4 times
    assert bi["id"] == parts(**shared)[0]["id"]
    assert bi["id"] != parts(**shared, seed=14)[0]["id"]
    bi, cross = parts(cross_encoder_mentions=5)
    assert (len(bi), len(cross)) == (15, 5)  # three documents of three mentions are held out, for a choice
    assert not set(bi["doc_id"]) & set(cross["doc_id"])
    bi, cross = parts(cross_encoder_mentions=5, cross_encoder_mentions_per_entity=1)
    assert len({ids[0] for ids in cross["label_ids"]}) == len(cross)


def test_mentions_of_entities_that_are_not_trained_on_come_first():
    mentions = Dataset.from_dict({"label_ids": [["a"], ["b"], ["c", "a"], ["d"]]})
    assert unseen_first(mentions, Dataset.from_dict({"label_ids": [["a"], ["d"]]})) == [1, 0, 2, 3]


def test_settings_of_a_stage_include_those_before_it():
    assert "steps" in settings_of("evaluate", Settings()) and "steps" not in settings_of(
        "untuned", Settings()
    )
    assert settings_of("bm25", Settings(steps=7)) == {}
    assert stages_after(STAGES, "hard_negatives") == ["cross_encoder", "weights", "evaluate"]
    assert changed_options(Settings(steps=7, hold_out=False)) == ["--steps", "7", "--no-hold-out"]


def test_all_stages_write_the_result_file_and_are_reused(run, data, capsys):
    assert run() == list(STAGES)
    docs = data.parent / "docs"
    result = json.loads((docs / "results/real_data.json").read_text())["tiny"]
    systems = [row["system"] for row in result["rows"]]
    assert systems == [
        "BM25",
        "exact title/alias",
        "untuned encoder",
        "in-batch",
        "+ hard negatives",
        "+ cross-encoder",
    ]
    exact, final = result["rows"][1], result["final"]
    assert exact["recall@1"] == exact["accuracy_unnormalised"] == 1.0 and exact["train_seconds"] == 0
    assert {"recall@1", "recall@64", "recall@1_macro", "accuracy_normalised", "mrr", "link_seconds"} <= set(
        final
    )
    assert final["recall@64"] == result["rows"][4]["recall@64"] and final["normalised_over"] == 4
    assert (
        final["train_seconds"] > result["rows"][4]["train_seconds"] > result["rows"][3]["train_seconds"] > 0
    )
    assert final["top64_sample"]["num_mentions"] == 5
    page = (docs / "results.md").read_text()
    assert "### tiny" in page and "| + cross-encoder |" in page and "12 held-out mentions" in page
    assert str(data.parent) not in page + (docs / "results/real_data.json").read_text()

    capsys.readouterr()
    assert run() == []
    assert "in_batch reused" in capsys.readouterr().out
    assert run("--redo", "cross_encoder") == ["cross_encoder", "weights", "evaluate"]
    with pytest.raises(
        SystemExit, match=r"hard_negatives: expected a result with num_hard_negatives 1.*--redo"
    ):
        run("--num-hard-negatives", "1")
    # an interrupted evaluation does not cost the training
    (data.parent / "work/tiny/hard_negatives.json").unlink()
    trained = (data.parent / "work/tiny/hard_negatives.training.json").read_bytes()
    assert run("--only", "hard_negatives") == ["hard_negatives"]
    assert (data.parent / "work/tiny/hard_negatives.training.json").read_bytes() == trained


def test_a_stage_in_its_own_process_from_a_checkout(data):
    command = [sys.executable, str(SCRIPT), *words(data, "--only", "exact")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=data)
    assert done.returncode == 0, done.stderr
    assert (
        "tiny: exact done; R@1 100.0" in done.stdout
        and "not all stages have been run for tiny" in done.stdout
    )
    assert not (data.parent / "docs").exists()


def test_missing_data_and_missing_stages_are_named(run, data):
    with pytest.raises(SystemExit, match="stage hard_negatives needs the result of in_batch"):
        run("--only", "hard_negatives")
    (data / "tiny" / "mentions_val.jsonl.gz").unlink()
    with pytest.raises(SystemExit, match=r"expected mentions_val.jsonl.gz in .*tiny"):
        run()


def test_a_failing_stage_names_its_exit_status(data):
    with pytest.raises(SystemExit, match="stage untuned ended with exit status 2"):
        real_data.run_child(real_data.__file__, [*words(data), "--no-such-option"], "tiny", "untuned")


def test_render_shows_files_by_their_renderer_and_names_the_others(tmp_path, monkeypatch):
    monkeypatch.setitem(
        result_files.RENDERERS, "speed", lambda results: f"## Speed\n\n{results['link']} times\n"
    )
    write_json(tmp_path / "results" / "speed.json", {"link": 3.5})
    write_json(tmp_path / "results" / "other.json", {})
    text = render(tmp_path / "results").read_text()
    assert "3.5 times" in text and "see `docs/results/other.json`" in text


def test_write_json_keeps_the_old_file_when_the_new_one_fails(tmp_path):
    file = tmp_path / "a.json"
    write_json(file, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(file, {"a": float("nan")})
    assert json.loads(file.read_text()) == {"a": 1} and list(tmp_path.iterdir()) == [file]


def test_about_names_versions_and_no_host():
    facts = result_files.about("python benchmarks/x.py")
    assert (
        facts["libraries"]["torch"]
        and facts["hardware"]["cores"] >= 1
        and facts["command"] == "python benchmarks/x.py"
    )
