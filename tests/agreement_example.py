"""Processes that were started with something different; run as a module, by each process.

python -m tests.agreement_example FOLDER     FOLDER holds entities.jsonl, mentions-0.jsonl and mentions-1.jsonl
"""

import json
import os
import sys
from pathlib import Path

from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.data_arguments import DataArguments
from hf_blink.training.run_folder import open_run
from tests.mining_example import refusal


def main(folder: Path) -> None:
    """Writes what this process was told to `<number>.json`."""
    index = int(os.environ["RANK"])

    def begin(learning_rate: float, resume: bool) -> None:
        arguments = BlinkTrainingArguments(str(folder / "out"), learning_rate=learning_rate, use_cpu=True)
        open_run(arguments, (), resume=resume)

    def load(mentions: Path) -> None:
        DataArguments([str(folder / "entities.jsonl")], [str(mentions)]).load(seed=1)

    told = [
        refusal(begin, 0.1 * (index + 1), False),
        refusal(begin, 0.1, False),
        refusal(load, folder / f"mentions-{index}.jsonl"),
        refusal(load, folder / ("mentions-0.jsonl" if index else "entities.jsonl")),
        refusal(load, folder / "mentions-0.jsonl"),
    ]
    (folder / f"{index}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
