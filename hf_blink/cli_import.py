"""The command `hf-blink import`: the original models' files become a linker's folder. One sub-command for each origin."""

import argparse
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any

from hf_blink.cli_types import Commands, add_command, count, log_probability

_LATER = "a linker that is there is replaced, whole or not at all"
_File = tuple[str, bool, str]  # an option's name, whether it must be given, its help
_ENCODINGS: _File = (
    "encodings",
    False,
    "vectors of the entities (all_entities_large.t7), in the order of their lines",
)


def import_(args: argparse.Namespace) -> None:
    """Does one of the imports."""
    args.act(args)


def blink(args: argparse.Namespace) -> None:
    """Makes a linker of BLINK's files."""
    from hf_blink.blink_import import BlinkFiles, import_blink

    _make(args, BlinkFiles, import_blink)


def elq(args: argparse.Namespace) -> None:
    """Makes a linker of ELQ's files."""
    from hf_blink.elq_import import ElqFiles, import_elq

    _make(args, ElqFiles, import_elq, joint_threshold=args.joint_threshold, num_mentions=args.num_mentions)


def _make(args: argparse.Namespace, files: Any, make: Callable[..., Any], **options: Any) -> None:
    """Imports the files that the options name, says what came of it, and pushes it where that was asked for."""
    from hf_blink.original_import import ImportSettings

    if args.push_to_hub and args.entities is None:
        raise ValueError(
            "expected the entities (--entities) with --push-to-hub, which pushes a linker, got none; push the encoders with "
            "`hf-blink push`"
        )
    settings = ImportSettings(
        kind=args.kind,
        num_candidates=args.num_candidates,
        check_vectors=not args.no_vector_check,
        device=args.device,
    )
    named = {one.name: getattr(args, one.name) for one in fields(files)}
    make(files(**named), args.out, settings, **options)
    _report(args)


def _report(args: argparse.Namespace) -> None:
    if args.entities is None:
        print(f"the encoders are in {args.out}")
        print(f"next: hf-blink build entities.jsonl --encoder {args.out} --out my-linker")
        return
    from hf_blink import EntityLinker

    linker = EntityLinker.from_pretrained(args.out, cross_encoder=False)
    print(f"{len(linker.knowledge_base)} entities and a {linker.index.kind} index are in {args.out}")
    print(f'next: hf-blink link --model {args.out} "A text with their names."')
    if args.push_to_hub:
        from hf_blink.hub import push

        info = push(args.out, args.push_to_hub, private=args.private or None)
        print(f"pushed {args.out} as one commit: {info.pr_url or info.commit_url}")


def _add_result_options(parser: argparse.ArgumentParser) -> None:
    """What is made of the files, and where it goes: the same for every origin."""
    parser.add_argument("--out", required=True, metavar="DIR", help=f"folder for the linker; {_LATER}")
    parser.add_argument(
        "--bert-model",
        metavar="NAME_OR_PATH",
        help="Hub id or folder (config.json, vocab.txt) of the BERT that the encoders were trained from "
        "(default: the one that their settings name)",
    )
    parser.add_argument(
        "--kind",
        choices=("auto", "flat", "hnsw"),
        default="auto",
        help="index that is built where no --index is imported: exact, graph, or by size (default)",
    )
    parser.add_argument(
        "--num-candidates",
        type=count,
        default=10,
        metavar="N",
        help="entities retrieved for each mention (default: %(default)s)",
    )
    parser.add_argument(
        "--no-vector-check",
        action="store_true",
        help="take --encodings and --index as they are; otherwise 16 entities are encoded and compared",
    )
    parser.add_argument(
        "--device", metavar="DEVICE", help="where entities are encoded, such as cuda (default: cpu)"
    )
    parser.add_argument("--push-to-hub", metavar="REPO", help="also push the linker to user/name")
    parser.add_argument("--private", action="store_true", help="make a new repository private")


def _add_origin(
    origins: Commands, act: Callable[[argparse.Namespace], None], files: Iterable[_File], **texts: Any
) -> argparse.ArgumentParser:
    """A sub-command: the options of its files, then those of the result."""
    parser = origins.add_parser(act.__name__, formatter_class=argparse.RawDescriptionHelpFormatter, **texts)
    parser.set_defaults(act=act)
    for name, required, text in files:
        parser.add_argument(f"--{name}", required=required, metavar="FILE", help=text)
    _add_result_options(parser)
    return parser


def _add_blink(origins: Commands) -> None:
    _add_origin(
        origins,
        blink,
        (
            ("biencoder", True, "weights of the bi-encoder (.bin)"),
            ("biencoder-config", True, "its settings (.json, or training_params.txt of a training run)"),
            ("crossencoder", False, "weights of the cross-encoder"),
            ("crossencoder-config", False, "its settings"),
            ("entities", False, "entity.jsonl, or a folder of Zeshel's documents (<world>.json)"),
            _ENCODINGS,
            ("index", False, "faiss_flat_index.pkl or faiss_hnsw_index.pkl"),
        ),
        help="files of BLINK: bi-encoder, cross-encoder, entities, vectors, index",
        description="Makes a linker of BLINK's files. Pickles are read as plain tensors alone; one with\n"
        "code in it is refused. Without --entities the result are the encoders.",
        epilog="example:\n"
        "  hf-blink import blink --biencoder models/biencoder_wiki_large.bin \\\n"
        "    --biencoder-config models/biencoder_wiki_large.json \\\n"
        "    --crossencoder models/crossencoder_wiki_large.bin \\\n"
        "    --crossencoder-config models/crossencoder_wiki_large.json \\\n"
        "    --entities models/entity.jsonl --index models/faiss_flat_index.pkl --out blink-wiki",
    )


def _add_elq(origins: Commands) -> None:
    parser = _add_origin(
        origins,
        elq,
        (
            ("model", True, "weights of the model (.bin)"),
            ("config", True, "its settings (elq_large_params.txt, or training_params.txt of a training run)"),
            ("entities", False, "entity.jsonl"),
            _ENCODINGS,
            ("index", False, "faiss_hnsw_index.pkl, faiss_flat_index.pkl or faiss_ivfflat_index.pkl"),
        ),
        help="files of ELQ: towers and span head, entities, vectors, index",
        description="Makes a linker of ELQ's files, which finds the mentions as well. Pickles are read as plain\n"
        "tensors alone; one with code in it is refused. Without --entities the result is the model.",
        epilog="example:\n"
        "  hf-blink import elq --model models/elq_wiki_large.bin --config models/elq_large_params.txt \\\n"
        "    --entities models/entity.jsonl --index models/faiss_hnsw_index.pkl --joint-threshold -2.9 \\\n"
        "    --out elq-wiki",
    )
    parser.add_argument(
        "--joint-threshold",
        type=log_probability,
        default=-4.5,
        metavar="LOG_P",
        help="log-probability above which a mention and its entity are kept (default: %(default)s)",
    )
    parser.add_argument(
        "--num-mentions",
        type=count,
        default=50,
        metavar="N",
        help="spans of a text that are looked up (default: %(default)s)",
    )


def _add_import(commands: Commands) -> argparse.ArgumentParser:
    parser = add_command(
        commands,
        import_,
        help="make a linker of the files of the original BLINK or ELQ",
        description="Makes a linker of an original model's files; see docs/importing.md.",
        example="hf-blink import blink --help",
    )
    origins: Commands = parser.add_subparsers(dest="origin", metavar="ORIGIN", required=True)
    _add_blink(origins)
    _add_elq(origins)
    return parser


COMMANDS = (_add_import,)
