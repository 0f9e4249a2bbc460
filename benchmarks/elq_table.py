"""The table of elq.json, for the terminal and for docs/results.md."""

from typing import Any

from benchmarks.real_data_tables import markdown_table, origin
from benchmarks.stages import shown_encoder

HEADER = [
    "system", "weak P", "weak R", "weak F1", "strong P", "strong R", "strong F1", "weak F1 macro", "with NIL weak F1",
    "texts/s", "one by one", "train s", "peak MB",
]  # fmt: skip
NOTE = (
    "From text to entities: mentions are found and linked. Percent, micro over the held-out documents whose mentions are all "
    "annotated (of questions the complete ones, of wiki_ed Reuters-128 and OKE 2016); candidates are the whole catalogue. A "
    "link is right if its entity is the gold one and its span overlaps the gold span (weak) or is the same (strong). In-KB, "
    "except for the column with NIL. All models start from one encoder and train on the same documents; the thresholds are "
    "fitted on training documents that are kept out. Texts per second of CPU time: all texts in one call, and "
    "some one by one. Train s: CPU seconds of all training up to that row, mining and encoding of entities "
    "included. Peak MB: of the process that links, which holds encoders, entities and index. The original's figure is 1.57 "
    "questions per second on one CPU, with BERT-large and 5.9 million entities.\n"
)


def cells(row: dict[str, Any]) -> list[str]:
    """A row's figures, shares in percent."""
    names = ("weak_precision", "weak_recall", "weak_f1", "strong_precision", "strong_recall", "strong_f1")
    shares = [*names, "weak_f1_macro", "with_nil/weak_f1"]
    speeds = (row["documents_per_cpu_second"], row["alone_per_cpu_second"])
    return [
        row["system"],
        *(f"{100 * row[name]:.1f}" for name in shares),
        *(f"{speed:.1f}" for speed in speeds),
        *(f"{row[name]:,.0f}" for name in ("train_cpu_seconds", "peak_memory_mb")),
    ]


def _thresholds(rows: list[dict[str, Any]]) -> str:
    return ", ".join(f"{row['system']} {row['threshold']:.2f}" for row in rows)


def _threads(result: dict[str, Any]) -> str:
    """What the stages were told of threads; more than one number where they were told different ones."""
    told = {stage["omp_num_threads"] for stage in result["stages"].values()}
    return " or ".join(sorted(number or "not set" for number in told))


def render_elq(results: dict[str, Any]) -> str:
    """The section of docs/results.md."""
    parts = ["## Mentions and entities in one pass (ELQ)\n", NOTE]
    for name, result in results.items():
        data, used = result["data"], result["settings"]
        parts += [
            f"### One pass: {name}\n",
            f"{data['documents']:,} held-out documents with {data['mentions']:,} mentions of {data['entities']:,} entities and "
            f"{data['nil']:,} NIL mentions; trained on {data['train_documents']:,} documents. "
            f"{shown_encoder(used['base_model'])}, windows of {used['mention_length']} tokens, "
            f"entity texts of {used['entity_length']}; bi-encoder {used['steps']} steps of "
            f"{used['batch_size']} mentions, then ELQ from its towers: {used['elq_steps']} steps of {used['batch_size']} texts "
            f"in-batch and {used['hard_steps']} with hard negatives; cross-encoder on {used['cross_mentions']} mentions with "
            f"{used['num_candidates']} candidates. Thresholds fitted on {data['dev_documents']:,} documents: "
            f"{_thresholds(result['rows'])}. Seed {used['seed']}. OMP_NUM_THREADS: {_threads(result)}.\n",
            origin(result["about"]),
            markdown_table(HEADER, [cells(row) for row in result["rows"]]) + "\n",
        ]
    return "\n".join(parts)
