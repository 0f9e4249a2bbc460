"""The table of adapt.json, for the terminal and for docs/results.md."""

from typing import Any

from benchmarks.real_data_tables import markdown_table, origin

HEADER = ["system", "R@1", "R@4", "R@16", "R@64", "R@1 gain", "95 %", "mentions used", "train s"]
NOTE = (
    "Percent, micro over held-out mentions; candidates are all entities of the mention's world, or the whole catalogue where "
    "there are no worlds. No label of the set is used: silver mentions are names found in the texts of the training documents "
    "and in descriptions, of others and of their own (there also phrases). In mdn the pages are both: a held-out mention's "
    "page is the description of an entity of the catalogue, so its text is seen, without its links. The interval is of the "
    "gain over the untuned encoder, by resampling mentions. Train s: one process, without evaluation and without finding the "
    "mentions.\n"
)


def cells(row: dict[str, Any]) -> list[str]:
    """A row's figures: shares in percent, points of gain, mentions of texts / others' / own descriptions."""
    shares = [f"{100 * row[f'recall@{k}']:.1f}" for k in (1, 4, 16, 64)]
    if "used" not in row:
        return [row["system"], *shares, "-", "-", "-", "-"]
    interval = f"{100 * row['gain_low']:+.1f} to {100 * row['gain_high']:+.1f}"
    used = " / ".join(str(row["used"][source]) for source in ("texts", "descriptions", "own"))
    return [
        row["system"],
        *shares,
        f"{100 * row['gain']:+.1f}",
        interval,
        used,
        f"{row['train_seconds']:.0f}",
    ]


def render_adapt(results: dict[str, Any]) -> str:
    """The section of docs/results.md."""
    parts = ["## Training without labels\n", NOTE]
    for name, result in results.items():
        data, used = result["data"], result["settings"]
        worlds = f" in {data['worlds']}" if data["worlds"] else ""
        parts += [
            f"### Without labels: {name}\n",
            f"{data['mentions']:,} held-out mentions, {data['entities']:,} candidates{worlds}; adapted to a catalogue of "
            f"{data['catalogue']:,}. {used['base_model']}, windows of {used['mention_length']} tokens, {used['steps']} steps "
            f"of {used['batch_size']} mentions with {used['num_hard_negatives']} hard negative(s) by name each, lr "
            f"{used['learning_rate']:g}, seed {used['seed']}. Mentions used: of texts / others' descriptions / own ones.\n",
            origin(result["about"]),
            markdown_table(HEADER, [cells(row) for row in result["rows"]]) + "\n",
        ]
    return "\n".join(parts)
