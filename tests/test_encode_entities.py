"""The script that encodes a knowledge base with all processes, as users start it."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from hf_blink.modeling.entity_index import EntityIndex
from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.training import encode_entities
from tests.two_processes import launch_two


@pytest.fixture
def options(bi_encoder, processor, tmp_path, entities) -> list[str]:
    for part in (bi_encoder, processor):
        part.save_pretrained(tmp_path / "bi_encoder")
    lines = "".join(json.dumps(entity) + "\n" for entity in entities)
    (tmp_path / "entities.jsonl").write_text(lines)
    return [
        *("--entities", str(tmp_path / "entities.jsonl"), "--bi_encoder", str(tmp_path / "bi_encoder")),
        *("--output_dir", str(tmp_path / "out"), "--block_size", "2", "--use_cpu", "true"),
    ]


def vectors(folder: Path) -> np.ndarray:
    return EntityIndex.from_pretrained(folder).vectors(range(6))


def test_two_processes_make_the_index_of_one_and_go_on_after_a_kill(options, tmp_path):
    encode_entities.main([*options, "--keep_vectors", "true"])
    expected = vectors(tmp_path / "out")
    kept = sorted((tmp_path / "out-vectors").glob("rows-*.npy"))
    assert len(kept) == 3
    kept[2].unlink()  # a run that was killed before its last block
    for block in kept[:2]:
        os.utime(block, ns=(1, 1))
    (tmp_path / "out/index.faiss").unlink()
    done = launch_two(
        "hf_blink.training.encode_entities", *options, "--keep_vectors", "true", folder=tmp_path
    )
    assert "process 0 of 2" in done.stderr and "saved a flat index of 6 entities" in done.stderr
    assert np.array_equal(vectors(tmp_path / "out"), expected), "to the last bit"
    assert [block.stat().st_mtime_ns for block in kept[:2]] == [1, 1], "not encoded again"


def test_a_linker_of_a_saved_knowledge_base(options, knowledge_base, tmp_path):
    knowledge_base.save_pretrained(tmp_path / "entities")
    options[1] = str(tmp_path / "entities")
    encode_entities.main([*options, "--linker", "true", "--index_kind", "hnsw"])
    linker = EntityLinker.from_pretrained(tmp_path / "out")
    assert (linker.index.kind, len(linker.knowledge_base)) == ("hnsw", 6)
    assert linker.link("Paris")
    assert not (tmp_path / "out-vectors").exists()


def test_the_index_is_on_the_disk_before_the_blocks_are_removed(options, tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(
        encode_entities, "flush_disks", lambda: done.append((tmp_path / "out/index.faiss").is_file())
    )
    monkeypatch.setattr(encode_entities, "remove_blocks", done.append)
    encode_entities.main(options)
    assert done == [True, tmp_path / "out-vectors"]


def test_one_process_that_cannot_read_its_files_stops_both(options, tmp_path):
    done = launch_two("tests.encoding_example", *options, folder=tmp_path, succeeds=False)
    assert (
        "expected all processes to finish, but process 1 stopped: FileNotFoundError: no such disk"
        in done.stderr
    )
    assert not (tmp_path / "out").exists()


def test_options_that_make_no_sense_are_refused(options, tiny_encoder):
    options[3] = tiny_encoder
    with pytest.raises(
        ValueError, match="a saved bi-encoder at bi_encoder: .*, got a model of type bert; train"
    ):
        encode_entities.main(options)
    with pytest.raises(ValueError, match="expected an index kind out of"):
        encode_entities.EncodingArguments(["x"], "y", "z", index_kind="tree")
    with pytest.raises(ValueError, match="block_size of at least 1, got 0"):
        encode_entities.EncodingArguments(["x"], "y", "z", block_size=0)
