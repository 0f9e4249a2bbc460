"""What goes wrong between here and the Hub is one clear error, and nothing is left half done."""

import errno
import hashlib
import json
import re

import pytest
from huggingface_hub import HfApi

from hf_blink.modeling import hub_transfer
from hf_blink.modeling.entity_index import EntityIndex
from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.hub_transfer import HubTarget, local_folder, push_folder
from hf_blink.modeling.knowledge_base import KnowledgeBase

REPO = "user/linker"


@pytest.fixture
def pushed(linker, hub):
    linker.push_to_hub(REPO, private=True)
    return hub


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("user/nothing", {}, "404|401"),
        (REPO, {"revision": "no-such-branch"}, "no-such-branch|404"),
        (REPO, {"token": "hf_wrong"}, "401"),
        (REPO, {"token": False}, "401"),
        ("not a name", {}, "[Rr]epo id"),
    ],
)
def test_what_the_hub_does_not_give_is_said_with_its_name(pushed, tmp_path, name, options, said):
    with pytest.raises(FileNotFoundError, match=f"expected a linker: '{name}' is no folder here") as caught:
        EntityLinker.from_pretrained(name, cache_dir=tmp_path / "empty", **options)
    assert re.search(said, str(caught.value)) and "\n" not in str(caught.value)


def test_without_a_network_the_cache_serves_and_an_empty_one_says_so(pushed, tmp_path):
    kept = EntityLinker.from_pretrained(REPO).knowledge_base.fingerprint
    pushed.stop()
    assert EntityLinker.from_pretrained(REPO).knowledge_base.fingerprint == kept
    with pytest.raises(FileNotFoundError, match="the Hub did not give it"):
        EntityLinker.from_pretrained(REPO, cache_dir=tmp_path / "empty")


def test_a_push_without_a_network_says_so(linker, hub):
    hub.stop()
    with pytest.raises(ConnectionError, match="nothing there has changed.*push again"):
        linker.push_to_hub(REPO)


def test_a_cache_that_cannot_be_written_is_named(pushed, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="expected a cache folder with room that can be written"):
        EntityLinker.from_pretrained(REPO, cache_dir=tmp_path / "file" / "cache")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hub_transfer, "snapshot_download", full)
    with pytest.raises(OSError, match="room.*No space left on device.*HF_HOME"):
        EntityLinker.from_pretrained(REPO)


@pytest.mark.parametrize("name", ["entity_index/index.faiss", "model.safetensors", "linker.json"])
def test_a_repository_without_a_file_is_refused_whole(pushed, name):
    HfApi().delete_file(name, REPO)
    with pytest.raises(FileNotFoundError, match=name):
        EntityLinker.from_pretrained(REPO)


