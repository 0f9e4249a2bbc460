"""The local Hub of the tests, through the real clients."""

from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, snapshot_download


def add(**contents: bytes) -> list[CommitOperationAdd]:
    """Operations that add files; `__` in a name stands for a slash, a last `_` for a dot."""
    return [
        CommitOperationAdd(path_in_repo=name.replace("__", "/").replace("_", "."), path_or_fileobj=content)
        for name, content in contents.items()
    ]


@pytest.fixture
def api(hub) -> HfApi:
    return HfApi()


WEIGHTS = bytes(range(256)) * 40


@pytest.fixture
def model(api) -> str:
    """Id of a model repository with two regular files and one of large file storage."""
    api.create_repo("org/model")
    operations = add(config_json=b"{}", weights_safetensors=WEIGHTS, index__table_txt=b"a table")
    api.create_commit("org/model", operations, commit_message="First model")
    return "org/model"


def test_push_is_one_commit_with_regular_and_large_files(hub, model):
    newest, initial = hub.commits(model)
    assert newest.title == "First model" and newest.author == "user"
    assert initial.files == [".gitattributes"]
    assert newest.files == [".gitattributes", "config.json", "index/table.txt", "weights.safetensors"]
    assert [path for path, file in newest.contents.items() if file.lfs] == ["weights.safetensors"]
    assert hub.files(model)["weights.safetensors"] == WEIGHTS
    assert hub.count("POST", "/commit/") == 1 and hub.count("PUT", "/lfs/") == 1


def test_snapshot_at_a_commit(hub, model):
    commit = hub.commits(model)[0].oid
    folder = Path(snapshot_download(model, revision=commit, allow_patterns=["*.safetensors", "index/*"]))
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {"weights.safetensors", "index/table.txt"}
    assert (folder / "weights.safetensors").read_bytes() == WEIGHTS
    assert folder.is_relative_to(hub.home)
