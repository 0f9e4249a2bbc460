"""The command line: `hf-blink build | link | evaluate | index | import | push | push-space | serve | demo | quickstart`.

Every sub-command is one function of the parsed arguments, which imports what it needs when it runs, so that
`hf-blink --help` answers at once. Wrong input (ValueError, OSError, KeyError) ends with exit code 2, any
other error with 1; both print their message alone, and the traceback with `--debug`.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from hf_blink import __version__, cli_build, cli_evaluate, cli_hub, cli_import, cli_index, cli_linking

INPUT_ERRORS = (ValueError, OSError, KeyError)
COMMANDS = (
    *cli_build.COMMANDS,
    *cli_linking.COMMANDS,
    *cli_evaluate.COMMANDS,
    *cli_index.COMMANDS,
    *cli_import.COMMANDS,
    *cli_hub.COMMANDS,
)


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


def _message(error: Exception) -> str:
    """The error's own text; a KeyError's would be shown in quotes, and some errors have none."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return str(text) if str(text) else type(error).__name__


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hf-blink",
        description="Entity linking by descriptions: build, use, measure, publish and serve linkers.",
        epilog="Help on a command: hf-blink build --help",
    )
    parser.add_argument("--version", action="version", version=f"hf_blink {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add_command in COMMANDS:
        command = add_command(commands)
        command.formatter_class = argparse.RawDescriptionHelpFormatter
        command.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )
    return parser
