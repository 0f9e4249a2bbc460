"""The command `hf-blink evaluate`: a linker on labelled mentions, or on documents whose mentions it has to find.

With --documents a one-pass linker's joint threshold can be fitted first, on other documents than those that are measured.
"""

import argparse
import json
import os
from collections.abc import Sequence
from typing import Any

from hf_blink.cli_types import (
    Commands,
    add_command,
    add_one_pass_options,
    count,
    probability,
    set_one_pass_options,
)
from hf_blink.training.metrics_table import metrics_table, telling_metrics
from hf_blink.training.text_table import format_table

RECALL_AT = (1, 4, 16, 64)
DOCUMENT_FORMS = (
    "common",
    "elq",
    "aida",
    "pubtator",
    "nif",
)  # of read_documents, those with all mentions of a text
_READING = ("form", "label_field", "id_format")
_FITTING = ("fit_split", "match")
_OF_DOCUMENTS = (
    *_READING, "split", "threshold", "joint_threshold", "nested", "fit_threshold", *_FITTING, "save",
)  # fmt: skip


def evaluate(args: argparse.Namespace) -> None:
    """Measures a linker on labelled mentions, or on documents."""
    from hf_blink.modeling.full_disk import check_place, write_text_whole

    _check_options(args)
    if args.out:
        check_place(args.out, "the metrics")
    metrics = _of_documents(args) if args.documents else _of_mentions(args)
    if args.out:
        write_text_whole(args.out, json.dumps(metrics, indent=2) + "\n", "the metrics")
        print(f"all metrics are in {args.out}")


def _check_options(args: argparse.Namespace) -> None:
    """Finds options that do not fit each other before anything is loaded.

    Raises:
        ValueError: an option of documents without --documents, --recall-at with it, an option of the fitting without
            --fit-threshold, a threshold both given and fitted, or one that does not fit the form.
    """
    from hf_blink.training.document_readers import check_reading

    given = [name for name in _OF_DOCUMENTS if getattr(args, name) is not None]
    if given and not args.documents:
        raise ValueError(f"expected --documents with {_named(given)}, got none; add --documents")
    if args.documents and args.recall_at:
        raise ValueError(
            "expected --recall-at without --documents, whose mentions the linker finds, got both; leave one out"
        )
    if {"joint_threshold", "fit_threshold"} <= set(given):
        raise ValueError(
            "expected --joint-threshold or --fit-threshold, which finds one, got both; leave one out"
        )
    alone = [name for name in _FITTING if name in given]
    if args.fit_threshold is None and alone:
        raise ValueError(f"expected --fit-threshold with {_named(alone)}, got none; name documents to fit on")
    for split in (args.split, args.fit_split):
        check_reading(split=split, **_reading(args))


def _reading(args: argparse.Namespace) -> dict[str, Any]:
    return {name: value for name in _READING if (value := getattr(args, name)) is not None}


def _named(options: Sequence[str]) -> str:
    return ", ".join("--" + name.replace("_", "-") for name in options)


def _of_mentions(args: argparse.Namespace) -> dict[str, float]:
    from hf_blink import EntityLinker, evaluate_linker, read_mentions

    mentions = read_mentions(args.file)
    linker = EntityLinker.from_pretrained(args.model)
    # As many candidates as linking reranks, so that the accuracy is that of `hf-blink link`.
    metrics = evaluate_linker(
        linker, mentions, recall_at=args.recall_at or RECALL_AT, rerank_k=linker.num_candidates
    )
    telling = telling_metrics(metrics, every_recall=args.recall_at is not None)
    print(format_table(("metric", "value"), telling))
    return metrics


def _of_documents(args: argparse.Namespace) -> dict[str, float]:
    from hf_blink import EntityLinker, evaluate_documents
    from hf_blink.modeling.entity_readers import existing_files
    from hf_blink.modeling.linker_storage import check_save_folder

    existing_files([path for path in (args.file, args.fit_threshold) if path], "document")
    _check_apart(args)
    if args.save:
        check_save_folder(args.save)
    linker = EntityLinker.from_pretrained(args.model)
    set_one_pass_options(linker, args)
    if args.threshold is not None:
        linker.threshold = args.threshold
    documents = _documents(args, args.file, args.split, linker.knowledge_base)
    fitted = _fitted(args, linker, documents) if args.fit_threshold else {}
    metrics = evaluate_documents(linker, documents)
    print(metrics_table(metrics))
    if args.save:
        linker.save_pretrained(args.save)
        print(f"the linker with the thresholds of this run is in {args.save}")
        if os.path.exists(os.path.join(args.save, "README.md")):
            print("its README.md may tell of other thresholds; hf-blink push writes a new one")
    return metrics | fitted


