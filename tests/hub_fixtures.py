"""The fixture `hub`: a local Hub that huggingface_hub, transformers and datasets of this process talk to; a model on it."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets.config
import huggingface_hub.hf_api
import pytest
import transformers.utils.hub
from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi, HfFileSystem, close_session, constants
from huggingface_hub.utils import _http

from tests.local_hub import LocalHub

MODEL = "org/model"
WEIGHTS = bytes(range(256)) * 40
FILES = {"config.json": b"{}", "index/table.txt": b"a table", "weights.safetensors": WEIGHTS}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """A fresh, empty Hub with `hub.token` as the token in use and a cache of its own; no other host is asked.

    The libraries read their settings when they are imported, so these are changed in place, in each library that keeps
    a copy. Code from repositories still goes to the modules folder of the whole test run, where it is kept by commit.
    """
    with LocalHub(tmp_path / "hf-home") as server:
        _use_environment(server, monkeypatch)
        _use_endpoint(server.endpoint, monkeypatch)
        _use_caches(server.home, monkeypatch)
        close_session()  # a client that was made earlier keeps its proxies
        yield server
        close_session()
        HfFileSystem.clear_instance_cache()  # a later Hub may get the same port


@pytest.fixture
def hub_api(hub: LocalHub) -> HfApi:
    return HfApi()


@pytest.fixture
def hub_model(hub_api: HfApi) -> str:
    """Commit of the repository MODEL on the Hub that adds FILES, the weights in large file storage."""
    hub_api.create_repo(MODEL)
    return hub_api.create_commit(MODEL, add(FILES), commit_message="First model").oid


def add(contents: dict[str, bytes]) -> list[CommitOperationAdd]:
    return [CommitOperationAdd(path, content) for path, content in contents.items()]


def push(api: HfApi, text: bytes = b"second", **options: Any) -> CommitInfo:
    """Changes the table and the weights of MODEL."""
    files = {"index/table.txt": text, "weights.safetensors": text + WEIGHTS}
    return api.create_commit(MODEL, add(files), commit_message="Second model", **options)


def _use_environment(server: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HF_TOKEN", server.token)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False)
    for function in (_http.http_backoff, _http.http_stream_backoff):  # as often as ever, but without waiting
        defaults = inspect.unwrap(function).__kwdefaults__
        monkeypatch.setitem(defaults, "base_wait_time", 0.01)
        monkeypatch.setitem(defaults, "max_wait_time", 0.01)


def _use_endpoint(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    web = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + web)
    # Functions like `huggingface_hub.create_repo` are methods of the first; transformers makes the second when needed.
    monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", endpoint)
    monkeypatch.setattr(transformers.utils.hub, "_hf_api", None)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", endpoint)


def _use_caches(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HOME", str(home))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(home / "stored_tokens"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", home / "datasets")
    downloads = home / "datasets" / "downloads"
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", downloads)
    monkeypatch.setattr(datasets.config, "EXTRACTED_DATASETS_PATH", downloads / "extracted")
