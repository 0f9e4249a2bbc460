"""Commands that use a linker: link, quickstart."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_blink.cli_types import (
    Commands,
    add_command,
    add_one_pass_options,
    add_revision,
    count,
    probability,
    set_one_pass_options,
)
from hf_blink.training.text_table import format_table

if TYPE_CHECKING:
    from hf_blink import EntityLink

TEXTS_AT_ONCE = 64


def link(args: argparse.Namespace) -> None:
    """Links the mentions of one text, or of every line of a file."""
    from hf_blink import EntityLinker
    from hf_blink.modeling.full_disk import check_place

    items = _items(args)
    if args.html:
        check_place(args.html, "the page")
    linker = EntityLinker.from_pretrained(
        args.model, **({"revision": args.revision} if args.revision else {})
    )
    set_one_pass_options(linker, args)
    _check_worlds(linker, items)
    linked = _linked(linker, items, {"top_k": args.top_k, "threshold": args.threshold})
    if args.html:
        _write_page(args.html, items, linked)
        return
    for item, links in zip(items, linked, strict=True):
        text = item["text"]
        print(
            _links_as_json(text, links) if args.json else _links_as_table(text, links, named=len(items) > 1)
        )


def _linked(
    linker: Any, items: list[dict[str, Any]], options: dict[str, Any]
) -> "Iterator[list[EntityLink]]":
    """The links of each item in turn, some items at a time, with a progress bar where there are many."""
    from tqdm.auto import tqdm

    hidden = len(items) <= TEXTS_AT_ONCE or not sys.stderr.isatty()
    for start in tqdm(range(0, len(items), TEXTS_AT_ONCE), desc="Linking", unit=" batches", disable=hidden):
        group = items[start : start + TEXTS_AT_ONCE]
        given = {name: [item.get(name) for item in group] for name in ("mentions", "worlds")}
        chosen = {
            name: values for name, values in given.items() if any(value is not None for value in values)
        }
        yield from linker.link([item["text"] for item in group], **chosen, **options)


def _write_page(path: str, items: list[dict[str, Any]], linked: "Iterator[list[EntityLink]]") -> None:
    from hf_blink.link_page import render_page
    from hf_blink.modeling.full_disk import write_text_whole

    if len(items) != 1:
        raise ValueError(f"expected one text for --html, got {len(items)} lines; use --json for many")
    write_text_whole(path, render_page(items[0]["text"], next(linked), title="hf_blink"), "the page")
    print(f"the text with its links is in {path}")


def quickstart(args: argparse.Namespace) -> None:
    """Trains a linker on the built-in data and links an article with it."""
    from hf_blink.quickstart import run

    run(base_model=args.base_model, out=args.out, max_steps=args.max_steps)


def _items(args: argparse.Namespace) -> list[dict[str, Any]]:
    """What is to be linked, as `{"text", "mentions", "worlds", "place"}`; the last three only of a line of JSON that gives
    them, and the line's own place for errors."""
    if args.input is None:
        return [{"text": args.text}]
    lines = _lines(args.input)
    if not any(line.strip() for line in lines):
        raise ValueError(f"expected a text on each line of {args.input}, got no text")
    if args.jsonl or args.input.endswith(".jsonl"):
        return [
            _parsed(line, f"{args.input}, line {number}")
            for number, line in enumerate(lines, 1)
            if line.strip()
        ]
    # Blank lines only for --json, whose output has one line for each.
    return [{"text": line} for line in lines if args.json or line.strip()]


def _lines(path: str) -> list[str]:
    if path != "-" and not os.path.isfile(path):
        raise FileNotFoundError(f"expected a text file at '{path}', got nothing there; correct the path")
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"expected UTF-8 text in {path}, got {error}; convert the file") from error
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]


