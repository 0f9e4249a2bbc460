"""The local Hub of the tests, through the real huggingface_hub client."""

import hashlib
import json
from pathlib import Path

import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    HfFileSystem,
    ModelCard,
    get_session,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import httpx

MODEL = "org/model"
WEIGHTS = bytes(range(256)) * 40
FILES = {"config.json": b"{}", "index/table.txt": b"a table", "weights.safetensors": WEIGHTS}


def add(contents: dict[str, bytes]) -> list[CommitOperationAdd]:
    return [CommitOperationAdd(path, content) for path, content in contents.items()]


@pytest.fixture
def api(hub) -> HfApi:
    return HfApi()


@pytest.fixture
def model(api) -> str:
    """Id of a model repository with two regular files and one of large file storage; its first commit."""
    api.create_repo(MODEL)
    return api.create_commit(MODEL, add(FILES), commit_message="First model").oid


def push(api: HfApi, text: bytes = b"second", **options):
    """Changes all files but the configuration."""
    files = {"index/table.txt": text, "weights.safetensors": text + WEIGHTS}
    return api.create_commit(MODEL, add(files), commit_message="Second model", **options)


def test_push_is_one_commit_with_regular_and_large_files(hub, model):
    newest, initial = hub.commits(MODEL)
    assert (newest.oid, newest.title, newest.author) == (model, "First model", "user")
    assert initial.files == [".gitattributes"]
    assert newest.files == [".gitattributes", *FILES]
    assert [path for path, file in newest.contents.items() if file.lfs] == ["weights.safetensors"]
    assert hub.files(MODEL).items() >= FILES.items()
    assert hub.count("POST", "/commit/") == 1 and hub.count("PUT", "/lfs/") == 1


def test_what_is_there_already_is_not_sent_again(hub, api, model):
    hub.reset()
    api.create_commit(MODEL, add({**FILES, "copy.safetensors": WEIGHTS}), commit_message="One more")
    assert hub.count("PUT") == 0
    assert hub.files(MODEL)["copy.safetensors"] == WEIGHTS
    assert api.create_commit(MODEL, add(FILES), commit_message="Nothing new").oid == hub.commits(MODEL)[0].oid
    assert len(hub.commits(MODEL)) == 3


def test_snapshot_at_a_commit_counts_its_requests(hub, model):
    hub.reset()
    patterns = ["*.safetensors", "index/*"]
    folder = Path(snapshot_download(MODEL, revision=model, allow_patterns=patterns))
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {"weights.safetensors", "index/table.txt"}
    assert (folder / "weights.safetensors").read_bytes() == WEIGHTS
    assert folder.is_relative_to(hub.home)
    assert hub.count("GET", "/tree/") == 1 and hub.count("HEAD") == 2
    assert (hub.count("GET", "/resolve/"), hub.count("GET", "/lfs/")) == (1, 1)
    assert hub.count() == 5

    hub.reset()
    assert snapshot_download(MODEL, revision=model, allow_patterns=patterns) == str(folder)
    assert hub.requests == []
    snapshot_download(MODEL, allow_patterns=patterns)
    assert hub.requests == [("GET", f"/api/models/{MODEL}/revision/main")]


def test_old_revisions_stay(hub, api, model):
    api.create_tag(MODEL, tag="v1")
    api.create_branch(MODEL, branch="stable")
    second = push(api).oid
    refs = api.list_repo_refs(MODEL)
    assert [(tag.ref, tag.target_commit) for tag in refs.tags] == [("refs/tags/v1", model)]
    assert {branch.name: branch.target_commit for branch in refs.branches} == {
        "main": second,
        "stable": model,
    }
    for revision in ("v1", "stable", model):
        assert Path(hf_hub_download(MODEL, "index/table.txt", revision=revision)).read_bytes() == b"a table"
        assert api.model_info(MODEL, revision=revision).sha == model
    assert Path(hf_hub_download(MODEL, "index/table.txt")).read_bytes() == b"second"
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_tag(MODEL, tag="v1")
    api.delete_tag(MODEL, tag="v1")
    api.delete_branch(MODEL, branch="stable")
    with pytest.raises(RevisionNotFoundError):
        api.model_info(MODEL, revision="v1")


def test_branches_take_commits_of_their_own(hub, api, model):
    api.create_branch(MODEL, branch="stable", exist_ok=True)
    push(api, revision="stable")
    assert [commit.title for commit in api.list_repo_commits(MODEL, revision="stable")] == [
        "Second model",
        "First model",
        "initial commit",
    ]
    assert hub.commits(MODEL)[0].oid == model
    with pytest.raises(RevisionNotFoundError):
        push(api, revision="missing")


