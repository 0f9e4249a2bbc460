"""The linker: texts in, links out.

    texts -> mentions (given, marked or detected) -> mention windows -> bi-encoder -> index top-k -> cross-encoder
          -> softmax over the candidates -> links, with character offsets of the texts as given

Mentions of all texts go through each stage together, sorted by length. `score` is the probability of an entity among
the mention's candidates; `retrieval_score` and `rerank_score` are the raw scores of the two stages.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import AutoConfig

from .batch_encoding import encode_mentions, score_pairs
from .encoder_fingerprint import encoder_fingerprint
from .entity_index import EntityIndex
from .knowledge_base import KnowledgeBase
from .linker_storage import load_linker_parts, save_linker_parts
from .linking_types import Candidate, EntityLink, Mention, MentionContext
from .mention_detection import TitleMatcher, checked_mentions, marked_mentions
from .modeling_blink_biencoder import BlinkBiEncoder
from .processing_blink import BlinkProcessor

_MENTIONS_AT_ONCE = 4096  # bounds memory; mentions are sorted by length within such a group
_CHARACTERS_OF_CONTEXT = 64  # a token; see processing_blink.nearest_text


@dataclass(frozen=True, slots=True)
class _Item:
    """A mention on its way through the stages."""

    text_number: int
    mention: Mention
    context: MentionContext
    world: str | None


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


class EntityLinker:
    """Links mentions in texts to the entities of a knowledge base; see the module's text.

    Args:
        bi_encoder: a [`BlinkBiEncoder`].
        processor: the [`BlinkProcessor`] that it was trained with.
        index: an [`EntityIndex`] of the knowledge base's vectors, in row order.
        knowledge_base: the entities.
        cross_encoder: a [`BlinkCrossEncoder`]; None ranks by retrieval alone.
        detector: finds mentions where none are given; None looks for titles and aliases of the knowledge base.
        num_candidates: entities retrieved, and reranked where there is a cross-encoder, for each mention.
        threshold: links with a lower `score` are dropped, or come as `nil` with `return_nil=True`.

    Raises:
        ValueError: the index was built with another encoder or another knowledge base.
    """

    def __init__(
        self,
        bi_encoder: Any,
        processor: Any,
        index: EntityIndex,
        knowledge_base: KnowledgeBase,
        *,
        cross_encoder: Any = None,
        detector: Callable[[Sequence[str]], Any] | None = None,
        num_candidates: int = 16,
        threshold: float = 0.0,
    ):
        _check_settings(num_candidates, threshold)
        index.check(
            encoder_fingerprint=encoder_fingerprint(bi_encoder, processor),
            knowledge_base_fingerprint=knowledge_base.fingerprint,
        )
        if len(index) != len(knowledge_base) or index.dimension != bi_encoder.config.embed_dim:
            raise ValueError(
                f"expected an index of {len(knowledge_base)} entities x {bi_encoder.config.embed_dim} dimensions, got "
                f"{len(index)} x {index.dimension}; rebuild it with EntityIndex.build"
            )
        vocabulary, embeddings = len(processor.tokenizer), bi_encoder.get_input_embeddings().weight.shape[0]
        if vocabulary > embeddings:
            raise ValueError(
                f"expected a bi-encoder with at least {vocabulary} token embeddings, got {embeddings}; build it with "
                "BlinkBiEncoder.from_encoder(..., vocab_size=len(processor.tokenizer))"
            )
        self.bi_encoder = bi_encoder.eval()
        self.processor = processor
        self.index = index
        self.knowledge_base = knowledge_base
        self.cross_encoder = None if cross_encoder is None else cross_encoder.eval()
        self.detector = detector
        self.num_candidates = num_candidates
        self.threshold = threshold

    @classmethod
    def from_knowledge_base(
        cls,
        knowledge_base: KnowledgeBase | str,
        encoder: Any,
        *,
        processor: Any = None,
        index_kind: str = "auto",
        progress: bool = True,
        **settings: Any,
    ) -> "EntityLinker":
        """A working linker from a catalogue in one call: encodes every entity and builds the index.

        Args:
            knowledge_base: the entities, or the path of their jsonl file.
            encoder: a base encoder's folder or Hub name (untrained), a saved bi-encoder's, or a bi-encoder object.
            processor: the bi-encoder's processor; needed when `encoder` is an object.
            index_kind: see `EntityIndex.build`.
            progress: show a progress bar.
            **settings: the constructor's other arguments.
        """
        if isinstance(knowledge_base, str):
            knowledge_base = KnowledgeBase.from_jsonl(knowledge_base)
        if not isinstance(encoder, str):
            if processor is None:
                raise ValueError(
                    "expected the bi-encoder's processor beside a bi-encoder object, got None; pass processor="
                )
        elif AutoConfig.from_pretrained(encoder).model_type == "blink-biencoder":
            processor = processor or BlinkProcessor.from_pretrained(encoder)
            encoder = BlinkBiEncoder.from_pretrained(encoder)
        else:
            processor = processor or BlinkProcessor.from_base(encoder)
            encoder = BlinkBiEncoder.from_encoder(encoder, vocab_size=len(processor.tokenizer))
        index = EntityIndex.build(encoder, processor, knowledge_base, kind=index_kind, progress=progress)
        return cls(encoder, processor, index, knowledge_base, **settings)

    @classmethod
    def from_pretrained(
        cls,
        path: str,
        *,
        cross_encoder: bool = True,
        device: Any = None,
        dtype: Any = None,
        **hub_options: Any,
    ) -> "EntityLinker":
        """Loads a linker folder or Hub repository.

        Args:
            path: folder that `save_pretrained` wrote, or Hub name.
            cross_encoder: False leaves the cross-encoder out.
            device: where the encoders go (`"cpu"`, `"cuda"`, ...); None leaves them on the CPU.
            dtype: of the encoders' weights; None keeps the saved one.
            **hub_options: `revision`, `token`, `cache_dir`, `local_files_only`.

        Raises:
            FileNotFoundError: no such folder, or a file of the linker is missing.
            ValueError: files that do not belong together, or a newer format.
        """
        parts, settings = load_linker_parts(path, cross_encoder=cross_encoder, **hub_options)
        return cls(**parts, **settings).to(device, dtype)

    def save_pretrained(self, folder: str) -> None:
        """Writes everything to a folder in the Hub layout (docs/hub_layout.md); an older linker there is replaced whole."""
        fingerprint = encoder_fingerprint(self.bi_encoder, self.processor)
        self.index.check(encoder_fingerprint=fingerprint)
        settings = {"num_candidates": self.num_candidates, "threshold": self.threshold}
        save_linker_parts(self, folder, settings, fingerprint)

    def to(self, device: Any = None, dtype: Any = None) -> "EntityLinker":
        """Moves the encoders to a device and a dtype (None leaves them); the index stays on the CPU, in its own form."""
        options = {name: value for name, value in (("device", device), ("dtype", dtype)) if value is not None}
        if options:
            self.bi_encoder.to(**options)
            if self.cross_encoder is not None:
                self.cross_encoder.to(**options)
        return self

    def __call__(self, texts: Any, **options: Any) -> Any:
        return self.link(texts, **options)

    def link(
        self,
        texts: str | Sequence[str],
        mentions: Sequence[Any] | None = None,
        *,
        marks: tuple[str, str] | None = None,
        worlds: str | Sequence[str | None] | None = None,
        top_k: int | None = None,
        threshold: float | None = None,
        return_nil: bool = False,
    ) -> Any:
        """Links the mentions of one text or of many.

        Args:
            texts: a text or a sequence of texts.
            mentions: spans of the text (`[(0, 5)]`), or one such list for each text; None looks for them. Overlapping
                spans are each linked for themselves, in the given order.
            marks: opening and closing mark around mentions in the texts, such as `("[[", "]]")`.
            worlds: restricts candidates to a world of the knowledge base, for all texts or for each.
            top_k: candidates in the result; None for all `num_candidates`.
            threshold: instead of the linker's own.
            return_nil: keep links under the threshold, with `entity=None` and `nil=True`.

        Returns:
            A list of [`EntityLink`] for one text, a list of such lists for many; a text without mentions gives `[]`.

        Raises:
            ValueError: a span out of its text, lists of different lengths, or an unknown world.
            TypeError: a text that is no string.
        """
        single = isinstance(texts, str)
        text_list: list[Any] = [texts] if single else list(texts)
        mention_list = [mentions] if single and mentions is not None else mentions
        world_list = [worlds] * len(text_list) if worlds is None or isinstance(worlds, str) else list(worlds)
        top_k = self.num_candidates if top_k is None else top_k
        threshold = self.threshold if threshold is None else threshold
        _check_settings(top_k, threshold, name="top_k")
        items = self._items(text_list, mention_list, marks, world_list)
        results: list[list[EntityLink]] = [[] for _ in text_list]
        for start in range(0, len(items), _MENTIONS_AT_ONCE):
            for item, link in self._link_items(items[start : start + _MENTIONS_AT_ONCE], top_k, threshold):
                if return_nil or not link.nil:
                    results[item.text_number].append(link)
        return results[0] if single else results

    def _items(
        self,
        texts: list[str],
        mentions: Sequence[Any] | None,
        marks: tuple[str, str] | None,
        worlds: list[str | None],
    ) -> list[_Item]:
        """Finds or checks the mentions of all texts and cuts their contexts."""
        _check_inputs(texts, mentions, marks, worlds)
        if marks is None and mentions is None and texts:
            if self.detector is None:
                self.detector = TitleMatcher.from_knowledge_base(self.knowledge_base)
            mentions = self.detector(texts)
        reach = self.processor.mention_length * _CHARACTERS_OF_CONTEXT
        items = []
        for number, text in enumerate(texts):
            if marks is not None:
                plain, found, spans = marked_mentions(text, marks)
            else:
                plain, found = text, checked_mentions(text, mentions[number] if mentions is not None else [])
                spans = [(mention.start, mention.end) for mention in found]
            for mention, (start, end) in zip(found, spans, strict=True):
                context = MentionContext(
                    plain[max(start - reach, 0) : start], mention.text, plain[end : end + reach]
                )
                items.append(_Item(number, mention, context, worlds[number]))
        return items

    def _link_items(
        self, items: list[_Item], top_k: int, threshold: float
    ) -> Iterable[tuple[_Item, EntityLink]]:
        contexts = [item.context for item in items]
        worlds = [item.world for item in items]
        retrieval, rows = self.retrieve(contexts, max(self.num_candidates, top_k), worlds)
        rerank = self.rerank(contexts, rows, retrieval)
        logits = retrieval / self.bi_encoder.config.temperature if rerank is None else rerank
        logits = np.where(rows >= 0, logits, -np.inf)
        order = np.argsort(-logits, axis=1, kind="stable")[:, :top_k]
        scores = np.exp(_log_softmax(logits.astype(np.float64)))
        for i, item in enumerate(items):
            kept = [j for j in order[i] if rows[i, j] >= 0]
            entities = self.knowledge_base.entities([int(rows[i, j]) for j in kept])
            candidates = tuple(
                Candidate(
                    entity=entity,
                    retrieval_score=float(retrieval[i, j]),
                    rerank_score=None if rerank is None else float(rerank[i, j]),
                    score=float(scores[i, j]),
                )
                for entity, j in zip(entities, kept, strict=True)
            )
            yield item, _decide(item.mention, candidates, threshold)

    def retrieve(
        self, contexts: Sequence[MentionContext], k: int, worlds: Sequence[str | None] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest entities of each mention by the bi-encoder.

        Args:
            contexts: the mentions in their contexts.
            k: entities a mention.
            worlds: the world of each mention; None, or None for a mention, searches the whole knowledge base.

        Returns:
            Retrieval scores float32 and entity rows int64, both `[num_mentions, k]`, best first; row -1 (score -inf)
            where there are fewer than k entities.
        """
        vectors = encode_mentions(self.bi_encoder, self.processor, contexts)
        scores = np.full((len(contexts), k), -np.inf, dtype=np.float32)
        rows = np.full((len(contexts), k), -1, dtype=np.int64)
        groups: dict[str | None, list[int]] = {}
        for position, world in enumerate(worlds or [None] * len(contexts)):
            groups.setdefault(world, []).append(position)
        for world, positions in groups.items():
            allowed = None if world is None else self.knowledge_base.world_rows(world)
            found, found_rows = self.index.search(vectors[positions], k, rows=allowed)
            scores[positions, : found.shape[1]] = found
            rows[positions, : found.shape[1]] = found_rows
        return scores, rows

    def rerank(
        self, contexts: Sequence[MentionContext], rows: np.ndarray, scores: np.ndarray
    ) -> np.ndarray | None:
        """Scores candidates with the cross-encoder.

        Args:
            contexts: the mentions in their contexts.
            rows: entity rows `[num_mentions, k]`; -1 is no candidate.
            scores: retrieval scores `[num_mentions, k]`.

        Returns:
            Logits float32 `[num_mentions, k]` in the order of `rows`, -inf for no candidate; None without a cross-encoder.
        """
        if self.cross_encoder is None:
            return None
        windows, _ = self.processor.mention_windows(contexts)
        unique, inverse = np.unique(rows, return_inverse=True)
        known = unique >= 0
        titles, descriptions = self.knowledge_base.texts_at(unique[known])
        entities: list[Any] = [None] * int((~known).sum()) + self.processor.entity_windows(
            titles, descriptions
        )
        mention_at, candidate_at = np.nonzero(rows >= 0)
        inverse = inverse.reshape(rows.shape)
        pairs = [(windows[i], entities[inverse[i, j]]) for i, j in zip(mention_at, candidate_at, strict=True)]
        logits = np.full(rows.shape, -np.inf, dtype=np.float32)
        own = score_pairs(self.cross_encoder, self.processor, pairs)
        weight = self.cross_encoder.config.retrieval_weight / self.bi_encoder.config.temperature
        logits[mention_at, candidate_at] = own + weight * scores[mention_at, candidate_at]
        return logits


