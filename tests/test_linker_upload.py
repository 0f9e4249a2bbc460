"""A linker goes to a repository in one commit and comes back whole, for those who may see it."""

import json
import pickle
import tempfile

import pytest
import torch
from huggingface_hub import HfApi
from transformers import AutoConfig, AutoModel, pipeline

import hf_blink
from hf_blink.modeling import linker_upload
from hf_blink.modeling.entity_index import EntityIndex
from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.hub_transfer import HubOptions
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder

TEXT = "Puma and Paris."
REPO = "user/linker"


@pytest.fixture
def full_linker(linker, cross_encoder) -> EntityLinker:
    linker.cross_encoder = cross_encoder
    linker.threshold = 0.01
    return linker


def links(linker: EntityLinker) -> list:
    return [(link.entity.entity_id, round(link.score, 6)) for link in linker.link(TEXT)]


def new_commits(hub, repo_id=REPO, **options) -> list:
    """The commits besides the one that the Hub itself makes with a new repository."""
    return hub.commits(repo_id, **options)[:-1]


def test_a_push_is_one_commit_that_loads_the_same_linker(full_linker, hub, tmp_path):
    info = full_linker.push_to_hub(REPO, commit_message="A first linker", private=True)
    (commit,) = new_commits(hub)
    assert (commit.oid, commit.title) == (info.oid, "A first linker")
    assert {
        "config.json",
        "model.safetensors",
        "cross_encoder/config.json",
        "cross_encoder/model.safetensors",
    } <= set(commit.files)
    assert {"entity_index/index.faiss", "entity_index/index.json", "linker.json", "handler.py"} <= set(
        commit.files
    )
    assert "knowledge_base/entities-00000-of-00001.parquet" in commit.files
    assert not [
        name for name in commit.files if name.endswith(".py") and "/" in name
    ]  # the code lies once, at the root
    loaded = EntityLinker.from_pretrained(REPO)
    assert links(loaded) == links(full_linker)
    assert loaded.threshold == 0.01 and loaded.cross_encoder is not None
    assert type(AutoModel.from_pretrained(REPO)) is BlinkBiEncoder
    assert (
        AutoModel.from_pretrained(REPO, subfolder="cross_encoder").config.model_type == "blink-crossencoder"
    )
    with pytest.raises(FileNotFoundError, match=f"'{REPO}' is no folder here .* Hub did not give it: .*404"):
        EntityLinker.from_pretrained(REPO, token=hub.other_token, cache_dir=tmp_path)


def test_no_path_of_this_machine_is_in_a_push(full_linker, hub, tiny_encoder, tmp_path):
    full_linker.push_to_hub(REPO)
    EntityLinker.from_pretrained(REPO).push_to_hub(
        "user/again"
    )  # loaded from the cache, whose path must not show either
    for repo_id in (REPO, "user/again"):
        for name, content in hub.files(repo_id).items():
            for path in (tiny_encoder, str(tmp_path), tempfile.gettempdir(), str(hub.home)):
                assert path.encode() not in content or name.endswith(".py"), (name, path)


def test_the_next_push_replaces_the_whole_linker_and_leaves_what_others_put_there(full_linker, hub):
    full_linker.push_to_hub(REPO)
    HfApi().upload_file(path_or_fileobj=b"mine", path_in_repo="notes.txt", repo_id=REPO)
    full_linker.cross_encoder = None
    full_linker.push_to_hub(REPO)
    files = hub.files(REPO)
    assert not [name for name in files if name.startswith("cross_encoder/")]
    assert files["notes.txt"] == b"mine"
    assert len(new_commits(hub)) == 3
    assert EntityLinker.from_pretrained(REPO).cross_encoder is None


def test_a_revision_and_a_pull_request_leave_the_main_branch_alone(full_linker, hub):
    full_linker.push_to_hub(REPO)
    before = hub.commits(REPO)[0].oid
    full_linker.threshold = 0.5
    full_linker.push_to_hub(REPO, revision="strict")
    info = full_linker.push_to_hub(REPO, create_pr=True)
    assert hub.commits(REPO)[0].oid == before
    assert info.pr_url is not None
    assert EntityLinker.from_pretrained(REPO).threshold == 0.01
    for revision in ("strict", info.pr_revision):
        assert EntityLinker.from_pretrained(REPO, revision=revision).threshold == 0.5
    link = pipeline("entity-linking", model=REPO, revision="strict")
    assert link.linker.threshold == 0.5  # transformers hands the revision to the weights alone


