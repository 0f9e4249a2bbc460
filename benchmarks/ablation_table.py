"""The table and the picture of ablation.json."""

from typing import Any

from benchmarks.real_data_tables import markdown_table, origin
from benchmarks.stages import shown_encoder

NOTE = (
    "Percent, micro over held-out mentions; candidates are all entities of the mention's world, or the whole catalogue "
    "where there are no worlds. Each arm is the one before it with one thing changed, and gain is that of R@1 over it; "
    "batches of 256 are compared with *+ one tower*, and no labels with *+ negatives by name*. A set without worlds has no "
    "arm of world batches. Intervals by resampling mentions: they say nothing of other seeds. Two stages: unnormalised "
    "accuracy when the linker of the table of real data ranks the arm's first 16 candidates; it is the teacher of the "
    "distilled arm, whose scores are not in the budget. Batches of 256 go through gradient caching. No labels: silver "
    "mentions of the whole catalogue and of the training documents' texts; in mdn the held-out mentions' pages are "
    "descriptions of the catalogue, seen without their links. Finding silver mentions and entities of similar names, "
    "seconds each, is not in the budget. Seen: training mentions in all steps.\n"
)
HEADER = [
    "arm", "R@1", "95 %", "R@4", "R@16", "R@64", "gain", "gain 95 %", "two stages", "95 %", "seen", "entities", "train s",
]  # fmt: skip
_LEFT, _TOP, _WIDTH, _SCALE = 220, 50, 720, 4.4  # pixels; the last of a percent
_BAR, _LEGEND = 10, 120  # pixels of a set in a row, and in the line above the bars
_COLOURS = ("#2563eb", "#c2410c", "#15803d", "#7c3aed")


def arms_of(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The arms of a set, without what it says of itself."""
    return {key: row for key, row in result.items() if key not in ("about", "settings", "data")}


def cells(row: dict[str, Any]) -> list[str]:
    """A row's figures: shares in percent, points of gain."""
    shares = {k: f"{100 * row[f'recall@{k}']:.1f}" for k in (1, 4, 16, 64)}
    gain = [f"{100 * row['gain']:+.1f}", _interval(row, "gain_", "+")] if "gain" in row else ["-", "-"]
    two = ["-", "-"]
    if row["two_stages"]:
        two = [f"{100 * row['accuracy_unnormalised']:.1f}", _interval(row, "two_stages_")]
    return [
        row["name"], shares[1], _interval(row), shares[4], shares[16], shares[64], *gain,
        *two, f"{row['mentions_seen']:,}", f"{row['training_entities']:,}",
        f"{row['train_seconds']:.0f}",
    ]  # fmt: skip


def _interval(row: dict[str, Any], prefix: str = "", sign: str = "") -> str:
    return f"{100 * row[f'{prefix}low']:{sign}.1f} to {100 * row[f'{prefix}high']:{sign}.1f}"


def render_ablation(results: dict[str, Any]) -> str:
    """The section of docs/results.md."""
    parts = ["## Ablation: what each step of training brings at equal time\n", NOTE]
    parts += ["![R@1 and R@64 of each arm](results/ablation.svg)\n"]
    for name, result in results.items():
        used, data = result["settings"], result["data"]
        clock = "CPU seconds" if used["clock"] == "cpu" else "seconds"
        parts += [
            f"### Ablation: {name}\n",
            f"{data['mentions']:,} held-out mentions, {data['entities']:,} candidates; at most {used['train_mentions']:,} "
            "training mentions, with the entities on the training side that the table names. "
            f"{shown_encoder(used['base_model'])}, windows of {used['window']} tokens, "
            f"{used['seconds']:g} {clock} an arm, batches of 32, seed {used['seed']}.\n",
            origin(result["about"]),
            markdown_table(HEADER, [cells(row) for row in arms_of(result).values()]) + "\n",
        ]
    return "\n".join(parts)


def picture(results: dict[str, Any]) -> str:
    """Bars of R@1 with their intervals and a tick for R@64, by arm and set, as an SVG."""
    arms = {key: row["name"] for result in results.values() for key, row in arms_of(result).items()}
    row_height = _BAR * max(2, len(results)) + 6
    height = _TOP + row_height * len(arms) + 30
    parts = [f'<rect width="{_WIDTH}" height="{height}" fill="white"/>']
    for percent in range(0, 101, 20):
        x = _LEFT + percent * _SCALE
        parts.append(f'<path d="M{x:.0f} {_TOP}V{height - 24}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.0f}" y="{height - 8}" text-anchor="middle">{percent}</text>')
    for number, name in enumerate(results):
        x = _LEFT + _LEGEND * number
        parts.append(
            f'<rect x="{x}" y="10" width="12" height="12" fill="{_COLOURS[number % len(_COLOURS)]}"/>'
        )
        parts.append(f'<text x="{x + 18}" y="20">{_escaped(name)}</text>')
    legend = "bar: R@1 with its interval; tick: R@64; percent"
    parts.append(f'<text x="{_LEFT}" y="40" fill="#555">{legend}</text>')
    for place, (key, name) in enumerate(arms.items()):
        y = _TOP + 4 + row_height * place
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 14}" text-anchor="end">{_escaped(name)}</text>')
        for number, result in enumerate(results.values()):
            if key in result:
                parts.append(_bar(result[key], y + _BAR * number, _COLOURS[number % len(_COLOURS)]))
    style = "font-family='sans-serif' font-size='12'"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" {style}>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _bar(row: dict[str, Any], y: int, colour: str) -> str:
    low, value, high, far = (100 * _SCALE * row[name] for name in ("low", "recall@1", "high", "recall@64"))
    return (
        f'<rect x="{_LEFT}" y="{y}" width="{value:.1f}" height="8" fill="{colour}" opacity="0.75"/>'
        f'<path d="M{_LEFT + low:.1f} {y + 4}H{_LEFT + high:.1f}" stroke="black"/>'
        f'<path d="M{_LEFT + far:.1f} {y}v8" stroke="{colour}" stroke-width="3"/>'
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