def _decide(mention: Mention, candidates: tuple[Candidate, ...], threshold: float) -> EntityLink:
    """The best candidate, or NIL under the threshold or without candidates."""
    if not candidates:
        return EntityLink(mention, None, 0.0, True, None, None, ())
    best = candidates[0]
    nil = best.score < threshold
    entity = None if nil else best.entity
    return EntityLink(mention, entity, best.score, nil, best.retrieval_score, best.rerank_score, candidates)


def _check_settings(num_candidates: Any, threshold: Any, name: str = "num_candidates") -> None:
    if not isinstance(num_candidates, int) or isinstance(num_candidates, bool) or num_candidates < 1:
        raise ValueError(f"expected {name} as an integer of at least 1, got {num_candidates!r}")
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 <= threshold <= 1:
        raise ValueError(f"expected a threshold between 0 and 1 (a probability), got {threshold!r}")


def _check_inputs(
    texts: list[Any], mentions: Sequence[Any] | None, marks: Any, worlds: list[str | None]
) -> None:
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"expected texts as str, got {type(text).__name__} at position {number}")
    if marks is not None and mentions is not None:
        raise ValueError("expected mentions= or marks=, got both")
    for name, values in (("mentions", mentions), ("worlds", worlds)):
        if values is not None and len(values) != len(texts):
            raise ValueError(
                f"expected one list of {name} for each of the {len(texts)} texts, got {len(values)}"
            )
