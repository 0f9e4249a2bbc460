"""A linker of BLINK's files: every way to its index, a card, and files that do not belong together."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import hf_blink
from hf_blink import EntityLinker, ImportSettings, import_blink, import_blink_index
from tests.blink_files import (
    ENTITIES,
    MENTIONS,
    chosen,
    write_blink,
    write_encodings,
    write_entities,
    write_flat,
)
from tests.blink_files import blink as blink
from tests.oracle import changed_settings

ENCODERS = ("crossencoder", "crossencoder_config")
QUIET = ImportSettings(progress=False)
TEXT = "The old White River is in the north."


@pytest.fixture(scope="module")
def vectors(blink) -> np.ndarray:
    return torch.load(blink["encodings"], weights_only=True).numpy()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("given", "kind", "expected"),
    [
        ({}, "auto", "flat"),
        ({}, "hnsw", "hnsw"),
        ({"encodings": True}, "auto", "flat"),
        ({"encodings": True}, "hnsw", "hnsw"),
        ({"index": "flat"}, "auto", "flat"),
        ({"index": "hnsw"}, "auto", "hnsw"),
        ({"index": "hnsw", "encodings": True}, "flat", "hnsw"),
    ],
)  # fmt: skip
def test_every_way_to_an_index_gives_the_same_links(blink, vectors, tmp_path, given, kind, expected):
    changes = {"index": given["index"]} if "index" in given else {}
    files = chosen(blink, "entities", *(["encodings"] if "encodings" in given else []), **changes)
    out = import_blink(
        files, tmp_path / "linker", ImportSettings(kind=kind, num_candidates=4, progress=False)
    )
    assert names(tmp_path) == ["linker"]
    linker = EntityLinker.from_pretrained(out)
    assert linker.index.kind == expected
    assert linker.num_candidates == 4
    np.testing.assert_allclose(linker.index.vectors(range(6)), vectors, rtol=1e-5, atol=1e-5)
    (link,) = linker.link(TEXT, [(8, 19)], top_k=2)
    assert [entry.entity.entity_id for entry in link.candidates] == ["128", "107"]
    linker.add_entities([{"id": "new", "title": "New Ship", "description": "A new ship."}])
    assert linker.index.kind == expected and len(linker.index) == 7


def test_the_folder_is_an_ordinary_linker(blink, tmp_path):
    files = chosen(blink, *ENCODERS, "entities", index="hnsw")
    out = import_blink(files, tmp_path / "my linker", QUIET)
    assert not list(out.rglob("*.bin")) and not list(out.rglob("*.pkl"))
    assert {"model.safetensors", "linker.json", "README.md", "cross_encoder", "entity_index"} <= set(
        names(out)
    )
    card = (out / "README.md").read_text()
    assert "user/my-linker" in card and "Imported from the files of the original BLINK" in card
    assert "hnsw" in card and "128" in card  # links of the imported graph
    from transformers import pipeline

    link = pipeline("entity-linking", model=str(out))
    assert {found["word"] for found in link(TEXT)} == {"White River"}
    linker = EntityLinker.from_pretrained(out)
    linker.save_pretrained(tmp_path / "copy")
    assert EntityLinker.from_pretrained(tmp_path / "copy").index.settings == {
        "links": 128, "efConstruction": 200, "efSearch": 256,
    }  # fmt: skip


def test_a_second_import_replaces_the_linker_and_its_card_and_keeps_a_card_of_others(blink, tmp_path):
    out = import_blink(chosen(blink, "entities", index="flat"), tmp_path / "linker", QUIET)
    import_blink(chosen(blink, "entities", index="hnsw"), out, QUIET)
    assert EntityLinker.from_pretrained(out).index.kind == "hnsw"
    assert "hnsw" in (out / "README.md").read_text()
    (out / "README.md").write_text("mine")
    import_blink(chosen(blink, "entities", index="flat"), out, QUIET)
    assert (out / "README.md").read_text() == "mine"


def test_without_entities_the_encoders_are_written(blink, tmp_path):
    out = import_blink(chosen(blink, *ENCODERS), tmp_path / "encoders", QUIET)
    assert names(tmp_path) == ["encoders"]
    linker = EntityLinker.from_knowledge_base(str(blink["entities"]), out, progress=False)
    assert linker.bi_encoder.config.similarity == "dot"
    assert hf_blink.BlinkCrossEncoder.from_pretrained(out / "cross_encoder").config.pooling == "pooler"


def test_encoders_alone_take_the_place_of_a_whole_linker(blink, tmp_path):
    out = import_blink(chosen(blink, "entities", index="flat"), tmp_path / "linker", QUIET)
    (out / "notes.txt").write_text("mine")
    import_blink(chosen(blink, *ENCODERS), out, QUIET)
    assert {"linker.json", "entity_index", "knowledge_base"}.isdisjoint(names(out))
    assert (out / "notes.txt").read_text() == "mine"
    assert hf_blink.BlinkBiEncoder.from_pretrained(out).config.similarity == "dot"


def test_worlds_of_documents_are_searched_apart(blink, tmp_path):
    documents = tmp_path / "documents"
    documents.mkdir()
    for world in ("lego", "fallout"):
        lines = [
            {"document_id": f"{world}{i}", "title": t, "text": f"{t} {d}"}
            for i, (t, d) in enumerate(ENTITIES)
        ]
        (documents / f"{world}.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = import_blink(chosen(blink, entities=documents), tmp_path / "linker", QUIET)
    linker = EntityLinker.from_pretrained(out)
    assert linker.knowledge_base.worlds == ["fallout", "lego"]
    (link,) = linker.link(TEXT, [(8, 19)], worlds="lego")
    assert {entry.entity.world for entry in link.candidates} == {"lego"}


def test_files_of_torch_before_1_6_are_imported(tmp_path, vectors):
    old = write_blink(tmp_path, zipped=False)
    old["encodings"] = write_encodings(tmp_path / "all.t7", vectors, zipped=False)
    out = import_blink(chosen(old, *ENCODERS, "entities", "encodings"), tmp_path / "linker", QUIET)
    assert len(EntityLinker.from_pretrained(out).index) == 6


def test_an_index_alone(blink, vectors):
    index = import_blink_index(blink["hnsw"], 32, count=6)
    assert (index.kind, len(index), index.encoder_fingerprint) == ("hnsw", 6, None)
    scores, rows = index.search(vectors[:1], 2)
    np.testing.assert_allclose(scores[0], (vectors @ vectors[0])[rows[0]], rtol=1e-5)


def other_model(folder: Path) -> Path:
    """Vectors of another encoder."""
    rng = np.random.default_rng(0)
    return write_encodings(folder / "other.t7", rng.standard_normal((6, 32)).astype(np.float32))


def short(folder: Path, rows: int = 6, dimension: int = 32) -> Path:
    vectors = np.random.default_rng(0).standard_normal((rows, dimension)).astype(np.float32)
    return write_encodings(folder / "short.t7", vectors)


def other_index(folder: Path, rows: int = 6, dimension: int = 32) -> Path:
    vectors = np.random.default_rng(0).standard_normal((rows, dimension)).astype(np.float32)
    return write_flat(folder / "other.pkl", vectors)


def nan_vectors(folder: Path) -> Path:
    return write_encodings(folder / "nan.t7", np.full((6, 32), np.nan, np.float32))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (lambda f: {"encodings": short(f, rows=5)}, "the encodings of 6 entities, as the catalogue has, got 5"),
        (lambda f: {"encodings": short(f, dimension=16)}, "expected encodings of 32 dimensions, as the bi-encoder has, got 16"),
        (lambda f: {"encodings": other_model(f)}, r"the bi-encoder's own vectors.*their cosine is -?0\.\d+.*--no-vector-check"),
        (lambda f: {"encodings": nan_vectors(f)}, "their cosine is nan"),
        (lambda f: {"index": other_index(f)}, "other.pkl: expected the bi-encoder's own vectors"),
        (lambda f: {"index": other_index(f, rows=7)}, "expected an index of 6 entities, as the catalogue has, got 7"),
        (lambda f: {"index": other_index(f, dimension=33)}, "expected vectors of 32 dimensions, got 33"),
        (lambda f: {"index": short(f)}, r"an index that faiss\.write_index wrote .* got a file of b'PK"),
        (lambda f: {"encodings": f / "no.t7"}, "expected a file for encodings at .*got nothing"),
        (lambda f: {"biencoder": f}, "expected a file for biencoder at .*got a folder"),
        (lambda f: {"entities": None, "index": other_index(f)}, "expected the entities that the index are of, got none"),
        (lambda f: {"crossencoder_config": None}, "the cross-encoder's weights and its settings, got one of them"),
    ],
)  # fmt: skip
def test_what_does_not_belong_together_is_refused_and_nothing_written(blink, tmp_path, changes, message):
    fields = {name: blink[name] for name in (*ENCODERS, "entities")}
    files = chosen(blink, **fields | changes(tmp_path))
    before = names(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        import_blink(files, tmp_path / "linker", QUIET)
    assert names(tmp_path) == before


def test_vectors_are_taken_as_they_are_where_that_is_asked_for(blink, tmp_path):
    files = chosen(blink, "entities", encodings=other_model(tmp_path))
    out = import_blink(files, tmp_path / "linker", ImportSettings(check_vectors=False, progress=False))
    assert len(EntityLinker.from_pretrained(out).index) == 6


def test_a_catalogue_in_another_order_is_noticed(blink, tmp_path):
    write_entities(tmp_path / "entity.jsonl", ENTITIES[1:] + ENTITIES[:1])
    far = np.random.default_rng(1).standard_normal((6, 32)).astype(np.float32)
    vectors = torch.load(blink["encodings"], weights_only=True).numpy()
    shuffled = write_encodings(tmp_path / "all.t7", vectors[::-1] * np.sign(far))
    with pytest.raises(ValueError, match="or of a catalogue in another order"):
        import_blink(
            chosen(blink, entities=tmp_path / "entity.jsonl", encodings=shuffled), tmp_path / "l", QUIET
        )


def test_a_cross_encoder_of_other_windows_is_refused(blink, tmp_path):
    settings = changed_settings(blink["crossencoder_config"], tmp_path, max_context_length=16)
    files = chosen(blink, "crossencoder", "entities", crossencoder_config=settings)
    with pytest.raises(
        ValueError, match="reads the bi-encoder's windows .*'mention_length': 24.* got one for .*16"
    ):
        import_blink(files, tmp_path / "linker", QUIET)


def test_windows_longer_than_the_bert_are_refused(blink, tmp_path):
    settings = changed_settings(blink["biencoder_config"], tmp_path, max_context_length=100)
    with pytest.raises(ValueError, match="positions for 100 tokens"):
        import_blink(chosen(blink, biencoder_config=settings), tmp_path / "linker", QUIET)


def test_a_folder_with_something_else_is_refused_before_anything_is_read(blink, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="expected a new folder or a linker's"):
        import_blink(chosen(blink, "entities"), tmp_path, QUIET)
    assert names(tmp_path) == ["mine.txt"]


@pytest.mark.parametrize("given", [{}, {"index": "hnsw"}, {"encodings": True}])
def test_a_full_disk_leaves_an_older_linker(blink, tmp_path, given):
    pytest.importorskip("resource", reason="no limit on the size of files: not on Windows")
    from tests.test_full_disk import content, full_disk

    out = import_blink(chosen(blink, "entities", index="flat"), tmp_path / "linker", QUIET)
    before = content(tmp_path)
    extra = ["encodings"] if given.pop("encodings", False) else []
    for size in (300, 4000):
        with (
            full_disk(size),
            pytest.raises(OSError, match="expected room for .*an older linker is as it was"),
        ):
            import_blink(chosen(blink, *ENCODERS, "entities", *extra, **given), out, QUIET)
        assert content(tmp_path) == before and names(tmp_path) == ["linker"]


def test_mentions_of_the_original_form_are_lower_cased_alike(blink, tmp_path):
    out = import_blink(chosen(blink, "entities", index="flat"), tmp_path / "linker", QUIET)
    processor = EntityLinker.from_pretrained(out).processor
    contexts = [hf_blink.modeling.linking_types.MentionContext(*mention) for mention in MENTIONS]
    lower = [
        type(context)(*(part.lower() for part in mention))
        for context, mention in zip(contexts, MENTIONS, strict=True)
    ]
    assert processor.mention_windows(contexts) == processor.mention_windows(lower)
