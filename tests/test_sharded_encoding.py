"""Encoding in shares: blocks on disk, resumed and merged, never mixed with those of another encoder."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from hf_blink.modeling.entity_index import EntityIndex
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training import sharded_encoding
from hf_blink.training.encoded_blocks import remove_blocks
from hf_blink.training.sharded_encoding import build_shared_index, encode_entities_sharded, merge_shards


@pytest.fixture
def encode(bi_encoder, processor, knowledge_base, tmp_path):
    """Encodes the share of one process; block size 2 makes three blocks of six entities."""

    def encode(index=0, count=1, *, base=knowledge_base, block_size=2):
        encode_entities_sharded(
            bi_encoder, processor, base, tmp_path / "shards",
            process_index=index, num_processes=count, block_size=block_size, progress=False,
        )  # fmt: skip
        return tmp_path / "shards"

    return encode


def block_names(folder):
    return [file.name[:30] for file in sorted(folder.glob("rows-*.npy"))]


@pytest.fixture
def encoded(monkeypatch):
    """Numbers of entities that were encoded, in order."""
    numbers: list[int] = []
    real = sharded_encoding.encode_entities

    def counted(model, processor, titles, descriptions, **options):
        numbers.append(len(titles))
        return real(model, processor, titles, descriptions, **options)

    monkeypatch.setattr(sharded_encoding, "encode_entities", counted)
    return numbers


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_shares_of_two_processes_make_the_index_of_one(
    encode, bi_encoder, processor, knowledge_base, tmp_path, kind
):
    folder = encode(0, 2)
    assert block_names(folder) == ["rows-000000000000-000000000002"]
    encode(1, 2)
    merged = merge_shards(folder, kind=kind)
    built = EntityIndex.build(bi_encoder, processor, knowledge_base, kind=kind, progress=False)
    np.testing.assert_allclose(merged.vectors(range(6)), built.vectors(range(6)), atol=1e-6)
    assert (merged.kind, merged.encoder_fingerprint) == (kind, built.encoder_fingerprint)
    assert merged.knowledge_base_fingerprint == knowledge_base.fingerprint
    merged.save_pretrained(tmp_path / "index")
    assert len(EntityIndex.from_pretrained(tmp_path / "index")) == 6
    assert not list(folder.glob("*.part"))
    remove_blocks(folder)
    assert not folder.exists()


def test_the_shared_index_of_one_process_is_the_index(bi_encoder, processor, knowledge_base):
    index = build_shared_index(bi_encoder, processor, knowledge_base, block_size=4, progress=False)
    built = EntityIndex.build(bi_encoder, processor, knowledge_base, progress=False)
    np.testing.assert_allclose(index.vectors(range(6)), built.vectors(range(6)), atol=1e-6)


def test_a_killed_run_goes_on_without_losing_or_repeating_a_row(encode, encoded, monkeypatch):
    counted = sharded_encoding.encode_entities

    def killed(model, processor, titles, descriptions, **options):
        if len(encoded) == 2:
            raise KeyboardInterrupt
        return counted(model, processor, titles, descriptions, **options)

    with monkeypatch.context() as patch:
        patch.setattr(sharded_encoding, "encode_entities", killed)
        with pytest.raises(KeyboardInterrupt):
            encode()
    assert encoded == [2, 2]
    folder = encode(0, 2)  # with another number of processes
    assert encoded == [2, 2]
    encode(1, 2)
    assert encoded == [2, 2, 2]
    assert len(merge_shards(folder)) == 6


@pytest.mark.parametrize("damage", [b"", b"half a block", "truncated", "other shape"])
def test_a_block_that_is_not_whole_is_missed_and_encoded_again(encode, encoded, damage):
    folder = encode()
    block = sorted(folder.glob("rows-*.npy"))[1]
    whole = block.read_bytes()
    if damage == "other shape":
        np.save(block, np.ones((1, 32), np.float32))
    else:
        block.write_bytes(whole[:-100] if damage == "truncated" else damage)
    with pytest.raises(FileNotFoundError, match="all 6 entities .* got none for the rows 2 to 3; start the"):
        merge_shards(folder)
    encode()
    assert encoded == [2, 2, 2, 2] and block.read_bytes() == whole


def test_pickled_blocks_are_not_read(encode):
    folder = encode()
    block = sorted(folder.glob("rows-*.npy"))[0]
    np.save(block, np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(FileNotFoundError, match="rows 0 to 1"):
        merge_shards(folder)


def test_another_encoder_knowledge_base_or_block_size_is_refused(encode, bi_encoder, entities):
    encode()
    fewer = KnowledgeBase.from_entities(entities[:3])
    with pytest.raises(
        ValueError, match=r"knowledge_base_fingerprint: .*num_entities: 6 there, 3 now.*name another"
    ):
        encode(base=fewer)
    with pytest.raises(ValueError, match=r"\(block_size: 2 there, 3 now\)"):
        encode(block_size=3)
    with torch.no_grad():
        next(bi_encoder.parameters()).add_(1)
    with pytest.raises(ValueError, match=r"\(encoder_fingerprint: \w+ there, \w+ now\)"):
        encode()


def test_blocks_of_another_encoder_are_never_merged(encode, bi_encoder):
    """Even where the manifest is lost, whose the blocks are stays in their names."""
    folder = encode()
    (folder / "manifest.json").unlink()
    with torch.no_grad():
        next(bi_encoder.parameters()).add_(1)
    encode(0, 2)
    with pytest.raises(FileNotFoundError, match="rows 2 to 3, 4 to 5"):
        merge_shards(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "got something else"),
        ("[]", "got something else"),
        ('{"format_version": 1}', "got something else"),
        (2, "format_version 1, got .*2"),
        (-1, "positive sizes"),
    ],
)
def test_a_damaged_manifest_is_refused(encode, content, message):
    folder = encode()
    file = folder / "manifest.json"
    if isinstance(content, int):
        content = json.dumps(json.loads(file.read_text()) | {"format_version": content})
    file.write_text(content)
    with pytest.raises(ValueError, match=f"{message}.*; remove the folder and encode anew"):
        merge_shards(folder)


def test_bad_input_is_refused(encode, bi_encoder, tmp_path):
    with pytest.raises(FileNotFoundError, match="manifest.json of an encoded knowledge base"):
        merge_shards(tmp_path)
    with pytest.raises(ValueError, match="process_index from 0 to 1 of 2 processes, got 2"):
        encode(2, 2)
    folder = encode()
    with pytest.raises(ValueError, match="expected an index kind"):
        merge_shards(folder, kind="tree")
    with torch.no_grad():
        next(bi_encoder.parameters()).fill_(float("nan"))
    remove_blocks(folder)
    with pytest.raises(ValueError, match="finite and not zero.* entity rows"):
        encode()


def test_foreign_files_in_the_folder_stay(encode):
    folder = encode()
    (folder / "notes.txt").write_text("mine")
    remove_blocks(folder)
    assert [file.name for file in folder.iterdir()] == ["notes.txt"]


def test_two_processes_may_remove_a_folder_at_once(encode, monkeypatch):
    """The other one is done before this one looks into it; `Path.glob` raises then, or not, by Python's version."""
    folder = encode()

    def glob(path, pattern):
        shutil.rmtree(folder)
        raise FileNotFoundError(str(folder))

    monkeypatch.setattr(Path, "glob", glob)
    remove_blocks(folder)
    assert not folder.exists()
