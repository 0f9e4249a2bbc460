"""Mining: what the model wrongly ranks high, and candidates with a gold entity among them."""

import pytest

from hf_blink.training.hard_negatives import mine_candidates, mine_hard_negatives


def test_mined_negatives_are_the_models_top_without_gold(linker, mentions):
    mined = mine_hard_negatives(linker, mentions, num_negatives=3, progress=False)
    contexts = linker.link(["a big puma of the river"], [[(6, 10)]])[0][0].candidates
    expected = [
        candidate.entity.entity_id for candidate in contexts if candidate.entity.entity_id != "puma-cat"
    ][:3]
    assert mined[2]["hard_negative_ids"] == expected
    for row in mined:
        assert len(row["hard_negative_ids"]) == 3 and not set(row["hard_negative_ids"]) & set(
            row["label_ids"]
        )
    shifted = mine_hard_negatives(linker, mentions, num_negatives=3, range_min=1, progress=False)
    assert shifted[2]["hard_negative_ids"][:2] == expected[1:]
    with pytest.raises(ValueError, match="num_negatives >= 1"):
        mine_hard_negatives(linker, mentions, num_negatives=0)


def test_mined_candidates_hold_the_gold_with_its_own_score(linker, mentions):
    mined = mine_candidates(linker, mentions, num_candidates=2, progress=False)
    assert len(mined) == len(mentions) and not all(mined["gold_retrieved"])
    for row in mined:
        assert len(row["candidate_ids"]) == 2 and set(row["candidate_ids"]) & set(row["label_ids"])
        if not row["gold_retrieved"]:
            context = f"{row['context_left']} {row['mention']} {row['context_right']}"
            start = len(row["context_left"]) + 1
            candidates = linker.link(context, [(start, start + len(row["mention"]))], top_k=6)[0].candidates
            score = {c.entity.entity_id: c.retrieval_score for c in candidates}[row["candidate_ids"][-1]]
            assert row["candidate_scores"][-1] == pytest.approx(score, abs=1e-4)
            assert row["candidate_scores"][-1] <= row["candidate_scores"][0]


def test_mining_stays_in_the_mentions_world(linker, mentions):
    worlds = mentions.select([0]).remove_columns("world").add_column("world", ["animals"])
    assert mine_hard_negatives(linker, worlds, num_negatives=5, progress=False)[0]["hard_negative_ids"] == [
        "puma-cat"
    ]


def test_mining_without_any_gold_entity_raises(linker, mentions):
    nil = mentions.remove_columns("label_ids").add_column("label_ids", [["nobody"]] * len(mentions))
    with pytest.raises(ValueError, match="of 6 entities, got none among 8; check that the labels"):
        mine_candidates(linker, nil, progress=False)


def test_mining_in_an_unknown_world_raises(linker, mentions):
    nowhere = mentions.select([0]).remove_columns("world").add_column("world", ["nowhere"])
    with pytest.raises(ValueError, match="worlds that are in the knowledge base.*'nowhere'"):
        mine_hard_negatives(linker, nowhere, progress=False)