@pytest.mark.parametrize(("token", "status"), [(False, 401), ("hf_other", 404)])
def test_private_repository_is_hidden(hub, api, token, status):
    api.create_repo(MODEL, private=True)
    push(api)
    with pytest.raises(RepositoryNotFoundError) as raised:
        api.model_info(MODEL, token=token)
    assert raised.value.response.status_code == status
    with pytest.raises(RepositoryNotFoundError):
        api.create_commit(MODEL, add({"a": b"b"}), commit_message="Theirs", token=token)
    with pytest.raises(RepositoryNotFoundError):
        hf_hub_download(MODEL, "weights.safetensors", token=token)
    assert Path(hf_hub_download(MODEL, "weights.safetensors", token=hub.read_token)).stat().st_size > len(
        WEIGHTS
    )


def test_unknown_token_is_refused_everywhere(hub, api, model):
    with pytest.raises(HfHubHTTPError, match="Invalid credentials in Authorization header") as raised:
        api.model_info(MODEL, token="hf_unknown")
    assert raised.value.response.status_code == 401
    assert not isinstance(raised.value, RepositoryNotFoundError)
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        api.whoami(token="hf_unknown")


@pytest.mark.parametrize("name", ["read_token", "other_token"])
def test_only_some_tokens_may_write(hub, api, model, name):
    token = getattr(hub, name)
    for attempt in (push, lambda api, token: api.delete_repo(MODEL, token=token)):
        with pytest.raises(HfHubHTTPError, match="403"):
            attempt(api, token=token)
    with pytest.raises(HfHubHTTPError, match="403"):
        api.create_repo("org/another", token=token)
    assert len(hub.commits(MODEL)) == 2


def test_whoami_and_create(hub, api):
    about = api.whoami()
    assert (about["name"], [one["name"] for one in about["orgs"]]) == ("user", ["org"])
    assert api.create_repo("model").repo_id == "user/model"
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo("user/model")
    api.create_repo("user/model", repo_type="dataset", private=True)
    assert api.create_repo("user/model", repo_type="dataset", exist_ok=True).repo_type == "dataset"
    api.create_repo("user/page", repo_type="space", space_sdk="gradio")
    assert api.space_info("user/page").sdk == "gradio"
    assert [info.id for info in api.list_models(author="user", search="mod")] == ["user/model"]
    assert [info.id for info in api.list_datasets(token=False)] == []


def test_what_is_missing_raises_the_errors_of_the_client(hub, api, model):
    with pytest.raises(RepositoryNotFoundError, match="404"):
        api.model_info("org/absent")
    with pytest.raises(RepositoryNotFoundError, match="401"):
        api.model_info("absent", token=False)
    with pytest.raises(RevisionNotFoundError):
        snapshot_download(MODEL, revision="absent")
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download(MODEL, "config.json", revision="0" * 40)
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download(MODEL, "absent.json")
    assert (hub.home / "hub/models--org--model/.no_exist" / model / "absent.json").exists()
    with pytest.raises(RemoteEntryNotFoundError):
        list(api.list_repo_tree(MODEL, "absent"))


def test_gated_repository_shows_its_information_alone(hub, api, model):
    api.update_repo_settings(MODEL, gated="manual")
    assert api.model_info(MODEL, token=hub.other_token).gated == "manual"
    for token, status in ((hub.other_token, 403), (False, 401)):
        with pytest.raises(GatedRepoError, match=str(status)):
            api.auth_check(MODEL, token=token)
        with pytest.raises(GatedRepoError):
            hf_hub_download(MODEL, "config.json", token=token)
    api.auth_check(MODEL, write=True)
    hf_hub_download(MODEL, "config.json")


def test_pull_request(hub, api, model):
    proposed = push(api, create_pr=True, token=hub.other_token)
    assert (proposed.pr_num, proposed.pr_revision) == (1, "refs/pr/1")
    assert proposed.pr_url == f"{hub.endpoint}/{MODEL}/discussions/1"
    assert hub.commits(MODEL)[0].oid == model
    push(api, b"third", revision="refs/pr/1")
    assert [commit.author for commit in hub.commits(MODEL, revision="refs/pr/1")][:2] == ["user", "other"]
    assert Path(hf_hub_download(MODEL, "index/table.txt", revision="refs/pr/1")).read_bytes() == b"third"
    pulls = api.list_repo_refs(MODEL, include_pull_requests=True).pull_requests
    assert [(pull.ref, pull.target_commit) for pull in pulls] == [
        ("refs/pr/1", hub.commits(MODEL, revision="refs/pr/1")[0].oid)
    ]


