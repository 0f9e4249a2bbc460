"""`--dry_run` of `train_elq` says what a run would do, refuses what it would refuse, and writes nothing."""

import re

import numpy as np
import pytest
from datasets import Dataset

from hf_blink.training import elq_dry_run, train_elq
from hf_blink.training.token_lengths import DocumentTexts, document_lengths
from tests.elq_example import elq_processor
from tests.elq_recipe import elq_recipe, row, write_lines

DOCUMENTS = [
    row("the spotted cat jaguar", ("jaguar", "jaguar-cat"), world="animals"),
    row("in paris texas", ("paris", "paris-tx"), ("texas", None), complete=False),
    row("a town in the forest"),
    row("jaguar " * 12 + "is a car", ("jaguar " * 12, "jaguar-car")),
    row("the town of " * 20),
]


@pytest.fixture
def start(tiny_encoder, tmp_path, entities, capsys):
    """Starts a dry run; gives what it printed."""
    recipe = elq_recipe(tiny_encoder, tmp_path, entities)

    def start(*options: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        capsys.readouterr()
        assert train_elq.main([str(recipe), "--dry-run", *options]) == {}
        assert sorted(tmp_path.rglob("*")) == before
        return capsys.readouterr().out

    return start


def test_a_run_of_both_stages(start, tmp_path, monkeypatch):
    sizes, draw = [], elq_dry_run._random_vectors

    def random_vectors(size, seed):
        sizes.append(size)
        return draw(size, seed)

    monkeypatch.setattr(elq_dry_run, "_random_vectors", random_vectors)
    dev = write_lines(tmp_path / "dev.jsonl", [row("the cat puma", ("puma", "puma-cat"))])
    train = write_lines(tmp_path / "texts.jsonl", DOCUMENTS)
    said = start("--train", train, "--dev", dev, "--max_steps", "6")
    assert "entities             6 in 3 worlds, from 2 (animals) to 2 (places)" in said
    assert "training documents   5, 4 of them complete" in said
    assert (
        "their mentions     4 in 1 worlds; label not in the knowledge base: 0; without label (NIL): 1" in said
    )
    assert (
        "dev documents        1, 1 of them complete" in said and "evaluation" not in said.split("tokens")[0]
    )
    assert "trained on           7 texts (windows), 6 of them complete" in said
    assert "4 without mentions; 4 mentions of 3 entities" in said
    found = {
        name: rest.split() for name, rest in re.findall(r"^([a-z]+(?: [a-z]+)?)  +(\d.* %)$", said, re.M)
    }
    assert found["documents"][2:] == ["62", "32", "20.0", "%"]  # 20 x "the town of" and two special tokens
    assert found["text windows"][2:] == ["32", "32", "0.0", "%"]
    assert found["mentions"] == ["1", "12", "12", "11", "25.0", "%"]
    assert said.count("3 texts x 1 processes x 1 accumulated = 3 a step") == 2
    first, second = said.split("\nin-batch stage (round_0)\n")[1].split("\nhard-negative stage (round_1)\n")
    assert "3 an epoch, 6 in all" in first and "3 an epoch, 3 in all" in second
    assert "the 2 entities nearest to each mention, of 6" in second and sizes == [(6, 32)]
    memory = r"memory .* weights .* \(\S+ numbers, (\S+) trained\), gradients .* activations of a full batch .*\(measured\)"
    trained = [int(re.findall(memory, part)[0].replace(",", "")) for part in (first, second)]
    assert trained[1] < 0.6 * trained[0], "the entity tower is frozen in the second stage"
    assert re.search(r"s a step \(measured\), about [\d.e-]+ s for 3 steps", second)
    assert re.search(r"encoding all entities  about .* s, once, before the hard negatives", second)
    assert said.endswith("saving\ndry run: nothing was written\n")


def test_without_hard_negatives_there_is_one_stage(start):
    said = start("--hard_negative_share", "0", "--share_towers", "true", "--max_train_documents", "3")
    assert "hard-negative" not in said and "limited by           max_train_documents 3" in said
    assert "trained on           3 texts" in said
    assert "once, to fit the threshold and to measure" in said


def test_what_the_run_would_refuse_is_refused_after_its_numbers(start, tmp_path, capsys):
    unknown = write_lines(tmp_path / "bad.jsonl", [row("a puma", ("puma", "nobody"))])
    with pytest.raises(ValueError, match="train: expected label_ids .*: 'nobody'"):
        start("--train", unknown)
    assert "label not in the knowledge base: 1;" in capsys.readouterr().out
    with pytest.raises(ValueError, match="that train_elq uses, got gradient_cache_chunk .of train_biencoder"):
        start("--gradient_cache_chunk", "2")
    assert not (tmp_path / "out").exists()


def test_lengths_are_those_of_whole_documents_and_of_mentions(tiny_encoder, knowledge_base):
    text = {"text": "a jaguar in paris", "mentions": [{"start": 2, "end": 17}, {"start": 12, "end": 17}]}
    empty = {"text": "a cat", "mentions": []}
    processor = elq_processor(tiny_encoder)
    texts = DocumentTexts(Dataset.from_list([text]), Dataset.from_list([text, empty]), 2)
    whole, windows, entities, mentions = document_lengths(processor, knowledge_base, texts, seed=0)
    assert whole.lengths.tolist() == [6] and whole.limit == 32
    assert sorted(windows.lengths.tolist()) == [4, 6] and len(entities.lengths) == 6
    assert sorted(mentions.lengths.tolist()) == [1, 3] and mentions.cut.mean() == 0.5 and mentions.limit == 2
    none = DocumentTexts(Dataset.from_list([empty]), Dataset.from_list([empty]), 2)
    assert len(list(document_lengths(processor, knowledge_base, none, seed=0))) == 3


def test_random_vectors_have_length_one_and_are_repeated():
    vectors = elq_dry_run._random_vectors((4100, 8), seed=1)
    assert vectors.shape == (4100, 8) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert (vectors[4096:] == vectors[:4]).all()
