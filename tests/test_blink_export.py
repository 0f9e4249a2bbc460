"""A linker in BLINK's form: what was imported comes out to the bit; what BLINK cannot compute is refused."""

import filecmp
import json
from copy import copy
from typing import Any

import pytest
import torch

import hf_blink
from hf_blink import (
    BlinkBiEncoder,
    BlinkCrossEncoder,
    ElqConfig,
    EntityLinker,
    ImportSettings,
    export_blink,
    import_blink,
    import_blink_entities,
)
from hf_blink.blink_encoders import BlinkSettings
from tests.blink_files import blink as blink
from tests.blink_files import chosen, vocabulary, write_blink
from tests.oracle import CHECKPOINTS
from tests.oracle import oracle as oracle

QUIET = ImportSettings(progress=False)


def same_weights(one, other) -> bool:
    one, other = (torch.load(file, weights_only=True) for file in (one, other))
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def check_round(fields, kind, folder) -> None:
    """Imports, exports, and compares with the original files."""
    names = ("crossencoder", "crossencoder_config", "entities")
    files = chosen(fields, *names, index=fields[kind], bert_model=fields.get("bert_model"))
    linker = EntityLinker.from_pretrained(import_blink(files, folder / "linker", QUIET))
    out = export_blink(linker, folder / "export")
    assert same_weights(out / "biencoder.bin", fields["biencoder"])
    assert same_weights(out / "crossencoder.bin", fields["crossencoder"])
    vectors = torch.load(out / "all_entities.t7", weights_only=True)
    assert torch.equal(vectors, torch.load(fields["encodings"], weights_only=True))
    assert filecmp.cmp(out / f"faiss_{kind}_index.pkl", fields[kind], shallow=False)
    ours, theirs = (
        [json.loads(line) for line in file.read_text().splitlines()]
        for file in (out / "entity.jsonl", fields["entities"])
    )
    assert [{**line, "text": line["text"].strip()} for line in ours] == [
        {**line, "text": line["text"].strip()} for line in theirs
    ]
    for name in ("biencoder", "crossencoder"):
        read, original = (
            BlinkSettings.read(file, "settings") for file in (out / f"{name}.json", fields[f"{name}_config"])
        )
        length = (
            read.pair_length if name == "biencoder" else original.pair_length
        )  # the bi-encoder reads none
        assert read == BlinkSettings(**{**vars(original), "bert_model": "bert", "pair_length": length})


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_what_was_imported_comes_out_to_the_bit(blink, tmp_path, kind):
    check_round(blink, kind, tmp_path)


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_the_originals_own_files_come_out_to_the_bit(oracle, tmp_path, kind):
    source = CHECKPOINTS / "blink"
    fields = {
        "biencoder": source / "biencoder_tiny.bin", "biencoder_config": source / "biencoder_tiny.json",
        "crossencoder": source / "crossencoder_tiny.bin", "crossencoder_config": source / "crossencoder_tiny.json",
        "entities": source / "entity.jsonl", "encodings": source / "all_entities_tiny.t7",
        kind: source / f"faiss_{kind}_index.pkl", "bert_model": str(CHECKPOINTS / "bert_tiny"),
    }  # fmt: skip
    check_round(fields, kind, tmp_path)


def test_the_export_is_imported_again_as_it_lies(blink, tmp_path):
    files = chosen(blink, "crossencoder", "crossencoder_config", "entities", index="hnsw")
    first = EntityLinker.from_pretrained(import_blink(files, tmp_path / "first", QUIET))
    out = export_blink(first, tmp_path / "export")
    assert (out / "bert" / "vocab.txt").read_text().splitlines() == vocabulary()
    again = hf_blink.BlinkFiles(  # the settings' "bert" is looked up beside them
        out / "biencoder.bin", out / "biencoder.json", out / "crossencoder.bin", out / "crossencoder.json",
        entities=out / "entity.jsonl", encodings=out / "all_entities.t7", index=out / "faiss_hnsw_index.pkl",
    )  # fmt: skip
    second = EntityLinker.from_pretrained(import_blink(again, tmp_path / "second", QUIET))
    assert second.index.encoder_fingerprint == first.index.encoder_fingerprint
    assert second.knowledge_base.fingerprint == first.knowledge_base.fingerprint


