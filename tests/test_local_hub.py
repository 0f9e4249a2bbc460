"""The local Hub as a server: faults, the network, and what it does not know."""

from pathlib import Path

import pytest
from huggingface_hub import get_session, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from huggingface_hub.utils import httpx

from tests.hub_fixtures import MODEL, WEIGHTS, push


@pytest.mark.parametrize(
    ("method", "path_part", "status", "times", "requests"),
    [
        ("POST", "/preupload/", 403, 1, 1),
        ("POST", "/objects/batch", 500, 6, 6),
        ("PUT", "/lfs/", 507, 1, 1),
        ("PUT", "/lfs/", 503, 6, 6),
        ("POST", "/commit/", 500, 1, 1),
    ],
)
def test_push_that_fails_leaves_the_old_revision(
    hub, hub_api, hub_model, method, path_part, status, times, requests
):
    before = hub.files(MODEL)
    hub.reset()
    hub.fail_next(method, path_part, status, times)
    with pytest.raises((HfHubHTTPError, RuntimeError)) as raised:
        push(hub_api)
    error = raised.value if isinstance(raised.value, HfHubHTTPError) else raised.value.__cause__
    assert isinstance(error, HfHubHTTPError) and error.response.status_code == status
    assert hub.count(method, path_part) == requests
    assert hub.files(MODEL) == before and len(hub.commits(MODEL)) == 2
    push(hub_api)
    assert hub.files(MODEL)["weights.safetensors"] == b"second" + WEIGHTS and len(hub.commits(MODEL)) == 3


def test_passing_failures_are_repeated_by_the_client(hub, hub_api, hub_model):
    hub.reset()
    hub.fail_next("POST", "/preupload/", 500)
    hub.drop_next("PUT", "/lfs/", times=2)
    push(hub_api)
    assert (hub.count("POST", "/preupload/"), hub.count("PUT", "/lfs/")) == (2, 3)
    assert hub.files(MODEL)["weights.safetensors"] == b"second" + WEIGHTS


@pytest.mark.parametrize(("answered", "title"), [(False, "First model"), (True, "Second model")])
def test_connection_that_breaks_at_the_commit(hub, hub_api, hub_model, answered, title):
    hub.drop_next("POST", "/commit/", answered=answered)
    with pytest.raises(httpx.RemoteProtocolError):
        push(hub_api)
    assert hub.commits(MODEL)[0].title == title


def test_broken_download_goes_on_where_it_stopped(hub, hub_model):
    hub.reset()
    hub.drop_next("GET", "/lfs/", answered=True)
    assert Path(hf_hub_download(MODEL, "weights.safetensors")).read_bytes() == WEIGHTS
    assert hub.count("GET", "/lfs/") == 2


def test_hub_off_the_network(hub, hub_model, tmp_path):
    folder = snapshot_download(MODEL)
    hub.stop()
    assert snapshot_download(MODEL) == folder
    with pytest.raises(LocalEntryNotFoundError):
        snapshot_download(MODEL, cache_dir=tmp_path / "other")


def test_mistakes_are_shown_and_not_repeated(hub, hub_api, hub_model):
    hub.reset()
    address = f"{hub.endpoint}/api/models/{MODEL}/preupload/main"
    answer = get_session().post(address, content="[", headers={"authorization": f"Bearer {hub.token}"})
    assert answer.status_code == 501 and "JSONDecodeError" in answer.json()["error"]
    answer = get_session().get(f"{hub.endpoint}/api/unheard-of")
    assert answer.status_code == 404 and "no GET /api/unheard-of" in answer.json()["error"]
    assert hub.requests == [("POST", f"/api/models/{MODEL}/preupload/main"), ("GET", "/api/unheard-of")]
