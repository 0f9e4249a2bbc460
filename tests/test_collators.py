"""Batches of the bi-encoder and of the cross-encoder."""

import pytest
import torch

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
    rows_of = knowledge_base.entity_row
    assert batch["gold_rows"].tolist() == [
        [rows_of("paris-fr"), -1],
        [rows_of("paris-fr"), -1],
        [rows_of("jaguar-cat"), -1],
        [rows_of("puma-cat"), rows_of("jaguar-cat")],
    ]
    assert batch["mention_ids"] == ["0", "1", "2", "3"]
    assert batch["entity_input_ids"].shape[0] == len(columns)


def test_biencoder_batch_as_blinks_has_a_column_a_mention_and_full_windows(
    processor, knowledge_base, mentions
):
    batch = BiEncoderCollator(processor, knowledge_base, unique_columns=False, fixed_length=True)(
        mentions[:3]
    )
    assert batch["targets"].tolist() == [0, 1, 2]
    assert batch["entity_rows"][0] == batch["entity_rows"][1]
    for name in ("mention_input_ids", "mention_attention_mask", "entity_input_ids", "entity_attention_mask"):
        assert batch[name].shape == (3, 32)
    short = BiEncoderCollator(processor, knowledge_base)(mentions[:3])
    length = short["mention_input_ids"].shape[1]
    assert torch.equal(batch["mention_input_ids"][:, :length], short["mention_input_ids"])
    assert (
        not batch["mention_input_ids"][:, length:].any()
        and not batch["mention_attention_mask"][:, length:].any()
    )


def test_biencoder_batch_adds_hard_negatives_and_never_a_mentions_gold(processor, knowledge_base, mentions):
    rows = [
        {**mentions[2], "hard_negative_ids": ["jaguar-car", "puma-cat"]},
        {**mentions[4], "hard_negative_ids": ["jaguar-cat"]},
    ]
    batch = BiEncoderCollator(processor, knowledge_base, num_hard_negatives=2)(rows)
    ids = knowledge_base.entity_ids(batch["entity_rows"].tolist())
    assert ids[:2] == ["jaguar-cat", "jaguar-car"] and set(ids) == {"jaguar-cat", "jaguar-car", "puma-cat"}


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


def scored_pairs(batch: dict, number: int) -> dict:
    """Token ids of a mention's pairs by retrieval score."""
    scores, pairs = batch["retrieval_scores"][number].tolist(), batch["input_ids"][number].tolist()
    return dict(zip(scores, pairs, strict=True))


def test_crossencoder_candidates_stand_in_random_order_with_their_scores(
    processor, knowledge_base, mentions, entities
):
    """A gold entity that is inserted is mined as the last one: in batches it stands in each place."""
    others = [entity["id"] for entity in entities if entity["id"] != "puma-cat"]
    scores = [0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    mined = {"candidate_ids": [*others, "puma-cat"], "candidate_scores": scores}
    labelled = {**mentions[2], "label_ids": ["puma-cat"], **mined}
    rows = [{**labelled, "id": str(number)} for number in range(40)]
    rows[0] |= {"candidate_ids": ["jaguar-car", "puma-cat"], "candidate_scores": [0.6, 0.1]}
    plain = CrossEncoderCollator(processor, knowledge_base, 0.1)(rows)
    collator = CrossEncoderCollator(processor, knowledge_base, 0.1, random_order=True)
    batch, again, other = collator(rows), collator(rows), collator(rows[1:])
    assert batch["mention_ids"] == plain["mention_ids"]
    assert torch.equal(batch["candidate_mask"], plain["candidate_mask"])
    places = batch["gold"][1:].int().argmax(dim=1)
    assert set(places.tolist()) == set(range(6)) and batch["gold"].sum() == 40
    assert set(plain["gold"][1:].int().argmax(dim=1).tolist()) == {5}
    assert torch.equal(batch["gold"], again["gold"]) and not torch.equal(batch["gold"][1:], other["gold"])
    for number in (0, 1, 2):
        assert scored_pairs(batch, number) == scored_pairs(plain, number), "each pair with its own score"
    assert batch["retrieval_scores"][batch["gold"]].tolist() == pytest.approx([1.0] * 40)
    assert rows[1]["candidate_ids"][-1] == "puma-cat", "the rows stay as they were"


def test_crossencoder_random_order_needs_candidates_too(processor, knowledge_base, mentions):
    with pytest.raises(ValueError, match="expected candidates with a gold entity among them for mention 0"):
        CrossEncoderCollator(processor, knowledge_base, 0.1, random_order=True)(
            [{**mentions[0], "candidate_ids": []}]
        )
