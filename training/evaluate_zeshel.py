"""Measures trained models on Zeshel as published, world by world (Logeswaran et al. 2019; Wu et al. 2020, section 5.1.1).

    accelerate launch -m hf_blink.training.evaluate_zeshel --documents zeshel/documents \\
        --mentions zeshel/mentions/test.json --bi_encoder runs/zeshel_biencoder \\
        --cross_encoder runs/zeshel_crossencoder --output_dir runs/zeshel_test

The candidates of a mention are the 64 nearest of all entities of its world. BLINK's figures are the normalised accuracy,
over the mentions whose gold entity is among these, and the unnormalised one, over all; the papers average over worlds
(macro). All are printed, each in a column of its own, and written to `metrics.json`. Without a cross-encoder the
accuracies are those of the bi-encoder's order. Processes share the encoding of the entities.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate import PartialState

from hf_blink.modeling.encoder_limits import check_fits
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.modeling_blink_crossencoder import BlinkCrossEncoder
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.training.dataset_readers import read_zeshel_mentions
from hf_blink.training.evaluation import evaluate_linker
from hf_blink.training.process_shares import failing_together
from hf_blink.training.recipe_arguments import check_trained, parse_recipe, run_script
from hf_blink.training.run_folder import METRICS, write_json
from hf_blink.training.shared_linker import check_same_work, shared_linker
from hf_blink.training.zeshel_documents import ZeshelDocuments

logger = logging.getLogger(__name__)

NUM_CANDIDATES = 64
_COLUMNS = {
    "R@1": "recall@1",
    "R@64": "recall@64",
    "normalised": "accuracy_normalised",
    "unnormalised": "accuracy_unnormalised",
}


@dataclass
class ZeshelEvaluationArguments:
    """The files, the models, and where the figures go.

    Args:
        documents: folder of Zeshel's `<world>.json`, which are the entities.
        mentions: files of a split's mentions, such as `mentions/test.json`.
        bi_encoder: folder or Hub name of the trained bi-encoder and its processor.
        cross_encoder: of the trained cross-encoder; None measures the bi-encoder alone.
        output_dir: folder that gets `metrics.json`.
        use_cpu: computes on the CPU where there is a GPU.
    """

    documents: str = field(metadata={"help": "Folder of Zeshel's <world>.json."})
    mentions: list[str] = field(metadata={"help": "Files of mentions, such as mentions/test.json."})
    bi_encoder: str = field(metadata={"help": "Folder or Hub name of the trained bi-encoder."})
    output_dir: str = field(metadata={"help": "Folder for metrics.json."})
    cross_encoder: str | None = field(
        default=None, metadata={"help": "Folder or Hub name of the trained cross-encoder."}
    )
    use_cpu: bool = field(default=False, metadata={"help": "Compute on the CPU even if there is a GPU."})

    def load(self) -> tuple[BlinkBiEncoder, BlinkCrossEncoder | None, BlinkProcessor]:
        """The models and their processor.

        Raises:
            ValueError: one of them is another kind of model.
        """
        check_trained(self.bi_encoder, self.cross_encoder)
        bi_encoder = BlinkBiEncoder.from_pretrained(self.bi_encoder)
        processor = BlinkProcessor.from_pretrained(self.bi_encoder)
        cross_encoder = None
        if self.cross_encoder is not None:
            cross_encoder = BlinkCrossEncoder.from_pretrained(self.cross_encoder)
        check_fits(processor, bi_encoder, cross_encoder)
        return bi_encoder, cross_encoder, processor


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Runs with options; see the module's text.

    Returns:
        The metrics of `evaluate_linker`; empty in processes other than 0.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    (settings,) = parse_recipe((ZeshelEvaluationArguments,), arguments)
    state = PartialState(cpu=settings.use_cpu)
    with failing_together("reading the data"):
        documents = ZeshelDocuments(settings.documents)
        mentions = read_zeshel_mentions(settings.mentions, documents)
        knowledge_base = KnowledgeBase.from_entities(documents.entities())
    check_same_work(knowledge_base, mentions, {}, "evaluation")
    with failing_together("loading the models"):
        bi_encoder, cross_encoder, processor = settings.load()
    linker = shared_linker(knowledge_base, bi_encoder.to(state.device), processor)
    if not state.is_main_process:
        return {}
    linker.cross_encoder = None if cross_encoder is None else cross_encoder.to(state.device)
    metrics = evaluate_linker(linker, mentions, rerank_k=NUM_CANDIDATES)
    Path(settings.output_dir).mkdir(parents=True, exist_ok=True)
    write_json(Path(settings.output_dir, METRICS), metrics)
    logger.info(results_table(metrics, knowledge_base))
    return metrics


def results_table(metrics: Mapping[str, Any], knowledge_base: KnowledgeBase) -> str:
    """A line for each world, then their mean (macro) and all mentions (micro); shares as percentages."""
    worlds = sorted(key.split("/")[1] for key in metrics if key.startswith("world/") and key.endswith("/mrr"))
    width = max(map(len, [*worlds, "macro"]))
    lines = [_line(width, "world", "mentions", "entities", _COLUMNS)]
    for world in worlds:
        own = f"world/{world}/"
        shares = [f"{100 * metrics[own + name]:.2f}" for name in _COLUMNS.values()]
        count = int(metrics[f"{own}num_mentions"])
        lines.append(_line(width, world, f"{count:,}", f"{len(knowledge_base.world_rows(world)):,}", shares))
    for name, suffix in (("macro", "_macro"), ("micro", "")):
        shares = [f"{100 * metrics[column + suffix]:.2f}" for column in _COLUMNS.values()]
        lines.append(
            _line(width, name, f"{int(metrics['num_mentions']):,}", f"{len(knowledge_base):,}", shares)
        )
    return "\n".join(lines)


def _line(width: int, name: str, mentions: str, entities: str, values: Any) -> str:
    return f"{name:<{width}} {mentions:>9} {entities:>9} " + " ".join(f"{value:>12}" for value in values)


if __name__ == "__main__":
    run_script(main)