def _parsed(line: str, place: str) -> dict[str, Any]:
    """A line of JSON: `{"text", "mentions": [[start, end], ...], "world"}`."""
    from hf_blink.modeling.mention_detection import checked_mentions

    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}: expected a JSON object, got invalid JSON ({error})") from None
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise ValueError(f'{place}: expected {{"text": ...}}, got {line[:60]}')
    mentions = record.get("mentions")
    if mentions is not None and not isinstance(mentions, list):
        raise ValueError(f"{place}: expected mentions as [[start, end], ...], got {str(mentions)[:60]}")
    try:
        checked_mentions(record["text"], mentions or [])
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None
    item = {"text": record["text"], "mentions": mentions, "worlds": record.get("world"), "place": place}
    return {name: value for name, value in item.items() if value is not None}


def _check_worlds(linker: Any, items: list[dict[str, Any]]) -> None:
    from hf_blink.modeling.candidate_ranking import check_worlds

    for item in items:
        if "worlds" in item:
            try:
                check_worlds(linker.knowledge_base, [item["worlds"]])
            except ValueError as error:
                raise ValueError(f"{item['place']}: {error}") from None


def _links_as_json(text: str, links: "Sequence[EntityLink]") -> str:
    from hf_blink.modeling.pipeline_entity_linking import link_to_dict

    return json.dumps({"text": text, "links": [link_to_dict(link) for link in links]}, ensure_ascii=False)


def _links_as_table(text: str, links: "Sequence[EntityLink]", *, named: bool) -> str:
    rows = [
        (
            link.mention.text,
            "NIL" if link.entity is None else link.entity.entity_id,
            None if link.entity is None else link.entity.title,
            link.score,
            _runner_up(link),
        )
        for link in links
    ]
    header = ("mention", "entity id", "title", "score", "runner-up")
    table = format_table(header, rows) if rows else "no mention found"
    return f"{text}\n{table}\n" if named else table


def _runner_up(link: "EntityLink") -> str | None:
    others = link.candidates if link.entity is None else link.candidates[1:]
    if not others:
        return None
    return f"{others[0].entity.title} [{others[0].entity.entity_id}] {link.joint_score(others[0]):.4f}"


def _add_link(commands: Commands) -> argparse.ArgumentParser:
    parser = add_command(
        commands,
        link,
        help="link the mentions of a text",
        description="Finds the mentions of a text, links each to an entity, prints them with the runner-up.",
        example='hf-blink link --model my-linker "Paris is the capital of France."\n'
        "hf-blink link --model my-linker --input texts.txt --json > links.jsonl",
    )
    parser.add_argument("--model", required=True, metavar="DIR", help="folder or Hub id of a linker")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("text", nargs="?", metavar="TEXT", help="the text")
    source.add_argument(
        "--input",
        metavar="FILE",
        help="UTF-8 file with a text on each line, or a .jsonl file of {text, mentions, world}; "
        "- reads standard input",
    )
    parser.add_argument("--top-k", type=count, metavar="K", help="candidates kept for each mention")
    parser.add_argument(
        "--threshold", type=probability, metavar="P", help="drop links with a score under this, 0 to 1"
    )
    add_one_pass_options(parser)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object for each line, candidates included"
    )
    parser.add_argument("--jsonl", action="store_true", help="the input has JSON lines, whatever its name")
    add_revision(parser)
    parser.add_argument("--html", metavar="PAGE", help="write the text with its links as an HTML page")
    return parser


def _add_quickstart(
    commands: Commands,
) -> argparse.ArgumentParser:
    parser = add_command(
        commands,
        quickstart,
        help="train a linker on the built-in data and link an article",
        description="Trains a bi-encoder and a cross-encoder on the built-in data, measures them on\n"
        "entities that the training never saw, saves the linker and links a short article.",
        example="hf-blink quickstart --out quickstart-linker",
    )
    parser.add_argument(
        "--base-model",
        metavar="NAME_OR_PATH",
        help="Hub id or folder of the text encoder to start from "
        "(default: the MiniLM of the extra [quickstart])",
    )
    parser.add_argument(
        "--out",
        default="quickstart-linker",
        metavar="DIR",
        help="folder for the linker (default: %(default)s)",
    )
    parser.add_argument(
        "--max-steps",
        type=count,
        metavar="N",
        help="steps of each of the three trainings at most, for a quick look; the table then shows less "
        "than the README's (default: all)",
    )
    return parser


COMMANDS = (_add_link, _add_quickstart)
