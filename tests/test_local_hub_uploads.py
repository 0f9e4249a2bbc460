"""Pushing to the local Hub with the real client."""

import hashlib
import json
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationCopy, CommitOperationDelete, get_session, hf_hub_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.hub_fixtures import FILES, MODEL, WEIGHTS, add, push


def test_push_is_one_commit_with_regular_and_large_files(hub, hub_model):
    newest, initial = hub.commits(MODEL)
    assert (newest.oid, newest.title, newest.author) == (hub_model, "First model", "user")
    assert initial.files == [".gitattributes"]
    assert newest.files == [".gitattributes", *FILES]
    assert [path for path, file in newest.contents.items() if file.lfs] == ["weights.safetensors"]
    assert hub.files(MODEL).items() >= FILES.items()
    assert hub.count("POST", "/commit/") == 1 and hub.count("PUT", "/lfs/") == 1


def test_what_is_there_already_is_not_sent_again(hub, hub_api, hub_model):
    hub.reset()
    hub_api.create_commit(MODEL, add({**FILES, "copy.safetensors": WEIGHTS}), commit_message="One more")
    assert hub.count("PUT") == 0
    assert hub.files(MODEL)["copy.safetensors"] == WEIGHTS
    assert (
        hub_api.create_commit(MODEL, add(FILES), commit_message="Nothing new").oid
        == hub.commits(MODEL)[0].oid
    )
    assert len(hub.commits(MODEL)) == 3


def test_branches_take_commits_of_their_own(hub, hub_api, hub_model):
    hub_api.create_branch(MODEL, branch="stable", exist_ok=True)
    push(hub_api, revision="stable")
    assert [commit.title for commit in hub_api.list_repo_commits(MODEL, revision="stable")] == [
        "Second model",
        "First model",
        "initial commit",
    ]
    assert hub.commits(MODEL)[0].oid == hub_model
    with pytest.raises(RevisionNotFoundError):
        push(hub_api, revision="missing")


def test_pull_request(hub, hub_api, hub_model):
    proposed = push(hub_api, create_pr=True, token=hub.other_token)
    assert (proposed.pr_num, proposed.pr_revision) == (1, "refs/pr/1")
    assert proposed.pr_url == f"{hub.endpoint}/{MODEL}/discussions/1"
    assert hub.commits(MODEL)[0].oid == hub_model
    push(hub_api, b"third", revision="refs/pr/1")
    assert [commit.author for commit in hub.commits(MODEL, revision="refs/pr/1")][:2] == ["user", "other"]
    assert Path(hf_hub_download(MODEL, "index/table.txt", revision="refs/pr/1")).read_bytes() == b"third"
    pulls = hub_api.list_repo_refs(MODEL, include_pull_requests=True).pull_requests
    assert [(pull.ref, pull.target_commit) for pull in pulls] == [
        ("refs/pr/1", hub.commits(MODEL, revision="refs/pr/1")[0].oid)
    ]


def test_commit_after_another_one_is_refused(hub, hub_api, hub_model):
    second = push(hub_api, parent_commit=hub_model).oid
    with pytest.raises(HfHubHTTPError, match="412"):
        push(hub_api, b"third", parent_commit=hub_model)
    assert hub.commits(MODEL)[0].oid == second


def test_delete_and_copy(hub, hub_api, hub_model):
    operations = [
        CommitOperationDelete("index/"),
        CommitOperationDelete("config.json"),
        CommitOperationCopy("weights.safetensors", "copies/weights.safetensors"),
    ]
    hub_api.create_commit(MODEL, operations, commit_message="Move")
    assert hub.commits(MODEL)[0].files == [
        ".gitattributes",
        "copies/weights.safetensors",
        "weights.safetensors",
    ]
    with pytest.raises(RemoteEntryNotFoundError, match="A file with this name doesn't exist"):
        hub_api.delete_file("config.json", MODEL)
    hub_api.delete_repo(MODEL)
    with pytest.raises(RepositoryNotFoundError):
        hub_api.delete_repo(MODEL)
    hub_api.delete_repo(MODEL, missing_ok=True)


def test_upload_folder(hub, hub_api, hub_model, tmp_path):
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "config.json").write_text("{}")
    (tmp_path / "part" / "weights.bin").write_bytes(WEIGHTS[:1000])
    (tmp_path / "empty.bin").touch()
    hub_api.upload_folder(
        repo_id=MODEL, folder_path=tmp_path, path_in_repo="sub", allow_patterns=["part/*", "*.bin"]
    )
    added = {path: content for path, content in hub.files(MODEL).items() if path.startswith("sub/")}
    assert added == {
        "sub/part/config.json": b"{}",
        "sub/part/weights.bin": WEIGHTS[:1000],
        "sub/empty.bin": b"",
    }
    assert len(hub.commits(MODEL)) == 3


def test_names_beyond_ascii(hub, hub_api, hub_model):
    path = "übersicht/été #1.txt"
    hub_api.upload_file(path_or_fileobj=b"text", path_in_repo=path, repo_id=MODEL)
    assert Path(hf_hub_download(MODEL, path)).read_bytes() == b"text"
    assert [entry.path for entry in hub_api.list_repo_tree(MODEL, "übersicht")] == [path]
    with pytest.raises(RemoteEntryNotFoundError):
        list(hub_api.list_repo_tree(MODEL, "höhe"))


def test_storage_takes_what_was_announced_and_no_token(hub, hub_api, hub_model):
    sha256 = hashlib.sha256(b"new").hexdigest()
    batch = {"operation": "upload", "objects": [{"oid": sha256, "size": 3}]}
    headers = {"authorization": f"Bearer {hub.token}"}
    session = get_session()
    answer = session.post(f"{hub.endpoint}/{MODEL}.git/info/lfs/objects/batch", json=batch, headers=headers)
    url = answer.json()["objects"][0]["actions"]["upload"]["href"]
    assert session.put(url, content=b"else").status_code == 400
    assert session.put(url, content=b"new", headers=headers).status_code == 400
    assert session.put(url.partition("?")[0], content=b"new").status_code == 403
    assert session.put(url, content=iter([b"n", b"ew"])).status_code == 200  # in chunks, without length
    assert session.get(url).content == b"new"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lfsFile", {"path": "a.bin", "algo": "sha256", "oid": "0" * 64, "size": 1}),
        ("lfsFile", {"path": "a.bin", "oid": hashlib.sha256(WEIGHTS).hexdigest(), "size": 1}),
        ("file", {"path": "../a", "content": "", "encoding": "base64"}),
        ("file", {"path": ".git/config", "content": "", "encoding": "base64"}),
        ("unknown", {"path": "a"}),
    ],
)
def test_commit_with_a_wrong_line_does_nothing(hub, hub_model, key, value):
    good = {"key": "file", "value": {"path": "good", "content": "", "encoding": "base64"}}
    lines = [{"key": "header", "value": {"summary": "Bad"}}, good, {"key": key, "value": value}]
    answer = get_session().post(
        f"{hub.endpoint}/api/models/{MODEL}/commit/main",
        content="\n".join(json.dumps(line) for line in lines),
        headers={"authorization": f"Bearer {hub.token}"},
    )
    assert answer.status_code == 400
    assert hub.commits(MODEL)[0].oid == hub_model