def test_commit_after_another_one_is_refused(hub, api, model):
    second = push(api, parent_commit=model).oid
    with pytest.raises(HfHubHTTPError, match="412"):
        push(api, b"third", parent_commit=model)
    assert hub.commits(MODEL)[0].oid == second


def test_delete_and_copy(hub, api, model):
    operations = [
        CommitOperationDelete("index/"),
        CommitOperationDelete("config.json"),
        CommitOperationCopy("weights.safetensors", "copies/weights.safetensors"),
    ]
    api.create_commit(MODEL, operations, commit_message="Move")
    assert hub.commits(MODEL)[0].files == [
        ".gitattributes",
        "copies/weights.safetensors",
        "weights.safetensors",
    ]
    with pytest.raises(RemoteEntryNotFoundError, match="A file with this name doesn't exist"):
        api.delete_file("config.json", MODEL)
    api.delete_repo(MODEL)
    with pytest.raises(RepositoryNotFoundError):
        api.delete_repo(MODEL)
    api.delete_repo(MODEL, missing_ok=True)


def test_upload_folder(hub, api, model, tmp_path):
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "config.json").write_text("{}")
    (tmp_path / "part" / "weights.bin").write_bytes(WEIGHTS[:1000])
    (tmp_path / "empty.bin").touch()
    api.upload_folder(
        repo_id=MODEL, folder_path=tmp_path, path_in_repo="sub", allow_patterns=["part/*", "*.bin"]
    )
    added = {path: content for path, content in hub.files(MODEL).items() if path.startswith("sub/")}
    assert added == {
        "sub/part/config.json": b"{}",
        "sub/part/weights.bin": WEIGHTS[:1000],
        "sub/empty.bin": b"",
    }
    assert len(hub.commits(MODEL)) == 3


def test_listings(hub, api, model):
    second = push(api).oid
    tree = {entry.path: entry for entry in api.list_repo_tree(MODEL, recursive=True, expand=True)}
    assert set(tree) == {".gitattributes", "index", *FILES}
    assert tree["config.json"].last_commit.oid == model and tree["index"].last_commit.oid == second
    assert tree["config.json"].blob_id == "9e26dfeeb6e641a33dae4961196235bdb965b21b"  # git hash-object
    assert tree["weights.safetensors"].lfs.sha256 == hashlib.sha256(b"second" + WEIGHTS).hexdigest()
    assert [entry.path for entry in api.list_repo_tree(MODEL, "index")] == ["index/table.txt"]
    assert [entry.path for entry in api.get_paths_info(MODEL, ["index", "absent", "config.json"])] == [
        "index",
        "config.json",
    ]
    siblings = {sibling.rfilename: sibling for sibling in api.model_info(MODEL, files_metadata=True).siblings}
    assert (
        siblings["weights.safetensors"].lfs.size == siblings["weights.safetensors"].size == len(WEIGHTS) + 6
    )


def test_parts_of_files(hub, api, model):
    files = HfFileSystem()
    for path in ("weights.safetensors", "index/table.txt"):
        with files.open(f"{MODEL}/{path}", "rb", block_size=3) as file:
            file.seek(2)
            assert file.read(4) == FILES[path][2:6]
    assert files.cat_file(f"{MODEL}/weights.safetensors", start=-5) == WEIGHTS[-5:]
    url = f"{hub.endpoint}/{MODEL}/resolve/main/config.json"
    answer = get_session().get(url, headers={"Range": "bytes=2-"})
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, "bytes */2")


