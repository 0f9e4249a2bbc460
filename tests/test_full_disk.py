"""A disk that fills up, at every place that writes: one clear error, and nothing half written.

The system itself refuses the bytes here: a limit on the size of files makes every real write of every library fail in its
middle, as a full disk does, with EFBIG in the place of ENOSPC.
"""

import errno
import json
import os
import tempfile
from contextlib import contextmanager

import pytest
import safetensors
from huggingface_hub import constants

from hf_blink import export_sentence_transformers
from hf_blink.cli import main
from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.full_disk import naming_the_disk, write_text_whole
from hf_blink.modeling.knowledge_base import KnowledgeBase

resource = pytest.importorskip("resource", reason="no limit on the size of files: not on Windows")

# Of the linker's files: linker.json and the table of entities are larger than the first, only the weights larger than the last.
SIZES = (50, 400, 3_000, 20_000)


@contextmanager
def full_disk(size: int):
    """No file can grow over `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def content(folder) -> dict:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture
def whole(linker, cross_encoder) -> EntityLinker:
    linker.cross_encoder = cross_encoder
    return linker


@pytest.mark.parametrize("size", SIZES)
def test_an_older_linker_stays_whole(whole, tmp_path, size):
    folder = tmp_path / "linker"
    whole.save_pretrained(folder)
    before = content(tmp_path)
    whole.threshold = 0.5
    with full_disk(size), pytest.raises(OSError, match="expected room for the linker in") as caught:
        whole.save_pretrained(folder)
    assert f"in {folder}, got: File too large; free some space there" in str(caught.value)
    assert str(caught.value).endswith("an older linker is as it was")
    assert content(tmp_path) == before and [path.name for path in tmp_path.iterdir()] == ["linker"]
    assert EntityLinker.from_pretrained(folder).threshold == 0.0


def test_a_new_linker_leaves_nothing(whole, tmp_path):
    with full_disk(400), pytest.raises(OSError, match="expected room for the linker"):
        whole.save_pretrained(tmp_path / "linker")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", SIZES)
def test_a_push_that_cannot_be_staged_changes_nothing(whole, hub, tmp_path, monkeypatch, size):
    whole.push_to_hub("user/linker")
    before = hub.commits("user/linker")
    (tmp_path / "staging").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "staging"))
    with full_disk(size), pytest.raises(OSError, match="room for the files of the push in .*staging, got"):
        whole.push_to_hub("user/linker")
    assert hub.commits("user/linker") == before and list((tmp_path / "staging").iterdir()) == []
    with full_disk(50), pytest.raises(OSError, match="set TMPDIR to another folder; nothing was pushed"):
        whole.bi_encoder.push_to_hub("user/encoder")


@pytest.mark.parametrize("part", ["index", "knowledge_base"])
def test_an_older_part_stays_whole(linker, tmp_path, part):
    saved = getattr(linker, part)
    saved.save_pretrained(tmp_path)
    before = content(tmp_path)
    linker.add_entities([{"id": "new", "title": "New", "description": "x" * 5000}])
    with full_disk(300), pytest.raises(OSError, match=f"room for the .* in {tmp_path}, got: .*as it was"):
        getattr(linker, part).save_pretrained(tmp_path)
    assert content(tmp_path) == before
    assert len(type(saved).from_pretrained(tmp_path)) == len(saved)


def test_an_older_encoder_stays_whole(bi_encoder, tmp_path):
    """Saved in shards, then by a full disk in one file, then in one file."""
    folder = tmp_path / "encoder"
    bi_encoder.save_pretrained(folder, max_shard_size="20KB")
    before = content(folder)
    assert len(before) > 3
    with (
        full_disk(20_000),
        pytest.raises(OSError, match="room for the encoder in .*; an older encoder is as it"),
    ):
        bi_encoder.save_pretrained(folder)
    assert content(folder) == before
    bi_encoder.save_pretrained(folder)
    assert sorted(content(folder)) == ["config.json", "model.safetensors"]


def test_a_conversion_of_shards_names_the_cache_and_leaves_no_table(knowledge_base, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    knowledge_base.save_pretrained(tmp_path / "saved")
    with full_disk(300), pytest.raises(OSError, match="mapped form of the knowledge base") as caught:
        KnowledgeBase.from_pretrained(tmp_path / "saved")
    assert str(tmp_path / "home") in str(caught.value) and "pass cache_dir= or set HF_HOME" in str(
        caught.value
    )
    assert content(tmp_path / "home") == {}
    assert len(KnowledgeBase.from_pretrained(tmp_path / "saved")) == len(knowledge_base)


def test_entities_that_are_read_name_the_folder(entities, tmp_path):
    file = tmp_path / "entities.jsonl"
    file.write_text("".join(json.dumps(entity) + "\n" for entity in entities))
    with (
        full_disk(300),
        pytest.raises(OSError, match="room for the entities in .*cache, got: .*pass cache_dir="),
    ):
        KnowledgeBase.from_jsonl(file, cache_dir=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_page_and_metrics_appear_whole_or_stay_as_they_were(linker, tmp_path, capsys):
    linker.save_pretrained(tmp_path / "linker")
    page, folder = tmp_path / "page.html", str(tmp_path / "linker")
    EntityLinker.from_pretrained(folder)  # the mapped form of its entities is in the cache now
    page.write_text("older")
    with full_disk(500):
        assert main(["link", "--model", folder, "Paris", "--html", str(page)]) == 2
    assert (
        f"expected room for the page in {tmp_path}, got: File too large; free some space"
        in capsys.readouterr().err
    )
    assert page.read_text() == "older" and sorted(os.listdir(tmp_path)) == ["linker", "page.html"]
    mentions = tmp_path / "test.jsonl"
    mentions.write_text('{"text": "Paris", "start": 0, "end": 5, "label_id": "paris-fr"}\n')
    with full_disk(100):
        code = main(["evaluate", "--model", folder, str(mentions), "--out", str(tmp_path / "metrics.json")])
    assert code == 2 and "expected room for the metrics" in capsys.readouterr().err
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize("size", SIZES)
def test_an_export_leaves_nothing(bi_encoder, processor, tmp_path, size):
    with full_disk(size), pytest.raises(OSError, match="room for the export in .*nothing was written"):
        export_sentence_transformers(bi_encoder, processor, tmp_path / "export")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "a file"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("write error in index.faiss: 65491 != 1280000 (No space left on device)"),  # FAISS
        safetensors.SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        ),
    ],
)
def test_every_librarys_error_is_the_same_one(error):
    with (
        pytest.raises(
            OSError, match=r"^expected room for it in /here, got: .*(space|quota).*; do that$"
        ) as caught,
        naming_the_disk("/here", "it", "do that"),
    ):
        raise error
    assert caught.value.errno in (errno.ENOSPC, errno.EDQUOT) and caught.value.__cause__ is error


@pytest.mark.parametrize("error", [ValueError("no"), OSError(errno.EACCES, "denied"), OSError("no number")])
def test_other_errors_stay_as_they_are(error):
    with pytest.raises(type(error)) as caught, naming_the_disk("/here", "it", "do that"):
        raise error
    assert caught.value is error


def test_a_text_keeps_the_mode_and_the_link_of_its_file_and_goes_through_a_pipe(tmp_path):
    file = tmp_path / "page.html"
    file.write_text("older")
    file.chmod(0o600)
    (tmp_path / "link").symlink_to("page.html")
    write_text_whole(tmp_path / "link", "naïve", "the page")
    assert file.read_bytes() == "naïve".encode() and file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "link").is_symlink()
    read, write = os.pipe()
    write_text_whole(f"/dev/fd/{write}", "piped", "the page")
    assert os.read(read, 100) == b"piped"
    os.close(read)
    os.close(write)
