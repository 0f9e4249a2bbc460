"""The command line: `hf-blink build | link | evaluate | quickstart`.

Every sub-command is one function of the parsed arguments, which imports what it needs when it runs, so that
`hf-blink --help` answers at once. Wrong input (ValueError, OSError, KeyError) ends with exit code 2, any
other error with 1; both print their message alone, and the traceback with `--debug`.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hf_blink import __version__
from hf_blink.text_table import format_table

if TYPE_CHECKING:
    from hf_blink import EntityLink

RECALL_AT = (1, 4, 16, 64)
INPUT_ERRORS = (ValueError, OSError, KeyError)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: The arguments after the program's name; None takes those of the process.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong input, 130 interrupted.
    """
    args = _parser().parse_args(argv)
    try:
        args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has gone; nothing may be written at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if args.debug:
            raise
        print(f"hf-blink {args.command}: {_message(error)}", file=sys.stderr)
        return 2 if isinstance(error, INPUT_ERRORS) else 1
    return 0


def build(args: argparse.Namespace) -> None:
    """Makes an untrained linker from a catalogue of entities."""
    from hf_blink import EntityLinker, KnowledgeBase
    from hf_blink.default_encoder import default_encoder
    from hf_blink.modeling.linker_storage import check_save_folder

    check_save_folder(args.out)
    encoder = args.encoder or default_encoder()
    knowledge_base = KnowledgeBase.from_jsonl(args.entities)
    linker = EntityLinker.from_knowledge_base(
        knowledge_base, encoder=encoder, index_kind=args.kind, device=args.device
    )
    linker.save_pretrained(args.out)
    print(f"{len(knowledge_base)} entities, encoded with {encoder}, are in {args.out}")
    print(f'next: hf-blink link --model {args.out} "A text with their names."')


def link(args: argparse.Namespace) -> None:
    """Links the mentions of one text, or of every line of a file."""
    from hf_blink import EntityLinker

    texts = _texts(args)
    linker = EntityLinker.from_pretrained(args.model)
    for text, links in zip(
        texts, linker.link(texts, top_k=args.top_k, threshold=args.threshold), strict=True
    ):
        print(
            _links_as_json(text, links) if args.json else _links_as_table(text, links, named=len(texts) > 1)
        )


def evaluate(args: argparse.Namespace) -> None:
    """Measures a linker on labelled mentions."""
    from hf_blink import EntityLinker, evaluate_linker, read_mentions

    mentions = read_mentions(args.mentions)
    linker = EntityLinker.from_pretrained(args.model)
    # As many candidates as linking reranks, so that the accuracy is that of `hf-blink link`.
    metrics = evaluate_linker(
        linker, mentions, recall_at=args.recall_at or RECALL_AT, rerank_k=linker.num_candidates
    )
    print(format_table(("metric", "value"), _telling(metrics, args.recall_at)))


def quickstart(args: argparse.Namespace) -> None:
    """Trains a linker on the built-in data and links an article with it."""
    from hf_blink.quickstart import run

    run(base_model=args.base_model, out=args.out)


def _telling(metrics: dict[str, float], asked: Sequence[int] | None) -> list[tuple[str, float]]:
    """The metrics that say something: no mean over worlds where there is none, no recall at all entities unless asked."""
    silent = {name for name in metrics if name.endswith("_macro") and not metrics["num_worlds"]}
    if asked is None:
        silent |= {f"recall@{k}" for k in RECALL_AT if k > 1 and k >= metrics["num_entities"]}
    return [item for item in metrics.items() if not {item[0], item[0].removesuffix("_macro")} & silent]


def _texts(args: argparse.Namespace) -> list[str]:
    """The text, or the lines of the input; blank ones only for --json, whose output has one line for each."""
    if args.input is None:
        return [args.text]
    if args.input != "-" and not os.path.isfile(args.input):
        raise FileNotFoundError(
            f"expected a text file at '{args.input}', got nothing there; correct the path"
        )
    try:
        if args.input == "-":
            lines = sys.stdin.read().split("\n")
        else:
            with open(args.input, encoding="utf-8-sig") as file:
                lines = file.read().split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"expected UTF-8 text in {args.input}, got {error}; convert the file") from error
    texts = [line for line in lines if line.strip()]
    if not texts:
        raise ValueError(f"expected a text on each line of {args.input}, got no text")
    if not args.json:
        return texts
    return lines if lines[-1] else lines[:-1]


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
    return (
        f"{others[0].entity.title} [{others[0].entity.entity_id}] {others[0].score:.4f}" if others else None
    )


