"""Mining: what the model wrongly ranks high, and candidates with a gold entity among them."""

import logging

import numpy as np
import pytest
import torch

from hf_blink.training.hard_negatives import (
    HardNegativeMiner,
    MiningSettings,
    mine_candidates,
    mine_hard_negatives,
)
from hf_blink.training.mention_retrieval import gold_scores, mentions_digest, retrieved_blocks


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


def test_the_miner_gives_rows_of_what_mine_hard_negatives_names(linker, bi_encoder, processor, mentions):
    miner = HardNegativeMiner(
        processor, linker.knowledge_base, MiningSettings(num_negatives=3), progress=False
    )
    rows = miner.mine(bi_encoder, mentions)
    named = mine_hard_negatives(linker, mentions, num_negatives=3, progress=False)["hard_negative_ids"]
    assert rows.dtype == np.int64 and rows.shape == (8, 3)
    assert [linker.knowledge_base.entity_ids(found[found >= 0]) for found in rows] == named[:]
    with torch.no_grad():
        bi_encoder.mention_encoder.embeddings.word_embeddings.weight.normal_()
    assert not np.array_equal(miner.mine(bi_encoder, mentions), rows), "with the weights of the moment"


def test_the_miner_leaves_the_models_as_they_are(
    bi_encoder, cross_encoder, processor, knowledge_base, mentions
):
    bi_encoder.train()
    bi_encoder.mention_encoder.embeddings.eval()  # frozen, say
    settings = MiningSettings(num_negatives=4, cross_encoder_margin=0.0, random_share=0.5)
    miner = HardNegativeMiner(
        processor, knowledge_base, settings, cross_encoder=cross_encoder.train(), progress=False
    )
    modes = [module.training for module in bi_encoder.modules()]
    state = torch.random.get_rng_state()
    with torch.inference_mode():
        rows = miner.mine(bi_encoder, mentions, 1)
    assert [module.training for module in bi_encoder.modules()] == modes and cross_encoder.training
    assert torch.equal(torch.random.get_rng_state(), state)
    with torch.no_grad():
        assert np.array_equal(miner.mine(bi_encoder, mentions, 1), rows)
    assert not np.array_equal(miner.mine(bi_encoder, mentions, 2), rows)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in bi_encoder.parameters())
    for found, labels in zip(rows, mentions["label_ids"], strict=True):
        assert not {*knowledge_base.find_rows(labels).tolist()} & {*found.tolist()}


def test_the_cross_encoder_of_the_linker_filters(linker, cross_encoder, mentions):
    """A margin that no logit can reach drops all."""
    linker.cross_encoder = cross_encoder
    mined = mine_hard_negatives(linker, mentions, num_negatives=3, cross_encoder_margin=1e6, progress=False)
    assert mined["hard_negative_ids"][:] == [[]] * 8
    kept = mine_hard_negatives(linker, mentions, num_negatives=3, cross_encoder_margin=0.0, progress=False)
    block = next(retrieved_blocks(linker, mentions, 6, (0, 8), progress=False, text=""))
    logits = linker.rerank(block.contexts, block.found, block.scores)
    believed = np.where(block.is_gold, logits, -np.inf).max(axis=1)
    for number, ids in enumerate(kept["hard_negative_ids"]):
        negatives = np.isin(block.found[number], linker.knowledge_base.find_rows(ids))
        assert (logits[number][negatives] <= believed[number] + 1e-4).all()
    assert 0 < sum(map(len, kept["hard_negative_ids"])) < 24


def test_gold_scores_are_the_models_whether_retrieved_or_not(linker, mentions):
    nearest, everything = (
        next(retrieved_blocks(linker, mentions, k, (0, 8), progress=False, text="")) for k in (1, 6)
    )
    found, all_found = gold_scores(linker, nearest), gold_scores(linker, everything)
    assert not nearest.is_gold.all() and everything.is_gold.sum() == 9
    np.testing.assert_allclose(found, all_found, atol=1e-5)
    assert np.isfinite(found).sum() == 9 and found.shape == (8, 2)


def test_the_digest_is_of_the_mentions(mentions):
    other = mentions.remove_columns("label_ids").add_column("label_ids", [["paris-fr"]] * 8)
    assert mentions_digest(mentions) == mentions_digest(mentions.add_column("more", [0] * 8))
    assert (
        len({mentions_digest(mentions), mentions_digest(other), mentions_digest(mentions.select([0]))}) == 3
    )


def test_inserted_gold_and_mentions_left_out_are_reported(linker, mentions, caplog):
    labels = [["nobody"], *mentions["label_ids"][1:]]
    some = mentions.remove_columns("label_ids").add_column("label_ids", labels)
    with caplog.at_level(logging.INFO):
        mined = mine_candidates(linker, some, num_candidates=2, progress=False)
    share = 100 * sum(mined["gold_retrieved"]) / 7
    assert f"gold retrieved for {share:.1f} % of 7 mentions, inserted for {100 - share:.1f} %" in caplog.text
    assert "no gold entity in the knowledge base: 1 of 8 mentions left out" in caplog.text


def test_what_cannot_be_mined_is_refused_before_anything_is_encoded(
    bi_encoder, processor, knowledge_base, mentions, monkeypatch
):
    miner = HardNegativeMiner(processor, knowledge_base, progress=False)
    monkeypatch.setattr(bi_encoder, "encode_entities", lambda *_: pytest.fail("too late"))

    def changed(name, value):
        return mentions.remove_columns(name).add_column(name, [value, *mentions[name][1:]])

    with pytest.raises(ValueError, match="label_ids that are in the knowledge base .*: 'nobody'"):
        miner.mine(bi_encoder, changed("label_ids", ["nobody"]))
    with pytest.raises(
        ValueError, match=r"one gold entity a mention, got none for 1 of 8, .* \[0\]; leave NIL"
    ):
        miner.mine(bi_encoder, changed("label_ids", []))
    with pytest.raises(ValueError, match="worlds that are in the knowledge base.*: 'nowhere'"):
        miner.mine(bi_encoder, mentions.remove_columns("world").add_column("world", ["nowhere"] * 8))
    with pytest.raises(ValueError, match="number of the mining of at least 0, got -1"):
        miner.mine(bi_encoder, mentions, -1)
    with pytest.raises(TypeError, match="expected a BlinkBiEncoder, got Linear; unwrap it"):
        miner.mine(torch.nn.Linear(1, 1), mentions)


def test_the_filter_needs_a_cross_encoder(linker, processor, knowledge_base, mentions):
    with pytest.raises(ValueError, match="a cross-encoder for cross_encoder_margin=0.5, got None"):
        HardNegativeMiner(processor, knowledge_base, MiningSettings(cross_encoder_margin=0.5))
    with pytest.raises(ValueError, match="a cross-encoder for cross_encoder_margin=0.5, got None"):
        mine_hard_negatives(linker, mentions, cross_encoder_margin=0.5)


def test_no_mentions_give_no_rows(bi_encoder, processor, knowledge_base, mentions):
    rows = HardNegativeMiner(processor, knowledge_base, progress=False).mine(bi_encoder, mentions.select([]))
    assert rows.shape == (0, 10)
