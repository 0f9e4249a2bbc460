"""The linker: texts in, links out.

    texts -> mentions (given, marked or detected) -> mention windows -> bi-encoder -> index top-k -> cross-encoder
          -> softmax over the candidates -> links, with character offsets of the texts as given

Mentions of all texts go through each stage together, sorted by length. `score` is the probability of an entity among
the mention's candidates; `retrieval_score` and `rerank_score` are the raw scores of the two stages. Where an ELQ model
finds the mentions itself (`span_linking`), `score` also counts how likely the span is a mention (`mention_score`).
"""

from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any

import numpy as np

from .candidate_ranking import check_worlds, rerank, retrieve
from .link_decision import check_settings, decide_links
from .linker_assembly import LinkerAssembly
from .linking_types import EntityLink, MentionContext
from .mention_detection import detected_spans
from .mention_items import MentionItem, check_one_each, mention_items, text_list
from .span_linking import link_detected

_TEXTS_AT_ONCE = 512  # bounds memory where an ELQ model finds the mentions
_MENTIONS_AT_ONCE = 4096  # bounds memory; mentions are sorted by length within such a group


class EntityLinker(LinkerAssembly):
    """Links mentions in texts to the entities of a knowledge base; see the module's text.

    Args:
        bi_encoder: a [`BlinkBiEncoder`], or an [`ElqModel`], which finds mentions as well.
        processor: the [`BlinkProcessor`] or [`ElqProcessor`] that it was trained with.
        index: an [`EntityIndex`] of the knowledge base's vectors, in row order.
        knowledge_base: the entities.
        cross_encoder: a [`BlinkCrossEncoder`]; None ranks by retrieval alone.
        detector: finds mentions where none are given; None leaves that to an ELQ model, or looks for titles and aliases of
            the knowledge base.
        num_candidates: entities retrieved, and reranked where there is a cross-encoder, for each mention.
        threshold: links with a lower `score` are dropped, or come as `nil` with `return_nil=True`.

    Raises:
        ValueError: the index was built with another encoder or another knowledge base, or windows of the processor are
            longer than an encoder can read.
    """

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
        nested: bool | None = None,
    ) -> Any:
        """Links the mentions of one text or of many.

        Args:
            texts: a text or a sequence of texts.
            mentions: spans of the text (`[(0, 5)]`), or one such list for each text; None, or None for a text, looks for
                them. Overlapping spans are each linked for themselves, in the given order.
            marks: opening and closing mark around mentions in the texts, such as `("[[", "]]")`.
            worlds: restricts candidates to a world of the knowledge base, for all texts or for each.
            top_k: candidates in the result; None for all `num_candidates`.
            threshold: instead of the linker's own; it cuts `score`.
            return_nil: keep links under the threshold, with `entity=None` and `nil=True`.
            nested: of mentions that an ELQ model finds, keep all that overlap (True) or the best of them (False); None
                takes its configuration's. (`bi_encoder.config.joint_threshold` says which spans are mentions.)

        Returns:
            A list of [`EntityLink`] for one text, a list of such lists for many; a text without mentions gives `[]`. A link's
            `score` is its best candidate's, or, of a mention that an ELQ model found, that times `mention_score`; the
            candidates' own scores never count the mention.

        Raises:
            ValueError: a span out of its text, lists of different lengths, or an unknown world.
            TypeError: texts that are neither a string nor strings.
        """
        listed = text_list(texts)
        single = isinstance(texts, str)
        if single and mentions is not None:
            mentions = [mentions]
        of_texts = [worlds] * len(listed) if worlds is None or isinstance(worlds, str) else worlds
        top_k = self.num_candidates if top_k is None else top_k
        threshold = self.threshold if threshold is None else threshold
        check_settings(top_k, threshold, name="top_k")
        results: list[list[EntityLink]] = [[] for _ in listed]
        if mentions is None and marks is None:
            mentions = [None] * len(listed)
        if mentions is not None:
            check_one_each("mentions", mentions, listed)
            if not self.finds_mentions and any(spans is None for spans in mentions):
                self.mention_detector()  # made here, so that the next call has it too
        linker = copy(self)  # the entities of this moment, whatever another thread adds or removes meanwhile
        items = linker._items(listed, mentions, marks, of_texts)
        if self.finds_mentions and mentions is not None:
            wanted = [number for number, spans in enumerate(mentions) if spans is None]
            for number, link in linker._link_detected(listed, of_texts, wanted, top_k, threshold, nested):
                if return_nil or not link.nil:
                    results[number].append(link)
        for start in range(0, len(items), _MENTIONS_AT_ONCE):
            for item, link in linker._link_items(items[start : start + _MENTIONS_AT_ONCE], top_k, threshold):
                if return_nil or not link.nil:
                    results[item.text_number].append(link)
        return results[0] if single else results

    def _items(
        self,
        texts: list[str],
        mentions: Sequence[Any] | None,
        marks: tuple[str, str] | None,
        worlds: Sequence[str | None],
    ) -> list[MentionItem]:
        """Checks what was given, and looks for mentions where none were."""
        if marks is not None and mentions is not None:
            raise ValueError("expected mentions= or marks=, got both")
        check_one_each("worlds", worlds, texts)
        check_worlds(self.knowledge_base, worlds)
        if mentions is not None:
            mentions = self._with_detected(texts, mentions)
        return mention_items(texts, mentions, marks, worlds, self.processor.mention_length)

    def _with_detected(self, texts: list[str], mentions: Sequence[Any]) -> list[Any]:
        """The spans of each text, looked for where they are None; none where the model looks for them itself."""
        spans = list(mentions)
        if self.finds_mentions:
            return [[] if given is None else given for given in spans]
        wanted = [number for number, given in enumerate(spans) if given is None]
        if wanted:
            found = detected_spans(self.mention_detector(), [texts[number] for number in wanted])
            for number, detected in zip(wanted, found, strict=True):
                spans[number] = detected
        return spans

    def _link_detected(
        self,
        texts: list[str],
        worlds: Sequence[str | None],
        wanted: list[int],
        top_k: int,
        threshold: float,
        nested: bool | None,
    ) -> Iterable[tuple[int, EntityLink]]:
        """Links of the mentions that an ELQ model finds in the texts at these positions."""
        nested = self.bi_encoder.config.nested if nested is None else nested
        for start in range(0, len(wanted), _TEXTS_AT_ONCE):
            some = wanted[start : start + _TEXTS_AT_ONCE]
            found = link_detected(
                self, [texts[i] for i in some], [worlds[i] for i in some],
                top_k=top_k, threshold=threshold, nested=nested,
            )  # fmt: skip
            yield from ((some[number], link) for number, link in found)

    def _link_items(
        self, items: list[MentionItem], top_k: int, threshold: float
    ) -> Iterable[tuple[MentionItem, EntityLink]]:
        contexts = [item.context for item in items]
        worlds = [item.world for item in items]
        retrieval, rows = self.retrieve(contexts, max(self.num_candidates, top_k), worlds)
        links = decide_links(
            [item.mention for item in items],
            self.knowledge_base,
            rows,
            retrieval,
            self.rerank(contexts, rows, retrieval),
            temperature=self.bi_encoder.config.temperature,
            top_k=top_k,
            threshold=threshold,
        )
        return zip(items, links, strict=True)

    def retrieve(
        self, contexts: Sequence[MentionContext], k: int, worlds: Sequence[str | None] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest entities of each mention by the bi-encoder.

        Args:
            contexts: the mentions in their contexts.
            k: entities a mention.
            worlds: the world of each mention; None, or None for a mention, searches the whole knowledge base.

        Returns:
            Retrieval scores float32 and entity rows int64, both `[num_mentions, min(k, num_entities)]`, best first; row
            -1 (score -inf) where the world has fewer entities.

        Raises:
            ValueError: an unknown world.
        """
        return retrieve(self.bi_encoder, self.processor, self.index, self.knowledge_base, contexts, k, worlds)

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
        temperature = self.bi_encoder.config.temperature
        return rerank(
            self.cross_encoder, self.processor, self.knowledge_base, contexts, rows, scores, temperature
        )
