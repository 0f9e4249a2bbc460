"""Load test of the server: requests/s, p50 and p99 with 1, 8 and 32 clients, with dynamic batching and without.

    python benchmarks/serve_load.py                    # a MiniLM linker of the quickstart's catalogue, made for the run
    python benchmarks/serve_load.py --linker FOLDER    # any other linker; texts stay the quickstart's

Two servers run as processes of their own, one of which links every request alone. Rounds of both take turns, so that
what else the machine does falls on both. Writes docs/results/serve.json and docs/results.md.
"""

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # a checkout that is not installed, started as a script
    sys.path.insert(0, str(ROOT))

from benchmarks.result_files import RESULTS, about, render, write_json  # noqa: E402
from benchmarks.serve_load_table import HEADER, cells  # noqa: E402
from hf_blink.quickstart import data_path  # noqa: E402
from hf_blink.training.text_table import format_table  # noqa: E402

BATCH_TEXTS = {True: 32, False: 1}  # with dynamic batching and without
SECONDS_TO_START = 120


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description="Load test of the server.")
    made.add_argument(
        "--linker", type=Path, metavar="FOLDER", help="a linker (default: one of MiniLM is made)"
    )
    made.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32], help="default: 1 8 32")
    made.add_argument("--seconds", type=float, default=30.0, help="of load for each row (default: 30)")
    made.add_argument("--rounds", type=int, default=3, help="that each row is measured in (default: 3)")
    made.add_argument(
        "--results", type=Path, default=RESULTS, help="folder of serve.json (default: docs/results)"
    )
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints the table and writes the result file."""
    options = parser().parse_args(arguments)
    texts = read_texts()
    with TemporaryDirectory() as folder, ExitStack() as servers:
        linker = options.linker or build_linker(Path(folder) / "linker")
        ports = {mode: servers.enter_context(server(linker, most)) for mode, most in BATCH_TEXTS.items()}
        entities = get(ports[True], "/health")["entities"]
        rows = measure(options, ports, texts)
    print(format_table(HEADER, [cells(row) for row in rows]))
    result = {
        "about": about(command(options)),
        "data": {
            "entities": entities,
            "texts": len(texts),
            "characters": float(np.mean([len(text) for text in texts])),
        },
        "settings": {
            "linker": "a linker of its own"
            if options.linker
            else "untrained all-MiniLM-L6-v2, no cross-encoder",
            "seconds": options.seconds,
            "rounds": options.rounds,
            "batch_texts": BATCH_TEXTS[True],
        },
        "rows": rows,
    }
    write_json(options.results / "serve.json", result)
    print(
        f"wrote {os.path.relpath(options.results / 'serve.json')}, {os.path.relpath(render(options.results))}"
    )


def command(options: argparse.Namespace) -> str:
    """The command that repeats the run."""
    words = ["python", "benchmarks/serve_load.py", *(["--linker", "FOLDER"] if options.linker else [])]
    for name in ("clients", "seconds", "rounds"):
        value = getattr(options, name)
        if value != parser().get_default(name):
            words += [f"--{name}", *(map(str, value) if isinstance(value, list) else [f"{value:g}"])]
    return " ".join(words)


def read_texts() -> list[str]:
    """The quickstart's test sentences, each once, in the order of the file."""
    lines = Path(data_path("mentions_test.jsonl")).read_text(encoding="utf-8").splitlines()
    return list(dict.fromkeys(json.loads(line)["text"] for line in lines))


def build_linker(folder: Path) -> Path:
    """Saves an untrained linker of the quickstart's catalogue."""
    from hf_blink import EntityLinker
    from hf_blink.default_encoder import default_encoder

    linker = EntityLinker.from_knowledge_base(data_path("entities.jsonl"), default_encoder(), progress=False)
    linker.save_pretrained(folder)
    return folder