def _count(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {word!r}")
    return int(word)


def _probability(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {word!r}")
    return value


def _message(error: Exception) -> str:
    """The error's own text; a KeyError's would be shown in quotes, and some errors have none."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return str(text) if str(text) else type(error).__name__


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hf-blink",
        description="Entity linking by descriptions: build, use and measure linkers.",
        epilog="Help on a command: hf-blink build --help",
    )
    parser.add_argument("--version", action="version", version=f"hf_blink {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add_command in (_add_build, _add_link, _add_evaluate, _add_quickstart):
        command = add_command(commands)
        command.formatter_class = argparse.RawDescriptionHelpFormatter
        command.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )
    return parser


def _add_build(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "build",
        help="make a linker from a catalogue of entities, without training",
        description="Makes a linker from a catalogue of entities, without training: encodes their\n"
        "descriptions, builds the index and saves everything in one folder.",
        epilog="example:\n  hf-blink build entities.jsonl --out my-linker\n"
        'a line of entities.jsonl:\n  {"id": "Q90", "title": "Paris", "description": "Capital of France."}',
    )
    parser.set_defaults(run=build)
    parser.add_argument(
        "entities", nargs="+", metavar="ENTITIES", help="jsonl files, plain or .gz: id, title, description"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the linker")
    parser.add_argument(
        "--encoder",
        metavar="NAME_OR_PATH",
        help="Hub id or folder of a text encoder or of a saved bi-encoder "
        "(default: the MiniLM of the extra [quickstart])",
    )
    parser.add_argument(
        "--kind",
        choices=("auto", "flat", "hnsw"),
        default="auto",
        help="index: exact, graph, or by size (default)",
    )
    parser.add_argument(
        "--device", metavar="DEVICE", help="where entities are encoded, such as cuda (default: cpu)"
    )
    return parser


def _add_link(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "link",
        help="link the mentions of a text",
        description="Finds the mentions of a text, links each to an entity, prints them with the runner-up.",
        epilog='example:\n  hf-blink link --model my-linker "Paris is the capital of France."\n'
        "  hf-blink link --model my-linker --input texts.txt --json > links.jsonl",
    )
    parser.set_defaults(run=link)
    parser.add_argument("--model", required=True, metavar="DIR", help="folder or Hub id of a linker")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("text", nargs="?", metavar="TEXT", help="the text")
    source.add_argument(
        "--input", metavar="FILE", help="UTF-8 file with a text on each line; - reads standard input"
    )
    parser.add_argument("--top-k", type=_count, metavar="K", help="candidates kept for each mention")
    parser.add_argument(
        "--threshold", type=_probability, metavar="P", help="drop links with a score under this, 0 to 1"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object for each line, candidates included"
    )
    return parser


def _add_evaluate(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "evaluate",
        help="measure a linker on labelled mentions",
        description="Prints recall of the retrieval, and accuracy of the whole linker, on labelled mentions.",
        epilog="example:\n  hf-blink evaluate --model my-linker test.jsonl --recall-at 1 16 64\n"
        'a line of test.jsonl:\n  {"text": "Paris is in France.", "start": 0, "end": 5, "label_id": "Q90"}',
    )
    parser.set_defaults(run=evaluate)
    parser.add_argument(
        "mentions", metavar="MENTIONS", help="jsonl file with labelled mentions, plain or .gz"
    )
    parser.add_argument("--model", required=True, metavar="DIR", help="folder or Hub id of a linker")
    parser.add_argument(
        "--recall-at",
        type=_count,
        nargs="+",
        metavar="K",
        help="numbers of candidates to measure the recall at (default: 1 4 16 64)",
    )
    return parser


def _add_quickstart(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "quickstart",
        help="train a linker on the built-in data and link an article",
        description="Trains a bi-encoder and a cross-encoder on the built-in data, measures them on\n"
        "entities that the training never saw, saves the linker and links a short article.",
        epilog="example:\n  hf-blink quickstart --out quickstart-linker",
    )
    parser.set_defaults(run=quickstart)
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
    return parser
