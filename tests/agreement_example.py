"""Processes that were started with something different, or of which one fails; run as a module, by each process.

python -m tests.agreement_example FOLDER ENCODER     FOLDER holds entities.jsonl, mentions-0.jsonl and mentions-1.jsonl
"""

import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.training import train_biencoder, trainers
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.biencoder_arguments import BiEncoderArguments
from hf_blink.training.collators import BiEncoderCollator
from hf_blink.training.data_arguments import DataArguments
from hf_blink.training.dataset_readers import read_mentions
from hf_blink.training.process_shares import leave_processes
from hf_blink.training.run_folder import open_run
from hf_blink.training.trainers import InBatchTrainer
from tests.mining_example import refusal


def train(folder: Path, encoder: str) -> None:
    """Three steps with a checkpoint after each; in process 1 the loss of the second one is no number.

    Before them recall is measured, of which process 1 computes another.
    """
    mentions = read_mentions([str(folder / "mentions-0.jsonl")])
    collator = BiEncoderCollator(
        BlinkProcessor.from_base(encoder, mention_length=16, entity_length=16),
        KnowledgeBase.from_jsonl(folder / "entities.jsonl"),
    )
    arguments = BlinkTrainingArguments(
        str(folder / "trained"), max_steps=3, save_strategy="steps", save_steps=1, per_device_train_batch_size=1,
        use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    trainer = InBatchTrainer(
        BlinkBiEncoder.from_encoder(encoder), arguments, collator, mentions, eval_dataset=mentions
    )
    loss_of = trainer.vectors_loss

    def vectors_loss(*parts: Any) -> Any:
        wrong = trainer.state.global_step == 1 and arguments.process_index == 1
        return loss_of(*parts) * (float("nan") if wrong else 1.0)

    with patch.object(trainers, "recall_of", lambda *_: {"recall@64": float(arguments.process_index)}):
        assert trainer.evaluate()["eval_recall@64"] == 0.0
    trainer.vectors_loss = vectors_loss  # type: ignore[method-assign, assignment]
    trainer.train()


def main(folder: Path, encoder: str) -> None:
    """Writes what this process was told to `<number>.json`."""
    index = int(os.environ["RANK"])

    def begin(learning_rate: float, resume: bool) -> None:
        arguments = BlinkTrainingArguments(str(folder / "out"), learning_rate=learning_rate, use_cpu=True)
        open_run(arguments, (), resume=resume)

    def go_on() -> None:
        """Process 0 alone has the round that is finished."""
        open_run(BlinkTrainingArguments(str(folder / f"disk-{index}"), use_cpu=True), (), resume=True)

    def load(mentions: Path) -> None:
        DataArguments([str(folder / "entities.jsonl")], [str(mentions)]).load(seed=1)

    def load_model() -> None:
        """Process 1 has no encoder."""
        files = ("--entities", str(folder / "entities.jsonl"), "--train", str(folder / "mentions-0.jsonl"))
        options = ("--base_model", encoder, "--output_dir", str(folder / "model"), "--use_cpu", "true")
        missing = patch.object(BiEncoderArguments, "load", side_effect=OSError("no such encoder"))
        with missing if index else nullcontext():
            train_biencoder.main([*files, *options, "--per_device_train_batch_size", "1"])

    told = {
        "settings": refusal(begin, 0.1 * (index + 1), False),
        "same settings": refusal(begin, 0.1, False),
        "mentions": refusal(load, folder / f"mentions-{index}.jsonl"),
        "bad file": refusal(load, folder / ("mentions-0.jsonl" if index else "entities.jsonl")),
        "same mentions": refusal(load, folder / "mentions-0.jsonl"),
        "no file": refusal(load, folder / ("nowhere.jsonl" if index else "mentions-0.jsonl")),
        "output_dir": refusal(go_on),
        "no model": refusal(load_model),
        "no number": refusal(train, folder, encoder),
    }
    (folder / f"{index}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
    leave_processes()
