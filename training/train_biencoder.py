"""Trains a bi-encoder: in-batch first, then rounds of mined hard negatives (Wu et al. 2020, section 4.1).

    accelerate launch -m hf_blink.training.train_biencoder recipe.yaml [--key value ...]

Each round is a folder of the output folder (`round_0` in-batch, `round_1`, ...), written whole; a run that is started
again with `--resume true` and the same settings skips finished rounds and goes on from the last checkpoint of the
unfinished one. Without `resume` a folder with rounds in it is refused. The last round's model is saved in the output
folder itself, where `from_pretrained` loads it.

In the first round entities whose names are like the gold entity's join the batch (`name_negatives`; see name_neighbours):
hard negatives that cost no encoding of the knowledge base. Before a round of hard negatives the current model mines, and in
it again at each epoch (`mine_again`) or every so many steps (`mine_every_steps`). Processes share the mining: each encodes its
part of the knowledge base and mines its part of the mentions, and all get the whole result.
"""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from datasets import Dataset
from transformers import set_seed

from hf_blink.modeling.encoder_limits import check_fits
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.batch_sampling import check_batch_fits, plan_of
from hf_blink.training.biencoder_arguments import BiEncoderArguments
from hf_blink.training.biencoder_rounds import RoundParts, train_round
from hf_blink.training.data_arguments import DataArguments, RecipeData
from hf_blink.training.dev_recall import check_dev, dev_mentions, warn_of_idle_dev
from hf_blink.training.dry_run import Plan, dry_run
from hf_blink.training.evaluation import evaluate_linker
from hf_blink.training.matryoshka import check_dims
from hf_blink.training.mining_arguments import MiningArguments
from hf_blink.training.process_shares import failing_together
from hf_blink.training.recipe_arguments import (
    parse_recipe,
    run_script,
)
from hf_blink.training.run_folder import (
    keep_run,
    open_run,
    write_metrics,
)
from hf_blink.training.script_settings import refuse_unused
from hf_blink.training.shared_linker import shared_linker

logger = logging.getLogger(__name__)


def _plan(
    settings: BiEncoderArguments, mining: MiningArguments, training: BlinkTrainingArguments, data: RecipeData
) -> Plan:
    """What a dry run tries."""
    check_batch_fits(plan_of(training), len(data.knowledge_base))
    model, processor = settings.load()
    check_fits(processor, model)
    parts = RoundParts(processor, data.knowledge_base, data.train, training, settings, mining)
    return Plan(processor, model, parts.stages(model))


def _measured(parts: RoundParts, model: BlinkBiEncoder, evaluation: Dataset) -> dict[str, Any]:
    """The metrics of the trained model, which process 0 has and writes; collective."""
    linker = shared_linker(parts.knowledge_base, model, parts.processor)
    if parts.training.process_index != 0:
        return {}
    metrics = evaluate_linker(linker, evaluation)
    write_metrics(metrics, parts.training.output_dir)
    return metrics


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs a recipe; see the module's text.

    Returns:
        The metrics on the recipe's `evaluation` files; empty without them.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    data, settings, mining, training = parse_recipe(
        (DataArguments, BiEncoderArguments, MiningArguments, BlinkTrainingArguments), arguments
    )
    refuse_unused("train_biencoder", training)
    check_dev(data.dev, training)
    warn_of_idle_dev(data.dev, training)
    kept = open_run(training, (data, settings, mining), resume=settings.resume)
    if training.dry_run:
        return dry_run(data, training, partial(_plan, settings, mining, training), print)
    set_seed(training.seed)
    knowledge_base, train, dev, evaluation = data.load(training.seed)
    check_batch_fits(plan_of(training), len(knowledge_base))
    with failing_together("loading the model"):
        model, processor = settings.load()
        check_fits(processor, model)
        check_dims(training.matryoshka_dims, model.config.embed_dim)
    keep_run(training, kept, knowledge_base, train, dev)
    dev = dev_mentions(dev, training)
    parts = RoundParts(processor, knowledge_base, train, training, settings, mining, dev)
    for number in range(settings.hard_negative_rounds + 1):
        model = train_round(number, model, parts)
    with failing_together("saving the model"):
        if training.process_index == 0:
            model.save_pretrained(training.output_dir)
            processor.save_pretrained(training.output_dir)
            logger.info("saved the bi-encoder in %s", training.output_dir)
    metrics = {} if evaluation is None else _measured(parts, model, evaluation)
    if training.process_index == 0:
        logger.info("next: hf-blink build ENTITIES --encoder %s --out my-linker", training.output_dir)
    return metrics


if __name__ == "__main__":
    run_script(main)