def _check_apart(args: argparse.Namespace) -> None:
    """Raises ValueError where the threshold would be fitted on the documents that are measured."""
    if args.fit_threshold is None or not os.path.samefile(args.file, args.fit_threshold):
        return
    if None in (args.split, args.fit_split) or args.split == args.fit_split:
        raise ValueError(
            f"expected other documents for --fit-threshold than are measured, got {args.fit_threshold} for both; divide the "
            "documents, or name their splits with --split and --fit-split"
        )


def _documents(args: argparse.Namespace, path: str, split: str | None, knowledge_base: Any) -> Any:
    from hf_blink import read_documents

    return read_documents(path, split=split, knowledge_base=knowledge_base, **_reading(args))


def _fitted(args: argparse.Namespace, linker: Any, measured: Any) -> dict[str, float]:
    """Fits the joint threshold and sets it in the linker; returns it and the F1 that it was chosen for.

    Raises:
        ValueError: no threshold gives a right link.
    """
    from hf_blink import fit_joint_threshold
    from hf_blink.training.document_arguments import warn_of_shared_texts

    documents = _documents(args, args.fit_threshold, args.fit_split, linker.knowledge_base)
    warn_of_shared_texts({"--fit-threshold": documents, args.file: measured})
    fitted = fit_joint_threshold(linker, documents, **({"match": args.match} if args.match else {}))
    if not fitted.f1:
        raise ValueError(
            f"expected documents in {args.fit_threshold} on which some joint threshold gives a right link, got none; look "
            "whether their labels are ids of the knowledge base, or leave --fit-threshold out"
        )
    print(
        f"joint threshold {fitted.joint_threshold:.4f}: {fitted.match} F1 {fitted.f1:.4f} on {args.fit_threshold}, "
        "which it is fitted on\n"
    )
    return {"joint_threshold": fitted.joint_threshold, f"dev_{fitted.match}_f1": fitted.f1}


def _add_evaluate(commands: Commands) -> argparse.ArgumentParser:
    parser = add_command(
        commands,
        evaluate,
        help="measure a linker on labelled mentions or documents",
        description="Prints recall of the retrieval, and accuracy of the whole linker, on labelled mentions.\n"
        "With --documents the linker finds the mentions too: prints precision, recall and F1 of its\n"
        "links, which are right if entity and span are (strong), or the spans overlap (weak).",
        example="hf-blink evaluate --model my-linker test.jsonl --recall-at 1 16 64\n"
        'a line of test.jsonl:\n{"text": "Paris is in France.", "start": 0, "end": 5, "label_id": "Q90"}\n'
        "hf-blink evaluate --model my-linker test.jsonl --documents --out metrics.json\n"
        "a line of these documents:\n"
        '{"text": "Paris is big.", "mentions": [{"start": 0, "end": 5, "label_id": "Q90"}]}',
    )
    parser.add_argument(
        "file", metavar="FILE", help="jsonl file with labelled mentions, or a file of documents"
    )
    parser.add_argument("--model", required=True, metavar="DIR", help="folder or Hub id of a linker")
    parser.add_argument(
        "--recall-at",
        type=count,
        nargs="+",
        metavar="K",
        help="numbers of candidates to measure the recall at (default: 1 4 16 64)",
    )
    parser.add_argument(
        "--out", metavar="FILE", help="also write all metrics as JSON, for `hf-blink push --metrics`"
    )
    parser.add_argument(
        "--documents", action="store_true", help="FILE has documents, whose mentions the linker has to find"
    )
    _add_document_options(parser)
    return parser


def _add_document_options(parser: argparse.ArgumentParser) -> None:
    """What goes with --documents; every default is None, so that it is known which were given."""
    group = parser.add_argument_group("with --documents")
    group.add_argument("--form", choices=DOCUMENT_FORMS, help="of the documents (default: common, as below)")
    group.add_argument("--split", metavar="NAME", help='measure the lines with this "split" alone')
    group.add_argument("--label-field", metavar="NAME", help="which of the form's ids are the entities'")
    group.add_argument(
        "--id-format", metavar="FORMAT", help="how the entities write the ids, {} standing for the label"
    )
    group.add_argument(
        "--threshold", type=probability, metavar="P", help="links with a score under this are NIL, 0 to 1"
    )
    add_one_pass_options(group)
    group.add_argument(
        "--fit-threshold",
        metavar="DEV",
        help="fit the joint threshold of a one-pass (ELQ) linker on these documents first, none of them in FILE",
    )
    group.add_argument("--fit-split", metavar="NAME", help='fit on the lines with this "split" alone')
    group.add_argument("--match", choices=("weak", "strong"), help="whose F1 is fitted for (default: weak)")
    group.add_argument(
        "--save", metavar="DIR", help="write the linker with the thresholds of this run to this folder"
    )


COMMANDS = (_add_evaluate,)
