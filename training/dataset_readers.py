"""Readers of labelled mentions: several file formats in, one `datasets.Dataset` schema out.

| column | content |
|---|---|
| id, doc_id | of the mention and of the document it is from (None = unknown) |
| context_left, mention, context_right | the mention and the text around it, in the case of the source |
| label_ids | ids of the gold entities, one or more; [] = NIL: the entity is in no knowledge base |
| world | the sub-catalogue in which the mention is resolved; None = no worlds |

`read_mentions` reads the common format, ready windows or whole texts with spans, `read_blink_mentions` the
files of BLINK, `read_zeshel` Zeshel's published form. Files are JSON lines, also gzipped. A reader works line
by line and turns every few thousand rows into an Arrow batch. It reads on after a bad row, so that one error
names the first ten of them and their number.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, Features, List, NamedSplit, Value

from hf_blink.modeling.entity_readers import existing_files, read_json_lines
from hf_blink.modeling.entity_records import RecordError, RecordProblems
from hf_blink.modeling.linking_types import MentionContext
from hf_blink.training.mention_rows import Row, RowReader, blink_rows, common_rows, zeshel_rows
from hf_blink.training.zeshel_documents import ZeshelDocuments

MENTION_FEATURES = Features(
    {
        "id": Value("string"),
        "context_left": Value("string"),
        "mention": Value("string"),
        "context_right": Value("string"),
        "label_ids": List(Value("string")),
        "world": Value("string"),
        "doc_id": Value("string"),
    }
)
BATCH_ROWS = 2000

PathLike = str | Path


def read_mentions(paths: PathLike | Sequence[PathLike], *, split: str | None = None) -> Dataset:
    """Reads the common format; a line is one of these, told apart by its fields:

    * a window: `{"context_left", "mention", "context_right", "label_id"}`;
    * a text with one span: `{"text", "start", "end", "label_id"}`;
    * a text with spans: `{"text", "entities": [{"start", "end", "label"}]}`, or `"mentions"` for
      `"entities"`.

    Offsets are characters, end exclusive; a text is cut to 128 words a side of the mention. Labels are
    `label_ids`, `labels` or `label_id` (in a list of spans also `label`), one id or a list; null, or `"nil":
    true`, means NIL. `id`, `doc_id` and `world` may be there; a mention without an id is called `<file
    name>:<line>`, a span of a list `<id>#<number>`.

    Args:
        paths: File or files, `.jsonl` or `.jsonl.gz`.
        split: Name of the split; rows with a field "split" that says something else are left out. None keeps
            all.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: A file is empty or has bad rows, or no mention is left.
    """
    return _read_dataset(paths, common_rows, split)


def read_blink_mentions(
    path: PathLike | Sequence[PathLike], *, id_format: str = "{}", documents_folder: PathLike | None = None
) -> Dataset:
    """Reads BLINK's training and test files: `{"context_left", "mention", "context_right", "label_id", ...}`.

    `label_id` is an id, or a number, which becomes a string; -1 means NIL; where it is missing,
    `Wikipedia_ID` is read. In files made from Zeshel it counts the lines of the world's document file
    instead, and means something only with that file: name its folder, and the labels become document ids, as
    `read_zeshel` gives them.

    Args:
        path: File or files, `.jsonl` or `.jsonl.gz`.
        id_format: How the knowledge base writes the ids, `{}` standing for the label: BLINK's own catalogue
            of Wikipedia has "https://en.wikipedia.org/wiki?curid={}".
        documents_folder: Folder of Zeshel's `<world>.json` files; None takes `label_id` as it is.

    Raises:
        FileNotFoundError: The file or the folder is not there.
        ValueError: The file is empty or has bad rows.
    """
    if "{}" not in id_format:
        raise ValueError(f"id_format must hold {{}}, which stands for the label; got {id_format!r}")
    documents = None if documents_folder is None else ZeshelDocuments(documents_folder)
    return _read_dataset(path, partial(blink_rows, id_format=id_format, documents=documents))


def read_zeshel(documents_folder: PathLike, mentions_file: PathLike) -> tuple[Dataset, list[Row]]:
    """Reads Zeshel as published: documents by world, and mentions as word offsets, end inclusive, into them.

    Contexts are the 128 words a side. A text keeps its case: lower-casing is a setting of the processor.

    Args:
        documents_folder: Folder with `<world>.json`, lines of `{"document_id", "title", "text"}`.
        mentions_file: Lines of `{"mention_id", "context_document_id", "label_document_id", "corpus", "text",
            "start_index", "end_index"}`.

    Returns:
        The mentions, and all entities of their worlds as records for `KnowledgeBase.from_entities`, world by
        world in alphabetical order.

    Raises:
        FileNotFoundError: The folder or the file is not there.
        ValueError: The file is empty or has bad rows.
    """
    documents = ZeshelDocuments(documents_folder)
    return read_zeshel_mentions(mentions_file, documents), documents.entities()


def read_zeshel_mentions(paths: PathLike | Sequence[PathLike], documents: ZeshelDocuments) -> Dataset:
    """Reads mentions of Zeshel as `read_zeshel` does, from files that share their documents.

    Args:
        paths: File or files of mentions.
        documents: The documents; those of the mentions' worlds are read into it.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: A file is empty or has bad rows.
    """
    return _read_dataset(paths, partial(zeshel_rows, documents=documents))


def contexts_of(rows: Iterable[Mapping[str, Any]]) -> list[MentionContext]:
    """The mentions of a data set, or of some of its rows, as the encoders take them."""
    return [MentionContext(row["context_left"], row["mention"], row["context_right"]) for row in rows]


def _read_dataset(
    paths: PathLike | Sequence[PathLike], rows_of: RowReader, split: str | None = None
) -> Dataset:
    """Reads all files into one data set in memory; only one batch at a time is held as Python objects."""
    schema = MENTION_FEATURES.arrow_schema
    problems = RecordProblems("mention")
    batches, batch = [], []
    for file in existing_files(paths, "mention"):
        for row in _rows_of_file(file, rows_of, split, problems):
            batch.append(row)
            if len(batch) == BATCH_ROWS:
                batches.append(pa.Table.from_pylist(batch, schema=schema))
                batch = []
    problems.raise_if_any()
    batches.append(pa.Table.from_pylist(batch, schema=schema))
    table = pa.concat_tables(batches)
    if not len(table):
        raise ValueError(f"no mention in {paths}" + (f" is of the split {split!r}" if split else ""))
    return Dataset(table, split=None if split is None else NamedSplit(split))


def _rows_of_file(
    file: Path, rows_of: RowReader, split: str | None, problems: RecordProblems
) -> Iterator[Row]:
    empty = True
    for place, record in read_json_lines(file, "mention"):
        empty = False
        if split is not None and isinstance(record, dict) and record.get("split") not in (None, split):
            continue
        try:
            yield from rows_of(record, f"{file.name}:{place.number}")
        except RecordError as error:
            problems.add(str(place), error)
    if empty:
        raise ValueError(f"{file} is empty: expected one JSON object with a mention on each line")
