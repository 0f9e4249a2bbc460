"""The table of serve.json, for the terminal and for docs/results.md."""

from typing import Any

from benchmarks.real_data_tables import markdown_table, origin

HEADER = ["dynamic batching", "clients", "requests/s", "p50 ms", "p99 ms", "texts a batch"]


def cells(row: dict[str, Any]) -> list[str]:
    """A row's figures."""
    return [
        "yes" if row["dynamic_batching"] else "no",
        str(row["clients"]),
        f"{row['requests_per_second']:.1f}",
        f"{row['p50_ms']:.1f}",
        f"{row['p99_ms']:.1f}",
        f"{row['mean_batch_texts']:.1f}",
    ]


def render_serve_load(result: dict[str, Any]) -> str:
    """The section of docs/results.md."""
    used = result["settings"]
    return "\n".join(
        [
            "## Server: requests under load\n",
            f"{result['data']['entities']:,} entities, {result['data']['texts']:,} texts of {result['data']['characters']:.0f} "
            f"characters on average, each a request; {used['linker']}. Every client sends its next request when it has the "
            f"answer to the last; {used['seconds']:g} s a row in {used['rounds']} rounds, with and without dynamic batching in "
            f"turn. Clients and server share the machine.\n",
            origin(result["about"]),
            markdown_table(HEADER, [cells(row) for row in result["rows"]]) + "\n",
        ]
    )
