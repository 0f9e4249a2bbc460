"""The usage snippets of the cards run as they are printed.

A folder `org/name` in the working directory stands for the repository of that Hub name: everything that loads from
the Hub takes a local folder first.
"""

import json
from pathlib import Path

import pytest
from datasets import load_dataset

from hf_blink.hub_cards.card_data import (
    BiEncoderCard,
    Card,
    CrossEncoderCard,
    ElqLinkerCard,
    IndexCard,
    KnowledgeBaseCard,
    LinkerCard,
)
from hf_blink.hub_cards.metadata import ENTITY_FILES
from hf_blink.hub_cards.rendering import python_blocks, render_card
from tests.elq_example import elq_linker
from tests.hub_cards_examples import REPO, facts


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Writes a card into its repository, runs each of its snippets, and gives what each printed."""
    monkeypatch.chdir(tmp_path)

    def run_card(kind: type[Card], **changes) -> list[str]:
        text = render_card(kind.from_dict({**facts(kind), **changes}))
        Path(REPO).mkdir(parents=True, exist_ok=True)
        Path(REPO, "README.md").write_text(text, encoding="utf-8")
        capsys.readouterr()
        printed = []
        for block in python_blocks(text):
            exec(compile(block, "card", "exec"), {})
            printed.append(capsys.readouterr().out)
        return printed

    return run_card


@pytest.fixture
def whole_linker(linker, cross_encoder):
    linker.cross_encoder = cross_encoder
    return linker


def test_snippets_of_a_linker_run(run, whole_linker, tmp_path):
    whole_linker.save_pretrained(tmp_path / REPO)
    text = 'Is "Paris" the capital of France?\nYes.'
    linker_prints, pipeline_prints, remote_prints, encoders_print = run(LinkerCard, example_text=text)
    (found,) = whole_linker.link(text)
    assert linker_prints.startswith(f"{found.mention.text} {found.entity.title} ")
    assert f"'entity_id': '{found.entity.entity_id}'" in pipeline_prints
    assert remote_prints == pipeline_prints
    assert encoders_print == ""


def test_snippets_of_a_linker_without_cross_encoder_load_none(run, linker, tmp_path):
    linker.save_pretrained(tmp_path / REPO)
    assert len(run(LinkerCard, has_cross_encoder=False, example_text="In Paris.")) == 4


def test_snippets_of_a_one_pass_linker_run(run, tiny_encoder, knowledge_base, tmp_path):
    linker = elq_linker(tiny_encoder, knowledge_base)
    linker.save_pretrained(tmp_path / REPO)
    links, piped, remote, alone = run(ElqLinkerCard, has_cross_encoder=False, example_text="In Paris.")
    assert links.startswith(f"Paris {linker.link('In Paris.')[0].entity.title} 0.") and "Paris" in piped
    assert remote == piped and alone == ""


def test_snippets_of_a_bi_encoder_run(run, bi_encoder, processor, tmp_path):
    bi_encoder.save_pretrained(tmp_path / REPO)
    processor.save_pretrained(tmp_path / REPO)
    links, shape = run(BiEncoderCard)
    assert links.startswith(("Jaguar cat 0.", "Jaguar car 0.")) and links.count("\n") == 1
    assert shape == "torch.Size([1, 32])\n"


@pytest.mark.parametrize("subfolder", ["cross_encoder", None])
def test_snippets_of_a_cross_encoder_run(run, whole_linker, subfolder, tmp_path):
    whole_linker.save_pretrained(tmp_path / "org" / "linker")
    whole_linker.cross_encoder.save_pretrained(tmp_path / REPO / (subfolder or ""))
    (links,) = run(CrossEncoderCard, subfolder=subfolder, bi_encoder="org/linker")
    assert links.startswith(("Jaguar cat ", "Jaguar car ")) and "None" not in links
    assert run(CrossEncoderCard, subfolder=subfolder, bi_encoder=None) == [""]


def test_snippets_of_an_index_run(run, linker, tmp_path):
    linker.index.save_pretrained(tmp_path / REPO)
    (rows,) = run(IndexCard)
    assert rows.startswith("[[0 ") and len(rows.split()) == 5


def test_snippets_of_a_knowledge_base_run(run, knowledge_base, tmp_path):
    knowledge_base.save_pretrained(tmp_path / REPO)
    ours, theirs = run(KnowledgeBaseCard)
    assert ours.startswith(f"{len(knowledge_base)} Entity(entity_id='jaguar-cat'")
    assert theirs.startswith("{'entity_id': 'jaguar-cat', 'title': 'Jaguar'")


def test_load_dataset_reads_only_the_files_that_the_card_names(run, knowledge_base, tmp_path):
    files = knowledge_base.save_pretrained(tmp_path / REPO)
    assert all(file.match(ENTITY_FILES) for file in files)
    Path(tmp_path / REPO / "other.jsonl").write_text(json.dumps({"entity_id": "stray"}) + "\n")
    run(KnowledgeBaseCard)
    loaded = load_dataset(REPO, split="train")
    assert loaded["entity_id"][:] == knowledge_base.entity_ids(range(len(knowledge_base)))
