"""ELQ's files into a linker's folder, by hand and by command, and back; on files of our own and on the original's."""

import ast
import filecmp
import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import pipeline

from hf_blink.cli import main
from hf_blink.elq_export import export_elq
from hf_blink.elq_import import ElqFiles, import_elq, import_elq_model
from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.original_import import ImportSettings
from tests.elq_example import name_finder
from tests.oracle import CHECKPOINTS
from tests.oracle import oracle as oracle
from tests.test_span_linking import TEXT, WORDS, words


@pytest.fixture(scope="module")
def source(tiny_encoder, entities):
    """A linker that ELQ could compute."""
    from transformers import BertTokenizer

    from hf_blink.modeling.processing_elq import ElqProcessor

    vocabulary = json.loads(Path(tiny_encoder, "tokenizer.json").read_text())["model"]["vocab"]
    words = [word for word in vocabulary if word not in ("[CLS]", "[SEP]")]
    words[101:101] = ["[CLS]", "[SEP]"]  # as in BERT's vocabulary: ELQ's programs write these numbers
    vocabulary = {word: number for number, word in enumerate(words)}
    processor = ElqProcessor(
        BertTokenizer(vocab=vocabulary, do_lower_case=True),
        mention_length=32,
        entity_length=32,
        do_lower_case=True,
    )
    model = name_finder(
        tiny_encoder, processor, entity_pooling="cls", similarity="dot", temperature=1, joint_threshold=-4.5,
        whole_words=False, frame_in_spans=True, keep_pooler=True,
    )  # fmt: skip
    catalogue = [
        {"id": str(number), "title": entity["title"], "description": entity["description"],
         "url": f"https://en.wikipedia.org/wiki?curid={number}"}
        for number, entity in enumerate(entities)
    ]  # fmt: skip
    kb = KnowledgeBase.from_entities(catalogue)
    return EntityLinker.from_knowledge_base(kb, model, processor=processor, progress=False, num_candidates=5)


@pytest.fixture(scope="module")
def files(source, tmp_path_factory):
    return export_elq(source, tmp_path_factory.mktemp("elq") / "files")


def elq_files(folder, **changes) -> ElqFiles:
    values = {
        "model": folder / "elq.bin", "config": folder / "elq_params.txt", "entities": folder / "entity.jsonl",
        "index": folder / "faiss_flat_index.pkl",  # the BERT is beside the settings
    }  # fmt: skip
    return ElqFiles(**values | changes)


def test_an_exported_linker_is_imported_with_the_same_links(source, files, tmp_path):
    import_elq(elq_files(files), tmp_path / "linker", ImportSettings(num_candidates=5))
    linker = EntityLinker.from_pretrained(tmp_path / "linker")
    links = linker.link(TEXT)
    assert words(links) == WORDS and linker.bi_encoder.config.joint_threshold == -4.5
    expected = source.link(TEXT)
    assert [link.score for link in links] == pytest.approx([link.score for link in expected], abs=1e-6)
    assert [link.entity.entity_id for link in links] == [link.entity.entity_id for link in expected]
    found = pipeline("entity-linking", model=str(tmp_path / "linker"))(TEXT)
    assert [link["word"] for link in found] == WORDS
    card = (tmp_path / "linker/README.md").read_text()
    assert (
        "Imported from the files of the original ELQ." in card
        and "is above -4.5, the joint threshold" in card
    )


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_the_round_trip_is_bit_equal(source, files, tmp_path, kind):
    settings = ImportSettings(kind=kind, progress=False)
    import_elq(
        elq_files(files, index=None, encodings=files / "all_entities.t7"), tmp_path / "linker", settings
    )
    linker = EntityLinker.from_pretrained(tmp_path / "linker")
    again = export_elq(linker, tmp_path / "again")
    before, after = (torch.load(folder / "elq.bin", weights_only=True) for folder in (files, again))
    assert list(before) == list(after) and all(torch.equal(before[name], after[name]) for name in before)
    same = ["elq_params.txt", "entity.jsonl", *(["faiss_flat_index.pkl"] if kind == "flat" else [])]
    assert filecmp.cmpfiles(files, again, same, shallow=False)[0] == same
    vectors = [torch.load(folder / "all_entities.t7", weights_only=True) for folder in (files, again)]
    assert torch.equal(*vectors)
    graph = ElqFiles(again / "elq.bin", again / "elq_params.txt", entities=again / "entity.jsonl",
                     index=again / f"faiss_{kind}_index.pkl", bert_model=str(again / "bert"))  # fmt: skip
    import_elq(graph, tmp_path / "back")
    assert EntityLinker.from_pretrained(tmp_path / "back").index.kind == kind


