"""Who may do what on the local Hub, and the errors that the real client makes of its refusals."""

from pathlib import Path

import pytest
from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.hub_fixtures import MODEL, WEIGHTS, add, push


@pytest.mark.parametrize(("token", "status"), [(False, 401), ("hf_other", 404)])
def test_private_repository_is_hidden(hub, hub_api, token, status):
    hub_api.create_repo(MODEL, private=True)
    push(hub_api)
    with pytest.raises(RepositoryNotFoundError) as raised:
        hub_api.model_info(MODEL, token=token)
    assert raised.value.response.status_code == status
    with pytest.raises(RepositoryNotFoundError):
        hub_api.create_commit(MODEL, add({"a": b"b"}), commit_message="Theirs", token=token)
    with pytest.raises(RepositoryNotFoundError):
        hf_hub_download(MODEL, "weights.safetensors", token=token)
    weights = Path(hf_hub_download(MODEL, "weights.safetensors", token=hub.read_token))
    assert weights.read_bytes() == b"second" + WEIGHTS


def test_unknown_token_is_refused_everywhere(hub, hub_api, hub_model):
    with pytest.raises(HfHubHTTPError, match="Invalid credentials in Authorization header") as raised:
        hub_api.model_info(MODEL, token="hf_unknown")
    assert raised.value.response.status_code == 401
    assert not isinstance(raised.value, RepositoryNotFoundError)
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        hub_api.whoami(token="hf_unknown")


@pytest.mark.parametrize("name", ["read_token", "other_token"])
def test_only_some_tokens_may_write(hub, hub_api, hub_model, name):
    token = getattr(hub, name)
    for attempt in (push, lambda hub_api, token: hub_api.delete_repo(MODEL, token=token)):
        with pytest.raises(HfHubHTTPError, match="403"):
            attempt(hub_api, token=token)
    with pytest.raises(HfHubHTTPError, match="403"):
        hub_api.create_repo("org/another", token=token)
    assert len(hub.commits(MODEL)) == 2


def test_whoami_and_create(hub, hub_api):
    about = hub_api.whoami()
    assert (about["name"], [one["name"] for one in about["orgs"]]) == ("user", ["org"])
    assert hub_api.create_repo("model").repo_id == "user/model"
    with pytest.raises(HfHubHTTPError, match="409"):
        hub_api.create_repo("user/model")
    hub_api.create_repo("user/model", repo_type="dataset", private=True)
    assert hub_api.create_repo("user/model", repo_type="dataset", exist_ok=True).repo_type == "dataset"
    hub_api.create_repo("user/page", repo_type="space", space_sdk="gradio")
    assert hub_api.space_info("user/page").sdk == "gradio"
    assert [info.id for info in hub_api.list_models(author="user", search="mod")] == ["user/model"]
    assert [info.id for info in hub_api.list_datasets(token=False)] == []


def test_what_is_missing_raises_the_errors_of_the_client(hub, hub_api, hub_model):
    with pytest.raises(RepositoryNotFoundError, match="404"):
        hub_api.model_info("org/absent")
    with pytest.raises(RepositoryNotFoundError, match="401"):
        hub_api.model_info("absent", token=False)
    with pytest.raises(RevisionNotFoundError):
        snapshot_download(MODEL, revision="absent")
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download(MODEL, "config.json", revision="0" * 40)
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download(MODEL, "absent.json")
    assert (hub.home / "hub/models--org--model/.no_exist" / hub_model / "absent.json").exists()
    with pytest.raises(RemoteEntryNotFoundError):
        list(hub_api.list_repo_tree(MODEL, "absent"))


def test_gated_repository_shows_its_information_alone(hub, hub_api, hub_model):
    hub_api.update_repo_settings(MODEL, gated="manual")
    assert hub_api.model_info(MODEL, token=hub.other_token).gated == "manual"
    for token, status in ((hub.other_token, 403), (False, 401)):
        with pytest.raises(GatedRepoError, match=str(status)):
            hub_api.auth_check(MODEL, token=token)
        with pytest.raises(GatedRepoError):
            hf_hub_download(MODEL, "config.json", token=token)
    hub_api.auth_check(MODEL, write=True)
    hf_hub_download(MODEL, "config.json")
