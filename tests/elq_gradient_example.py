"""Gradients of `ElqTrainer` on batches that two processes share; run as a module, by each process.

python -m tests.elq_gradient_example ENCODER FOLDER     writes the averaged gradients to gradients.pt, refusals to <number>.json
"""

import json
import os
import sys
from pathlib import Path

import torch
from torch import Tensor, distributed

from hf_blink.modeling.entity_index import EntityIndex
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.modeling_elq import ElqModel
from hf_blink.training.document_arguments import DocumentArguments
from hf_blink.training.elq_trainer import ElqTrainer
from hf_blink.training.process_shares import leave_processes
from hf_blink.training.span_collator import ElqCollator
from tests.conftest import ENTITIES
from tests.elq_example import elq_processor
from tests.mining_example import refusal
from tests.test_elq_trainer import elq_documents
from tests.test_trainers import arguments

# Of each process the texts of `elq_documents`: 0, 2 and 3 have a mention with an entity each, 1 has two, 5 has none.
DIVISIONS = {"more and less": ([1, 0], [3, 5]), "some and none": ([5], [0, 1, 2]), "none at all": ([5], [5])}
STAGES = ("in-batch", "softmax", "bce")


def gradients(encoder: str, folder: Path, stage: str, texts: list[int]) -> dict[str, Tensor]:
    """Those of one batch, of weights that are the same in every process; text 2 is not wholly annotated."""
    torch.manual_seed(0)
    model, processor = ElqModel.from_encoder(encoder).eval(), elq_processor(encoder)
    kb = KnowledgeBase.from_entities(ENTITIES)
    index = None if stage == "in-batch" else EntityIndex.build(model, processor, kb, progress=False)
    options = {} if index is None else {"hard_negative_loss": stage, "num_hard_negatives": 3}
    trainer = ElqTrainer(
        model, arguments(folder, **options), ElqCollator(processor, kb), elq_documents(), index=index
    )
    documents = elq_documents().to_list()
    documents[2]["complete"] = False
    trainer.compute_loss(model, trainer.data_collator([documents[number] for number in texts])).backward()
    return {
        name: torch.zeros_like(weight) if weight.grad is None else weight.grad
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


def main(encoder: str, folder: Path) -> None:
    """Averages the gradients as DistributedDataParallel does, and loads documents that differ."""
    number = int(os.environ["RANK"])
    arguments(folder, ddp_backend="gloo").device  # noqa: B018  (joins the processes)
    found = {}
    for stage in STAGES:
        for name, parts in DIVISIONS.items():
            found[stage, name] = gradients(encoder, folder, stage, parts[number])
            for gradient in found[stage, name].values():
                distributed.all_reduce(gradient)
                gradient /= 2
    if number == 0:
        torch.save(found, folder / "gradients.pt")

    def load(file: str) -> None:
        entities = [str(folder / "entities.jsonl")]
        DocumentArguments(entities, [str(folder / file)]).load(elq_processor(encoder), seed=1)

    told = [refusal(load, f"{number}.jsonl"), refusal(load, "0.jsonl" if number else "entities.jsonl")]
    (folder / f"{number}.json").write_text(json.dumps([*told, refusal(load, "0.jsonl")]))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
    leave_processes()