def test_a_warm_load_of_a_commit_makes_two_requests_at_most_and_works_offline(full_linker, hub, monkeypatch):
    commit = full_linker.push_to_hub(REPO).oid
    expected = links(EntityLinker.from_pretrained(REPO, revision=commit))
    hub.reset()
    assert links(EntityLinker.from_pretrained(REPO, revision=commit)) == expected
    assert hub.count() <= 2
    hub.stop()
    assert links(EntityLinker.from_pretrained(REPO, revision=commit, local_files_only=True)) == expected


def test_a_linker_without_its_cross_encoder_does_not_download_it(full_linker, hub, tmp_path):
    full_linker.push_to_hub(REPO)
    hub.reset()
    loaded = EntityLinker.from_pretrained(REPO, cross_encoder=False, cache_dir=tmp_path / "cache")
    assert loaded.cross_encoder is None and hub.count(path_part="cross_encoder/") == 0
    assert (tmp_path / "cache").is_dir()


@pytest.mark.parametrize("fault", ["preupload", "/commit/"])
def test_a_push_that_breaks_off_changes_nothing_and_can_be_repeated(full_linker, hub, fault):
    full_linker.push_to_hub(REPO)
    before = hub.commits(REPO)[0].oid
    full_linker.threshold = 0.5
    hub.fail_next("POST", fault, 507)
    with pytest.raises(ConnectionError, match="nothing there has changed.*push again"):
        full_linker.push_to_hub(REPO)
    assert hub.commits(REPO)[0].oid == before
    assert EntityLinker.from_pretrained(REPO).threshold == 0.01
    full_linker.push_to_hub(REPO)
    assert EntityLinker.from_pretrained(REPO).threshold == 0.5


def test_pushes_that_may_not_be_say_so(full_linker, hub):
    for token in ("hf_wrong", hub.read_token):
        with pytest.raises(PermissionError, match="hf auth login"):
            full_linker.push_to_hub(REPO, token=token)
    with pytest.raises(PermissionError):
        full_linker.push_to_hub("other/linker")
    with pytest.raises(ValueError, match="user/name"):
        full_linker.push_to_hub("a/b/c")


def test_index_and_knowledge_base_can_have_repositories_of_their_own(full_linker, hub, tmp_path):
    full_linker.push_to_hub(REPO, index_repo_id="user/index", knowledge_base_repo_id="user/entities")
    assert len(new_commits(hub)) == len(new_commits(hub, "user/index")) == 1
    assert len(new_commits(hub, "user/entities", repo_type="dataset")) == 1
    description = json.loads(hub.files(REPO)["linker.json"])
    index = f"user/index@{hub.commits('user/index')[0].oid}"
    assert description["elsewhere"]["entity_index"] == index
    assert not [name for name in hub.files(REPO) if name.endswith((".faiss", ".parquet"))]
    assert links(EntityLinker.from_pretrained(REPO)) == links(full_linker)
    full_linker.push_to_hub("user/second", index_repo_id=index)  # what is there is named, not pushed again
    assert len(new_commits(hub, "user/index")) == 1
    assert links(EntityLinker.from_pretrained("user/second")) == links(full_linker)
    with pytest.raises(ValueError, match="40 hexadecimal digits"):
        full_linker.push_to_hub(REPO, index_repo_id="user/index@main")


def test_an_index_too_large_for_one_repository_goes_first(full_linker, hub, monkeypatch):
    monkeypatch.setattr(linker_upload, "LARGEST_INDEX", 100)
    full_linker.push_to_hub(REPO)
    assert set(json.loads(hub.files(REPO)["linker.json"])["elsewhere"]) == {"entity_index", "knowledge_base"}
    assert len(new_commits(hub, f"{REPO}-index")) == 1
    assert links(EntityLinker.from_pretrained(REPO)) == links(full_linker)


def test_a_named_part_must_be_the_linkers_own(full_linker, bi_encoder, processor, hub):
    other = KnowledgeBase.from_entities([{"id": "x", "title": "X", "description": "other"}])
    EntityIndex.build(bi_encoder, processor, other, progress=False).push_to_hub("user/index")
    other.push_to_hub("user/entities")
    commits = [hub.commits("user/index")[0].oid, hub.commits("user/entities", repo_type="dataset")[0].oid]
    for options in (
        {"index_repo_id": f"user/index@{commits[0]}"},
        {"knowledge_base_repo_id": f"user/entities@{commits[1]}"},
    ):
        with pytest.raises(ValueError, match="expected the linker's own"):
            full_linker.push_to_hub(REPO, **options)
    with pytest.raises(FileNotFoundError, match="user/nothing"):
        full_linker.push_to_hub(REPO, index_repo_id=f"user/nothing@{'0' * 40}")


