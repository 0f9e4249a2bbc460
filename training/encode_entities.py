"""Encodes a knowledge base with all processes of all machines, and makes the index, or a whole linker.

    accelerate launch -m hf_blink.training.encode_entities [recipe.yaml] \\
        --entities entities.jsonl --bi_encoder runs/biencoder --output_dir my-index

Every process writes its share of the vectors, block by block, into the folder `vectors`, which all machines must see;
then process 0 makes the index from them and removes them. A killed run that is started again, with as many processes as
you like, goes on where it stopped.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from accelerate import PartialState

from hf_blink.modeling.configuration_blink import saved_model_type
from hf_blink.modeling.encoder_kinds import is_trained_encoder, load_encoder, load_processor
from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.index_kinds import resolve_kind
from hf_blink.training.data_arguments import read_entities
from hf_blink.training.encoded_blocks import remove_blocks
from hf_blink.training.process_shares import failing_together
from hf_blink.training.recipe_arguments import parse_recipe, run_script
from hf_blink.training.sharded_encoding import BLOCK_SIZE, encode_entities_sharded, merge_shards
from hf_blink.training.whole_files import flush_disks

logger = logging.getLogger(__name__)

# Processes wait for the slowest one, and for one that encodes alone what a killed run had left.
_PATIENCE = timedelta(days=7)


@dataclass
class EncodingArguments:
    """What is encoded, with which model, and where it goes.

    Args:
        entities: jsonl files of entities, or one saved knowledge base folder.
        bi_encoder: folder or Hub name of a trained bi-encoder, or ELQ model, and its processor.
        output_dir: folder that gets the index (`EntityIndex.from_pretrained`), or the linker.
        linker: saves a whole linker, with bi-encoder, index and entities (`EntityLinker.from_pretrained`).
        index_kind: see `EntityIndex.build`.
        vectors: folder of the encoded blocks, seen by all processes; None is `<output_dir>-vectors`.
        keep_vectors: leaves that folder when the index is made.
        block_size: entities of a block: so much work a killed process loses at most.
        use_cpu: encodes on the CPU where there is a GPU.

    Raises:
        ValueError: an unknown kind of index, or a block size below 1.
    """

    entities: list[str] = field(metadata={"help": "jsonl files, or a saved knowledge base."})
    bi_encoder: str = field(metadata={"help": "Folder or Hub name of the trained bi-encoder."})
    output_dir: str = field(metadata={"help": "Folder for the index, or the linker."})
    linker: bool = field(default=False, metadata={"help": "Save a whole linker, not the index alone."})
    index_kind: str = field(default="auto", metadata={"help": "Kind of the index; auto goes by its size."})
    vectors: str | None = field(
        default=None,
        metadata={"help": "Folder of encoded blocks that all machines see (OUTPUT_DIR-vectors)."},
    )
    keep_vectors: bool = field(default=False, metadata={"help": "Leave that folder when the index is made."})
    block_size: int = field(default=BLOCK_SIZE, metadata={"help": "Entities of a block."})
    use_cpu: bool = field(default=False, metadata={"help": "Encode on the CPU even if there is a GPU."})

    def __post_init__(self) -> None:
        resolve_kind(self.index_kind, 1)
        if self.block_size < 1:
            raise ValueError(f"expected block_size of at least 1, got {self.block_size}")

    @property
    def folder(self) -> Path:
        """Folder of the encoded blocks."""
        output = Path(self.output_dir)
        return output.with_name(f"{output.name}-vectors") if self.vectors is None else Path(self.vectors)

    def load(self) -> tuple[Any, Any]:
        """The model that encodes, and its processor.

        Raises:
            ValueError: it is no bi-encoder and no ELQ model.
        """
        if not is_trained_encoder(self.bi_encoder):
            raise ValueError(
                f"expected a saved bi-encoder at bi_encoder: {self.bi_encoder}, got a model of type "
                f"{saved_model_type(self.bi_encoder)}; train one with hf_blink.training.train_biencoder"
            )
        return load_encoder(self.bi_encoder), load_processor(self.bi_encoder)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs with a recipe, options or both; see the module's text."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    (settings,) = parse_recipe((EncodingArguments,), arguments)
    state = PartialState(cpu=settings.use_cpu, timeout=_PATIENCE)
    with failing_together("encoding entities"):
        knowledge_base = read_entities(settings.entities)
        bi_encoder, processor = settings.load()
        encode_entities_sharded(
            bi_encoder.to(state.device),
            processor,
            knowledge_base,
            settings.folder,
            process_index=state.process_index,
            num_processes=state.num_processes,
            block_size=settings.block_size,
        )
    if not state.is_main_process:
        return
    index = merge_shards(settings.folder, kind=settings.index_kind)
    if settings.linker:
        linker = EntityLinker(bi_encoder, processor, index, knowledge_base)
        linker.save_pretrained(settings.output_dir)
    else:
        index.save_pretrained(settings.output_dir)
    if not settings.keep_vectors:
        flush_disks()
        remove_blocks(settings.folder)
    logger.info("saved a %s index of %d entities in %s", index.kind, len(index), settings.output_dir)


if __name__ == "__main__":
    run_script(main)
