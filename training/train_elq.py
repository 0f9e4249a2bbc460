"""Trains a one-pass linker: in-batch first, then with hard negatives and frozen entity vectors (Li et al. 2020).

    accelerate launch -m hf_blink.training.train_elq recipe.yaml [--key value ...]

Each stage is a folder of the output folder (`round_0` in-batch, `round_1` with hard negatives), written whole; a run that
is started again with `--resume true` and the same settings skips finished stages and goes on from the last checkpoint of
the unfinished one. The last stage's model is saved in the output folder itself, where `from_pretrained` loads it. Then the
joint threshold is fitted on the recipe's `dev` documents and saved with it, and `evaluation` is measured. A finished run
that is resumed may have other `dev` and `evaluation` documents: it trains nothing, fits and measures anew.

Processes encode the entities together, each a share of them, and all get the whole index.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import set_seed

from hf_blink.modeling.configuration_elq import ElqConfig
from hf_blink.modeling.encoder_limits import check_fits
from hf_blink.modeling.entity_index import EntityIndex
from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.modeling_elq import ElqModel
from hf_blink.modeling.processing_elq import ElqProcessor
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.dev_recall import measures
from hf_blink.training.document_arguments import DocumentArguments, DocumentData, as_mentions
from hf_blink.training.document_evaluation import evaluate_documents
from hf_blink.training.elq_arguments import ElqArguments, stage_name
from hf_blink.training.elq_dry_run import dry_run_documents
from hf_blink.training.elq_trainer import ElqTrainer
from hf_blink.training.joint_threshold import fit_joint_threshold
from hf_blink.training.process_shares import failing_together
from hf_blink.training.recipe_arguments import parse_recipe, run_script
from hf_blink.training.run_folder import FINISHED, keep_run, open_run, train_recorded, write_metrics
from hf_blink.training.script_settings import refuse_unused
from hf_blink.training.shared_linker import shared_linker
from hf_blink.training.span_collator import ElqCollator
from hf_blink.training.whole_files import written_whole

logger = logging.getLogger(__name__)

_OF_THE_THRESHOLD = ("dev", "dev_split", "match", "evaluation_split")  # these leave the weights as they are


def train_stage(
    number: int,
    model: ElqModel,
    collator: ElqCollator,
    dataset: Dataset,
    arguments: BlinkTrainingArguments,
    settings: ElqArguments,
) -> tuple[ElqModel, EntityIndex | None]:
    """One stage: encodes the entities (in the second), trains and saves; a finished stage is loaded instead. Collective.

    Returns:
        The trained model, on the device of the arguments, and the index of its entity vectors where the stage made one.
    """
    stage_arguments = settings.stage_arguments(number, arguments)
    folder, name = Path(str(stage_arguments.output_dir)), stage_name(number)
    if settings.resume and (folder / FINISHED).is_file():
        logger.info("the %s is finished, loading it", name)
        with failing_together("loading the model"):
            return ElqModel.from_pretrained(folder).to(arguments.device), None
    index = None
    if number:
        model.to(arguments.device)  # type: ignore[arg-type]
        index = shared_linker(collator.knowledge_base, model, collator.processor).index
    trainer = ElqTrainer(model, stage_arguments, collator, dataset, index=index)
    num_mentions = sum(len(mentions) for mentions in dataset["mentions"])
    logger.info("the %s: %d texts with %d mentions", name, len(dataset), num_mentions)
    return train_recorded(trainer, resume=settings.resume, num_mentions=num_mentions), index


def _measured(linker: EntityLinker, data: DocumentData, match: str, folder: Path) -> dict[str, Any]:
    """Fits the threshold on `dev` and saves it, and measures on `evaluation`; either may be missing."""
    metrics: dict[str, Any] = {}
    if data.dev is not None:
        fitted = fit_joint_threshold(linker, data.dev, match=match)
        with written_whole(folder / "config.json") as stream:
            stream.write(linker.bi_encoder.config.to_json_string().encode())
        metrics |= {"joint_threshold": fitted.joint_threshold, f"dev_{match}_f1": fitted.f1}
        if fitted.f1:
            logger.info(
                "fitted the joint threshold %.3f: %s F1 %.4f", fitted.joint_threshold, match, fitted.f1
            )
    return metrics | ({} if data.evaluation is None else evaluate_documents(linker, data.evaluation))


def _linker(
    model: ElqModel, processor: ElqProcessor, index: EntityIndex | None, data: DocumentData
) -> EntityLinker:
    """The linker to fit and measure with. Collective."""
    if index is None:
        return shared_linker(data.knowledge_base, model, processor)
    # The second stage leaves the entities' vectors as they were.
    return EntityLinker(model, processor, index, data.knowledge_base)


def _log_next(threshold: float, data: DocumentData, folder: str) -> None:
    """What the user does now; last, when everything is saved."""
    if data.dev is None:
        known = "the default" if threshold == ElqConfig.joint_threshold else "the base model's"
        logger.info(
            "the joint threshold is %s, %.3f, since no dev documents were given; to fit it, start again with --resume true "
            "--dev DOCUMENTS, which trains nothing", known, threshold,
        )  # fmt: skip
    logger.info("next: hf-blink build ENTITIES --encoder %s --out my-linker", folder)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs a recipe; see the module's text.

    Returns:
        The fitted threshold and the metrics on the recipe's `evaluation` files; empty without `dev` and `evaluation`.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    documents, settings, training = parse_recipe(
        (DocumentArguments, ElqArguments, BlinkTrainingArguments), arguments
    )
    # Early stopping sets eval_strategy, which needs labelled mentions to measure with; the stages have none.
    measured = ["eval_strategy"] if measures(training) and not training.early_stopping_patience else []
    refuse_unused("train_elq", training, measured)
    kept = open_run(training, (documents, settings), resume=settings.resume, free=_OF_THE_THRESHOLD)
    if training.dry_run:
        return dry_run_documents(documents, settings, training, print)
    set_seed(training.seed)
    with failing_together("reading the data"):
        documents.check_files()  # before the model is loaded, on which reading depends
    with failing_together("loading the model"):
        model, processor = settings.load()
        check_fits(processor, model)
    data = documents.load(processor, training.seed)
    keep_run(training, kept, data.knowledge_base, as_mentions(data.train))
    collator, index = ElqCollator(processor, data.knowledge_base), None
    for number in range(settings.num_stages):
        model, index = train_stage(number, model, collator, data.train, training, settings)
    folder, first = str(training.output_dir), training.process_index == 0
    with failing_together("saving the model"):
        if first:
            model.save_pretrained(folder)
            processor.save_pretrained(folder)
            logger.info("saved the ELQ model in %s", folder)
    metrics: dict[str, Any] = {}
    if data.dev is not None or data.evaluation is not None:
        linker = _linker(model, processor, index, data)
        if first:
            metrics = _measured(linker, data, settings.match, Path(folder))
            write_metrics(metrics, folder)
    if first:
        _log_next(model.config.joint_threshold, data, folder)
    return metrics


if __name__ == "__main__":
    run_script(main)
