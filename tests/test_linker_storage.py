"""A linker as a folder: written all or nothing, read back with checks."""

import os
import shutil

import huggingface_hub
import pytest
import torch

from hf_blink.modeling.entity_index import EntityIndex
from hf_blink.modeling.entity_linker import EntityLinker

TEXT = "A jaguar slept in the forest. Later a puma came to Paris."


@pytest.fixture
def linker(bi_encoder, processor, knowledge_base, cross_encoder):
    index = EntityIndex.build(bi_encoder, processor, knowledge_base, kind="flat", progress=False)
    return EntityLinker(
        bi_encoder, processor, index, knowledge_base, cross_encoder=cross_encoder, num_candidates=4
    )


@pytest.fixture
def folder(linker, tmp_path):
    linker.save_pretrained(tmp_path / "linker")
    return tmp_path / "linker"


def summary(links):
    return [
        (
            link.mention.start,
            link.mention.end,
            [(c.entity.entity_id, round(c.score, 5)) for c in link.candidates],
        )
        for link in links
    ]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_save_and_load_round_trip(linker, tmp_path):
    before = summary(linker.link(TEXT))
    linker.save_pretrained(tmp_path / "linker")
    loaded = EntityLinker.from_pretrained(tmp_path / "linker")
    assert loaded.num_candidates == 4
    after = summary(loaded.link(TEXT))
    assert before == after
    fast = EntityLinker.from_pretrained(tmp_path / "linker", cross_encoder=False)
    assert fast.cross_encoder is None
    names = {
        path.relative_to(tmp_path / "linker").as_posix()
        for path in (tmp_path / "linker").rglob("*")
        if path.is_file()
    }
    assert {
        "config.json",
        "model.safetensors",
        "linker.json",
        "entity_index/index.faiss",
        "cross_encoder/model.safetensors",
    } <= names


def test_saving_again_replaces_ours_and_keeps_foreign_files(linker, tmp_path):
    folder = tmp_path / "linker"
    linker.save_pretrained(folder)
    (folder / "README.md").write_text("mine")
    linker.cross_encoder = None
    linker.save_pretrained(folder)
    assert (folder / "README.md").read_text() == "mine"
    assert not (folder / "cross_encoder").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["linker"]


def test_a_failing_save_leaves_the_old_linker(linker, tmp_path, monkeypatch):
    folder = tmp_path / "linker"
    linker.save_pretrained(folder)
    before = (folder / "linker.json").read_text()

    def fail(*_args, **_options):
        raise OSError("disk full")

    monkeypatch.setattr(linker.knowledge_base, "save_pretrained", fail)
    with pytest.raises(OSError, match="disk full"):
        linker.save_pretrained(folder)
    assert (folder / "linker.json").read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["linker"]
    assert EntityLinker.from_pretrained(folder).link("Paris")


def test_a_fresh_repository_keeps_everything_that_is_not_ours(linker, tmp_path):
    folder = tmp_path / "clone"
    (folder / ".git" / "refs" / "heads").mkdir(parents=True)  # empty folders are part of a repository
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/main")
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs")
    linker.save_pretrained(folder)
    (folder / "figures" / "empty").mkdir(parents=True)
    (folder / "latest").symlink_to("figures", target_is_directory=True)
    (folder / "dangling").symlink_to("nowhere")
    (folder / "entity_index" / "notes.txt").write_text("flat")
    (folder / "cross_encoder" / "notes.txt").write_text("old")
    (folder / ".git" / "HEAD").chmod(0o600)
    linker.cross_encoder = None
    linker.save_pretrained(folder)
    assert (folder / ".git" / "refs" / "heads").is_dir() and (folder / "figures" / "empty").is_dir()
    assert (folder / ".git" / "HEAD").stat().st_mode & 0o777 == 0o600
    assert os.readlink(folder / "latest") == "figures" and os.readlink(folder / "dangling") == "nowhere"
    assert (folder / "entity_index" / "notes.txt").read_text() == "flat"
    assert names(folder / "cross_encoder") == ["notes.txt"]
    assert names(tmp_path) == ["clone"]
    assert EntityLinker.from_pretrained(folder).cross_encoder is None


