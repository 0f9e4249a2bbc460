"""Starts a module in two real processes, as `accelerate launch` does on one CPU machine."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def launch_two(module: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs `python -m module` in two processes; the caller checks that there were two.

    `--cpu --num_processes 2` would silently run one.
    """
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    return subprocess.run(
        [*command, "--main_process_port", "0", "-m", module, *arguments],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
    )
