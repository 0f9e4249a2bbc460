"""Trains a cross-encoder on the candidates that a trained bi-encoder retrieves (Wu et al. 2020, section 4.2).

    accelerate launch -m hf_blink.training.train_crossencoder recipe.yaml [--key value ...]

The output folder gets the cross-encoder; `EntityLinker(..., cross_encoder=BlinkCrossEncoder.from_pretrained(folder))`
uses it. `--resume true` goes on from the last checkpoint.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import AutoConfig, set_seed
from transformers.trainer_utils import get_last_checkpoint

from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.modeling_blink_crossencoder import BlinkCrossEncoder
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.collators import CrossEncoderCollator
from hf_blink.training.evaluation import evaluate_linker
from hf_blink.training.hard_negatives import mine_candidates
from hf_blink.training.recipe_arguments import DataArguments, parse_recipe
from hf_blink.training.trainers import CrossEncoderTrainer

logger = logging.getLogger(__name__)


@dataclass
class CrossEncoderArguments:
    """The models and the candidates.

    Args:
        bi_encoder: folder of the trained bi-encoder and its processor.
        base_model: encoder to start from, or a saved cross-encoder to train on.
        pooling: cls, mean or pooler.
        retrieval_weight: weight of the bi-encoder's score in the cross-encoder's; 0 (BLINK) leaves it out.
        num_candidates: candidates of each mention, in training and evaluation (BLINK: 64).
        resume: go on with an interrupted run in the same output folder.
    """

    bi_encoder: str = field(metadata={"help": "Folder of the trained bi-encoder."})
    base_model: str = field(metadata={"help": "Encoder to start from, or a saved cross-encoder."})
    pooling: str = field(default="cls", metadata={"help": "cls, mean or pooler."})
    retrieval_weight: float = field(
        default=1.0, metadata={"help": "Weight of the bi-encoder's score; 0 leaves it out."}
    )
    num_candidates: int = field(default=16, metadata={"help": "Candidates of each mention."})
    resume: bool = field(
        default=False, metadata={"help": "Go on with an interrupted run in the output folder."}
    )

    def load(self, processor: BlinkProcessor) -> BlinkCrossEncoder:
        """The cross-encoder to start from."""
        if AutoConfig.from_pretrained(self.base_model).model_type == "blink-crossencoder":
            return BlinkCrossEncoder.from_pretrained(self.base_model)
        return BlinkCrossEncoder.from_encoder(
            self.base_model,
            vocab_size=len(processor.tokenizer),
            pooling=self.pooling,
            retrieval_weight=self.retrieval_weight,
        )


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs a recipe; see the module's text.

    Returns:
        The metrics on the recipe's `evaluation` files; empty without them.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    data, settings, training = parse_recipe(
        (DataArguments, CrossEncoderArguments, BlinkTrainingArguments), arguments
    )
    set_seed(training.seed)
    knowledge_base = data.knowledge_base()
    bi_encoder = BlinkBiEncoder.from_pretrained(settings.bi_encoder)
    processor = BlinkProcessor.from_pretrained(settings.bi_encoder)
    linker = EntityLinker.from_knowledge_base(
        knowledge_base, bi_encoder, processor=processor, index_kind="flat"
    )
    dataset = data.mentions(data.train, training.seed)
    dataset = mine_candidates(linker, dataset, num_candidates=settings.num_candidates)
    logger.info(
        "gold retrieved for %.1f %% of %d mentions",
        100 * sum(dataset["gold_retrieved"]) / len(dataset),
        len(dataset),
    )
    collator = CrossEncoderCollator(processor, knowledge_base, bi_encoder.config.temperature)
    trainer = CrossEncoderTrainer(settings.load(processor), training, collator, dataset)
    folder = training.output_dir
    checkpoint = get_last_checkpoint(folder) if settings.resume and Path(folder).is_dir() else None
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model()
    if not trainer.is_world_process_zero() or not data.evaluation:
        return {}
    linker.cross_encoder = trainer.accelerator.unwrap_model(trainer.model).eval()
    metrics = evaluate_linker(linker, data.mentions(data.evaluation), rerank_k=settings.num_candidates)
    Path(folder, "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    logger.info(
        json.dumps(
            {name: value for name, value in metrics.items() if not name.startswith("world/")}, indent=2
        )
    )
    return metrics


if __name__ == "__main__":
    main()
