"""Reading from the local Hub with the real client."""

import hashlib
from pathlib import Path

import pytest
from huggingface_hub import HfFileSystem, get_session, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

from tests.hub_fixtures import FILES, MODEL, WEIGHTS, push


def test_snapshot_at_a_commit_counts_its_requests(hub, hub_model):
    hub.reset()
    patterns = ["*.safetensors", "index/*"]
    folder = Path(snapshot_download(MODEL, revision=hub_model, allow_patterns=patterns))
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {"weights.safetensors", "index/table.txt"}
    assert (folder / "weights.safetensors").read_bytes() == WEIGHTS
    assert folder.is_relative_to(hub.home)
    assert hub.count("GET", "/tree/") == 1 and hub.count("HEAD") == 2
    assert (hub.count("GET", "/resolve/"), hub.count("GET", "/lfs/")) == (1, 1)
    assert hub.count() == 5

    hub.reset()
    assert snapshot_download(MODEL, revision=hub_model, allow_patterns=patterns) == str(folder)
    assert hub.requests == []
    snapshot_download(MODEL, allow_patterns=patterns)
    assert hub.requests == [("GET", f"/api/models/{MODEL}/revision/main")]


def test_old_revisions_stay(hub, hub_api, hub_model):
    hub_api.create_tag(MODEL, tag="v1")
    hub_api.create_branch(MODEL, branch="stable")
    second = push(hub_api).oid
    refs = hub_api.list_repo_refs(MODEL)
    assert [(tag.ref, tag.target_commit) for tag in refs.tags] == [("refs/tags/v1", hub_model)]
    assert {branch.name: branch.target_commit for branch in refs.branches} == {
        "main": second,
        "stable": hub_model,
    }
    for revision in ("v1", "stable", hub_model):
        assert Path(hf_hub_download(MODEL, "index/table.txt", revision=revision)).read_bytes() == b"a table"
        assert hub_api.model_info(MODEL, revision=revision).sha == hub_model
    assert Path(hf_hub_download(MODEL, "index/table.txt")).read_bytes() == b"second"
    with pytest.raises(HfHubHTTPError, match="409"):
        hub_api.create_tag(MODEL, tag="v1")
    hub_api.delete_tag(MODEL, tag="v1")
    hub_api.delete_branch(MODEL, branch="stable")
    with pytest.raises(RevisionNotFoundError):
        hub_api.model_info(MODEL, revision="v1")


def test_listings(hub, hub_api, hub_model):
    second = push(hub_api).oid
    tree = {entry.path: entry for entry in hub_api.list_repo_tree(MODEL, recursive=True, expand=True)}
    assert set(tree) == {".gitattributes", "index", *FILES}
    assert tree["config.json"].last_commit.oid == hub_model and tree["index"].last_commit.oid == second
    assert tree["config.json"].blob_id == "9e26dfeeb6e641a33dae4961196235bdb965b21b"  # git hash-object
    assert tree["weights.safetensors"].lfs.sha256 == hashlib.sha256(b"second" + WEIGHTS).hexdigest()
    assert [entry.path for entry in hub_api.list_repo_tree(MODEL, "index")] == ["index/table.txt"]
    assert [entry.path for entry in hub_api.get_paths_info(MODEL, ["index", "absent", "config.json"])] == [
        "index",
        "config.json",
    ]
    siblings = {
        sibling.rfilename: sibling for sibling in hub_api.model_info(MODEL, files_metadata=True).siblings
    }
    assert (
        siblings["weights.safetensors"].lfs.size == siblings["weights.safetensors"].size == len(WEIGHTS) + 6
    )


def test_parts_of_files(hub, hub_api, hub_model):
    files = HfFileSystem()
    for path in ("weights.safetensors", "index/table.txt"):
        with files.open(f"{MODEL}/{path}", "rb", block_size=3) as file:
            file.seek(2)
            assert file.read(4) == FILES[path][2:6]
    assert files.cat_file(f"{MODEL}/weights.safetensors", start=-5) == WEIGHTS[-5:]
    url = f"{hub.endpoint}/{MODEL}/resolve/main/config.json"
    answer = get_session().get(url, headers={"Range": "bytes=2-"})
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, "bytes */2")