def test_a_link_to_a_folder_stays_a_link(linker, folder, tmp_path):
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    linker.num_candidates = 2
    linker.save_pretrained(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert EntityLinker.from_pretrained(folder).num_candidates == 2


@pytest.mark.parametrize("target", [".", "..", "../..", "../other"])
def test_the_working_directory_and_folders_of_others_are_no_target(linker, tmp_path, monkeypatch, target):
    (tmp_path / "other" / "project").mkdir(parents=True)
    (tmp_path / "other" / "thesis.tex").write_text("years of work")
    (tmp_path / "around" / "inside").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "around" / "inside" if target != "../other" else tmp_path / "around")
    with pytest.raises(
        ValueError, match="expected a new folder or a linker's, got .*; choose another folder"
    ):
        linker.save_pretrained(target)
    assert (tmp_path / "other" / "thesis.tex").read_text() == "years of work"
    assert names(tmp_path) == ["around", "other"] and names(tmp_path / "around") == ["inside"]


@pytest.mark.parametrize("content", ["{", "[]", '{"files": [1]}', '{"format_version": 99}'])
def test_a_broken_linker_is_not_replaced(linker, folder, content):
    (folder / "linker.json").write_text(content)
    with pytest.raises(
        ValueError, match=r"expected a new folder or a linker's.*linker\.json.*another folder"
    ):
        linker.save_pretrained(folder)
    assert (folder / "linker.json").read_text() == content and (folder / "model.safetensors").is_file()


def test_a_file_is_no_target(linker, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="expected a new folder"):
        linker.save_pretrained(tmp_path / "file")


def test_a_save_that_fails_after_the_swap_is_undone(linker, folder, tmp_path, monkeypatch):
    (folder / "a.txt").write_text("first")
    (folder / "b.txt").write_text("second")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    rename = os.rename

    def fail_at_b(source, target):
        if os.path.basename(source) == "b.txt":
            raise OSError("disk gone")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail_at_b)
    linker.num_candidates = 2
    with pytest.raises(OSError, match="disk gone"):
        linker.save_pretrained(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert names(tmp_path) == ["linker"]


def test_weights_that_would_be_unpickled_are_not_read(linker, folder):
    torch.save(linker.bi_encoder.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").rename(folder / "moved")
    with pytest.raises(FileNotFoundError, match="model.safetensors"):
        EntityLinker.from_pretrained(folder)


def test_a_pickled_bi_encoder_is_refused(bi_encoder, processor, knowledge_base, tmp_path):
    bi_encoder.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    torch.save(bi_encoder.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(OSError, match="safetensors"):
        EntityLinker.from_knowledge_base(knowledge_base, tmp_path, progress=False)


def test_a_download_takes_the_linkers_files_alone(linker, folder, tmp_path, monkeypatch):
    asked: dict = {}

    def snapshot_download(name, **options):
        asked.update(options, name=name)
        return str(folder)

    monkeypatch.setattr("hf_blink.modeling.hub_transfer.snapshot_download", snapshot_download)
    EntityLinker.from_pretrained("user/linker", revision="main")
    assert asked["name"] == "user/linker" and asked["revision"] == "main"
    (folder / "pytorch_model.bin").write_bytes(b"")
    every = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    wanted = set(huggingface_hub.utils.filter_repo_objects(every, allow_patterns=asked["allow_patterns"]))
    assert wanted == set(every) - {"pytorch_model.bin"}


def test_a_linker_can_be_saved_over_the_folder_that_it_was_read_from(folder):
    linker = EntityLinker.from_pretrained(folder)
    before = summary(linker.link(TEXT))
    linker.save_pretrained(folder)
    assert summary(linker.link(TEXT)) == summary(EntityLinker.from_pretrained(folder).link(TEXT)) == before


def test_changed_and_missing_files_are_refused(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"linker\.json"):
        EntityLinker.from_pretrained(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"'missing/linker' is no folder here .*, and the Hub did not give it"
    ):
        EntityLinker.from_pretrained("missing/linker", local_files_only=True)
    with pytest.raises(FileNotFoundError, match="'a name' is no folder here"):
        EntityLinker.from_pretrained("a name")
    with pytest.raises(FileNotFoundError, match="no folder"):
        EntityLinker.from_pretrained(str(tmp_path / "missing"))
    config = folder / "config.json"
    original = config.read_text()
    config.write_text(original.replace('"mean"', '"cls"'))
    with pytest.raises(ValueError, match=r"config\.json"):
        EntityLinker.from_pretrained(folder)
    config.write_text(original)
    shutil.rmtree(folder / "cross_encoder")
    with pytest.raises(FileNotFoundError, match="cross_encoder"):
        EntityLinker.from_pretrained(folder)
    assert EntityLinker.from_pretrained(folder, cross_encoder=False).cross_encoder is None
