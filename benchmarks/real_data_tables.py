"""The tables of real_data.json, for the terminal and for docs/results.md."""

from collections.abc import Sequence
from typing import Any

Cells = list[str]

_SHARES = {
    "R@1": "recall@1", "R@4": "recall@4", "R@16": "recall@16", "R@64": "recall@64",
}  # fmt: skip


def header(by_world: bool) -> Cells:
    """Column titles; macro figures are means over worlds, or over gold entities where a set has no worlds."""
    group = "worlds" if by_world else "entities"
    macro = [f"{name} {group}" for name in _SHARES]
    return ["system", *_SHARES, *macro, "normalised", "unnormalised", "train s", "link s", "peak MB"]


def cells(row: dict[str, Any], by_world: bool) -> Cells:
    """A row's figures: shares in percent, seconds, MiB."""
    suffix = "_macro" if by_world else "_entity_macro"
    shares = [row[name] for name in _SHARES.values()]
    shares += [row[f"{name}{suffix}"] for name in _SHARES.values()]
    shares += [row["accuracy_normalised"], row["accuracy_unnormalised"]]
    train = f"{row['train_seconds']:.0f}" if row.get("train_seconds") else "-"
    rest = [train, f"{row['link_seconds']:.1f}", f"{row['peak_memory_mb']:.0f}"]
    return [row["system"], *(f"{100 * share:.1f}" for share in shares), *rest]


def has_worlds(result: dict[str, Any]) -> bool:
    """Whether the mentions of a data set are of more than one world."""
    return any(row["num_worlds"] > 1 for row in result["rows"])


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; all columns but the first are aligned to the right."""
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def render_real_data(results: dict[str, Any]) -> str:
    """The section of docs/results.md."""
    parts = [
        "## Real data: each stage of training on held-out mentions\n",
        "Percent. R@k: micro over mentions, then macro over worlds, or over gold entities where a set has no worlds. Settings, "
        "library versions, mean reciprocal rank and figures of each world are in `docs/results/real_data.json`.\n",
    ]
    parts += [_data_set(name, result) for name, result in results.items()]
    return "\n".join(parts)


def origin(facts: dict[str, Any]) -> str:
    """The line that tells how a table was made, from the "about" of its result file."""
    machine = facts["hardware"]
    threads = f", {machine['omp_num_threads']} thread(s)" if machine.get("omp_num_threads") else ""
    return (
        f"`{facts['command']}` prints it ({facts['date']}, commit `{(facts['commit'] or 'unknown')[:10]}`, {machine['cpu']}, "
        f"{machine['cores']} cores, {machine['memory_gb']} GB{threads}).\n"
    )


def _data_set(name: str, result: dict[str, Any]) -> str:
    by_world = has_worlds(result)
    rows = [cells(row, by_world) for row in result["rows"]]
    parts = [
        f"### {name}\n",
        _sizes(result),
        origin(result["about"]),
        markdown_table(header(by_world), rows) + "\n",
    ]
    if sample := result.get("final", {}).get("top64_sample"):
        parts.append(_sample(sample, result["settings"]))
    parts.append("\n".join(f"* {note}" for note in result["notes"]) + "\n")
    return "\n".join(parts)


def _sizes(result: dict[str, Any]) -> str:
    data, used = result["data"], result["settings"]
    worlds = f" in {data['worlds']}" if data.get("worlds") else ""
    mentions = f"{data['mentions']:,} held-out mentions of {data['gold_entities']:,} entities{worlds}"
    line = f"{data['entities']:,} entities, {mentions}."
    if "steps" in used:
        line += (
            f" Windows of {used['mention_length']} and entities of {used['entity_length']} tokens; "
            f"{used['base_model']}; in-batch {used['steps']} steps of {used['batch_size']} mentions, "
            f"lr {used['lr']:g}, at most {used['max_mentions_per_entity']} mentions an entity"
        )
    if "hard_negative_steps" in used:
        line += (
            f"; {used['num_hard_negatives']} of {used['mined_negatives']} mined hard negatives a mention, "
            f"{used['hard_negative_steps']} steps, lr {used['hard_negative_lr']:g}"
        )
    if "cross_encoder_mentions" in used:
        line += (
            f"; cross-encoder on up to {used['cross_encoder_mentions']} mentions, "
            f"{used['cross_encoder_mentions_per_entity']} an entity, with {used['num_candidates']} candidates, "
            f"{used['cross_encoder_epochs']} epoch(s) of batches of {used['cross_encoder_batch_size']}, lr "
            f"{used['cross_encoder_lr']:g}, {100 * used['weighing_share']:g} % of them for the weights of both scores; "
            f"reranks the top {used['num_candidates']}; seed {used['seed']}"
        )
    return line.rstrip(".") + ".\n"


def _sample(sample: dict[str, Any], used: dict[str, Any]) -> str:
    shallow = sample[f"recall@1_reranking_{used['num_candidates']}"]
    return (
        f"On a fixed sample of {sample['num_mentions']} mentions: bi-encoder R@1 {100 * sample['recall@1_bi_encoder']:.1f}, "
        f"reranking the top {used['num_candidates']} {100 * shallow:.1f}, reranking the top {used['sample_candidates']} "
        f"{100 * sample['recall@1']:.1f} ({sample['link_seconds']:.1f} s).\n"
    )
