"""The linker: texts in, links out.

    texts -> mentions (given, marked or detected) -> mention windows -> bi-encoder -> index top-k -> cross-encoder
          -> softmax over the candidates -> links, with character offsets of the texts as given

Mentions of all texts go through each stage together, sorted by length. `score` is the probability of an entity among
the mention's candidates; `retrieval_score` and `rerank_score` are the raw scores of the two stages.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np

from .candidate_ranking import check_worlds, rerank, retrieve
from .configuration_blink import BlinkBiEncoderConfig, saved_model_type
from .encoder_fingerprint import encoder_fingerprint
from .encoder_limits import check_fits
from .entity_index import EntityIndex
from .entity_updates import with_entities, without_entities
from .hub_transfer import HubTarget
from .knowledge_base import KnowledgeBase
from .link_decision import check_settings, decide_links
from .linker_description import ENTITY_INDEX, KNOWLEDGE_BASE
from .linker_storage import load_linker_parts, save_linker_parts
from .linker_upload import push_linker
from .linking_types import EntityLink, MentionContext
from .mention_detection import TitleMatcher, detected_spans
from .mention_items import MentionItem, check_one_each, mention_items, text_list
from .modeling_blink_biencoder import BlinkBiEncoder
from .processing_blink import BlinkProcessor

_MENTIONS_AT_ONCE = 4096  # bounds memory; mentions are sorted by length within such a group


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
        ValueError: the index was built with another encoder or another knowledge base, or windows of the processor are
            longer than an encoder can read.
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
        check_settings(num_candidates, threshold)
        index.check(
            encoder_fingerprint=encoder_fingerprint(bi_encoder, processor),
            knowledge_base_fingerprint=knowledge_base.fingerprint,
        )
        if len(index) != len(knowledge_base) or index.dimension != bi_encoder.config.embed_dim:
            raise ValueError(
                f"expected an index of {len(knowledge_base)} entities x {bi_encoder.config.embed_dim} dimensions, got "
                f"{len(index)} x {index.dimension}; rebuild it with EntityIndex.build"
            )
        check_fits(processor, bi_encoder, cross_encoder)
        self.bi_encoder = bi_encoder.eval()
        self.processor = processor
        self.index = index
        self.knowledge_base = knowledge_base
        self.cross_encoder = None if cross_encoder is None else cross_encoder.eval()
        self.detector = detector
        self.num_candidates = num_candidates
        self.threshold = threshold
        self.origin: Path | None = None  # the folder that it was loaded from
        self._finds_own_names = detector is None
        self._converted = False  # to another dtype than the index was made with

    @classmethod
    def from_knowledge_base(
        cls,
        knowledge_base: KnowledgeBase | str | os.PathLike[str],
        encoder: Any,
        *,
        processor: Any = None,
        device: Any = None,
        index_kind: str = "auto",
        progress: bool = True,
        **settings: Any,
    ) -> "EntityLinker":
        """A working linker from a catalogue in one call: encodes every entity and builds the index.

        Args:
            knowledge_base: the entities, or the path of their jsonl file.
            encoder: a base encoder's folder or Hub name (untrained), a saved bi-encoder's, or a bi-encoder object.
            processor: the bi-encoder's processor; needed when `encoder` is an object.
            device: where entities are encoded and the encoders stay (`"cuda"`, ...); None leaves them where they are.
            index_kind: see `EntityIndex.build`.
            progress: show a progress bar.
            **settings: the constructor's other arguments.

        Raises:
            FileNotFoundError: no such file of entities.
            OSError: no such encoder, or a saved bi-encoder without safetensors; pickled weights are not read.
            ValueError: bad entities, or an encoder without a processor.
        """
        if isinstance(knowledge_base, (str, os.PathLike)):
            knowledge_base = KnowledgeBase.from_jsonl(knowledge_base)
        if not isinstance(encoder, (str, os.PathLike)):
            if processor is None:
                raise ValueError(
                    "expected the bi-encoder's processor beside a bi-encoder object, got None; pass processor="
                )
        elif saved_model_type(encoder) == BlinkBiEncoderConfig.model_type:
            processor = processor or BlinkProcessor.from_pretrained(encoder)
            encoder = BlinkBiEncoder.from_pretrained(encoder, use_safetensors=True)
        else:
            processor = processor or BlinkProcessor.from_base(os.fspath(encoder))
            encoder = BlinkBiEncoder.from_encoder(os.fspath(encoder), vocab_size=len(processor.tokenizer))
        check_fits(processor, encoder, settings.get("cross_encoder"))
        if device is not None:
            encoder = encoder.to(device)
        index = EntityIndex.build(encoder, processor, knowledge_base, kind=index_kind, progress=progress)
        return cls(encoder, processor, index, knowledge_base, **settings).to(device)

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str],
        *,
        cross_encoder: bool = True,
        device: Any = None,
        dtype: Any = None,
        **hub_options: Any,
    ) -> "EntityLinker":
        """Loads a linker folder or Hub repository.

        Args:
            path: folder that `save_pretrained` wrote, or Hub name.
            cross_encoder: False leaves the cross-encoder out; it is not downloaded either.
            device: where the encoders go (`"cpu"`, `"cuda"`, ...); None leaves them on the CPU.
            dtype: of the encoders' weights; None keeps the saved one.
            **hub_options: `revision`, `token`, `cache_dir`, `local_files_only`.

        Raises:
            FileNotFoundError: no such folder, or a file of the linker is missing.
            ValueError: files that do not belong together, or a newer format.
        """
        folder, parts, settings = load_linker_parts(path, cross_encoder=cross_encoder, **hub_options)
        linker = cls(**parts, **settings).to(device, dtype)
        linker.origin = folder
        return linker

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Writes everything to a folder in the Hub layout (docs/hub_layout.md).

        An older linker there is replaced whole; files that no linker wrote stay.

        Raises:
            ValueError: the folder is the working directory, one around it, or holds something else than a linker.
        """
        self._save(folder)

    def _save(self, folder: str | os.PathLike[str], elsewhere: dict[str, str] | None = None) -> None:
        self._check_weights()
        fingerprint = encoder_fingerprint(self.bi_encoder, self.processor)
        self.index.check(encoder_fingerprint=fingerprint)
        settings = {"num_candidates": self.num_candidates, "threshold": self.threshold}
        save_linker_parts(self, folder, settings, fingerprint, elsewhere)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        index_repo_id: str | None = None,
        knowledge_base_repo_id: str | None = None,
        **target: Any,
    ) -> Any:
        """Uploads everything as exactly one commit: weights, index, knowledge base, code, and (with hf_blink) the card.

        An index of more than 40 GB goes to a repository of its own first, `<repo_id>-index`, and the knowledge base to
        `<repo_id>-knowledge-base`; the linker's commit, which names theirs, comes last.

        Args:
            repo_id: `user/name`; made if missing.
            index_repo_id: repository for the index; `user/name@commit` uses what is there already.
            knowledge_base_repo_id: dataset repository for the knowledge base, likewise.
            **target: `private`, `revision`, `commit_message`, `create_pr`, `token`; see [`HubTarget`].

        Returns:
            huggingface_hub's `CommitInfo`; `.oid` is the commit, `.pr_url` the pull request's address.

        Raises:
            PermissionError, FileNotFoundError, ConnectionError: the push failed; the repository is as it was.
        """
        parts = {ENTITY_INDEX: index_repo_id, KNOWLEDGE_BASE: knowledge_base_repo_id}
        return push_linker(self, HubTarget(repo_id, **target), parts, self._save)

    def add_entities(self, entities: Iterable[Any], *, replace: bool = False) -> None:
        """Adds entities; only they are encoded.

        Args:
            entities: Entity objects, mappings or a knowledge base, as in `KnowledgeBase.from_entities`.
            replace: replace entities of the same id, instead of refusing them.

        Raises:
            ValueError: an id that is there already, or bad records; nothing has changed then.
        """
        self._check_weights()
        self._change(*with_entities(self, entities, replace=replace))

    def remove_entities(self, entity_ids: Sequence[str]) -> None:
        """Takes entities out; nothing is encoded.

        Raises:
            KeyError: an unknown id; nothing has changed then.
            ValueError: none would be left.
        """
        self._change(*without_entities(self, entity_ids))

    def _change(self, knowledge_base: KnowledgeBase, index: EntityIndex) -> None:
        """Takes both at once, so that a call of `link` in another thread never sees one without the other."""
        # The default detector is made of the knowledge base's names, and made again at the next text.
        detector = None if self._finds_own_names else self.detector
        vars(self).update(knowledge_base=knowledge_base, index=index, detector=detector)

    def _check_weights(self) -> None:
        if self._converted:
            raise ValueError(
                f"expected the encoder with the weights that made the index, got it converted to {self.bi_encoder.dtype}; "
                "load the linker without dtype= to change or save it"
            )

    def to(self, device: Any = None, dtype: Any = None) -> "EntityLinker":
        """Moves the encoders to a device and a dtype (None leaves them); the index stays on the CPU, in its own form."""
        options = {name: value for name, value in (("device", device), ("dtype", dtype)) if value is not None}
        if options:
            self._converted |= dtype is not None and dtype != self.bi_encoder.dtype
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
        if mentions is None and marks is None and self.detector is None and listed:
            self.detector = TitleMatcher.from_knowledge_base(self.knowledge_base)
        linker = copy(self)  # the entities of this moment, whatever another thread adds or removes meanwhile
        items = linker._items(listed, mentions, marks, of_texts)
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
            check_one_each("mentions", mentions, texts)
        elif marks is None and texts:
            detector = self.detector or TitleMatcher.from_knowledge_base(self.knowledge_base)
            mentions = detected_spans(detector, texts)
        return mention_items(texts, mentions, marks, worlds, self.processor.mention_length)

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
