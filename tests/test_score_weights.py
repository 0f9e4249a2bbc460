"""The weights of both stages' scores: fitted on mentions kept apart, put into the model."""

import math

import pytest
import torch
from datasets import Dataset

from hf_blink.modeling.modeling_blink_crossencoder import BlinkCrossEncoder
from hf_blink.training import score_weights
from hf_blink.training.collators import CrossEncoderCollator
from hf_blink.training.hard_negatives import mine_candidates
from hf_blink.training.losses import candidate_softmax_loss
from hf_blink.training.score_weights import (
    candidate_scores,
    fit_retrieval_weight,
    fit_score_weights,
    weigh_scores,
)


def pairs(*gains: float) -> torch.Tensor:
    """Scores of a gold candidate and another, which it is ahead of by so much."""
    return torch.tensor([[gain, 0.0] for gain in gains])


GOLD = torch.tensor([[True, False]])


MANY = 1000  # copies of each mention, beside which the prior does not show


def fit(own: torch.Tensor, retrieval: torch.Tensor):
    own, retrieval = own.repeat(MANY, 1), retrieval.repeat(MANY, 1)
    gold = GOLD.expand(len(own), 2)
    return fit_score_weights(own, retrieval, gold, torch.ones(len(own), 2, dtype=torch.bool))


def test_the_weight_is_that_of_the_share_that_is_right():
    """Right by 1 in 3 of 4 mentions, wrong by 1 in the other: sigmoid(w) = 3/4, so w = ln 3."""
    found = fit(torch.zeros(4, 2), pairs(1, 1, 1, -1))
    assert found.retrieval == pytest.approx(math.log(3), abs=1e-3)
    assert found.loss == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)), abs=1e-5)


def test_two_scores_get_a_weight_each():
    """The gold one is ahead by own + retrieval in 9 of 10, by own - retrieval in 3 of 4: the logits are ln 9 and ln 3."""
    own = pairs(*[1] * 9, -1, *[1] * 3, -1)
    retrieval = pairs(*[1] * 9, -1, *[-1] * 3, 1)
    found = fit(own, retrieval)
    assert found.own == pytest.approx((math.log(9) + math.log(3)) / 2, abs=1e-3)
    assert found.retrieval == pytest.approx((math.log(9) - math.log(3)) / 2, abs=1e-3)


def test_a_score_that_misleads_gets_next_to_nothing():
    assert fit(pairs(-1, -1, -1), pairs(0, 0, 0)).own == pytest.approx(0.01, abs=1e-3)


def test_always_right_is_not_endlessly_sure_in_few_mentions():
    """One mention that is ahead by 1, and the prior: w (1 - sigmoid(w)) = ln w has its root at 1.33."""
    one = torch.ones(1, 2, dtype=torch.bool)
    found = fit_score_weights(torch.zeros(1, 2), pairs(1), GOLD, one)
    assert found.retrieval == pytest.approx(1.33, abs=0.01)
    assert found.own == pytest.approx(1.0, abs=1e-3)


def test_padding_does_not_count():
    own = torch.tensor([[1.0, 0.0, float("-inf")]] * 3 + [[-1.0, 0.0, 99.0]]).repeat(MANY, 1)
    mask, gold = (
        torch.tensor([row]).expand(4 * MANY, 3) for row in ([True, True, False], [True, False, False])
    )
    found = fit_score_weights(own, torch.zeros(4 * MANY, 3), gold, mask)
    assert found.own == pytest.approx(math.log(3), abs=1e-3)


ROWS: dict[str, list] = {
    "candidate_ids": [["a", "b"]] * 4 * MANY,
    "candidate_scores": [[0.9, 0.8]] * 4 * MANY,
    "label_ids": ([["a"]] * 3 + [["b"]]) * MANY,
    "gold_retrieved": [True] * 4 * MANY,
}


def test_the_first_weight_of_the_bi_encoder_comes_from_its_scores_alone():
    weight = fit_retrieval_weight(Dataset.from_dict(ROWS), temperature=0.05)  # scores differ by 2
    assert weight == pytest.approx(math.log(3) / 2, abs=1e-3)
    few = Dataset.from_dict({name: values[:20] for name, values in ROWS.items()})
    assert fit_retrieval_weight(few, temperature=0.05) == 1.0


def test_gold_entities_that_were_not_retrieved_do_not_count():
    """In linking they are not among the candidates, and no weight finds them."""
    put_in: dict[str, list] = {
        "candidate_ids": [["a", "c"]] * MANY,
        "candidate_scores": [[0.9, 0.1]] * MANY,
        "label_ids": [["c"]] * MANY,
        "gold_retrieved": [False] * MANY,
    }
    both = Dataset.from_dict({name: values + put_in[name] for name, values in ROWS.items()})
    assert fit_retrieval_weight(both, 0.05) == fit_retrieval_weight(Dataset.from_dict(ROWS), 0.05)


@pytest.fixture
def mined(linker, mentions, monkeypatch):
    monkeypatch.setattr(score_weights, "FEWEST", 2)
    return mine_candidates(linker, mentions, num_candidates=3, progress=False)


def test_the_weights_go_into_the_model_and_give_the_fitted_loss(linker, mined, bi_encoder):
    collator = CrossEncoderCollator(linker.processor, linker.knowledge_base, 0.05)
    model = BlinkCrossEncoder.from_bi_encoder(bi_encoder).train()
    before = candidate_scores(model, mined, collator, batch_size=2)
    found = weigh_scores(model, mined, collator)
    assert found is not None
    assert model.training and model.config.retrieval_weight == found.retrieval
    after = candidate_scores(model, mined, collator)
    assert all(mined["gold_retrieved"])  # so that the loss is of all of them
    assert torch.allclose(after["own_scores"], found.own * before["own_scores"], atol=1e-3)
    scores = after["own_scores"] + found.retrieval * after["retrieval_scores"]
    loss = candidate_softmax_loss(scores, after["gold"], after["candidate_mask"])
    assert float(loss) == pytest.approx(found.loss, abs=1e-3)


def test_a_model_without_the_bi_encoders_score_stays_without(linker, mined, bi_encoder):
    model = BlinkCrossEncoder.from_bi_encoder(bi_encoder, retrieval_weight=0.0)
    collator = CrossEncoderCollator(linker.processor, linker.knowledge_base, 0.05)
    found = weigh_scores(model, mined, collator)
    assert found is not None and found.retrieval == model.config.retrieval_weight == 0.0


def test_too_few_mentions_leave_the_model_as_it_is(linker, mined, bi_encoder, monkeypatch, caplog):
    monkeypatch.setattr(score_weights, "FEWEST", 30)
    model = BlinkCrossEncoder.from_bi_encoder(bi_encoder)
    before = model.score.weight.clone()
    collator = CrossEncoderCollator(linker.processor, linker.knowledge_base, 0.05)
    assert weigh_scores(model, mined, collator) is None
    assert "expected 30 mentions or more, with their gold entity retrieved" in caplog.text
    assert torch.equal(model.score.weight, before) and model.config.retrieval_weight == 1.0
