"""A bi-encoder is trained, interrupted in the middle of an epoch and resumed; run as a module, by each of two processes.

python -m tests.resuming_example OUT RECIPE [OPTION ...]      writes OUT-whole.pt and OUT-resumed.pt, the last weights
"""

import shutil
import sys
from pathlib import Path

import torch
from accelerate import PartialState

from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.training import train_biencoder
from hf_blink.training.process_shares import leave_processes

KEPT = 1  # steps of the last round that the interruption leaves


def interrupt(out: Path) -> None:
    """Removes what the last round wrote after its first steps."""
    (out / "round_1/round.json").unlink()
    (out / "model.safetensors").unlink()
    for checkpoint in (out / "round_1").glob("checkpoint-*"):
        if int(checkpoint.name.rpartition("-")[2]) > KEPT:
            shutil.rmtree(checkpoint)


def main(out: Path, arguments: list[str]) -> None:
    """The run, and the interrupted one."""
    state = PartialState(cpu=True)
    for name, more in (("whole", []), ("resumed", ["--resume", "true"])):
        train_biencoder.main([*arguments, "--output_dir", str(out), *more])
        if state.is_main_process:
            weights = BlinkBiEncoder.from_pretrained(out).state_dict()
            torch.save(weights, out.with_name(f"{out.name}-{name}.pt"))
            if not more:
                interrupt(out)
        state.wait_for_everyone()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
    leave_processes()
