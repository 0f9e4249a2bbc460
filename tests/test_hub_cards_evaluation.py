import pytest
import yaml
from huggingface_hub import parse_eval_result_entries

from hf_blink.hub_cards.evaluation import (
    MOST_WORLDS,
    Evaluation,
    benchmark_files,
    eval_results,
    metric_name,
    result_table,
)
from hf_blink.training.evaluation import evaluate_linker
from tests.hub_cards_examples import metrics


def evaluation(**changes) -> Evaluation:
    return Evaluation.from_dict({"mentions": {"name": "My mentions"}, "metrics": metrics("a"), **changes})


def test_table_has_micro_macro_and_worlds_with_normalised_and_unnormalised_apart():
    table = result_table(metrics("small", "large"))
    assert table.columns == ["recall@1", "recall@64", "MRR", "accuracy, normalised", "accuracy, unnormalised"]
    assert table.rows == [
        ("all mentions (micro)", 5426, [0.74, 0.991, 0.8, 0.769, 0.762]),
        ("mean of the worlds (macro)", None, [0.37, 0.4955, 0.4, 0.3845, 0.381]),
        ("world large", 2, [0.185, 0.24775, 0.2, 0.19225, 0.1905]),
        ("world small", 1, [0.185, 0.24775, 0.2, 0.19225, 0.1905]),
    ]
    assert table.left_out == 0


def test_table_without_worlds_has_one_row():
    assert [name for name, _, _ in result_table(metrics()).rows] == ["all mentions (micro)"]


def test_table_shows_the_largest_worlds_and_counts_the_others():
    table = result_table(metrics(*(f"w{n}" for n in range(MOST_WORLDS + 7))))
    assert len(table.rows) == 2 + MOST_WORLDS
    assert table.rows[2][:2] == (f"world w{MOST_WORLDS + 6}", MOST_WORLDS + 7)
    assert table.left_out == 7


def test_table_shows_a_gap_where_a_world_lacks_a_metric():
    values = metrics("a/b/recall@1")
    del values["world/a/b/recall@1/mrr"]
    name, mentions, shares = result_table(values).rows[-1]
    assert (name, mentions, shares[2]) == ("world a/b/recall@1", 1, None)


def test_takes_what_evaluate_linker_gives(linker, mentions):
    measured = evaluate_linker(linker, mentions, recall_at=(1, 4), progress=False)
    table = result_table(evaluation(metrics=measured).metrics)
    assert table.rows[0][1] == len(mentions)
    assert table.rows[0][2][0] == measured["recall@1"]


def test_model_index_has_every_metric_over_mentions_and_worlds():
    results = eval_results([evaluation(split="test")])
    assert {result.metric_type: result.metric_value for result in results} == {
        key: value for key, value in metrics().items() if not key.startswith("num_") and key != "seconds"
    }
    first = results[0]
    assert (first.dataset_name, first.dataset_type, first.dataset_split) == (
        "My mentions",
        "My-mentions",
        "test",
    )
    assert first.dataset_args == {"num_mentions": 5426, "num_entities": 356}


def test_dataset_type_is_the_hub_name_where_there_is_one():
    assert evaluation(mentions={"name": "x", "hub_id": "org/x"}).dataset_type == "org/x"
    assert evaluation(mentions={"name": "日本"}).dataset_type == "日本"
    assert evaluation(mentions={"name": "|||"}).dataset_type == "mentions"


def test_benchmark_files_are_what_huggingface_hub_reads():
    benchmark = {"dataset_id": "org/zeshel", "task_id": "test"}
    measured = evaluation(benchmark=benchmark, date="2026-05-31")
    (path, text), *others = benchmark_files([measured, evaluation()]).items()
    assert (path, others) == (".eval_results/org_zeshel.yaml", [])
    (entry,) = parse_eval_result_entries(yaml.safe_load(text))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("org/zeshel", "test", 0.762)
    assert entry.date == "2026-05-31"
    assert entry.notes == "accuracy, unnormalised; share of 5426 mentions, candidates out of all 356 entities"


def test_no_file_without_a_benchmark():
    assert benchmark_files([evaluation()]) == {}


def test_metric_name_says_macro():
    assert metric_name("mrr_macro") == "MRR (macro)"
    assert metric_name("recall@4") == "recall@4"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": {}}, "expected the keys of evaluate_linker, got no num_mentions, num_entities"),
        ({"metrics": {**metrics(), "loss": 0.5}}, "expected the keys of evaluate_linker, got 'loss'"),
        ({"metrics": {**metrics(), "recall@0": 0.5}}, "got 'recall@0'"),
        (
            {"metrics": {**metrics(), "mrr": 80}},
            r"metrics\['mrr'\]: expected a share between 0 and 1, got 80",
        ),
        ({"metrics": {**metrics(), "mrr": float("nan")}}, r"metrics\['mrr'\]: expected a finite number"),
        ({"metrics": {**metrics(), "world/a/mrr": -1}}, r"metrics\['world/a/mrr'\]: expected a share"),
        ({"mentions": {"name": ""}}, "MentionSet.name: expected a text"),
        ({"date": "31.5.2026"}, "Evaluation.date: expected something like 2026-05-31, got '31.5.2026'"),
        (
            {"benchmark": {"dataset_id": "a/b", "task_id": "t", "metric": "f1"}},
            "Evaluation.benchmark: expected a metric among .*, got 'f1'",
        ),
    ],
)
def test_bad_fields_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        evaluation(**change)
