"""Trains a bi-encoder, or a smaller one made of it, to rank as a cross-encoder does (Wu et al. 2020, section 5).

    accelerate launch -m hf_blink.training.train_distillation recipe.yaml [--key value ...]

The bi-encoder mines the candidates of each training mention, the cross-encoder scores them once (`teacher_scores/` of
the output folder, see teacher_score_files; a run with the same models and data reads them from there), and the student
learns from both the labels and the scores. The output folder gets the student, a bi-encoder as any other.
`--resume true`, with the same settings, goes on from the last checkpoint; without it a folder with checkpoints in it is
refused.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from datasets import Dataset
from transformers import set_seed

from hf_blink.modeling.encoder_limits import check_fits
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.modeling_blink_crossencoder import BlinkCrossEncoder
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.batch_sampling import check_batch_fits, plan_of
from hf_blink.training.data_arguments import DataArguments, RecipeData
from hf_blink.training.dev_recall import check_dev, dev_mentions, warn_of_idle_dev
from hf_blink.training.distillation import DistillationCollator, DistillationTrainer
from hf_blink.training.dry_run import Plan, Stage, dry_run, with_random_candidates
from hf_blink.training.evaluation import evaluate_linker
from hf_blink.training.matryoshka import check_dims
from hf_blink.training.process_shares import failing_together
from hf_blink.training.recipe_arguments import check_trained, parse_recipe, run_script
from hf_blink.training.run_folder import keep_run, open_run, train_recorded, write_metrics
from hf_blink.training.script_settings import refuse_unused
from hf_blink.training.shared_linker import shared_linker
from hf_blink.training.teacher_score_files import TwoStages, teacher_dataset

logger = logging.getLogger(__name__)


@dataclass
class DistillationArguments:
    """The models and the candidates; see `BlinkTrainingArguments` for how the student is trained.

    Args:
        bi_encoder: folder of the trained bi-encoder and its processor: it mines, and the student starts from it.
        cross_encoder: folder of the cross-encoder that was trained on its candidates, the teacher.
        student_layers: layers that the student keeps, counted from 0; one number keeps so many, spread evenly from the
            first to the last. Empty keeps all.
        num_candidates: candidates of each mention.
        resume: go on with an interrupted run in the same output folder.

    Raises:
        ValueError: fewer than 2 candidates.
    """

    bi_encoder: str = field(
        metadata={"help": "Folder of the trained bi-encoder; the student starts from it."}
    )
    cross_encoder: str = field(metadata={"help": "Folder of the trained cross-encoder, the teacher."})
    student_layers: list[int] = field(
        default_factory=list, metadata={"help": "Layers that the student keeps: how many, or which; all."}
    )
    num_candidates: int = field(default=16, metadata={"help": "Candidates of each mention."})
    resume: bool = field(
        default=False, metadata={"help": "Go on with an interrupted run in the output folder."}
    )

    def __post_init__(self) -> None:
        if self.num_candidates < 2:
            raise ValueError(f"expected num_candidates of at least 2, got {self.num_candidates}")

    def load(self) -> tuple[BlinkBiEncoder, BlinkCrossEncoder, BlinkProcessor]:
        """The bi-encoder, the teacher and their processor.

        Raises:
            ValueError: one of them is another kind of model.
        """
        check_trained(self.bi_encoder, self.cross_encoder)
        bi_encoder = BlinkBiEncoder.from_pretrained(self.bi_encoder)
        cross_encoder = BlinkCrossEncoder.from_pretrained(self.cross_encoder)
        return bi_encoder, cross_encoder, BlinkProcessor.from_pretrained(self.bi_encoder)

    def student(self, bi_encoder: BlinkBiEncoder) -> BlinkBiEncoder:
        """The model to train: the bi-encoder itself, or a copy with fewer layers."""
        if not self.student_layers:
            return bi_encoder
        single = len(self.student_layers) == 1
        return bi_encoder.with_layers(self.student_layers[0] if single else self.student_layers)


def _models(
    settings: DistillationArguments, training: BlinkTrainingArguments
) -> tuple[BlinkBiEncoder, BlinkBiEncoder, BlinkCrossEncoder, BlinkProcessor]:
    """The student, the bi-encoder, the teacher and their processor, which fit each other and the settings."""
    bi_encoder, cross_encoder, processor = settings.load()
    check_fits(processor, bi_encoder, cross_encoder)
    student = settings.student(bi_encoder)
    check_dims(training.matryoshka_dims, student.config.embed_dim)
    return student, bi_encoder, cross_encoder, processor


def _plan(settings: DistillationArguments, training: BlinkTrainingArguments, data: RecipeData) -> Plan:
    """What a dry run tries."""
    student, bi_encoder, _, processor = _models(settings, training)
    collator = DistillationCollator(processor, data.knowledge_base)
    count = settings.num_candidates

    def trainer(args: BlinkTrainingArguments, mentions: Dataset) -> DistillationTrainer:
        mined = with_random_candidates(mentions, data.knowledge_base, count, args.seed)
        return DistillationTrainer(student, args, collator, mined)

    stage = Stage("student", training, trainer, compared=f"{count} candidates of each mention of the batch")
    return Plan(processor, bi_encoder, [stage])


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs a recipe; see the module's text.

    Returns:
        The student's metrics on the recipe's `evaluation` files; empty without them.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    data, settings, training = parse_recipe(
        (DataArguments, DistillationArguments, BlinkTrainingArguments), arguments
    )
    refuse_unused("train_distillation", training)
    check_dev(data.dev, training)
    warn_of_idle_dev(data.dev, training)
    kept = open_run(training, (data, settings), resume=settings.resume)
    if training.dry_run:
        return dry_run(data, training, partial(_plan, settings, training), print)
    set_seed(training.seed)
    knowledge_base, train, dev, evaluation = data.load(training.seed)
    check_batch_fits(plan_of(training), len(knowledge_base))
    with failing_together("loading the models"):
        student, bi_encoder, cross_encoder, processor = _models(settings, training)
    keep_run(training, kept, knowledge_base, train, dev)
    dev = dev_mentions(dev, training)
    models = bi_encoder.to(training.device), cross_encoder.to(training.device)
    stages = TwoStages(knowledge_base, processor, *models, settings.num_candidates)
    train = teacher_dataset(stages, train, training)
    for model in {cross_encoder, bi_encoder} - {student}:
        model.cpu()  # its memory is the student's now
    collator = DistillationCollator(processor, knowledge_base)
    trainer = DistillationTrainer(student, training, collator, train, eval_dataset=dev)
    student = train_recorded(trainer, resume=settings.resume, num_mentions=len(train))
    if training.process_index == 0:
        logger.info("next: hf-blink build ENTITIES --encoder %s --out my-linker", training.output_dir)
    if evaluation is None:
        return {}
    linker = shared_linker(knowledge_base, student, processor)
    if not trainer.is_world_process_zero():
        return {}
    metrics = evaluate_linker(linker, evaluation)
    write_metrics(metrics, training.output_dir)
    return metrics


if __name__ == "__main__":
    run_script(main)
