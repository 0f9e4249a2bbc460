"""A linker as a thing: its parts put together, loaded and saved, pushed, moved, its entities changed.

What it does with texts is `entity_linker`.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from .configuration_blink import saved_model_type
from .configuration_elq import ElqConfig
from .encoder_fingerprint import encoder_fingerprint
from .encoder_kinds import is_one_pass, is_trained_encoder, load_encoder, load_processor
from .encoder_limits import check_fits
from .entity_index import EntityIndex
from .entity_updates import with_entities, without_entities
from .hub_transfer import HubTarget
from .knowledge_base import KnowledgeBase
from .link_decision import check_settings
from .linker_description import ENTITY_INDEX, KNOWLEDGE_BASE
from .linker_storage import load_linker_parts, save_linker_parts
from .linker_upload import push_linker
from .mention_detection import TitleMatcher
from .modeling_blink_biencoder import BlinkBiEncoder
from .processing_blink import BlinkProcessor


def load_bi_encoder(encoder: Any, processor: Any = None, truncate_dim: int | None = None) -> tuple[Any, Any]:
    """A bi-encoder, or an ELQ model, and its processor.

    Args:
        encoder: a base encoder's folder or Hub name (untrained), a saved bi-encoder's or ELQ model's, or such an object.
        processor: the bi-encoder's processor; needed when `encoder` is an object, loaded beside it when None.
        truncate_dim: dimensions of the vectors that are kept; None leaves them as the encoder has them.

    Raises:
        OSError: no such encoder, or a saved bi-encoder without safetensors; pickled weights are not read.
        ValueError: an object without a processor, or more dimensions than the encoder has.
    """
    cut: dict[str, Any] = {} if truncate_dim is None else {"truncate_dim": truncate_dim}
    if not isinstance(encoder, (str, os.PathLike)):
        if processor is None:
            raise ValueError(
                "expected the bi-encoder's processor beside a bi-encoder object, got None; pass processor="
            )
        _refuse_cut(encoder.config.model_type, cut)
        return (encoder.truncated(truncate_dim) if cut else encoder), processor
    if is_trained_encoder(encoder):
        _refuse_cut(saved_model_type(encoder), cut)
        processor = processor or load_processor(encoder)
        return load_encoder(encoder, **cut), processor
    processor = processor or BlinkProcessor.from_base(os.fspath(encoder))
    size = len(processor.tokenizer)
    return BlinkBiEncoder.from_encoder(os.fspath(encoder), vocab_size=size, **cut), processor


def _refuse_cut(model_type: str, cut: dict[str, Any]) -> None:
    if cut and model_type == ElqConfig.model_type:
        raise ValueError(
            f"expected truncate_dim=None for an ELQ model, whose vectors are not cut, got {cut['truncate_dim']}"
        )


class LinkerAssembly:
    """Base of [`EntityLinker`], which tells the arguments."""

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
        self._one_pass = is_one_pass(bi_encoder, processor)
        self.bi_encoder = bi_encoder.eval()
        self.processor = processor
        self.index = index
        self.knowledge_base = knowledge_base
        self.cross_encoder = None if cross_encoder is None else cross_encoder.eval()
        self.detector = detector
        self.num_candidates = num_candidates
        self.threshold = threshold
        self.origin: Path | None = None  # the folder that it was loaded from
        self._names: tuple[KnowledgeBase, TitleMatcher] | None = (
            None  # the default detector, and of what it was made
        )
        self._converted = False  # to another dtype than the index was made with

    def __repr__(self) -> str:
        config = self.bi_encoder.config
        if self.finds_mentions:
            finder = f"the model, joint threshold {config.joint_threshold:g}"
        elif self.detector is None:
            finder = "titles and aliases"
        else:
            finder = getattr(self.detector, "__name__", type(self.detector).__name__)
        return (
            f"{type(self).__name__}({config.model_type}, {len(self.knowledge_base)} entities in a {self.index.kind} index, "
            f"{'no' if self.cross_encoder is None else 'with a'} cross-encoder, {self.num_candidates} candidates, "
            f"mentions: {finder}, NIL under {self.threshold:g})"
        )

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
        truncate_dim: int | None = None,
        **settings: Any,
    ) -> Self:
        """A working linker from a catalogue in one call: encodes every entity and builds the index.

        Args:
            knowledge_base: the entities, or the path of their jsonl file.
            encoder: a base encoder's folder or Hub name (untrained), a saved bi-encoder's, or a bi-encoder object.
            processor: the bi-encoder's processor; needed when `encoder` is an object.
            device: where entities are encoded and the encoders stay (`"cuda"`, ...); None leaves them where they are.
            index_kind: see `EntityIndex.build`.
            progress: show a progress bar.
            truncate_dim: dimensions of the vectors that are kept, for an encoder trained for it (`matryoshka_dims`); None
                leaves them as the encoder has them.
            **settings: the constructor's other arguments.

        Raises:
            FileNotFoundError: no such file of entities.
            OSError: no such encoder, or a saved bi-encoder without safetensors; pickled weights are not read.
            ValueError: bad entities, an encoder without a processor, or more dimensions than it has.
        """
        if isinstance(knowledge_base, (str, os.PathLike)):
            knowledge_base = KnowledgeBase.from_jsonl(knowledge_base)
        encoder, processor = load_bi_encoder(encoder, processor, truncate_dim)
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
    ) -> Self:
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
            OSError: the disk is full; an older linker is as it was.
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
        vars(self).update(knowledge_base=knowledge_base, index=index)

    def _check_weights(self) -> None:
        if self._converted:
            raise ValueError(
                f"expected the encoder with the weights that made the index, got it converted to {self.bi_encoder.dtype}; "
                "load the linker without dtype= to change or save it"
            )

    def to(self, device: Any = None, dtype: Any = None) -> Self:
        """Moves the encoders to a device and a dtype (None leaves them); the index stays on the CPU, in its own form."""
        options = {name: value for name, value in (("device", device), ("dtype", dtype)) if value is not None}
        if options:
            self._converted |= dtype is not None and dtype != self.bi_encoder.dtype
            self.bi_encoder.to(**options)
            if self.cross_encoder is not None:
                self.cross_encoder.to(**options)
        return self

    @property
    def finds_mentions(self) -> bool:
        """Whether mentions that are not given are found by the model itself, and not by a detector."""
        return self._one_pass and self.detector is None

    def mention_detector(self) -> Callable[[Sequence[str]], Any]:
        """The detector that was given, or else one of the knowledge base's names, made once."""
        if self.detector is not None:
            return self.detector
        names, knowledge_base = self._names, self.knowledge_base
        if names is None or names[0] is not knowledge_base:
            self._names = names = knowledge_base, TitleMatcher.from_knowledge_base(knowledge_base)
        return names[1]