def test_the_originals_files_come_in_and_go_out_bit_equal(oracle, tmp_path):
    folder = CHECKPOINTS / "elq"
    files = ElqFiles(
        folder / "elq_tiny.bin", folder / "elq_tiny_params.txt", entities=folder / "entity.jsonl",
        index=folder / "faiss_hnsw_index.pkl", bert_model=str(CHECKPOINTS / "bert_tiny"),
    )  # fmt: skip
    import_elq(
        files, tmp_path / "linker", ImportSettings(num_candidates=5), joint_threshold=-2.9, num_mentions=10
    )
    linker = EntityLinker.from_pretrained(tmp_path / "linker")
    entity = linker.knowledge_base[0]
    assert entity.metadata["wikidata_id"] == "Q100" and entity.metadata["wikipedia_id"] == "1000"
    export_elq(linker, tmp_path / "out")
    before = torch.load(folder / "elq_tiny.bin", weights_only=True)
    after = torch.load(tmp_path / "out/elq.bin", weights_only=True)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert (tmp_path / "out/faiss_hnsw_index.pkl").is_file()


def test_the_command(files, tmp_path, capsys):
    command = ["import", "elq", "--model", str(files / "elq.bin"), "--config", str(files / "elq_params.txt"),
               "--bert-model", str(files / "bert"), "--out", str(tmp_path / "linker"), "--joint-threshold", "-2.9"]  # fmt: skip
    assert main([*command, "--entities", str(files / "entity.jsonl"), "--kind", "hnsw"]) == 0
    assert "6 entities and a hnsw index are in" in capsys.readouterr().out
    assert EntityLinker.from_pretrained(tmp_path / "linker").bi_encoder.config.joint_threshold == -2.9
    command[command.index(str(tmp_path / "linker"))] = str(tmp_path / "model")
    assert main(command) == 0
    assert (
        "the encoders are in" in capsys.readouterr().out and (tmp_path / "model/model.safetensors").is_file()
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"mention_aggregation_type": "fl_linear"},
            "mention_aggregation_type among all_avg, fl_avg, got 'fl_linear'",
        ),
        ({"mention_scoring_method": "qa"}, "mention_scoring_method among qa_linear, qa_mlp, got 'qa'"),
        ({"mention_scoring_method": "qa_mlp"}, "expected the weights of ELQ"),
        ({"add_linear": True}, "without 'add_linear'"),
        ({"max_mention_length": "10"}, "'max_mention_length' to be of type int"),
    ],
)
def test_what_has_no_counterpart_is_refused(files, tmp_path, change, message):
    settings = tmp_path / "params.txt"
    settings.write_text(repr(ast.literal_eval((files / "elq_params.txt").read_text()) | change))
    with pytest.raises(ValueError, match=message):
        import_elq_model(files / "elq.bin", settings, bert_model=str(files / "bert"))


def test_linkers_that_elq_cannot_compute_are_refused(linker, source, tmp_path):
    with pytest.raises(ValueError, match="with an ELQ model, got one with a blink-biencoder"):
        export_elq(linker, tmp_path / "out")
    (tmp_path / "full").mkdir()
    shutil.copy(__file__, tmp_path / "full")
    with pytest.raises(ValueError, match="a new or an empty folder"):
        export_elq(source, tmp_path / "full")


@pytest.mark.parametrize(
    ("part", "name", "value", "got"),
    [
        ("config", "similarity", "cosine", "similarity='cosine'"),
        ("config", "whole_words", True, "whole_words=True"),
        ("config", "frame_in_spans", False, "frame_in_spans=False"),
        ("config", "nested", True, "nested=True"),
        ("processor", "entity_marker", "[MASK]", r"the marker \[MASK\]"),
        ("linker", "threshold", 0.5, "threshold=0.5"),
        ("linker", "cross_encoder", object(), "a cross-encoder"),
    ],
)
def test_settings_that_elq_does_not_have_are_refused(source, tmp_path, monkeypatch, part, name, value, got):
    owner = {"config": source.bi_encoder.config, "processor": source.processor, "linker": source}[part]
    monkeypatch.setattr(owner, name, value)
    with pytest.raises(
        ValueError, match=f"expected a linker that ELQ can compute .*, got {got}; models that"
    ):
        export_elq(source, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_vocabulary_with_other_numbers_for_the_frame_is_refused(source, tmp_path, monkeypatch):
    monkeypatch.setattr(type(source.processor), "frame", property(lambda processor: (5, 6)))
    with pytest.raises(ValueError, match=r"got \[CLS\] and \[SEP\] as the tokens 5 and 6"):
        export_elq(source, tmp_path / "out")
