"""Readers of documents with all their mentions: file formats in, the data set of `documents` out.

| form | files |
|---|---|
| common | `{"doc_id", "text", "mentions": [{"start", "end", "label_id"}]}` a line |
| elq | ELQ's labelled questions |
| blink | BLINK's test files, a mention each |
| kilt | KILT's entity linking, a mention each |
| aida | AIDA-CoNLL's table of tokens |
| pubtator | PubTator's titles, abstracts and annotations |
| nif | NIF in Turtle, GERBIL's form |

A reader reads on after a bad record, so that one error names the first ten of them and their number.
"""

import gzip
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset

from hf_blink.modeling.entity_readers import existing_files, read_json_lines
from hf_blink.modeling.entity_records import RecordError, RecordProblems
from hf_blink.training.document_formats import blink_document, common_document, elq_document, kilt_document
from hf_blink.training.documents import Document, documents_dataset
from hf_blink.training.nif import read_nif
from hf_blink.training.text_formats import AIDA_LABELS, aida_documents, at_place, pubtator_documents

PathLike = str | Path
DOCUMENT_FORMS = ("common", "elq", "blink", "kilt", "aida", "pubtator", "nif")
_JSON: dict[str, Callable[..., Document]] = {
    "common": common_document,
    "elq": elq_document,
    "blink": blink_document,
    "kilt": kilt_document,
}
_SHAPES = dict.fromkeys(_JSON, "one JSON object a line") | {
    "aida": "a line -DOCSTART- before each document",
    "pubtator": "lines id|t|title and id|a|abstract",
    "nif": "Turtle with a nif:Context and its nif:isString for each document",
}
_LABEL_FIELDS = {
    "elq": ("label_id", "wikidata_id", "entity"),
    "kilt": ("wikipedia_id", "title"),
    "aida": tuple(AIDA_LABELS),
}


def read_documents(
    paths: PathLike | Sequence[PathLike],
    form: str = "common",
    *,
    split: str | None = None,
    label_field: str | None = None,
    id_format: str = "{}",
    knowledge_base: Any = None,
) -> Dataset:
    """Reads documents with their mentions.

    Args:
        paths: file or files, JSON lines also `.gz`.
        form: of the files, see the table.
        split: of the common form, the lines whose field "split" says this; None keeps all.
        label_field: which of a form's ids are the entities': elq label_id, wikidata_id or entity; kilt wikipedia_id or
            title; aida wikipedia_id, title, url or freebase_id. None takes its usual one; of elq it means the entities at
            the lines of the catalogue that `label_id` names, so the knowledge base must be given.
        id_format: how the knowledge base writes the ids, `{}` standing for the label. Of NIF it is the whole IRI's ending:
            `http://dbpedia.org/resource/{}` takes that beginning off.
        knowledge_base: of elq, the imported catalogue in its own order; other forms do not look at it.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: an unknown form or label field, lines of a catalogue without it, a file with bad records, or no document
            at all.
    """
    check_reading(form, split, label_field, id_format)
    options: dict[str, Any] = {} if label_field is None else {"label_field": label_field}
    if form == "elq" and label_field is None:
        if knowledge_base is None:
            raise ValueError(
                f"expected knowledge_base= for {form}, whose label_id counts lines of the catalogue, or a label_field "
                f"({', '.join(_LABEL_FIELDS[form])}) whose values are the entity ids, got neither"
            )
        options["knowledge_base"] = knowledge_base
    problems = RecordProblems("document")
    found = []
    for file in existing_files(paths, "document"):
        for read in _documents_of(file, form, split, id_format, options):
            if isinstance(read, RecordError):
                problems.add(file.name, read)
            else:
                found.append(read)
    problems.raise_if_any()
    if not found:
        why = (
            f" is of the split {split!r}"
            if split
            else f": expected the form {form!r} ({_SHAPES[form]}), got none"
        )
        raise ValueError(f"no document in {paths}{why}")
    return documents_dataset(found if form == "nif" or id_format == "{}" else _formatted(found, id_format))


def check_reading(
    form: str = "common", split: str | None = None, label_field: str | None = None, id_format: str = "{}"
) -> None:
    """Checks options of `read_documents` before anything is read.

    Raises:
        ValueError: an unknown form, or an option that does not fit it.
    """
    if form not in DOCUMENT_FORMS:
        raise ValueError(f"expected a form among {', '.join(DOCUMENT_FORMS)}, got {form!r}")
    known = _LABEL_FIELDS.get(form, ())
    if label_field is not None and label_field not in known:
        names = ", ".join(known) or "none, as this form has one kind of ids"
        raise ValueError(f"expected a label_field of {form} ({names}), got {label_field!r}")
    if split is not None and form not in _JSON:
        raise ValueError(
            f"expected a split of a form that names it ({', '.join(_JSON)}), got {split!r} for {form}; give each a file"
        )
    if id_format.count("{}") != 1:
        raise ValueError(
            f"expected an id_format with one {{}}, which stands for the label, got {id_format!r}"
        )


def _formatted(documents: list[Document], id_format: str) -> Iterator[Document]:
    for source in documents:
        for holder in (source, *source["mentions"]):
            holder["label_ids"] = [id_format.format(label) for label in holder["label_ids"]]
        yield source


def _documents_of(
    file: Path, form: str, split: str | None, id_format: str, options: dict[str, Any]
) -> Iterator[Document | RecordError]:
    if form == "nif":
        yield from read_nif(file, entity_prefix=id_format.partition("{}")[0])
    elif form in _JSON:
        yield from _json_documents(file, partial(_JSON[form], **options), split)
    else:
        lines = _lines(file)
        yield from aida_documents(lines, **options) if form == "aida" else pubtator_documents(lines)


def _json_documents(
    file: Path, read: Callable[[Any, str], Document], split: str | None
) -> Iterator[Document | RecordError]:
    for place, record in read_json_lines(file, "document"):
        if split is not None and isinstance(record, dict) and record.get("split") != split:
            continue
        try:
            yield read(record, f"{file.name}:{place.number}")
        except RecordError as error:
            yield at_place(f"line {place.number}", error)


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    open_text = gzip.open if file.suffix == ".gz" else open
    with open_text(file, "rt", encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, 1):
            yield f"line {number}", line
