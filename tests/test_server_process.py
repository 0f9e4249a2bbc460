"""The server as a process: how it starts, what it needs, how it stops while it works."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from hf_blink.server import bound_socket, serve

TEXT = "A Jaguar slept near Paris."


def until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_without_the_extra_an_error_names_it():
    code = "import sys; sys.modules['uvicorn'] = None; import hf_blink.server"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "ImportError: expected FastAPI" in done.stderr and "pip install 'hf_blink[serve]'" in done.stderr


def test_serve_refuses_a_port_in_use_before_it_loads_anything(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"expected a free address to listen at, got 127.0.0.1 port {port}"):
            serve(tmp_path / "nothing", port=port)
    with pytest.raises(FileNotFoundError, match="linker"):
        serve(tmp_path / "nothing", port=0)


def test_answers_are_sent_without_delay():
    async def main():
        delays = []

        async def accept(reader, writer):
            accepted = writer.get_extra_info("socket")
            delays.append(not accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        async with await asyncio.start_server(accept, sock=bound_socket("127.0.0.1", 0)) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
            await reader.read()
            writer.close()
        return delays

    assert asyncio.run(main()) == [False]


SERVE = """
import sys
from hf_blink.link_requests import RequestLimits
from hf_blink.server import serve
serve(sys.argv[1], port=int(sys.argv[2]), limits=RequestLimits(texts=100_000))
"""


def test_sigterm_finishes_what_runs_refuses_the_rest_and_ends_with_0(linker, tmp_path):
    linker.save_pretrained(tmp_path / "my-linker")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SERVE, str(tmp_path / "my-linker"), str(port)]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert process.stderr is not None
    try:
        line = next((line for line in process.stderr if "ready at" in line), "")
        assert f"ready at http://127.0.0.1:{port}" in line
        address = f"http://127.0.0.1:{port}"
        with (
            httpx2.Client(base_url=address, timeout=60, trust_env=False) as client,
            ThreadPoolExecutor(1) as thread,
        ):
            assert client.get("/health").json()["model"] == "my-linker"
            running = thread.submit(client.post, "/link", json={"inputs": [TEXT] * 1000})
            until(lambda: "\nhf_blink_batch_texts_count 1.0\n" in client.get("/metrics").text)
            process.send_signal(signal.SIGTERM)
            until(lambda: refuses(port))
            assert not running.done()
            assert [len(links) for links in running.result().json()] == [2] * 1000
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False
