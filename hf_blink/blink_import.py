"""From the files that BLINK was published as to a linker's folder of ours.

biencoder.bin + .json               -> config.json, model.safetensors, tokenizer
crossencoder.bin + .json            -> cross_encoder/
catalogue, vectors, FAISS index     -> knowledge_base/, entity_index/ (see `original_import`)
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hf_blink.blink_encoders import import_blink_biencoder, import_blink_crossencoder
from hf_blink.modeling.encoder_limits import check_fits
from hf_blink.modeling.linker_storage import check_save_folder
from hf_blink.original_import import ImportSettings, OriginalEncoders, OriginalFiles, PathLike, write_import


@dataclass(frozen=True)
class BlinkFiles(OriginalFiles):
    """Files of a BLINK model; all but the first two may be missing.

    Attributes:
        biencoder: weights of the bi-encoder.
        biencoder_config: its settings.
        crossencoder: weights of the cross-encoder.
        crossencoder_config: its settings.
        entities, encodings, index, bert_model: see `OriginalFiles`.
    """

    origin: ClassVar[str] = "BLINK"

    biencoder: PathLike
    biencoder_config: PathLike
    crossencoder: PathLike | None = None
    crossencoder_config: PathLike | None = None

    def check(self) -> None:
        """Finds mistakes before anything is read; errors as of `OriginalFiles.check`."""
        if (self.crossencoder is None) != (self.crossencoder_config is None):
            raise ValueError(
                "expected the cross-encoder's weights and its settings, got one of them; name both (--crossencoder, "
                "--crossencoder-config) or neither"
            )
        super().check()


def import_blink(files: BlinkFiles, out: PathLike, settings: ImportSettings | None = None) -> Path:
    """Makes a linker's folder of BLINK's files; the encoders' folder where there are no entities.

    Args:
        files: what there is.
        out: the folder; an older linker there is replaced, and a failure leaves it as it was.
        settings: how the linker is made.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: a file, or the BERT that the settings name, is not there.
        ValueError: files that do not belong together, damaged ones, pickles with code, or a folder with something else.
        OSError: the disk is full.
    """
    files.check()
    check_save_folder(out)
    return write_import(files, _read_encoders(files), out, settings or ImportSettings())


def _read_encoders(files: BlinkFiles) -> OriginalEncoders:
    """Both encoders, whose windows must be the same."""
    bi_encoder, processor = import_blink_biencoder(
        files.biencoder, files.biencoder_config, bert_model=files.bert_model
    )
    cross_encoder = None
    if files.crossencoder is not None and files.crossencoder_config is not None:
        cross_encoder, own = import_blink_crossencoder(
            files.crossencoder, files.crossencoder_config, bert_model=files.bert_model
        )
        _check_same_windows(processor, own)
    check_fits(processor, bi_encoder, cross_encoder)
    return OriginalEncoders(bi_encoder, processor, cross_encoder)


def _check_same_windows(processor: Any, own: Any) -> None:
    names = ("mention_length", "entity_length", "do_lower_case")
    ours, theirs = ({name: getattr(one, name) for name in names} for one in (processor, own))
    if ours != theirs or processor.tokenizer.get_vocab() != own.tokenizer.get_vocab():
        raise ValueError(
            f"expected a cross-encoder that reads the bi-encoder's windows ({ours}), got one for {theirs}; BLINK would give it "
            "wrong segments without a word: take encoders that were trained with the same lengths and vocabulary"
        )
