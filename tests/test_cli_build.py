import json

import pytest

import hf_blink
from hf_blink.cli import main
from hf_blink.modeling.entity_linker import EntityLinker

ENTITIES = [
    {
        "id": "jaguar-cat",
        "title": "Jaguar (cat)",
        "description": "A large spotted cat of American forests, unlike the Puma a good swimmer.",
    },
    {"id": "puma", "title": "Puma", "description": "A big cat of the Andes."},
    {"id": "paris", "title": "Paris", "description": "The capital of France."},
]


@pytest.fixture
def entities(tmp_path) -> str:
    path = tmp_path / "entities.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ENTITIES))
    return str(path)


@pytest.fixture
def texts(tmp_path) -> str:
    path = tmp_path / "texts.txt"
    path.write_text("In Paris a Jaguar escaped.\nNobody left Paris.\n")
    return str(path)


def test_build_adapt_trains_on_texts_and_says_what_it_made(entities, texts, tiny_encoder, tmp_path, capsys):
    out = str(tmp_path / "linker")
    arguments = ["build", entities, "--out", out, "--encoder", tiny_encoder, "--kind", "flat"]
    assert main([*arguments, "--adapt", texts, "--adapt-steps", "2"]) == 0
    shown = capsys.readouterr().out
    assert "       3 in the texts, 3 of them used\n" in shown
    assert "       1 in descriptions of other entities, 1 of them used\n" in shown
    assert "       1 in descriptions of their own, 1 of them used\n" in shown
    assert "adapted in 2 steps" in shown
    assert "next: hf-blink link" in shown and f"hf-blink evaluate --model {out}" in shown
    assert main([*arguments[:3], str(tmp_path / "untrained"), *arguments[4:]]) == 0
    assert "silver" not in capsys.readouterr().out
    vectors = [
        EntityLinker.from_pretrained(folder).index.vectors([0, 1, 2])
        for folder in (out, str(tmp_path / "untrained"))
    ]
    assert abs(vectors[0] - vectors[1]).max() > 1e-4


def test_build_adapt_alone_uses_the_descriptions(entities, tiny_encoder, tmp_path, capsys):
    out = str(tmp_path / "linker")
    assert main(["build", entities, "--out", out, "--encoder", tiny_encoder, "--adapt"]) == 0
    shown = capsys.readouterr().out
    assert "in the texts" not in shown and "1 in descriptions of other entities" in shown


def test_build_adapt_starts_from_a_saved_bi_encoder(entities, bi_encoder, processor, tmp_path):
    bi_encoder.save_pretrained(tmp_path / "encoder")
    processor.save_pretrained(tmp_path / "encoder")
    out = str(tmp_path / "linker")
    arguments = ["build", entities, "--out", out, "--encoder", str(tmp_path / "encoder")]
    assert main([*arguments, "--adapt", "--adapt-steps", "1"]) == 0
    assert EntityLinker.from_pretrained(out).processor.mention_length == processor.mention_length


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--adapt-steps", "3"], "expected --adapt with --adapt-steps, got --adapt-steps alone"),
        (["--adapt", "--device", "cuda:1"], "expected --device cpu or cuda with --adapt"),
        (["--adapt", "nowhere.txt"], "expected a text file at 'nowhere.txt', got nothing"),
    ],
)
def test_mistakes_are_found_before_the_catalogue_is_read(
    entities, tmp_path, monkeypatch, capsys, options, message
):
    def read(*args, **kwargs):
        raise AssertionError("read")

    monkeypatch.setattr(hf_blink.KnowledgeBase, "from_jsonl", read)
    assert main(["build", entities, "--out", str(tmp_path / "linker"), "--encoder", "any", *options]) == 2
    assert message in capsys.readouterr().err


def test_a_catalogue_that_names_nothing_says_what_to_do(tmp_path, tiny_encoder, capsys):
    path = tmp_path / "entities.jsonl"
    path.write_text('{"id": "1", "title": "Puma"}\n{"id": "2", "title": "Paris"}\n')
    arguments = ["build", str(path), "--out", str(tmp_path / "linker"), "--encoder", tiny_encoder, "--adapt"]
    assert main(arguments) == 2
    assert "give longer descriptions, aliases, or texts" in capsys.readouterr().err


def test_a_bad_line_of_texts_is_named(entities, tmp_path, tiny_encoder, capsys):
    (tmp_path / "texts.jsonl").write_text('{"text": "Paris"}\n{"title": "x"}\n')
    out = str(tmp_path / "linker")
    arguments = ["build", entities, "--out", out, "--encoder", tiny_encoder]
    assert main([*arguments, "--adapt", str(tmp_path / "texts.jsonl")]) == 2
    assert "texts.jsonl, line 2: expected" in capsys.readouterr().err
    assert not (tmp_path / "linker").exists()


def test_build_takes_a_cross_encoder_and_cuts_vectors(
    entities, bi_encoder, cross_encoder, processor, tmp_path, capsys
):
    bi_encoder.save_pretrained(tmp_path / "bi")
    processor.save_pretrained(tmp_path / "bi")
    cross_encoder.save_pretrained(tmp_path / "cross")
    words = ["build", entities, "--encoder", str(tmp_path / "bi")]
    out = str(tmp_path / "out")
    assert (
        main([*words, "--out", out, "--cross-encoder", str(tmp_path / "cross"), "--truncate-dim", "8"]) == 0
    )
    linker = EntityLinker.from_pretrained(out)
    assert linker.cross_encoder is not None and linker.index.dimension == 8
    assert main([*words, "--out", out, "--cross-encoder", str(tmp_path / "bi")]) != 0
    assert "expected a trained blink-crossencoder" in capsys.readouterr().err
