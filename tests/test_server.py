"""A real uvicorn server of a tiny linker, asked by a real client over HTTP."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import quote

import httpx2
import pytest
import uvicorn

from hf_blink.link_requests import RequestLimits
from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.mention_detection import TitleMatcher
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.pipeline_entity_linking import EntityLinkingPipeline
from hf_blink.request_batching import BatchSettings
from hf_blink.server import create_app

TEXT = "A Jaguar slept near Paris."
ODD_ID = "a/b c?d#é%41//"
LIMITS = RequestLimits(body_bytes=20_000, texts=4, characters=1000, mentions=5, candidates=6)


class Gate:
    """Finds titles, as a linker does by itself; a text with "wait" is held until the gate opens, one with "fail" fails."""

    def __init__(self, knowledge_base: KnowledgeBase):
        self.titles = TitleMatcher.from_knowledge_base(knowledge_base)
        self.held = threading.Event()
        self.open = threading.Event()

    def __call__(self, texts):
        if any("wait" in text for text in texts):
            self.held.set()
            assert self.open.wait(10)
        if any("fail" in text for text in texts):
            raise ValueError(f"no good: {__file__}")
        return self.titles(texts)


@pytest.fixture(scope="module")
def gated_linker(tiny_encoder, processor, entities) -> EntityLinker:
    odd = {"id": ODD_ID, "title": "Odd", "description": "Its id is odd.", "colour": ["red", 1]}
    knowledge_base = KnowledgeBase.from_entities([*entities, odd])
    model = BlinkBiEncoder.from_encoder(tiny_encoder).eval()
    linker = EntityLinker.from_knowledge_base(knowledge_base, model, processor=processor, progress=False)
    linker.detector = Gate(knowledge_base)
    return linker


@pytest.fixture
def gate(gated_linker) -> Iterator[Gate]:
    gated_linker.detector.held.clear()
    gated_linker.detector.open.clear()
    yield gated_linker.detector
    gated_linker.detector.open.set()


@contextmanager
def served(linker: EntityLinker, **settings) -> Iterator[httpx2.Client]:
    """A server in a thread, on a free port."""
    app = create_app(linker, **{"limits": LIMITS, "model_name": "tiny", **settings})
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = "http://{}:{}".format(*listener.getsockname())
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            with httpx2.Client(base_url=address, timeout=20, trust_env=False) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def client(gated_linker) -> Iterator[httpx2.Client]:
    with served(gated_linker) as client:
        yield client


@pytest.fixture(scope="module")
def pipe(gated_linker) -> EntityLinkingPipeline:
    return EntityLinkingPipeline(gated_linker.bi_encoder, linker=gated_linker, device="cpu")


def post(client: httpx2.Client, inputs, **parameters) -> httpx2.Response:
    return client.post("/link", json={"inputs": inputs, "parameters": parameters})


def link(client: httpx2.Client, inputs, **parameters):
    response = post(client, inputs, **parameters)
    assert response.status_code == 200, response.text
    return response.json()


def metric(client: httpx2.Client, name: str) -> float:
    """The value of a metric, with its labels as they are written."""
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))


def until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def same(found, expected) -> bool:
    """Equal, numbers to 1e-5."""
    if isinstance(expected, float):
        return found == pytest.approx(expected, abs=1e-5)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in expected)
    return found == expected


@pytest.mark.parametrize(
    ("inputs", "parameters"),
    [
        (TEXT, {}),
        (TEXT, {"top_k": 2}),
        (TEXT, {"threshold": 1.0}),
        (TEXT, {"threshold": 1, "return_nil": True}),
        (TEXT, {"worlds": "animals"}),
        ("A [[cat]] in [[Paris]]", {"marks": ["[[", "]]"]}),
        ("nobody", {}),
        ("", {}),
        ([], {}),
        ([TEXT], {}),
        (["nobody", TEXT, {"text": "a big cat 👍 é", "mentions": [[6, 9], {"start": 2, "end": 5}]}], {}),
        ([{"text": TEXT, "world": "places"}, TEXT, {"text": TEXT, "mentions": []}], {"worlds": "animals"}),
        (["Puma", "Jaguar"], {"worlds": ["firms", None]}),
        (TEXT, {"top_k": None, "threshold": None, "marks": None, "worlds": None}),
    ],
)
def test_link_answers_as_the_pipeline_does(client, pipe, inputs, parameters):
    expected = json.loads(json.dumps(pipe(inputs, **parameters)))
    assert same(link(client, inputs, **parameters), expected)


def test_parameters_may_be_left_out_or_null(client):
    assert link(client, TEXT) == client.post("/link", json={"inputs": TEXT}).json()
    assert link(client, TEXT) == client.post("/link", json={"inputs": TEXT, "parameters": None}).json()


def test_concurrent_requests_are_batched_and_get_what_they_would_get_alone(gated_linker, pipe, gate):
    requests = [
        (f"{' '.join(['the'] * number)} Jaguar of Paris {number}", {"top_k": 1 + number % 2})
        for number in range(24)
    ]
    gate.open.set()
    expected = [pipe(text, **parameters) for text, parameters in requests]
    gate.open.clear()
    with served(gated_linker) as client, ThreadPoolExecutor(25) as threads:
        first = threads.submit(link, client, "wait for Paris")
        assert gate.held.wait(10)
        answers = [threads.submit(link, client, text, **parameters) for text, parameters in requests]
        until(lambda: metric(client, "hf_blink_queue_requests") == len(requests))
        gate.open.set()
        assert first.result()[0]["word"] == "Paris"
        assert all(same(answer.result(), links) for answer, links in zip(answers, expected, strict=True))
        assert metric(client, "hf_blink_batch_texts_count") == 3  # the first, top_k=1, top_k=2
        assert metric(client, "hf_blink_batch_texts_sum") == 25
        assert metric(client, 'hf_blink_batch_texts_bucket{le="8.0"}') == 1
        assert metric(client, "hf_blink_mentions_linked_total") == 49
        assert metric(client, "hf_blink_queue_requests") == 0


@pytest.mark.parametrize(
    ("inputs", "parameters", "message"),
    [
        (5, {}, "expected a str or a dict with the key 'text', got int: 5"),
        ([TEXT, {"txt": "a"}], {}, "inputs[1]: expected a str or a dict with the key 'text'"),
        ({"text": "abc", "mentions": [[0, 9]]}, {}, "got start=0, end=9"),
        (TEXT, {"worlds": 5}, "expected a world of the knowledge base"),
        ("a", {"marks": ["["]}, "parameters.marks.1: Field required"),
        (TEXT, {"return_nil": "yes"}, "parameters.return_nil: Input should be a valid boolean, got 'yes'"),
        (TEXT, {"topk": 1}, "parameters.topk: expected one of top_k, threshold, return_nil, marks, worlds, got 1"),
        (TEXT, {"batch_size": 1}, "parameters.batch_size: expected one of top_k, threshold, return_nil, marks, worlds"),
        (["a"] * 5, {}, "expected at most 4 texts in a request, got 5"),
        ("Paris " * 6, {}, "expected at most 5 mentions in a text, got 6"),
        (TEXT, {"top_k": 17}, "expected at most 16 candidates (top_k), got 17"),
    ],
)  # fmt: skip
def test_bad_requests_say_what_was_expected(client, inputs, parameters, message):
    response = post(client, inputs, **parameters)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["error"] and message in response.json()["error"]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("{", 400, "expected a body in JSON, got an error at character 1"),
        ('{"inputs": "\\ud83d"}', 422, "expected a text of Unicode characters, got half a surrogate pair"),
        ('{"inputs": {"text": "a", "\\ud83d": 1}}', 422, "got also \\ud83d"),
        ('{"inputs": "a", "parameters": {"' + "x" * 5000 + '": 1}}', 422, "parameters.xxx"),
        ("[" * 9000, 400, "error parsing the body"),
        ("", 422, 'expected a JSON object with "inputs"'),
        ("[]", 422, 'expected a JSON object with "inputs"'),
        ("{}", 422, "inputs: Field required"),
        ('{"inputs": "a", "parameters": 5}', 422, "parameters: "),
        ('{"inputs": "a", "parameter": {}}', 422, "parameter: expected one of inputs, parameters, got {}"),
        ('{"inputs": "a", "parameters": {"threshold": NaN}}', 422, "expected a threshold between 0 and 1"),
    ],
)  # fmt: skip
def test_bad_bodies_say_what_was_expected(client, body, status, message):
    response = client.post("/link", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, message in response.json()["error"]) == (status, True), response.text
    assert len(response.json()["error"]) <= 1000


def test_a_body_that_is_not_marked_as_json_is_refused(client):
    response = client.post("/link", content='{"inputs": "a"}', headers={"content-type": "text/plain"})
    assert response.status_code == 422 and "content-type: application/json" in response.json()["error"]


def chunks(size: int) -> Iterator[bytes]:
    yield b'{"inputs": "'
    for _ in range(size // 1000):
        yield b"x" * 1000
    yield b'"}'


@pytest.mark.parametrize("size", [20_000, 2_000_000])
def test_too_long_bodies_are_refused_with_and_without_a_length(client, size):
    headers = {"content-type": "application/json"}
    got = len(b"".join(chunks(size)))
    for content, shown in ((b"".join(chunks(size)), str(got)), (chunks(size), " or more")):
        response = client.post("/link", content=content, headers=headers)
        assert response.status_code == 413
        error = response.json()["error"]
        assert error.startswith("expected a body of at most 20000 bytes, got ") and shown in error
    assert client.post("/link", content=chunks(1000), headers=headers).json() == []
    assert client.get("/health").status_code == 200


def test_a_bad_request_does_not_spoil_the_others_of_its_batch(client, pipe, gate, caplog):
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(post, client, "wait")
        assert gate.held.wait(10)
        good, failing, long = (threads.submit(post, client, text) for text in (TEXT, "fail", "Paris " * 6))
        until(lambda: metric(client, "hf_blink_queue_requests") == 3)
        gate.open.set()
        assert first.result().status_code == 200
        assert same(good.result().json(), pipe(TEXT))
        assert long.result().status_code == 422
    assert failing.result().status_code == 500
    error = failing.result().json()["error"]
    assert error == "the server failed to answer this request; its log says why"
    assert "no good" in caplog.text and __file__ in caplog.text
    assert same(link(client, TEXT), pipe(TEXT))


def test_a_client_that_disconnects_costs_nothing_and_breaks_nothing(client, pipe, gate):
    before = metric(client, "hf_blink_batch_texts_sum")
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(post, client, "wait")
        assert gate.held.wait(10)
        staying = threads.submit(post, client, TEXT)
        until(lambda: metric(client, "hf_blink_queue_requests") == 1)
        with pytest.raises(httpx2.ReadTimeout):
            client.post("/link", json={"inputs": "Puma"}, timeout=0.1)
        until(lambda: metric(client, 'hf_blink_requests_total{path="/link",status="499"}') == 1)
        assert metric(client, "hf_blink_queue_requests") == 1
        gate.open.set()
        assert first.result().status_code == 200 and same(staying.result().json(), pipe(TEXT))
    assert metric(client, "hf_blink_batch_texts_sum") == before + 2


def test_a_full_queue_answers_503_and_says_when_to_come_back(gated_linker, gate):
    batching = BatchSettings(queue=1, wait=0)
    with served(gated_linker, batching=batching) as client, ThreadPoolExecutor(2) as threads:
        first = threads.submit(post, client, "wait")
        assert gate.held.wait(10)
        second = threads.submit(post, client, TEXT)
        until(lambda: metric(client, "hf_blink_queue_requests") == 1)
        refused = post(client, TEXT)
        assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
        assert refused.json() == {
            "error": "1 requests wait already, which is the most allowed; try again later"
        }
        gate.open.set()
        assert first.result().status_code == second.result().status_code == 200


def test_entities_are_found_by_ids_of_any_characters(client):
    odd = client.get("/entities/" + quote(ODD_ID, safe=""))
    assert odd.json() == {
        "entity_id": ODD_ID,
        "title": "Odd",
        "description": "Its id is odd.",
        "aliases": [],
        "world": None,
        "url": None,
        "metadata": {"colour": ["red", 1]},
    }
    assert client.get("/entities/" + quote(ODD_ID, safe="/")).json() == odd.json()
    assert client.get("/entities/puma-cat").json()["aliases"] == ["cougar"]
    for unknown in ("", "nobody", quote("a/b"), "%FF"):
        response = client.get(f"/entities/{unknown}")
        assert response.status_code == 404
        assert "no entity with the id" in response.json()["error"]


def test_health_says_what_is_served(client):
    health = client.get("/health").json()
    assert (health["status"], health["model"], health["entities"]) == ("ok", "tiny", 7)
    assert {"hf_blink", "torch", "transformers", "python"} <= set(health["versions"])


def test_other_paths_and_methods_are_refused_in_json(client):
    assert client.get("/nothing").json() == {"error": "Not Found"}
    wrong = client.get("/link")
    assert wrong.status_code == 405 and wrong.headers["allow"] == "POST" and "error" in wrong.json()


def test_metrics_count_requests_by_path_and_status(client):
    name = 'hf_blink_requests_total{path="/entities/{id}",status="404"}'
    before = metric(client, name), metric(client, 'hf_blink_requests_total{path="other",status="404"}')
    client.get("/entities/no/one")
    client.get("/no/such/path")
    assert metric(client, name) == before[0] + 1
    assert metric(client, 'hf_blink_requests_total{path="other",status="404"}') == before[1] + 1
    assert metric(client, 'hf_blink_request_seconds_count{path="/entities/{id}"}') >= 1
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert "no/one" not in response.text and "process_resident_memory_bytes" in response.text


def test_the_openapi_document_lists_the_paths_with_an_example_that_works(client):
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) == {"/link", "/entities/{id}", "/health", "/metrics"}
    answers = document["paths"]["/link"]["post"]["responses"]
    assert {"200", "400", "413", "422", "503"} <= set(answers)
    for status in ("413", "422"):
        assert answers[status]["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorAnswer")
    schemas = document["components"]["schemas"]
    assert "TextInput" in json.dumps(schemas["LinkRequest"]["properties"]["inputs"])
    (example,) = schemas["LinkRequest"]["examples"]
    (answer,) = client.post("/link", json=example).json()
    assert set(answer) == set(schemas["LinkAnswer"]["properties"])
    assert set(answer["candidates"][0]) == set(schemas["CandidateAnswer"]["properties"])


def test_the_page_of_the_documentation_loads_nothing_from_other_hosts(client):
    page = client.get("/docs").text
    addresses = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page)
    assert len(addresses) >= 2
    for address in addresses:
        assert (
            address.startswith("/")
            and not address.startswith("//")
            and client.get(address).status_code == 200
        )
    assert "://" not in page and client.get("/redoc").status_code == 404


def test_the_linker_stays_as_it_was(gated_linker, gate):
    create_app(gated_linker)
    assert gated_linker.detector is gate
