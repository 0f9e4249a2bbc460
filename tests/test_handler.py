"""A pushed repository as an Inference Endpoint: its own handler, a fresh folder, a process without hf_blink, real HTTP."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from transformers import pipeline

from hf_blink.modeling.handler import EndpointHandler

TEXT = "Puma and Paris."


@pytest.fixture
def endpoint(linker, hub, tmp_path) -> Iterator[str]:
    linker.push_to_hub("user/linker", private=True)
    script = Path(__file__).with_name("endpoint_server.py")
    command = [
        sys.executable,
        "-W",
        "ignore",
        str(script),
        "user/linker",
        str(tmp_path / "fresh"),
        "--refuse",
        "hf_blink",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=hub.environment(), cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        try:
            port = process.stdout.readline().strip()
            assert port.isdigit(), "the endpoint did not start"
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def test_an_endpoint_answers_as_the_pipeline_does(endpoint, linker, tmp_path):
    def asked(body) -> tuple:
        answer = httpx.post(endpoint, json=body, timeout=120)
        return answer.status_code, answer.json()

    link = pipeline("entity-linking", model=str(tmp_path / "fresh"))
    spans = {"text": "the cougar", "mentions": [[4, 10]], "world": "animals"}
    for inputs in (TEXT, [TEXT, "nothing"], spans, [spans, TEXT]):
        assert asked({"inputs": inputs}) == (200, json.loads(json.dumps(link(inputs))))
    status, links = asked({"inputs": TEXT, "parameters": {"top_k": 1, "threshold": 0.0}})
    assert status == 200 and all(len(found["candidates"]) == 1 for found in links)
    for body, said in (
        ({"text": TEXT}, 'got no "inputs"'),
        ({"inputs": 5}, '"inputs" as a text'),
        ({"inputs": TEXT, "parameters": [1]}, '"parameters" as an object'),
        ({"inputs": TEXT, "parameters": {"topk": 1}}, "got topk"),
        ({"inputs": [{"words": "x"}]}, "key 'text'"),
        ({"inputs": {"text": "x", "mentions": [[0, 9]]}}, "9"),
    ):
        status, answer = asked(body)
        assert status == 400 and said in answer["error"], answer


def test_the_handler_of_the_package_is_the_same(linker, tmp_path):
    linker.save_pretrained(tmp_path / "linker")
    handler = EndpointHandler(str(tmp_path / "linker"))
    assert handler({"inputs": TEXT, "parameters": None}) == pipeline(
        "entity-linking", model=str(tmp_path / "linker")
    )(TEXT)
