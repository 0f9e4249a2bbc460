"""Text to token windows: mention windows, entity texts and mention-entity pairs.

The algorithm is BLINK's (biencoder/data_process.py, crossencoder/data_process.py):

    mention window   [CLS] left [START] mention [END] right [SEP]   left and right share what the mention leaves free;
                                                                    a side that needs less gives its rest to the other
    entity text      [CLS] title [TITLE] description [SEP]          cut at the end
    pair             mention window + entity text without its [CLS], token types 0 and 1

Left context keeps its end, right context its start. The three parts of a window are tokenised apart from each other and
from the markers, which are inserted as ready-made ids: marker text (or "[SEP]") in a user's text stays text. A mention
that does not fit is cut at its end (BLINK asserts and stops there). Nothing here depends on how texts are batched.
"""

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self

import torch
from transformers import AutoTokenizer, BatchEncoding, ProcessorMixin

from .linking_types import MentionContext

_BERT_MARKERS = ("[unused0]", "[unused1]", "[unused2]")
_ADDED_MARKERS = ("[MENTION_START]", "[MENTION_END]", "[ENTITY_TITLE]")
_CHARACTERS_PER_TOKEN = 64  # far above any real average: text further away cannot reach the window
_LONGEST_WORD = 1000  # characters; a longer "word" is a dump of data, and its far end cannot reach the window