def test_a_folder_of_the_same_name_does_not_stand_in_for_a_part(full_linker, hub, tmp_path, monkeypatch):
    full_linker.push_to_hub(REPO, knowledge_base_repo_id="user/entities")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "user" / "entities").mkdir(parents=True)
    assert links(EntityLinker.from_pretrained(REPO)) == links(full_linker)
    assert "user/entities" in hub.files(REPO)["README.md"].decode()


def test_requirements_are_the_packages_own_and_come_with_or_without_a_card(full_linker, hub):
    HfApi().create_repo("user/stranger")
    HfApi().upload_file(path_or_fileobj=b"my card", path_in_repo="README.md", repo_id="user/stranger")
    full_linker.push_to_hub("user/stranger")
    assert b"transformers" in hub.files("user/stranger")["requirements.txt"]
    HfApi().upload_file(path_or_fileobj=b"evil", path_in_repo="requirements.txt", repo_id="user/stranger")
    EntityLinker.from_pretrained("user/stranger").push_to_hub(REPO)
    assert b"evil" not in hub.files(REPO)["requirements.txt"]


def test_files_of_others_in_folders_stay_and_are_not_downloaded(full_linker, hub, tmp_path):
    full_linker.bi_encoder.push_to_hub("user/bi")
    HfApi().upload_file(path_or_fileobj=b"x", path_in_repo="models/a/x.safetensors", repo_id="user/bi")
    full_linker.bi_encoder.push_to_hub("user/bi", commit_message="again")
    assert "models/a/x.safetensors" in hub.files("user/bi")
    full_linker.push_to_hub(REPO)
    HfApi().upload_file(path_or_fileobj=b"x", path_in_repo="checkpoint-10/model.safetensors", repo_id=REPO)
    hub.reset()
    EntityLinker.from_pretrained(REPO, cache_dir=tmp_path / "cache")
    assert hub.count(path_part="checkpoint-10") == 0
    assert list(
        (tmp_path / "cache").rglob("entities.arrow")
    )  # the mapped form too is kept where it was asked for


def test_a_converted_linker_is_neither_saved_nor_changed(full_linker, tmp_path):
    full_linker.to(dtype=torch.bfloat16)
    for change in (lambda: full_linker.save_pretrained(tmp_path / "x"), lambda: full_linker.add_entities([])):
        with pytest.raises(ValueError, match="converted to torch.bfloat16; load the linker without dtype="):
            change()


def test_parts_alone_go_to_the_hub_and_come_back(full_linker, knowledge_base, hub):
    full_linker.bi_encoder.push_to_hub("user/bi-encoder")
    full_linker.cross_encoder.push_to_hub("user/cross-encoder")
    full_linker.index.push_to_hub("user/index")
    knowledge_base.push_to_hub("user/entities")
    for repo_id in ("user/bi-encoder", "user/cross-encoder", "user/index"):
        assert len(new_commits(hub, repo_id)) == 1
    assert type(AutoModel.from_pretrained("user/bi-encoder")) is BlinkBiEncoder
    assert AutoConfig.from_pretrained("user/cross-encoder").model_type == "blink-crossencoder"
    assert len(EntityIndex.from_pretrained("user/index")) == len(knowledge_base)
    assert KnowledgeBase.from_pretrained("user/entities").fingerprint == knowledge_base.fingerprint
    assert "modeling_blink_biencoder.py" in hub.files("user/bi-encoder")


def test_the_token_of_a_load_is_neither_shown_nor_pickled(bi_encoder, hub):
    bi_encoder.push_to_hub("user/bi-encoder", private=True)
    loaded = BlinkBiEncoder.from_pretrained("user/bi-encoder", token=hub.token, revision="main")
    assert loaded.hub_options == {"token": hub.token, "revision": "main"}
    assert hub.token not in repr(loaded.hub_options) and hub.token not in repr(loaded)
    assert pickle.loads(pickle.dumps(loaded.hub_options)) == HubOptions({"revision": "main"})
    assert hub.token.encode() not in pickle.dumps(loaded)


def test_pipelines_push_and_save_the_whole_linker(full_linker, hub, tmp_path):
    full_linker.push_to_hub(REPO)
    link = pipeline("entity-linking", model=REPO)
    expected = link(TEXT)
    link.save_pretrained(tmp_path / "saved")
    link.push_to_hub("user/again")
    assert pipeline("entity-linking", model=str(tmp_path / "saved"))(TEXT) == expected
    assert pipeline("entity-linking", model="user/again")(TEXT) == expected
    assert hf_blink.EntityLinker.from_pretrained("user/again").cross_encoder is not None
