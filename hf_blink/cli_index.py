"""The command `hf-blink index`: build an index apart, change the entities of a linker, say what an index is."""

import argparse
from collections.abc import Callable
from pathlib import Path

from hf_blink.cli_types import Commands, add_command, add_index_options


def build(args: argparse.Namespace) -> None:
    """Encodes a catalogue with a saved bi-encoder and saves the index alone."""
    from hf_blink import EntityIndex, KnowledgeBase
    from hf_blink.modeling.encoder_kinds import load_encoder, load_processor

    knowledge_base = KnowledgeBase.from_jsonl(args.entities)
    bi_encoder = load_encoder(args.encoder)
    processor = load_processor(args.encoder)
    if args.device is not None:
        bi_encoder = bi_encoder.to(args.device)
    made = EntityIndex.build(bi_encoder.eval(), processor, knowledge_base, kind=args.kind)
    made.save_pretrained(args.out)
    print(f"{len(made)} entities in a {made.kind} index of {made.dimension} dimensions: {args.out}")


def add(args: argparse.Namespace) -> None:
    """Adds the entities of files to a linker's folder."""
    from hf_blink import EntityLinker, KnowledgeBase

    _check_folder(args.linker)
    new = KnowledgeBase.from_jsonl(args.entities)
    linker = EntityLinker.from_pretrained(args.linker)
    linker.add_entities(new, replace=args.replace)
    linker.save_pretrained(args.linker)
    print(
        f"{len(new)} {'entity' if len(new) == 1 else 'entities'} added, {len(linker.knowledge_base)} are in {args.linker}"
    )


def remove(args: argparse.Namespace) -> None:
    """Takes entities out of a linker's folder."""
    from hf_blink import EntityLinker

    _check_folder(args.linker)
    linker = EntityLinker.from_pretrained(args.linker)
    linker.remove_entities(args.ids)
    linker.save_pretrained(args.linker)
    print(f"{len(args.ids)} entities removed, {len(linker.knowledge_base)} are in {args.linker}")


def _check_folder(path: str) -> None:
    if not Path(path).is_dir():
        raise FileNotFoundError(
            f"expected a linker's folder, got {path!r}, which is none; a linker of the Hub is loaded, changed and pushed: "
            "EntityLinker.from_pretrained, add_entities, push_to_hub"
        )


def info(args: argparse.Namespace) -> None:
    """Says what an index is; of a linker's folder, its index."""
    from hf_blink import EntityIndex
    from hf_blink.training.text_table import format_table

    inside = Path(args.path) / "entity_index"
    found = EntityIndex.from_pretrained(inside if inside.is_dir() else args.path)
    rows = [
        ("kind", found.kind),
        ("entities", len(found)),
        ("dimension", found.dimension),
        ("encoder fingerprint", found.encoder_fingerprint),
        ("knowledge base fingerprint", found.knowledge_base_fingerprint),
    ]
    print(format_table(("index", args.path), rows))


def index(args: argparse.Namespace) -> None:
    """Does one of the actions."""
    args.act(args)


def _add_index(commands: Commands) -> argparse.ArgumentParser:
    parser = add_command(
        commands,
        index,
        help="build an index, add and remove entities, show what an index is",
        description="Builds an index apart from a linker, and changes the entities of a linker without\n"
        "encoding the others again.",
        example="hf-blink index add my-linker new.jsonl\nhf-blink index remove my-linker Q90 Q64\n"
        "hf-blink index info my-linker\nhf-blink index build entities.jsonl --encoder runs/biencoder --out my-index",
    )
    actions: Commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    making = _action(actions, build, "encode a catalogue and save the index alone")
    add_index_options(making)
    making.add_argument(
        "--encoder", required=True, metavar="NAME_OR_PATH", help="a saved bi-encoder with its processor"
    )
    making.add_argument("--out", required=True, metavar="DIR", help="folder for the index")
    adding = _action(actions, add, "add entities to a linker", on_linker=True)
    adding.add_argument("entities", nargs="+", metavar="ENTITIES", help="jsonl files, plain or .gz")
    adding.add_argument("--replace", action="store_true", help="replace entities of the same id")
    removing = _action(actions, remove, "take entities out of a linker", on_linker=True)
    removing.add_argument("ids", nargs="+", metavar="ID", help="entity ids")
    showing = _action(actions, info, "say what an index is")
    showing.add_argument("path", metavar="PATH", help="folder or Hub id of an index, or folder of a linker")
    return parser


def _action(
    actions: Commands, act: Callable[[argparse.Namespace], None], help: str, *, on_linker: bool = False
) -> argparse.ArgumentParser:
    parser = actions.add_parser(act.__name__, help=help)
    parser.set_defaults(act=act)
    if on_linker:
        parser.add_argument(
            "linker", metavar="LINKER", help="folder of a linker; it is replaced whole, or not at all"
        )
    return parser


COMMANDS = (_add_index,)