def window_quotas(mention_length: int, num_left: int, num_right: int, length: int) -> tuple[int, int]:
    """Tokens of left and right context that go beside a mention (BLINK: get_context_representation).

    Args:
        mention_length: tokens of the mention, its markers included; at most `length - 2`.
        num_left: tokens of left context at hand.
        num_right: tokens of right context at hand.
        length: tokens of the whole window with [CLS] and [SEP].

    Returns:
        The two quotas; a quota may exceed what is at hand.
    """
    left = max((length - mention_length) // 2 - 1, 0)
    right = length - mention_length - left - 2
    if num_left <= left:
        if num_right > right:
            right += left - num_left
    elif num_right <= right:
        left += right - num_right
    return left, right


def mention_window(
    left: list[int], mention: list[int], right: list[int], markers: tuple[int, int, int, int], length: int
) -> tuple[list[int], tuple[int, int]]:
    """One mention window of token ids and the span of the mention's own tokens in it.

    Args:
        left: token ids of the left context.
        mention: token ids of the mention, without markers.
        right: token ids of the right context.
        markers: ids of [CLS], mention start, mention end, [SEP].
        length: the most tokens that the window may have, at least 5.

    Returns:
        The ids, unpadded, and `(start, end)` of the mention in them, end exclusive. A mention without tokens gets no
        markers, as in BLINK, and the span `(0, 1)`, the [CLS] token.
    """
    cls_id, start_id, end_id, sep_id = markers
    marked = [start_id, *mention[: length - 4], end_id] if mention else []
    left_quota, right_quota = window_quotas(len(marked), len(left), len(right), length)
    kept_left = left[max(len(left) - left_quota, 0) :]
    ids = [cls_id, *kept_left, *marked, *right[:right_quota], sep_id]
    if not mention:
        return ids, (0, 1)
    start = len(kept_left) + 2
    return ids, (start, start + len(marked) - 2)


def nearest_text(text: str, length: int, *, side: str) -> str:
    """The part of a context that can reach a window of `length` tokens, so that a long text costs no more than a short one.

    Args:
        text: the context.
        length: tokens of the window.
        side: `left` keeps the end of the text, `right` its start.

    Returns:
        At most `length` whitespace-separated words, each at most 1,000 characters.
    """
    reach = length * _CHARACTERS_PER_TOKEN
    if side == "left":
        words = text[-reach:].split()[-length:]
        return " ".join(word[-_LONGEST_WORD:] for word in words)
    words = text[:reach].split()[:length]
    return " ".join(word[:_LONGEST_WORD] for word in words)


class BlinkProcessor(ProcessorMixin):
    """Turns mentions in context, entities and pairs into the encoders' input tensors; saved beside the weights.

    Args:
        tokenizer: a fast (`tokenizers`-backed) tokenizer.
        mention_length: tokens of a mention window, [CLS] and [SEP] included.
        entity_length: tokens of an entity text, [CLS] and [SEP] included.
        mention_start: marker token before a mention; added to the vocabulary when it is not there.
        mention_end: marker token after a mention.
        entity_marker: marker token between an entity's title and its description.
        do_lower_case: lower-case all text before tokenising (on top of what the tokenizer does itself).
        pad_mention_in_pairs: pad the mention window of a pair to `mention_length`, as BLINK does, so that the entity
            always starts at the same position; False puts it right after the window.

    Raises:
        ValueError: a tokenizer without a Rust backend or without special tokens, or lengths below 8.
    """

    def __init__(
        self,
        tokenizer,
        mention_length: int = 128,
        entity_length: int = 128,
        mention_start: str = _BERT_MARKERS[0],
        mention_end: str = _BERT_MARKERS[1],
        entity_marker: str = _BERT_MARKERS[2],
        do_lower_case: bool = False,
        pad_mention_in_pairs: bool = False,
    ):
        if getattr(tokenizer, "backend_tokenizer", None) is None:
            raise ValueError(
                f"expected a fast tokenizer, got {type(tokenizer).__name__}; load it with AutoTokenizer"
            )
        if min(mention_length, entity_length) < 8:
            raise ValueError(
                f"expected lengths of at least 8 tokens, got {mention_length} and {entity_length}"
            )
        self.mention_length = mention_length
        self.entity_length = entity_length
        self.mention_start = mention_start
        self.mention_end = mention_end
        self.entity_marker = entity_marker
        self.do_lower_case = do_lower_case
        self.pad_mention_in_pairs = pad_mention_in_pairs
        missing = [m for m in (mention_start, mention_end, entity_marker) if m not in tokenizer.get_vocab()]
        if missing:
            tokenizer.add_tokens(missing, special_tokens=True)
        super().__init__(tokenizer)
        if None in (*self.frame, self.tokenizer.pad_token_id):
            raise ValueError(
                "expected a tokenizer with a start, an end and a padding token (cls/bos, sep/eos, pad)"
            )

    @classmethod
    def from_base(cls, encoder: str, **settings: Any) -> Self:
        """A processor for a base encoder's tokenizer: BERT's unused tokens as markers, or three added ones.

        Args:
            encoder: a local folder or Hub name with a tokenizer.
            **settings: the constructor's other arguments.
        """
        tokenizer = AutoTokenizer.from_pretrained(encoder)
        has_unused = all(marker in tokenizer.get_vocab() for marker in _BERT_MARKERS)
        names = ("mention_start", "mention_end", "entity_marker")
        markers = dict(zip(names, _BERT_MARKERS if has_unused else _ADDED_MARKERS, strict=True))
        return cls(tokenizer, **{**markers, **settings})

    @property
    def frame(self) -> tuple[Any, Any]:
        """Ids of the tokens at the start and at the end of every window."""
        first, last = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        return (
            self.tokenizer.bos_token_id if first is None else first,
            self.tokenizer.eos_token_id if last is None else last,
        )

    @cached_property
    def _backend(self):
        """A copy of the Rust tokenizer that neither cuts nor pads and reads special tokens in a text as plain text."""
        backend = copy.deepcopy(self.tokenizer.backend_tokenizer)
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True
        return backend

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_backend"}

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of plain texts, without special tokens, uncut."""
        if self.do_lower_case:
            texts = [text.lower() for text in texts]
        return [
            encoding.ids
            for encoding in self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        ]

    def mention_windows(
        self, contexts: Sequence[MentionContext]
    ) -> tuple[list[list[int]], list[tuple[int, int]]]:
        """Token ids of mention windows, unpadded, and the token span of each mention (end exclusive)."""
        length = self.mention_length
        texts: list[str] = []
        for context in contexts:
            texts.append(nearest_text(context.left, length, side="left"))
            texts.append(nearest_text(context.mention, length, side="right"))
            texts.append(nearest_text(context.right, length, side="right"))
        ids = self.token_ids(texts)
        cls_id, sep_id = self.frame
        start_id, end_id = self.tokenizer.convert_tokens_to_ids([self.mention_start, self.mention_end])
        markers = (cls_id, start_id, end_id, sep_id)
        parts = zip(ids[0::3], ids[1::3], ids[2::3], strict=True)
        windows = [mention_window(left, mention, right, markers, length) for left, mention, right in parts]
        return [window for window, _ in windows], [span for _, span in windows]

    def marked_windows(self, contexts: Sequence[MentionContext]) -> list[list[int]]:
        """Token ids of mention windows as a cross-encoder reads them: the mention between its markers."""
        return self.mention_windows(contexts)[0]

    def entity_windows(self, titles: Sequence[str], descriptions: Sequence[str]) -> list[list[int]]:
        """Token ids of entity texts, unpadded: title, marker, description, cut to `entity_length`."""
        length = self.entity_length
        texts = [nearest_text(text, length, side="right") for text in (*titles, *descriptions)]
        ids = self.token_ids(texts)
        cls_id, sep_id = self.frame
        marker_id = self.tokenizer.convert_tokens_to_ids(self.entity_marker)
        pairs = zip(ids[: len(titles)], ids[len(titles) :], strict=True)
        return [[cls_id, *[*title, marker_id, *text][: length - 2], sep_id] for title, text in pairs]

    def pad(
        self, windows: Sequence[Sequence[int]], token_types: Sequence[Sequence[int]] | None = None
    ) -> BatchEncoding:
        """Right-pads to the longest: `input_ids`, `attention_mask`, and `token_type_ids` if given, `[batch_size, length]`."""
        longest = max((len(window) for window in windows), default=0)
        pad_id = self.tokenizer.pad_token_id
        rows = [[*window, *[pad_id] * (longest - len(window))] for window in windows]
        mask = [[1] * len(window) + [0] * (longest - len(window)) for window in windows]
        tensors = {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(mask)}
        if token_types is not None:
            types = [[*row, *[0] * (longest - len(row))] for row in token_types]
            tensors["token_type_ids"] = torch.tensor(types)
        return BatchEncoding(tensors)

    def process_mentions(self, contexts: Sequence[MentionContext]) -> BatchEncoding:
        """`input_ids`, `attention_mask` [batch_size, mention_length] and `mention_spans` [batch_size, 2] (end exclusive)."""
        windows, spans = self.mention_windows(contexts)
        batch = self.pad(windows)
        batch["mention_spans"] = torch.tensor(spans)
        return batch

    def process_entities(self, titles: Sequence[str], descriptions: Sequence[str]) -> BatchEncoding:
        """`input_ids` and `attention_mask` [batch_size, entity_length] of entity texts."""
        return self.pad(self.entity_windows(titles, descriptions))

    def pair_window(
        self, mention: Sequence[int], entity: Sequence[int]
    ) -> tuple[list[int], list[int], list[int]]:
        """One pair: ids, attention mask and token types (0 mention window, 1 entity), unpadded at the end."""
        gap = self.mention_length - len(mention) if self.pad_mention_in_pairs else 0
        ids = [*mention, *[self.tokenizer.pad_token_id] * gap, *entity[1:]]
        mask = [1] * len(mention) + [0] * gap + [1] * (len(entity) - 1)
        types = [0] * (len(mention) + gap) + [1] * (len(entity) - 1)
        return ids, mask, types

    def process_pairs(
        self, mentions: Sequence[Sequence[int]], entities: Sequence[Sequence[int]]
    ) -> BatchEncoding:
        """Windows paired one to one.

        Returns:
            `input_ids`, `attention_mask`, `token_type_ids` [batch_size, pair_length], `mention_spans` [batch_size, 2].
        """
        pairs = [
            self.pair_window(mention, entity) for mention, entity in zip(mentions, entities, strict=True)
        ]
        batch = self.pad([ids for ids, _, _ in pairs], [types for _, _, types in pairs])
        for row, (_, mask, _) in enumerate(pairs):
            batch["attention_mask"][row, : len(mask)] = torch.tensor(mask)
        batch["mention_spans"] = torch.tensor([self.span_of(mention) for mention in mentions]).view(-1, 2)
        return batch

    def span_of(self, window: Sequence[int]) -> tuple[int, int]:
        """The span of the mention's own tokens in a mention window; the [CLS] token's where the mention is empty."""
        start_id, end_id = self.tokenizer.convert_tokens_to_ids([self.mention_start, self.mention_end])
        return (window.index(start_id) + 1, window.index(end_id)) if start_id in window else (0, 1)

    def entity_settings(self) -> dict[str, Any]:
        """Everything here that changes an entity's vector, the tokenizer included (part of the encoder fingerprint)."""
        # The Rust tokenizer's own serialisation is all that it does to a text: normaliser, splitting, vocabulary, merges.
        # It is taken whole, since none of it is known not to change a token; the Python tokenizer around it has further
        # fields (model_max_length, chat templates, class names) that change none and differ between versions.
        return {
            "entity_length": self.entity_length,
            "entity_marker": self.entity_marker,
            "do_lower_case": self.do_lower_case,
            "tokenizer": self._backend.to_str(),
        }
