"""What several commands share: how one is declared, numbers with bounds, and options of the same meaning."""

import argparse
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Commands = object


def count(word: str) -> int:
    """A whole number of at least 1."""
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {word!r}")
    return int(word)


def probability(word: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {word!r}")
    return value


def log_probability(word: str) -> float:
    """The logarithm of a probability above 0: a number of at most 0."""
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not -math.inf < value <= 0:
        raise argparse.ArgumentTypeError(f"expected a log-probability, a number of at most 0, got {word!r}")
    return value


def add_command(
    commands: Commands,
    run: Callable[[argparse.Namespace], None],
    *,
    help: str,
    description: str,
    example: str,
) -> argparse.ArgumentParser:
    """Declares a sub-command.

    Args:
        commands: what `add_subparsers` gave.
        run: does the work; the command has its name, with - for _ (`import_` is import).
        help: a few words for the list of commands.
        description: what it does, for its own help.
        example: lines of a shell, for its own help.
    """
    name = run.__name__.rstrip("_").replace("_", "-")
    lines = "".join(f"\n  {line}" for line in example.splitlines())
    parser = commands.add_parser(name, help=help, description=description, epilog=f"example:{lines}")
    parser.set_defaults(run=run)
    return parser


def add_address(parser: argparse.ArgumentParser, port: int) -> None:
    """Where a server listens."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--port", type=int, default=port, help="port (default: %(default)s)")


def add_revision(parser: argparse.ArgumentParser) -> None:
    """Which commit of a repository."""
    parser.add_argument("--revision", metavar="REVISION", help="branch, tag or commit of a repository")


def add_one_pass_options(parser: Any) -> None:
    """How a one-pass linker decides which spans are mentions; None leaves it to its configuration."""
    parser.add_argument(
        "--joint-threshold",
        type=log_probability,
        metavar="LOG_P",
        help="of a one-pass (ELQ) linker: keep mentions whose log-probability, with their entity's, is above this",
    )
    parser.add_argument(
        "--nested",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="of a one-pass (ELQ) linker: keep all mentions that overlap, or the best of them",
    )


def set_one_pass_options(linker: Any, args: argparse.Namespace) -> None:
    """Puts the options of `add_one_pass_options` that were given into the linker's configuration.

    Raises:
        ValueError: they were given for a linker that does not find mentions by itself.
    """
    names = ("joint_threshold", "nested")
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    if given and not linker.finds_mentions:
        options = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(
            f"expected a one-pass (ELQ) linker with {options}, got {linker!r}, whose mentions something else finds; "
            "leave the option out"
        )
    for name, value in given.items():
        setattr(linker.bi_encoder.config, name, value)


def add_index_options(parser: argparse.ArgumentParser) -> None:
    """How a catalogue is read, encoded and indexed."""
    parser.add_argument(
        "entities", nargs="+", metavar="ENTITIES", help="jsonl files, plain or .gz: id, title, description"
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