def test_a_linear_layer_comes_out_to_the_bit(tmp_path):
    files = write_blink(tmp_path, add_linear=True)
    linker = EntityLinker.from_pretrained(import_blink(chosen(files, "entities"), tmp_path / "linker", QUIET))
    out = export_blink(linker, tmp_path / "export")
    assert same_weights(out / "biencoder.bin", files["biencoder"])
    assert not (out / "crossencoder.bin").exists()


def test_a_model_of_ours_is_written_with_one_tower_twice(tiny_encoder, processor, knowledge_base, tmp_path):
    settings: dict[str, Any] = {
        "mention_pooling": "cls",
        "entity_pooling": "cls",
        "similarity": "dot",
        "temperature": 1.0,
    }
    model = BlinkBiEncoder.from_encoder(tiny_encoder, **settings)
    linker = EntityLinker.from_knowledge_base(knowledge_base, model, processor=processor, progress=False)
    state = torch.load(export_blink(linker, tmp_path / "export") / "biencoder.bin", weights_only=True)
    name = "bert_model.encoder.layer.0.attention.self.query.weight"
    assert torch.equal(state[f"context_encoder.{name}"], state[f"cand_encoder.{name}"])
    assert not state["context_encoder.bert_model.pooler.dense.weight"].any()
    line = json.loads((tmp_path / "export" / "entity.jsonl").read_text().splitlines()[0])
    assert line["idx"] == "jaguar-cat"
    again = import_blink_entities(tmp_path / "export" / "entity.jsonl")
    for name in ("entity_id", "aliases", "world"):
        assert [getattr(one, name) for one in again] == [getattr(one, name) for one in knowledge_base]
    words = (tmp_path / "export/bert/vocab.txt").read_text().splitlines()
    vocabulary = processor.tokenizer.get_vocab()
    assert len(words) > len(set(vocabulary.values())), "the example's vocabulary leaves a number out"
    assert all(words[number] == word for word, number in vocabulary.items())


def test_what_blink_cannot_compute_is_refused(linker, tiny_encoder, tmp_path):
    linker.cross_encoder = BlinkCrossEncoder.from_encoder(tiny_encoder, pooling="cls")
    with pytest.raises(
        ValueError, match=r"got mention_pooling='mention_span', .*temperature=0\.05, pooling='cls', pad_ment"
    ):
        export_blink(linker, tmp_path / "export")
    linker.threshold = 0.5
    linker.processor = copy(linker.processor)
    linker.processor.mention_end = "[MASK]"
    with pytest.raises(ValueError, match=r", the marker \[MASK\], threshold=0\.5; models that"):
        export_blink(linker, tmp_path / "export")
    linker.bi_encoder.config = ElqConfig()
    with pytest.raises(ValueError, match="with a BLINK bi-encoder, got one with a elq model; see export_elq"):
        export_blink(linker, tmp_path / "export")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_empty_is_refused(blink, tmp_path):
    linker = EntityLinker.from_pretrained(
        import_blink(chosen(blink, "entities", index="flat"), tmp_path / "linker", QUIET)
    )
    with pytest.raises(ValueError, match="expected a new or an empty folder, got .*linker; choose another"):
        export_blink(linker, tmp_path / "linker")


def test_a_full_disk_leaves_nothing(blink, tmp_path):
    pytest.importorskip("resource", reason="no limit on the size of files: not on Windows")
    from tests.test_full_disk import full_disk

    linker = EntityLinker.from_pretrained(
        import_blink(chosen(blink, "entities", index="flat"), tmp_path / "linker", QUIET)
    )
    for size in (300, 20_000):
        with full_disk(size), pytest.raises(OSError, match="expected room for BLINK's files in"):
            export_blink(linker, tmp_path / "export")
        assert [path.name for path in tmp_path.iterdir()] == ["linker"]
