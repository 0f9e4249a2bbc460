"""Batches of the bi-encoder and of the cross-encoder."""

import pytest

from hf_blink.training.collators import BiEncoderCollator, CrossEncoderCollator


@pytest.fixture(scope="session")
def mentions() -> list[dict]:
    texts = [
        ("the capital", "paris", "of france", ["paris-fr"]),
        ("in", "paris", "is the louvre", ["paris-fr"]),
        ("a spotted cat, the", "jaguar", "slept in the forest", ["jaguar-cat"]),
        ("jaguar and", "puma", "are cats", ["puma-cat", "jaguar-cat"]),
        ("the car maker", "jaguar", "is for sale", ["jaguar-car"]),
    ]
    names = ("context_left", "mention", "context_right", "label_ids")
    return [{"id": str(i), **dict(zip(names, text, strict=True))} for i, text in enumerate(texts)]


def test_biencoder_batch_holds_each_entity_once_and_masks_other_golds(processor, knowledge_base, mentions):
    rows = mentions[:4]
    batch = BiEncoderCollator(processor, knowledge_base)(rows)
    columns = batch["entity_rows"].tolist()
    assert len(set(columns)) == len(columns)
    assert columns[0] == knowledge_base.entity_row("paris-fr")
    assert batch["targets"][0] == batch["targets"][1] == 0, "two mentions of one entity share its column"
    golds = [[knowledge_base.entity_row(label) for label in row["label_ids"]] for row in rows]
    for i, gold in enumerate(golds):
        for j, column in enumerate(columns):
            assert bool(batch["ignore"][i, j]) == (column in gold and j != batch["targets"][i])
    assert batch["ignore"].shape == (4, len(columns))
    assert batch["entity_input_ids"].shape[0] == len(columns)


def test_biencoder_batch_adds_hard_negatives_and_never_a_mentions_gold(processor, knowledge_base, mentions):
    rows = [
        {**mentions[2], "hard_negative_ids": ["jaguar-car", "puma-cat"]},
        {**mentions[4], "hard_negative_ids": ["jaguar-cat"]},
    ]
    batch = BiEncoderCollator(processor, knowledge_base, num_hard_negatives=2)(rows)
    ids = knowledge_base.entity_ids(batch["entity_rows"].tolist())
    assert ids[:2] == ["jaguar-cat", "jaguar-car"] and set(ids) == {"jaguar-cat", "jaguar-car", "puma-cat"}
    assert not batch["ignore"].any()


def test_collators_refuse_unknown_and_missing_gold(processor, knowledge_base, mentions):
    collator = BiEncoderCollator(processor, knowledge_base)
    with pytest.raises(ValueError, match="got 1 that are not: 'nobody'; use the knowledge base"):
        collator([{**mentions[0], "label_ids": ["nobody"]}])
    with pytest.raises(ValueError, match="at least one gold"):
        collator([{**mentions[0], "label_ids": []}])
    with pytest.raises(ValueError, match="mine_candidates"):
        CrossEncoderCollator(processor, knowledge_base, 0.05)(
            [{**mentions[2], "candidate_ids": ["paris-fr"], "candidate_scores": [1.0]}]
        )


def test_crossencoder_batch_divides_retrieval_scores_by_the_temperature(processor, knowledge_base, mentions):
    mined = {"candidate_ids": ["jaguar-car", "jaguar-cat"], "candidate_scores": [0.5, 0.25]}
    batch = CrossEncoderCollator(processor, knowledge_base, 0.05)([{**mentions[2], **mined}])
    assert batch["retrieval_scores"].tolist() == [[10.0, 5.0]]
    assert batch["gold"].tolist() == [[False, True]]
    with pytest.raises(
        TypeError, match="temperature"
    ):  # 1.0 would be wrong for most models, by a factor of 20
        CrossEncoderCollator(processor, knowledge_base)  # type: ignore[call-arg]
