"""From an original model, read already, and its other files to a linker's folder: the same for BLINK and for ELQ.

    entity.jsonl, or Zeshel's documents                 -> knowledge_base/entities-*.parquet
    faiss_*_index.pkl, or all_entities.t7, or neither   -> entity_index/index.faiss

The index is the original's own (`index`), or built anew from its vectors (`encodings`), or from the entities, which are
then encoded. Vectors and catalogue stay on disk meanwhile. Some entities are encoded in any case and compared with the
vectors that were given, since vectors of another encoder would rank at random without any error. Without entities the
result is the encoders' folder, for `hf-blink build --encoder`.
"""

import os
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hf_blink.modeling.batch_encoding import encode_entities
from hf_blink.modeling.encoder_fingerprint import encoder_fingerprint
from hf_blink.modeling.entity_index import EntityIndex
from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.folder_swap import swap_folder
from hf_blink.modeling.full_disk import naming_the_disk, write_text_whole
from hf_blink.modeling.index_kinds import build_faiss_index, resolve_kind, stored_vectors
from hf_blink.modeling.index_storage import IndexDescription
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.linker_storage import check_save_folder
from hf_blink.original_entities import import_blink_encodings, import_blink_entities
from hf_blink.original_files import existing_file
from hf_blink.original_indexes import import_blink_index, mapped_index, vector_blocks

PathLike = str | os.PathLike[str]
_CHECKED_ENTITIES = 16
# Vectors of the same encoder and texts agree to 5 digits. A catalogue that was cleaned a little differently stays far
# above this, another encoder far below.
_SAME_VECTOR = 0.9
_ADVICE = "free some space there or choose another folder; an older linker is as it was"
_SOURCE = "Imported from the files of the original"


@dataclass(frozen=True, kw_only=True)
class OriginalFiles:
    """Files of an original model, besides its weights and settings; all may be missing.

    Attributes:
        entities: `entity.jsonl`, or, for BLINK, the folder of Zeshel's documents.
        encodings: vectors of the entities, in the order of their lines.
        index: a FAISS file of them.
        bert_model: the BERT that the model was trained from; None takes the one that its settings name.
    """

    origin: ClassVar[str] = "model"  # its name

    entities: PathLike | None = None
    encodings: PathLike | None = None
    index: PathLike | None = None
    bert_model: str | None = None

    def check(self) -> None:
        """Finds mistakes before anything is read.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file without the one that it belongs to.
        """
        given = [name for name in ("encodings", "index") if getattr(self, name) is not None]
        if given and self.entities is None:
            raise ValueError(
                f"expected the entities that the {given[0]} are of, got none; name the catalogue (--entities)"
            )
        for one in fields(self):
            path = getattr(self, one.name)
            folder_too = one.name == "entities" and path is not None and Path(path).is_dir()
            if path is not None and one.name != "bert_model" and not folder_too:
                existing_file(path, f"a file for {one.name}")


@dataclass(frozen=True)
class ImportSettings:
    """How a linker is made of the files.

    Attributes:
        kind: index that is built where none is imported: "flat", "hnsw" or "auto".
        num_candidates: entities retrieved for each mention (BLINK's top_k).
        check_vectors: compare some of the given vectors with the encoder's own.
        device: where entities are encoded, such as "cuda"; None is the CPU.
        progress: show a progress bar.
    """

    kind: str = "auto"
    num_candidates: int = 10
    check_vectors: bool = True
    device: str | None = None
    progress: bool = True


def write_import(
    files: OriginalFiles, encoders: "OriginalEncoders", out: PathLike, settings: ImportSettings
) -> Path:
    """Writes the folder of an import; arguments, result and errors as of `import_blink`.

    Args:
        files: with `entities`, `encodings` and `index`.
        encoders: what was read of them already.
        out: the folder.
        settings: how the linker is made.
    """
    target = Path(out).resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        naming_the_disk(target.parent, "the imported files", _ADVICE),
        tempfile.TemporaryDirectory(
            prefix=f".{target.name}-import-", dir=target.parent, ignore_cleanup_errors=True
        ) as scratch,
    ):
        if files.entities is None:
            encoders.save(Path(scratch) / "encoders", target)
        else:
            knowledge_base = import_blink_entities(files.entities, cache_dir=scratch)
            index = _index(files, encoders, knowledge_base, Path(scratch), settings)
            linker = EntityLinker(
                encoders.bi_encoder,
                encoders.processor,
                index,
                knowledge_base,
                cross_encoder=encoders.cross_encoder,
                num_candidates=settings.num_candidates,
            )
            linker.save_pretrained(target)
            _add_card(linker, target, files.origin)
            del linker, index, knowledge_base  # they map files of the scratch folder
    return Path(out)


