"""Commands that publish and serve a linker: push, push-space, serve, demo."""

import argparse

from hf_blink.cli_types import Commands, add_address, add_command, add_revision, count


def push(args: argparse.Namespace) -> None:
    """Uploads a saved folder with its card."""
    from hf_blink.card_facts import CardNotes
    from hf_blink.hub import push as push_with_card

    notes = CardNotes(
        license=args.license,
        language=args.language,
        runs=args.runs,
        metrics=dict(_named(word, "--metrics NAME=FILE") for word in args.metrics),
        benchmarks=dict(_named(word, "--benchmark NAME=TASK") for word in args.benchmark),
        source=args.source,
        example_text=args.example or "",
    )
    target = {"private": args.private or None, "revision": args.revision, "create_pr": args.create_pr}
    if args.message:
        target["commit_message"] = args.message
    info = push_with_card(args.folder, args.repo, notes, **target)
    print(f"pushed {args.folder} as one commit: {info.pr_url or info.commit_url}")


def push_space(args: argparse.Namespace) -> None:
    """Uploads the demo of a linker as a Space."""
    from hf_blink.hub import push_space as upload

    info = upload(
        args.model, args.space or f"{args.model}-demo", private=args.private or None, overwrite=args.overwrite
    )
    print(f"pushed the Space as one commit: {info.commit_url}")


def serve(args: argparse.Namespace) -> None:
    """Serves a linker over HTTP."""
    from hf_blink.link_requests import RequestLimits
    from hf_blink.request_batching import BatchSettings
    from hf_blink.server import serve as run

    limits = RequestLimits(
        body_bytes=args.max_body_bytes,
        texts=args.max_texts,
        characters=args.max_characters,
        mentions=args.max_mentions,
        candidates=args.max_candidates,
    )
    batching = BatchSettings(texts=args.batch_texts, queue=args.queue)
    options = {"device": args.device} | ({"revision": args.revision} if args.revision else {})
    run(args.model, host=args.host, port=args.port, limits=limits, batching=batching, **options)


def demo(args: argparse.Namespace) -> None:
    """Shows a linker in the browser."""
    from hf_blink.demo_app import launch

    launch(args.model, host=args.host, port=args.port, share=args.share)


def _named(word: str, form: str) -> tuple[str, str]:
    name, separator, value = word.partition("=")
    if not separator or not name or not value:
        raise ValueError(f"expected {form}, got {word!r}; NAME is what the card calls the mentions")
    return name, value


def _add_push(commands: Commands) -> argparse.ArgumentParser:
    parser = add_command(
        commands,
        push,
        help="upload a linker, an encoder, an index or a knowledge base to the Hub",
        description="Uploads a saved folder with its card, its code and all its parts as one commit.",
        example="hf-blink push my-linker user/my-linker --license mit --language en \\\n"
        "  --runs runs/biencoder --metrics 'my test set=metrics.json'",
    )
    parser.add_argument(
        "folder", metavar="FOLDER", help="folder of a saved linker, encoder, index or knowledge base"
    )
    parser.add_argument("repo", metavar="REPO", help="user/name; made if missing")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument(
        "--revision", metavar="BRANCH", help="branch to commit to; made if missing (default: main)"
    )
    parser.add_argument("--create-pr", action="store_true", help="open a pull request instead of committing")
    parser.add_argument("--message", metavar="TEXT", help="commit message")
    _add_card_options(parser)
    return parser


def _add_card_options(parser: argparse.ArgumentParser) -> None:
    """What the card says that the folder does not."""
    parser.add_argument(
        "--license", default="unknown", metavar="KEY", help="licence for the card, such as mit"
    )
    parser.add_argument(
        "--language", nargs="+", default=(), metavar="CODE", help="languages for the card, such as en"
    )
    parser.add_argument(
        "--runs", nargs="+", metavar="FOLDER", help="output folders of the training scripts, for the card"
    )
    parser.add_argument(
        "--metrics",
        nargs="+",
        default=(),
        metavar="NAME=FILE",
        help="metrics of `hf-blink evaluate --out`, for the card; NAME may be user/dataset:split",
    )
    parser.add_argument(
        "--benchmark",
        nargs="+",
        default=(),
        metavar="NAME=TASK",
        help="that the mentions NAME (user/dataset:split) of --metrics are a benchmark registered with the Hub, and its task, "
        "perhaps with :METRIC; writes .eval_results/",
    )
    parser.add_argument("--source", metavar="TEXT", help="where the entities come from, for the card")
    parser.add_argument(
        "--example", metavar="TEXT", help="a short text with names of the catalogue, for the card"
    )


def _add_push_space(commands: Commands) -> argparse.ArgumentParser:
    parser = add_command(
        commands,
        push_space,
        help="upload a demo of a linker as a Space",
        description="Uploads the demo app as a Space of the Hub that shows a pushed linker.",
        example="hf-blink push-space user/my-linker --space user/my-linker-demo",
    )
    parser.add_argument("model", metavar="REPO", help="repository of the linker")
    parser.add_argument("--space", metavar="REPO", help="repository of the Space (default: REPO-demo)")
    parser.add_argument("--private", action="store_true", help="make a new Space private")
    parser.add_argument(
        "--overwrite", action="store_true", help="also replace the app.py and README.md that are there"
    )
    return parser


def _add_serve(commands: Commands) -> argparse.ArgumentParser:
    parser = add_command(
        commands,
        serve,
        help="serve a linker over HTTP (extra [serve])",
        description="Serves /link, /entities/{id}, /health, /metrics and /docs. There is no authentication.",
        example="hf-blink serve my-linker --port 8000\n"
        "curl localhost:8000/link -H 'content-type: application/json' -d '{\"inputs\": \"Paris is in France.\"}'",
    )
    parser.add_argument("model", metavar="REPO_OR_PATH", help="folder or Hub id of a linker")
    add_address(parser, 8000)
    add_revision(parser)
    parser.add_argument(
        "--device", metavar="DEVICE", help="where the encoders run, such as cuda (default: cpu)"
    )
    for name, value, text in (
        ("max-body-bytes", 1_000_000, "largest body of a request"),
        ("max-texts", 64, "most texts of a request"),
        ("max-characters", 20_000, "most characters of a text"),
        ("max-mentions", 500, "most mentions of a text, given or found"),
        ("max-candidates", 64, "largest top_k"),
        ("batch-texts", 32, "texts that are linked together; 1 links every request alone"),
        ("queue", 256, "requests that may wait; further ones get 503"),
    ):
        parser.add_argument(
            f"--{name}", type=count, default=value, metavar="N", help=f"{text} (default: %(default)s)"
        )
    return parser


def _add_demo(commands: Commands) -> argparse.ArgumentParser:
    parser = add_command(
        commands,
        demo,
        help="show a linker in the browser (extra [demo])",
        description="Opens a page: text in, mentions highlighted, candidates with both scores and descriptions.",
        example="hf-blink demo my-linker",
    )
    parser.add_argument("model", metavar="REPO_OR_PATH", help="folder or Hub id of a linker")
    add_address(parser, 7860)
    parser.add_argument(
        "--share", action="store_true", help="also open a public address through Gradio's servers"
    )
    return parser


COMMANDS = (_add_push, _add_push_space, _add_serve, _add_demo)