@contextmanager
def server(linker: Path, batch_texts: int) -> Iterator[int]:
    """The port of a server that is ready.

    Args:
        linker: folder of what it serves.
        batch_texts: the most texts of a batch.

    Raises:
        RuntimeError: it did not start; with the end of its log.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with TemporaryDirectory() as folder, open(Path(folder) / "log", "w+", encoding="utf-8") as log:
        options = ["--port", str(port), "--batch-texts", str(batch_texts)]
        words = [sys.executable, "-m", "hf_blink", "serve", str(linker.resolve()), *options]
        process = subprocess.Popen(words, cwd=ROOT, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + SECONDS_TO_START
            while not is_ready(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"expected a server at port {port}, got:\n{log.read()[-2000:]}")
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()
            process.wait()


def is_ready(port: int) -> bool:
    """Whether a server answers at the port."""
    try:
        return bool(get(port, "/health")["status"] == "ok")
    except OSError:
        return False


def get(port: int, path: str) -> Any:
    """The answer to a GET request; JSON where it is that, a str otherwise."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read().decode("utf-8")
    connection.close()
    return json.loads(body) if response.getheader("content-type") == "application/json" else body


def measure(options: argparse.Namespace, ports: dict[bool, int], texts: list[str]) -> list[dict[str, Any]]:
    """A row for each number of clients and mode, measured in rounds that take turns."""
    rows = []
    for port in ports.values():
        load(port, texts, clients=8, seconds=options.seconds / options.rounds / 4)  # not counted
    for clients in options.clients:
        seconds: dict[bool, list[float]] = {mode: [] for mode in ports}
        spent = dict.fromkeys(ports, 0.0)
        batches = {mode: np.zeros(2) for mode in ports}
        for _ in range(options.rounds):
            for mode, port in ports.items():
                before, start = batch_totals(port), time.perf_counter()
                seconds[mode] += load(port, texts, clients, options.seconds / options.rounds)
                spent[mode] += time.perf_counter() - start
                batches[mode] += batch_totals(port) - before
        rows += [row(mode, clients, seconds[mode], spent[mode], batches[mode]) for mode in ports]
    return rows


def row(mode: bool, clients: int, seconds: list[float], spent: float, batches: np.ndarray) -> dict[str, Any]:
    """A row of the result file.

    Args:
        mode: whether requests were batched.
        clients: clients at a time.
        seconds: of each request.
        spent: seconds of all rounds.
        batches: texts and batches that the server counted, [2].
    """
    median, last = 1000 * np.percentile(seconds, [50, 99])
    return {
        "dynamic_batching": mode,
        "clients": clients,
        "requests": len(seconds),
        "requests_per_second": len(seconds) / spent,
        "p50_ms": float(median),
        "p99_ms": float(last),
        "mean_batch_texts": float(batches[0] / batches[1]),
    }


def batch_totals(port: int) -> np.ndarray:
    """Texts and batches that a server has linked so far, [2]."""
    lines = dict(line.rsplit(" ", 1) for line in get(port, "/metrics").splitlines())
    return np.array([float(lines[f"hf_blink_batch_texts_{name}"]) for name in ("sum", "count")])


def load(port: int, texts: list[str], clients: int, seconds: float) -> list[float]:
    """Seconds of every request of so many clients, which start at different texts."""
    end = time.perf_counter() + seconds
    with ThreadPoolExecutor(clients) as threads:
        running = [
            threads.submit(one_client, port, texts, len(texts) * number // clients, end)
            for number in range(clients)
        ]
        return [second for client in running for second in client.result()]


def one_client(port: int, texts: list[str], first: int, end: float) -> list[float]:
    """Sends one request after the other over one connection until the end (of time.perf_counter).

    Raises:
        RuntimeError: an answer other than 200.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    seconds: list[float] = []
    while (start := time.perf_counter()) < end:
        body = json.dumps({"inputs": texts[(first + len(seconds)) % len(texts)]})
        connection.request("POST", "/link", body, {"content-type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        seconds.append(time.perf_counter() - start)
        if response.status != 200:
            raise RuntimeError(f"expected status 200, got {response.status}: {answer[:200]!r}")
    connection.close()
    return seconds


if __name__ == "__main__":
    main()