def test_a_file_name_that_leads_out_of_the_repository_is_refused(pushed):
    description = json.loads(pushed.files(REPO)["linker.json"])
    description["files"]["../../evil.json"] = description["files"]["config.json"]
    HfApi().upload_file(
        path_or_fileobj=json.dumps(description).encode(), path_in_repo="linker.json", repo_id=REPO
    )
    with pytest.raises(ValueError, match=r"file names inside the linker, got '../../evil.json'"):
        EntityLinker.from_pretrained(REPO)


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("config.json", {"auto_map": {"AutoModel": "evil/code--modeling_blink_biencoder.BlinkBiEncoder"}}),
        (
            "config.json",
            {"custom_pipelines": {"entity-linking": {"impl": "evil/code--p.P", "pt": ["AutoModel"]}}},
        ),
        (
            "processor_config.json",
            {"auto_map": {"AutoProcessor": "evil/code--processing_blink.BlinkProcessor"}},
        ),
    ],
)
def test_a_linker_that_names_code_elsewhere_is_refused(pushed, name, entry):
    content = json.dumps(json.loads(pushed.files(REPO)[name]) | entry).encode()
    description = json.loads(pushed.files(REPO)["linker.json"])
    description["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    for path, text in ((name, content), ("linker.json", json.dumps(description).encode())):
        HfApi().upload_file(path_or_fileobj=text, path_in_repo=path, repo_id=REPO)
    with pytest.raises(
        ValueError, match=f"expected {next(iter(entry))} in .*{name} to name code of .*evil/code"
    ):
        EntityLinker.from_pretrained(REPO)


def test_an_index_of_other_weights_is_refused(pushed, linker, tmp_path):
    linker.index.save_pretrained(tmp_path)
    content = json.loads((tmp_path / "index.json").read_text()) | {"encoder_fingerprint": "0" * 64}
    file = json.dumps(content).encode()
    description = json.loads(pushed.files(REPO)["linker.json"])
    description["files"]["entity_index/index.json"] = {"size": len(file), "sha256": "0" * 64}
    for name, bytes_of in (
        ("entity_index/index.json", file),
        ("linker.json", json.dumps(description).encode()),
    ):
        HfApi().upload_file(path_or_fileobj=bytes_of, path_in_repo=name, repo_id=REPO)
    with pytest.raises(ValueError, match="built with another encoder"):
        EntityLinker.from_pretrained(REPO)


def test_a_commit_of_somebody_else_during_a_push_stays(hub, tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("a")
    push_folder(tmp_path, HubTarget(REPO))
    (tmp_path / "a.txt").write_text("changed")

    def meanwhile(present):
        HfApi().upload_file(path_or_fileobj=b"b", path_in_repo="b.txt", repo_id=REPO)
        return []

    with pytest.raises(ConnectionError, match="somebody else has committed meanwhile, push again"):
        push_folder(tmp_path, HubTarget(REPO), stale=meanwhile)
    assert (hub.files(REPO)["a.txt"], hub.files(REPO)["b.txt"]) == (b"a", b"b")


def test_a_name_without_its_user_is_the_token_owners_also_the_second_time(hub, tmp_path):
    (tmp_path / "a.txt").write_text("a")
    push_folder(tmp_path, HubTarget("alone"))
    (tmp_path / "a.txt").write_text("b")
    push_folder(tmp_path, HubTarget("alone"))
    assert hub.files("user/alone")["a.txt"] == b"b"


def test_a_file_is_named_as_such_and_the_librarys_own_words_left_out(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "entities.jsonl").touch()
    with pytest.raises(FileNotFoundError, match="got entities.jsonl, which is a file"):
        EntityLinker.from_pretrained("entities.jsonl")
    with pytest.raises(
        FileNotFoundError, match="correct the path, or name a repository as user/name"
    ) as caught:
        EntityLinker.from_pretrained("my-linkr")
    assert "repo_type" not in str(caught.value)


def test_large_files_that_do_not_arrive_leave_no_commit(linker, hub):
    hub.fail_next("PUT", "", 403)
    with pytest.raises((ConnectionError, PermissionError), match="nothing there has changed"):
        linker.push_to_hub(REPO)
    assert len(hub.commits(REPO)) == 1


def test_parts_that_are_not_there_are_named(hub, tmp_path):
    for part, what in ((EntityIndex, "an entity index"), (KnowledgeBase, "a knowledge base")):
        with pytest.raises(FileNotFoundError, match=f"expected {what}: 'user/nothing'"):
            part.from_pretrained("user/nothing")
    with pytest.raises(FileNotFoundError, match="expected a thing in a folder or a Hub name"):
        local_folder(tmp_path / "missing", "a thing", ("*",))


def test_a_commit_that_arrived_without_an_answer_is_not_called_a_failure(linker, hub):
    linker.push_to_hub(REPO)
    linker.threshold = 0.5
    hub.drop_next("POST", "/commit/", answered=True)
    with pytest.raises(ConnectionError, match="may be this push; look before pushing again"):
        linker.push_to_hub(REPO)
    assert EntityLinker.from_pretrained(REPO).threshold == 0.5


def test_a_connection_lost_in_a_download_is_said(pushed, tmp_path):
    pushed.drop_next("GET", "/lfs/", times=20)
    with pytest.raises(FileNotFoundError, match="the Hub did not give it: .*disconnected"):
        EntityLinker.from_pretrained(REPO, cache_dir=tmp_path / "empty")


def test_a_token_is_not_shown():
    assert "hf_secret" not in repr(HubTarget(REPO, token="hf_secret"))