@dataclass(frozen=True)
class OriginalEncoders:
    """The encoders of an import, whose windows are the same.

    Attributes:
        bi_encoder: the bi-encoder, or the ELQ model.
        processor: its processor.
        cross_encoder: None where there is none.
    """

    bi_encoder: Any
    processor: Any
    cross_encoder: Any

    def save(self, staging: Path, target: Path) -> None:
        """Writes the encoders alone, all or nothing; a linker that is there goes as a whole."""
        self.bi_encoder.save_pretrained(staging)
        self.processor.save_pretrained(staging)
        if self.cross_encoder is not None:
            self.cross_encoder.save_pretrained(staging / "cross_encoder")
        swap_folder(staging, target, check_save_folder(target))


def _index(
    files: OriginalFiles,
    encoders: OriginalEncoders,
    knowledge_base: KnowledgeBase,
    scratch: Path,
    settings: ImportSettings,
) -> EntityIndex:
    """The entity index of BLINK's own, of its vectors, or of vectors computed here."""
    dimension = encoders.bi_encoder.config.embed_dim
    prints = {
        "encoder_fingerprint": encoder_fingerprint(encoders.bi_encoder, encoders.processor),
        "knowledge_base_fingerprint": knowledge_base.fingerprint,
    }
    vectors = None
    if files.encodings is not None:
        vectors = import_blink_encodings(files.encodings, knowledge_base)
        if vectors.shape[1] != dimension:
            raise ValueError(
                f"{os.fspath(files.encodings)}: expected encodings of {dimension} dimensions, as the bi-encoder has, got "
                f"{vectors.shape[1]}; they are another encoder's"
            )
        _check_vectors(files.encodings, vectors, encoders, knowledge_base, settings)
    if files.index is not None:
        index = import_blink_index(
            files.index, dimension, count=len(knowledge_base), scratch=scratch, **prints
        )
        _check_vectors(files.index, index, encoders, knowledge_base, settings)
        return index
    if vectors is not None:
        return _reindexed(vectors, scratch, settings.kind, prints)
    if settings.device is not None:
        encoders.bi_encoder.to(settings.device)
    built = EntityIndex.build(
        encoders.bi_encoder,
        encoders.processor,
        knowledge_base,
        kind=settings.kind,
        progress=settings.progress,
    )
    encoders.bi_encoder.to("cpu")
    return built


def _reindexed(vectors: np.ndarray, scratch: Path, kind: str, prints: dict[str, str]) -> EntityIndex:
    """An index of given vectors; flat, they go from file to file, a graph holds them in memory."""
    count, dimension = vectors.shape
    kind = resolve_kind(kind, count)
    index = mapped_index(vector_blocks(vectors), count, dimension, scratch)
    if kind != "flat":
        index = build_faiss_index(kind, stored_vectors(index))
    return EntityIndex(index, IndexDescription(kind, dimension, count, **prints))


def _check_vectors(
    path: PathLike,
    given: Any,
    encoders: OriginalEncoders,
    knowledge_base: KnowledgeBase,
    settings: ImportSettings,
) -> None:
    """Refuses vectors that the encoder does not give for the entities, looking at some of them.

    Args:
        path: their file, for the error.
        given: a matrix, or an index.
        encoders: of the import.
        knowledge_base: the entities.
        settings: whether to look.
    """
    if not settings.check_vectors:
        return
    rows = np.unique(np.linspace(0, len(knowledge_base) - 1, _CHECKED_ENTITIES).astype(np.int64))
    theirs = given.vectors(rows) if isinstance(given, EntityIndex) else np.asarray(given[rows])
    ours = encode_entities(encoders.bi_encoder, encoders.processor, *knowledge_base.texts_at(rows))
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    cosines = (ours * theirs).sum(axis=1) / np.maximum(lengths, 1e-30)
    if not np.median(cosines) >= _SAME_VECTOR:
        raise ValueError(
            f"{os.fspath(path)}: expected the bi-encoder's own vectors of the entities, got others: their cosine is "
            f"{np.median(cosines):.3f} (median of {len(rows)} entities, at least {_SAME_VECTOR} expected); they are of another "
            "encoder, or of a catalogue in another order. Leave them out to encode the entities anew, or take them as they "
            "are with --no-vector-check (check_vectors=False)"
        )


def _add_card(linker: EntityLinker, folder: Path, origin: str) -> None:
    """Adds README.md where there is none, or that of an older import; a push writes one of its own."""
    present = folder / "README.md"
    if present.exists() and _SOURCE not in present.read_text(encoding="utf-8", errors="replace"):
        return
    from hf_blink.card_facts import CardNotes, card_of
    from hf_blink.hub_cards.rendering import card_files

    card = card_of(
        linker, folder, f"user/{_repository_name(folder.name)}", CardNotes(source=f"{_SOURCE} {origin}.")
    )
    for name, content in card_files(card).items():
        write_text_whole(folder / name, content, "the card")


def _repository_name(name: str) -> str:
    """A folder's name as the Hub would take it."""
    kept = "".join(character if character.isascii() and character.isalnum() else "-" for character in name)
    return kept.strip("-") or "linker"
