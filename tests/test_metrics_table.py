"""Metrics as a terminal shows them."""

from hf_blink.training.metrics_table import metrics_table, telling_metrics

DOCUMENTS = {
    f"{prefix}{match}_{figure}{mean}": 0.25 if match == "weak" else 0.125
    for prefix in ("", "with_nil/")
    for match in ("strong", "weak")
    for figure in ("precision", "recall", "f1")
    for mean in ("", "_macro")
}


def test_links_of_documents_are_a_line_for_each_match():
    metrics = {"joint_threshold": -1.5, "dev_weak_f1": 0.5, **DOCUMENTS, "num_nil": 0, "num_links": 3}
    assert metrics_table(metrics).splitlines() == [
        "match   mentions  precision  recall      F1  macro precision  macro recall  macro F1",
        "------  --------  ---------  ------  ------  ---------------  ------------  --------",
        "weak    in-KB        0.2500  0.2500  0.2500           0.2500        0.2500    0.2500",
        "weak    with NIL     0.2500  0.2500  0.2500           0.2500        0.2500    0.2500",
        "strong  in-KB        0.1250  0.1250  0.1250           0.1250        0.1250    0.1250",
        "strong  with NIL     0.1250  0.1250  0.1250           0.1250        0.1250    0.1250",
        "",
        "metric             value",
        "---------------  -------",
        "joint_threshold  -1.5000",
        "dev_weak_f1       0.5000",
        "num_nil                0",
        "num_links              3",
    ]


def test_other_metrics_are_a_line_each_without_single_worlds():
    lines = metrics_table({"mrr": 0.5, "world/lego/mrr": 0.25, "num_worlds": 1}).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["mrr", "num_worlds"]


def test_metrics_that_say_nothing_are_left_out():
    metrics = {
        "recall@1": 0.5,
        "recall@4": 1.0,
        "recall@4_macro": 0.0,
        "mrr_macro": 0.0,
        "num_entities": 4,
        "num_worlds": 0,
    }
    assert [name for name, _ in telling_metrics(metrics)] == ["recall@1", "num_entities", "num_worlds"]
    assert "recall@4" in dict(telling_metrics(metrics, every_recall=True))
    assert "mrr_macro" in dict(telling_metrics({**metrics, "num_worlds": 2}))