def test_storage_takes_what_was_announced_and_no_token(hub, api, model):
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
def test_commit_with_a_wrong_line_does_nothing(hub, model, key, value):
    good = {"key": "file", "value": {"path": "good", "content": "", "encoding": "base64"}}
    lines = [{"key": "header", "value": {"summary": "Bad"}}, good, {"key": key, "value": value}]
    answer = get_session().post(
        f"{hub.endpoint}/api/models/{MODEL}/commit/main",
        content="\n".join(json.dumps(line) for line in lines),
        headers={"authorization": f"Bearer {hub.token}"},
    )
    assert answer.status_code == 400
    assert hub.commits(MODEL)[0].oid == model


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
def test_push_that_fails_leaves_the_old_revision(hub, api, model, method, path_part, status, times, requests):
    before = hub.files(MODEL)
    hub.reset()
    hub.fail_next(method, path_part, status, times)
    with pytest.raises((HfHubHTTPError, RuntimeError)) as raised:
        push(api)
    error = raised.value if isinstance(raised.value, HfHubHTTPError) else raised.value.__cause__
    assert isinstance(error, HfHubHTTPError) and error.response.status_code == status
    assert hub.count(method, path_part) == requests
    assert hub.files(MODEL) == before and len(hub.commits(MODEL)) == 2
    push(api)
    assert hub.files(MODEL)["weights.safetensors"] == b"second" + WEIGHTS and len(hub.commits(MODEL)) == 3


def test_passing_failures_are_repeated_by_the_client(hub, api, model):
    hub.reset()
    hub.fail_next("POST", "/preupload/", 500)
    hub.drop_next("PUT", "/lfs/", times=2)
    push(api)
    assert (hub.count("POST", "/preupload/"), hub.count("PUT", "/lfs/")) == (2, 3)
    assert hub.files(MODEL)["weights.safetensors"] == b"second" + WEIGHTS


@pytest.mark.parametrize(("answered", "title"), [(False, "First model"), (True, "Second model")])
def test_connection_that_breaks_at_the_commit(hub, api, model, answered, title):
    hub.drop_next("POST", "/commit/", answered=answered)
    with pytest.raises(httpx.RemoteProtocolError):
        push(api)
    assert hub.commits(MODEL)[0].title == title


def test_broken_download_goes_on_where_it_stopped(hub, model):
    hub.reset()
    hub.drop_next("GET", "/lfs/", answered=True)
    assert Path(hf_hub_download(MODEL, "weights.safetensors")).read_bytes() == WEIGHTS
    assert hub.count("GET", "/lfs/") == 2


def test_hub_off_the_network(hub, model, tmp_path):
    folder = snapshot_download(MODEL)
    hub.stop()
    assert snapshot_download(MODEL) == folder
    with pytest.raises(LocalEntryNotFoundError):
        snapshot_download(MODEL, cache_dir=tmp_path / "other")


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("license: mine", '"license" must be one of'),
        ("tags:\n- 1", '"tags" must be a string or an array of strings'),
        ("tags: [", "YAML of the metadata is invalid"),
        ("- a list", "must be a mapping"),
    ],
)
def test_card_with_errors_is_refused(hub, api, model, head, message):
    readme = f"---\n{head}\n---\n# Model\n"
    with pytest.raises(ValueError, match=message):
        api.create_commit(MODEL, add({"README.md": readme.encode()}), commit_message="Card")
    assert hub.commits(MODEL)[0].oid == model


def test_card_is_read(hub, api, model):
    card = ModelCard("---\nlicense: mit\ntags:\n- linking\nlibrary_name: hf_blink\n---\n# Model\n")
    card.validate()
    card.push_to_hub(MODEL)
    info = api.model_info(MODEL)
    assert (info.card_data.license, info.tags, info.library_name) == ("mit", ["linking"], "hf_blink")
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        api.create_commit(MODEL, add({"README.md": b"# Model"}), commit_message="Bare card")


def test_mistakes_are_shown_and_not_repeated(hub, api, model):
    hub.reset()
    address = f"{hub.endpoint}/api/models/{MODEL}/preupload/main"
    answer = get_session().post(address, content="[", headers={"authorization": f"Bearer {hub.token}"})
    assert answer.status_code == 501 and "JSONDecodeError" in answer.json()["error"]
    answer = get_session().get(f"{hub.endpoint}/api/unheard-of")
    assert answer.status_code == 404 and "no GET /api/unheard-of" in answer.json()["error"]
    assert hub.requests == [("POST", f"/api/models/{MODEL}/preupload/main"), ("GET", "/api/unheard-of")]


def test_names_beyond_ascii(hub, api, model):
    path = "übersicht/été #1.txt"
    api.upload_file(path_or_fileobj=b"text", path_in_repo=path, repo_id=MODEL)
    assert Path(hf_hub_download(MODEL, path)).read_bytes() == b"text"
    assert [entry.path for entry in api.list_repo_tree(MODEL, "übersicht")] == [path]
    with pytest.raises(RemoteEntryNotFoundError):
        list(api.list_repo_tree(MODEL, "höhe"))
