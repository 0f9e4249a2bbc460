"""How long texts are in tokens before they are cut, and how many are cut, on a sample of them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from datasets import Dataset

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.modeling.processing_elq import ElqProcessor, token_span
from hf_blink.training.dataset_readers import contexts_of
from hf_blink.training.mention_references import entity_rows

MOST_SAMPLED = 2000


class TokenLengths(NamedTuple):
    """Lengths of some texts.

    Attributes:
        what: What they are of.
        limit: Tokens that a window keeps.
        lengths: `[num_texts]`, uncut, with the special tokens.
        cut: `[num_texts]`, whether something is cut away.
    """

    what: str
    limit: int
    lengths: np.ndarray
    cut: np.ndarray

    def __str__(self) -> str:
        median, high, most = np.quantile(self.lengths, (0.5, 0.95, 1.0), method="higher")
        return (
            f"{self.what:<16} {median:>7} {high:>7} {most:>7} {self.limit:>7} {100 * self.cut.mean():>6.1f} %"
        )


class DocumentTexts(NamedTuple):
    """What a one-pass linker reads.

    Attributes:
        documents: Whole ones.
        passages: What they are cut into.
        max_mention_tokens: Tokens of the longest mention that the model finds.
    """

    documents: Dataset
    passages: Dataset
    max_mention_tokens: int


HEADER = f"{'tokens':<16} {'median':>7} {'95 %':>7} {'longest':>7} {'kept':>7} {'cut':>8}"


def token_lengths(
    processor: BlinkProcessor, knowledge_base: KnowledgeBase, mentions: Dataset, seed: int
) -> Iterator[TokenLengths]:
    """Lengths of mention windows, entity texts, and pairs of a mention with its gold entity.

    Args:
        processor: makes the windows.
        knowledge_base: the entities.
        mentions: labelled mentions, each with a gold entity.
        seed: of the sample, which has 2,000 mentions and as many entities at most.
    """
    draw = np.random.default_rng(seed)
    rows = mentions.select(_sample(draw, len(mentions))).to_list()
    of_mentions = _of_mentions(processor, rows)
    yield _cut("mention windows", of_mentions, processor.mention_length)
    entities = _of_entities(processor, knowledge_base, _sample(draw, len(knowledge_base)))
    yield _cut("entity texts", entities, processor.entity_length)
    gold = [found[0] for found in entity_rows([row["label_ids"] for row in rows], knowledge_base)]
    of_gold = _of_entities(processor, knowledge_base, gold)
    limit = processor.mention_length + processor.entity_length - 1
    cut = (of_mentions > processor.mention_length) | (of_gold > processor.entity_length)
    yield TokenLengths("pairs", limit, of_mentions + of_gold - 1, cut)


def document_lengths(
    processor: ElqProcessor, knowledge_base: KnowledgeBase, data: DocumentTexts, seed: int
) -> Iterator[TokenLengths]:
    """Lengths of documents, of the windows that they are cut into, of entity texts and of mentions.

    A document that is longer than a window is read in several; a mention that is longer than `max_mention_tokens` is never
    found.

    Args:
        processor: makes the windows.
        knowledge_base: the entities.
        data: the texts.
        seed: of the samples, of 2,000 each at most.
    """
    draw = np.random.default_rng(seed)
    texts = data.documents.select(_sample(draw, len(data.documents)))["text"]
    lengths = np.array([2 + len(tokens.ids) for tokens in processor.tokenize_texts(list(texts))])
    yield _cut("documents", lengths, processor.mention_length)
    rows = data.passages.select(_sample(draw, len(data.passages))).to_list()
    tokenized = processor.tokenize_texts([row["text"] for row in rows])
    lengths = np.array([2 + len(tokens.ids) for tokens in tokenized])
    yield _cut("text windows", lengths, processor.mention_length)
    entities = _of_entities(processor, knowledge_base, _sample(draw, len(knowledge_base)))
    yield _cut("entity texts", entities, processor.entity_length)
    spans = [
        token_span(tokens, mention["start"], mention["end"])
        for row, tokens in zip(rows, tokenized, strict=True)
        for mention in row["mentions"]
    ]
    if spans:
        lengths = np.array([stop - start for start, stop in spans])
        yield _cut("mentions", lengths, data.max_mention_tokens)


def _sample(draw: np.random.Generator, count: int) -> Sequence[int]:
    return np.sort(draw.permutation(count)[:MOST_SAMPLED]).tolist()


def _cut(what: str, lengths: np.ndarray, limit: int) -> TokenLengths:
    return TokenLengths(what, limit, lengths, lengths > limit)


def _of_mentions(processor: BlinkProcessor, rows: Sequence[dict]) -> np.ndarray:
    """Tokens of whole windows: the context as it was read, two markers, a token at each end."""
    contexts = contexts_of(rows)
    parts = [[getattr(context, side) for context in contexts] for side in ("left", "mention", "right")]
    return 4 + np.sum([_counts(processor, texts) for texts in parts], axis=0)


def _of_entities(processor: BlinkProcessor, knowledge_base: KnowledgeBase, rows: Sequence[int]) -> np.ndarray:
    """Tokens of whole entity texts: title, marker, description, a token at each end."""
    return 3 + np.sum([_counts(processor, texts) for texts in knowledge_base.texts_at(rows)], axis=0)


def _counts(processor: BlinkProcessor, texts: Sequence[str]) -> np.ndarray:
    return np.array([len(ids) for ids in processor.token_ids(texts)])
