"""Starts a module in two real processes, as `accelerate launch` does on one CPU machine."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def launch_two(
    module: str, *arguments: str, folder: Path, succeeds: bool = True
) -> subprocess.CompletedProcess[str]:
    """Runs `python -m module` in two processes, which must succeed where `succeeds`; the caller checks that there were two.

    `--cpu --num_processes 2` would silently run one.
    """
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    done = subprocess.run(
        [*command, "--main_process_port", "0", "-m", module, *arguments],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
    )
    # The first lines say what went wrong; the launcher's own follow.
    assert (done.returncode == 0) is succeeds, done.stdout + done.stderr
    return done
