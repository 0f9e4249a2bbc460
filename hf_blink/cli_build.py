"""The command `hf-blink build`: a linker from a catalogue, with --adapt trained on it before, without labels."""

import argparse
from typing import Any

from hf_blink.cli_types import Commands, add_command, add_index_options, count

OF_SOURCE = {
    "texts": "in the texts",
    "descriptions": "in descriptions of other entities",
    "own": "in descriptions of their own",
}


def build(args: argparse.Namespace) -> None:
    """Makes a linker from a catalogue of entities, untrained or adapted to it without labels."""
    from hf_blink import EntityLinker, KnowledgeBase
    from hf_blink.default_encoder import default_encoder
    from hf_blink.modeling.linker_storage import check_save_folder

    check_save_folder(args.out)
    _check_adapt_options(args)
    encoder = args.encoder or default_encoder()
    cross_encoder = _cross_encoder(args.cross_encoder) if args.cross_encoder else None
    knowledge_base = KnowledgeBase.from_jsonl(args.entities)
    parts = (encoder, None) if args.adapt is None else _adapted(args, knowledge_base, encoder)
    options = {"index_kind": args.kind, "device": args.device, "truncate_dim": args.truncate_dim}
    linker = EntityLinker.from_knowledge_base(
        knowledge_base, encoder=parts[0], processor=parts[1], cross_encoder=cross_encoder, **options
    )
    linker.save_pretrained(args.out)
    print(f"{len(knowledge_base)} entities, encoded with {encoder}, are in {args.out}")
    print(f'next: hf-blink link --model {args.out} "A text with their names."')
    if args.adapt is not None:
        print(
            f"      hf-blink evaluate --model {args.out} test.jsonl   # labelled mentions show whether it paid"
        )


def _cross_encoder(path: str) -> Any:
    """A trained cross-encoder.

    Raises:
        ValueError: another kind of model.
    """
    from hf_blink import BlinkCrossEncoder
    from hf_blink.modeling.configuration_blink import saved_model_type

    if (found := saved_model_type(path)) != "blink-crossencoder":
        raise ValueError(f"expected a trained blink-crossencoder at --cross-encoder {path}, got {found}")
    return BlinkCrossEncoder.from_pretrained(path, use_safetensors=True)


def _add_adapt_options(parser: argparse.ArgumentParser) -> None:
    """Whether, and how, the encoder is trained on silver mentions."""
    parser.add_argument(
        "--adapt",
        nargs="*",
        metavar="TEXTS",
        help="first train the encoder without labels, on names found in the descriptions and in these texts: .txt "
        "files with a text on each line, or .jsonl files of {text}; a catalogue with worlds may have {text, world}",
    )
    parser.add_argument(
        "--adapt-steps", type=count, metavar="N", help="training steps of --adapt (default: 30, some minutes)"
    )


def _check_adapt_options(args: argparse.Namespace) -> None:
    """Finds mistakes before anything is read or encoded.

    Raises:
        ValueError: --adapt-steps without --adapt, or a device that --adapt does not train on.
        FileNotFoundError: a file of texts is missing.
    """
    from hf_blink.modeling.entity_readers import existing_files

    if args.adapt is None and args.adapt_steps is not None:
        raise ValueError("expected --adapt with --adapt-steps, got --adapt-steps alone; add --adapt")
    if args.adapt is not None and args.device not in (None, "cpu", "cuda", "cuda:0"):
        raise ValueError(
            f"expected --device cpu or cuda with --adapt, which trains on the first GPU, got {args.device}; show another GPU "
            "alone with CUDA_VISIBLE_DEVICES, as in CUDA_VISIBLE_DEVICES=1"
        )
    if args.adapt:
        existing_files(args.adapt, "text")


def _adapted(args: argparse.Namespace, knowledge_base: Any, encoder: str) -> tuple[Any, Any]:
    """The encoder trained on silver mentions, and its processor; prints what they were made from."""
    from hf_blink import AdaptationSettings, adapt, read_texts
    from hf_blink.modeling.linker_assembly import load_bi_encoder

    bi_encoder, processor = load_bi_encoder(encoder)
    settings = AdaptationSettings(**({"steps": args.adapt_steps} if args.adapt_steps else {}))
    texts = read_texts(args.adapt) if args.adapt else None
    options = {"use_cpu": True} if args.device == "cpu" else {}
    bi_encoder, done = adapt(bi_encoder, processor, knowledge_base, texts, settings=settings, **options)
    sources = "\n".join(
        f"  {done.found[source]:>6} {place}, {done.used[source]} of them used"
        for source, place in OF_SOURCE.items()
        if source != "texts" or texts is not None
    )
    print(
        f"silver mentions, made without labels:\n{sources}\nadapted in {done.steps} steps, {done.train_seconds:.0f} s"
    )
    return bi_encoder, processor


def _add_build(commands: Commands) -> argparse.ArgumentParser:
    parser = add_command(
        commands,
        build,
        help="make a linker from a catalogue of entities, without labels",
        description="Makes a linker from a catalogue of entities, without labels: encodes their\n"
        "descriptions, builds the index and saves everything in one folder. With --adapt the\n"
        "encoder is trained before, on mentions made from the catalogue and from raw texts.",
        example="hf-blink build entities.jsonl --out my-linker\n"
        "hf-blink build entities.jsonl --out my-linker --adapt texts.txt\n"
        'a line of entities.jsonl:\n{"id": "Q90", "title": "Paris", "description": "Capital of France."}',
    )
    add_index_options(parser)
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="folder for the linker; a linker that is there is replaced",
    )
    parser.add_argument(
        "--encoder",
        metavar="NAME_OR_PATH",
        help="Hub id or folder of a text encoder or of a saved bi-encoder "
        "(default: the MiniLM of the extra [quickstart])",
    )
    parser.add_argument(
        "--cross-encoder", metavar="NAME_OR_PATH", help="trained cross-encoder that reranks the candidates"
    )
    parser.add_argument(
        "--truncate-dim",
        type=count,
        metavar="N",
        help="dimensions of the vectors that are kept, of an encoder trained for it (matryoshka_dims)",
    )
    _add_adapt_options(parser)
    return parser


COMMANDS = (_add_build,)
