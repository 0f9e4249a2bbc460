"""Texts with all their mentions: the data that a one-pass linker learns from and is measured on.

| column | content |
|---|---|
| doc_id, text | of the document, in the case of the source |
| mentions | list of `{"start", "end", "label_ids"}`: characters, end exclusive; no label = NIL, in no knowledge base |
| label_ids | all gold entities of the document, each once |
| world | the sub-catalogue of its mentions; None = no worlds |
| complete | False where mentions of entities of the catalogue may be missing, so that precision means nothing; None = unknown |

`read_documents` reads the files; `passages` cuts documents into texts that fit a model's window, for training.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from datasets import Dataset, Features, List, Value

from hf_blink.modeling.processing_elq import token_span, window_bounds
from hf_blink.training.mention_rows import text_window

Document = dict[str, Any]

DOCUMENT_FEATURES = Features(
    {
        "doc_id": Value("string"),
        "text": Value("string"),
        "mentions": List(
            {"start": Value("int64"), "end": Value("int64"), "label_ids": List(Value("string"))}
        ),
        "label_ids": List(Value("string")),
        "world": Value("string"),
        "complete": Value("bool"),
    }
)


def document(
    doc_id: str,
    text: str,
    mentions: Iterable[tuple[int, int, Sequence[str]]],
    *,
    world: str | None = None,
    complete: bool | None = None,
) -> Document:
    """One document in the schema above, its mentions in the order of the text.

    Args:
        doc_id: its id.
        text: the text.
        mentions: start, end and gold entity ids of each.
        world: of its mentions.
        complete: see the module's text.

    Raises:
        ValueError: a mention that is no span of the text.
    """
    rows: list[dict[str, Any]] = []
    for start, end, labels in sorted(mentions, key=lambda mention: (mention[0], mention[1])):
        if not 0 <= start < end <= len(text):
            raise ValueError(
                f"expected mentions with 0 <= start < end <= {len(text)} (characters of document {doc_id}), got "
                f"{start} and {end}"
            )
        rows.append({"start": start, "end": end, "label_ids": list(dict.fromkeys(labels))})
    labels = list(dict.fromkeys(label for row in rows for label in row["label_ids"]))
    return {
        "doc_id": doc_id,
        "text": text,
        "mentions": rows,
        "label_ids": labels,
        "world": world,
        "complete": complete,
    }


def documents_dataset(documents: Iterable[Mapping[str, Any]]) -> Dataset:
    """Documents as a data set in memory."""
    table = pa.Table.from_pylist(list(documents), schema=DOCUMENT_FEATURES.arrow_schema)
    return Dataset(table)


def passages(documents: Iterable[Mapping[str, Any]], processor: Any, *, keep_empty: bool = True) -> Dataset:
    """Documents cut into texts of one window each.

    Args:
        documents: in the schema above.
        processor: an [`ElqProcessor`]; its `mention_length` bounds a passage.
        keep_empty: also passages without mentions, which teach what is none, of documents that are not incomplete.

    Returns:
        A data set of the same schema; a passage of a document that was cut is called `<doc_id>#<number>`. A mention that
        fits no window is left out.
    """
    return documents_dataset(
        passage
        for document_ in documents
        for passage in _passages_of(document_, processor)
        if passage["mentions"] or (keep_empty and document_.get("complete") is not False)
    )


def _passages_of(source: Mapping[str, Any], processor: Any) -> Iterator[Document]:
    text = source["text"]
    (tokens,) = processor.tokenize_texts([text])
    room = processor.mention_length - 2
    bounds = window_bounds(len(tokens.ids), room, room // 4)
    if not tokens.ids:
        return
    if len(bounds) == 1:
        yield {name: source.get(name) for name in DOCUMENT_FEATURES}
        return
    spans = [
        (mention, token_span(tokens, mention["start"], mention["end"])) for mention in source["mentions"]
    ]
    for number, (first, stop) in enumerate(bounds):
        start, end = int(tokens.offsets[first, 0]), int(tokens.offsets[stop - 1, 1])
        inside = [
            (max(mention["start"], start) - start, min(mention["end"], end) - start, mention["label_ids"])
            for mention, span in spans
            if first <= span[0] < span[1] <= stop
        ]
        yield document(
            f"{source['doc_id']}#{number}", text[start:end], inside,
            world=source.get("world"), complete=source.get("complete"),
        )  # fmt: skip


def mentions_of(documents: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The labelled mentions of documents, each in its context, as `read_mentions` gives them; NIL has no labels."""
    for source in documents:
        for number, mention in enumerate(source["mentions"]):
            left, words, right = text_window(source["text"], mention["start"], mention["end"])
            yield {
                "id": f"{source['doc_id']}#{number}",
                "context_left": left,
                "mention": words,
                "context_right": right,
                "label_ids": mention["label_ids"],
                "world": source.get("world"),
                "doc_id": source["doc_id"],
            }
