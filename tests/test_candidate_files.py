"""Mined candidates on disk: found again, and never those of another model or other data."""

from functools import partial

import pytest
from datasets import Dataset

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.candidate_files import FirstStage, fingerprint_of_candidates, kept_candidates
from hf_blink.training.hard_negatives import mine_candidates


@pytest.fixture
def stage(bi_encoder, processor, knowledge_base) -> FirstStage:
    return FirstStage(knowledge_base, processor, bi_encoder, 3)


@pytest.fixture
def kept(stage, linker, tmp_path):
    """Candidates of the stage in one run's folder; counts the linkers that were made."""
    made: list[int] = []

    def counted():
        made.append(1)
        return linker

    training = BlinkTrainingArguments(str(tmp_path / "run"), use_cpu=True)
    return partial(kept_candidates, training=training, linker=counted), made


def test_candidates_are_mined_once_and_read_as_they_were(stage, linker, mentions, kept, caplog, tmp_path):
    keep, made = kept
    first = keep(stage, mentions)
    assert made == [1] and len(list(tmp_path.glob("run/candidates/*.parquet"))) == 1
    caplog.set_level("INFO")
    again = keep(stage, mentions)
    assert made == [1] and "candidates of 8 mentions are those in" in caplog.text
    expected = mine_candidates(linker, mentions, num_candidates=3, progress=False)
    assert again.to_list() == first.to_list() == expected.to_list()
    assert again.features == first.features
    keep(stage, mentions.select(range(7)))
    keep(stage._replace(num_candidates=2), mentions)
    assert len(made) == 3 and len(list(tmp_path.glob("run/candidates/*"))) == 3


def test_what_a_kill_left_of_a_file_is_not_read(stage, mentions, kept, tmp_path, monkeypatch):
    keep, made = kept

    def cut(dataset, stream):
        stream.write(b"PAR1")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Dataset, "to_parquet", cut)
        keep(stage, mentions)
    assert not list(tmp_path.glob("run/candidates/*.parquet"))
    assert len(keep(stage, mentions)) == 8 and len(made) == 2


def test_mentions_without_a_gold_entity_are_left_out_of_both(stage, mentions, kept):
    keep, _ = kept
    mixed = Dataset.from_list([*mentions.to_list(), {**mentions[0], "label_ids": ["nobody"]}])
    assert len(keep(stage, mixed)) == len(keep(stage, mixed)) == 8


def test_everything_that_changes_a_candidate_changes_the_fingerprint(stage, mentions, entities, tiny_encoder):
    own = fingerprint_of_candidates(stage, mentions)
    assert own == fingerprint_of_candidates(
        stage, Dataset.from_list(mentions.to_list(), features=mentions.features)
    )
    shorter = BlinkProcessor.from_base(tiny_encoder, mention_length=24, entity_length=32)
    changed = [
        stage._replace(num_candidates=4),
        stage._replace(knowledge_base=KnowledgeBase.from_entities(entities[:5])),
        stage._replace(processor=shorter),
        stage._replace(bi_encoder=stage.bi_encoder.truncated(8)),
        stage._replace(bi_encoder=stage.bi_encoder.with_layers(1)),
    ]
    found = {fingerprint_of_candidates(other, mentions) for other in changed}
    found |= {fingerprint_of_candidates(stage, mentions.select(range(7)))}
    stage.bi_encoder.config.temperature = 0.1
    found |= {fingerprint_of_candidates(stage, mentions)}
    assert len(found | {own}) == 8
