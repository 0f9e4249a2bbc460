"""Result files and the page that shows them: docs/results/*.json is the source of every figure, docs/results.md is rendered.

    python benchmarks/result_files.py      # renders docs/results.md anew

A benchmark writes `docs/results/NAME.json` with `write_json`, its facts under "about" from `about`, and adds its renderer
to `RENDERERS`.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # a checkout that is not installed, started as a script
    sys.path.insert(0, str(ROOT))

from benchmarks.ablation_table import render_ablation  # noqa: E402
from benchmarks.adapt_table import render_adapt  # noqa: E402
from benchmarks.elq_table import render_elq  # noqa: E402
from benchmarks.real_data_tables import render_real_data  # noqa: E402
from benchmarks.serve_load_table import render_serve_load  # noqa: E402

RESULTS = ROOT / "docs" / "results"
RENDERERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "ablation": render_ablation,
    "adapt": render_adapt,
    "elq": render_elq,
    "real_data": render_real_data,
    "serve": render_serve_load,
}
LIBRARIES = (
    "torch",
    "transformers",
    "datasets",
    "accelerate",
    "tokenizers",
    "faiss-cpu",
    "numpy",
    "pyarrow",
    "bm25s",
    "fastapi",
    "uvicorn",
)
INTRODUCTION = """# Results

Rendered by `python benchmarks/result_files.py` from the files in `docs/results/`; every figure has its source there.
"""


def today() -> str:
    """The date in UTC, as 2025-12-31."""
    return datetime.now(UTC).date().isoformat()


def commit() -> str | None:
    """The commit of the checkout, with "+" where tracked files differ from it; None outside of a checkout."""
    try:
        name = _git("rev-parse", "HEAD")
        return name + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def about(command: str) -> dict[str, Any]:
    """What a reader needs to judge and repeat a run; no names of hosts or folders."""
    return {
        "date": today(),
        "commit": commit(),
        "command": command,
        "hardware": hardware(),
        "libraries": {"python": platform.python_version(), **library_versions()},
    }


def hardware() -> dict[str, Any]:
    """CPU model, cores that this process may use, memory, and threads that it was told to use."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }


def _cpu_model() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def library_versions() -> dict[str, str]:
    """Versions of the libraries that figures depend on, of those that are installed."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def write_text(path: Path, text: str) -> None:
    """Replaces a file whole: a reader, or a run after a crash, never finds half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replaces a JSON file whole.

    Raises:
        ValueError: a number that is NaN or infinite, which JSON does not have.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def render(folder: Path = RESULTS) -> Path:
    """Writes results.md beside the folder of result files.

    Args:
        folder: has `NAME.json` files; those without a renderer are named only.

    Returns:
        The page's path.
    """
    parts = [INTRODUCTION]
    for file in sorted(folder.glob("*.json")):
        renderer = RENDERERS.get(file.stem)
        if renderer is None:
            parts.append(f"## {file.stem}\n\nNo table: see `docs/results/{file.name}`.\n")
        else:
            parts.append(renderer(json.loads(file.read_text(encoding="utf-8"))))
    page = folder.parent / "results.md"
    write_text(page, "\n".join(parts))
    return page


if __name__ == "__main__":
    print(f"rendered {os.path.relpath(render())}")
