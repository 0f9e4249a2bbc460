"""`hf-blink index` as users type it."""

from pathlib import Path

from hf_blink.cli import main
from hf_blink.modeling.entity_index import EntityIndex
from hf_blink.modeling.entity_linker import EntityLinker
from tests.test_cli import write_jsonl

LION = [{"id": "lion", "title": "Lion", "description": "A cat of the savannah."}]


def test_entities_are_added_to_and_removed_from_a_folder(linker, tmp_path, capsys):
    folder, new = str(tmp_path / "linker"), write_jsonl(tmp_path / "new.jsonl", LION)
    linker.save_pretrained(folder)
    assert main(["index", "add", folder, new]) == 0
    assert "1 entity added, 7 are in" in capsys.readouterr().out
    assert EntityLinker.from_pretrained(folder).link("A Lion.")[0].mention.text == "Lion"
    assert main(["index", "add", folder, new]) == 2
    assert "pass replace=True" in capsys.readouterr().err
    assert main(["index", "add", folder, new, "--replace"]) == 0
    assert main(["index", "remove", folder, "lion", "puma-cat"]) == 0
    assert len(EntityLinker.from_pretrained(folder).knowledge_base) == 5
    assert main(["index", "remove", folder, "lion"]) == 2
    assert main(["index", "add", "user/linker", new]) == 2
    assert "expected a linker's folder, got 'user/linker'" in capsys.readouterr().err
    capsys.readouterr()
    assert main(["index", "info", folder]) == 0
    shown = dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines()[2:])
    assert (shown["kind"], shown["entities"], shown["dimension"]) == ("flat", "5", "32")


def test_an_index_is_built_apart(bi_encoder, processor, entities, tmp_path):
    for part in (bi_encoder, processor):
        part.save_pretrained(tmp_path / "encoder")
    catalogue, out = write_jsonl(tmp_path / "entities.jsonl", entities), tmp_path / "index"
    arguments = ["index", "build", catalogue, "--encoder", str(tmp_path / "encoder"), "--out", str(out)]
    assert main([*arguments, "--kind", "hnsw"]) == 0
    assert EntityIndex.from_pretrained(out).kind == "hnsw"
    assert {path.name for path in Path(out).iterdir()} == {"index.faiss", "index.json"}
