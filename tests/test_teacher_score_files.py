"""Teacher's scores on disk: shared by processes, found again, and never those of other models or data."""

from typing import Any

import pytest
from datasets import Dataset

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.modeling_blink_crossencoder import BlinkCrossEncoder
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.training import teacher_score_files
from hf_blink.training.teacher_score_files import TwoStages, fingerprint_of, teacher_dataset


class Run:
    """What is read of the training arguments of one of several processes."""

    distributed_state = None

    def __init__(self, folder, index: int = 0, count: int = 1):
        self.output_dir, self.process_index, self.world_size = str(folder), index, count


@pytest.fixture
def stages(bi_encoder, cross_encoder, processor, knowledge_base) -> TwoStages:
    return TwoStages(knowledge_base, processor, bi_encoder, cross_encoder, 4)


@pytest.fixture(autouse=True)
def three_mentions_a_file(monkeypatch):
    monkeypatch.setattr(teacher_score_files, "MENTIONS_A_FILE", 3)


@pytest.fixture
def scored_mentions(monkeypatch) -> list[int]:
    """The number of mentions of each call that scores."""
    seen: list[int] = []
    score = teacher_score_files.add_teacher_scores

    def counted(cross_encoder, processor, knowledge_base, dataset, **options):
        seen.append(len(dataset))
        return score(cross_encoder, processor, knowledge_base, dataset, **options)

    monkeypatch.setattr(teacher_score_files, "add_teacher_scores", counted)
    return seen


def computed(stages: TwoStages, mentions: Dataset, run: Any) -> Dataset:
    return teacher_dataset(stages, mentions, run)


def test_scores_are_computed_once_and_in_the_order_of_the_mentions(
    stages, mentions, tmp_path, scored_mentions
):
    first = computed(stages, mentions, Run(tmp_path))
    assert scored_mentions == [3, 3, 2]
    assert first["id"] == mentions["id"] and all(len(scores) == 4 for scores in first["teacher_scores"])
    assert computed(stages, mentions, Run(tmp_path)).to_list() == first.to_list()
    assert scored_mentions == [3, 3, 2]


def test_a_run_that_was_stopped_scores_only_what_is_missing(stages, mentions, tmp_path, scored_mentions):
    first = computed(stages, mentions, Run(tmp_path))
    (file,) = tmp_path.glob("teacher_scores/*/000000003.parquet")
    file.unlink()
    assert computed(stages, mentions, Run(tmp_path)).to_list() == first.to_list()
    assert scored_mentions == [3, 3, 2, 3]
    assert not list(tmp_path.glob("teacher_scores/*/*.part"))


def test_processes_share_the_files_and_miss_those_of_another_disk(
    stages, mentions, tmp_path, scored_mentions
):
    with pytest.raises(FileNotFoundError, match="got none of 000000003.parquet; output_dir must be a folder"):
        computed(stages, mentions, Run(tmp_path / "two", 0, 2))
    assert scored_mentions == [3, 2]
    both = computed(stages, mentions, Run(tmp_path / "two", 0, 1))
    assert scored_mentions == [3, 2, 3]
    assert both.to_list() == computed(stages, mentions, Run(tmp_path / "one")).to_list()


def test_everything_that_changes_a_score_changes_the_fingerprint(
    stages, mentions, entities, processor, tiny_encoder
):
    own = fingerprint_of(stages, mentions)
    assert own == fingerprint_of(stages, Dataset.from_list(mentions.to_list(), features=mentions.features))
    other_weights = BlinkCrossEncoder.from_encoder(tiny_encoder, pooling="pooler")
    changed = [
        stages._replace(num_candidates=3),
        stages._replace(knowledge_base=KnowledgeBase.from_entities(entities[:5])),
        stages._replace(
            processor=BlinkProcessor.from_base(tiny_encoder, mention_length=24, entity_length=32)
        ),
        stages._replace(bi_encoder=stages.bi_encoder.truncated(8)),
        stages._replace(bi_encoder=stages.bi_encoder.with_layers(1)),
        stages._replace(cross_encoder=other_weights),
    ]
    found = {fingerprint_of(other, mentions) for other in changed}
    found |= {fingerprint_of(stages, mentions.select(range(7)))}
    stages.bi_encoder.config.temperature = 0.1
    found |= {fingerprint_of(stages, mentions)}
    stages.cross_encoder.config.retrieval_weight = 1.0
    found |= {fingerprint_of(stages, mentions)}
    assert len(found | {own}) == 10


def test_mentions_without_a_gold_entity_are_refused(stages, mentions, tmp_path):
    nobody = mentions.select([0]).remove_columns("label_ids").add_column("label_ids", [["nobody"]])
    with pytest.raises(ValueError, match="with a gold entity"):
        computed(stages, nobody, Run(tmp_path))
    mixed = Dataset.from_list([*mentions.to_list(), {**mentions[0], "label_ids": ["nobody"]}])
    with pytest.raises(ValueError, match="knowledge base each, got 1 of 9 without; leave them out"):
        computed(stages, mixed, Run(tmp_path))
