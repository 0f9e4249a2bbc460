"""What the card of a linker with an ELQ model says of its decisions, word by word; test_elq_hub has it of a real one."""

import pytest

from hf_blink.hub_cards.card_data import Card, ElqLinkerCard, LinkerCard
from hf_blink.hub_cards.rendering import render_card
from tests.hub_cards_examples import facts, metrics

ONE_PASS = {"has_cross_encoder": False, "threshold": 0, "joint_threshold": -2.9}  # e^-2.9 is 0.0550232


def card(kind: type[Card], **changes) -> Card:
    return kind.from_dict({**facts(kind), **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {},
            "An ELQ model scores every span of up to 11 tokens as a mention (span detection), and retrieves 16",
        ),
        (
            {},
            "ELQ's (Li et al. 2020, Efficient One-Pass End-to-End Entity Linking for Questions, EMNLP 2020), which",
        ),
        ({}, "builds on BLINK's (Wu et al. 2020,"),
        (
            {},
            "| joint threshold | -2.9 |\n| mentions that overlap | the one with the best joint score is kept |",
        ),
        ({"nested": True}, "| mentions that overlap | all are kept |"),
        ({}, "log P(mention) + log P(best entity), is above -2.9, the joint threshold."),
        ({}, "the candidates by the ELQ model. It is above 0.05502, the exponential of the joint threshold."),
        ({"has_cross_encoder": True}, "; the cross-encoder sees only the spans that stay."),
        ({"has_cross_encoder": True}, "the softmax over the candidates by the cross-encoder.\n"),
        ({}, "- score of each of its candidates is P(entity) alone"),
        ({}, "made by the ELQ model from title and description"),
        ({}, "\nmodel = AutoModel.from_pretrained("),
        ({"calibrated": True}, "is a probability that was fitted"),
        ({}, "is not above -2.9, the joint threshold, is no mention and never returned."),
        ({}, "The threshold of score is 0: it drops nothing more."),
        ({"threshold": 0.25}, "Of the others, links with a score under 0.25 are dropped."),
    ],
)
def test_a_one_pass_linkers_card_says_how_it_decides(changes, words):
    assert words in render_card(card(ElqLinkerCard, **ONE_PASS | changes)).replace("`", "")


def test_a_one_pass_linkers_card_says_nothing_of_a_bi_encoder_alone():
    text = render_card(card(ElqLinkerCard, **ONE_PASS))
    for words in (
        "bi-encoder",
        "titles and aliases",
        "cross-encoder",
        "cross_encoder",
        "softmax over the 16",
    ):
        assert words not in text
    assert "exponential" not in render_card(card(ElqLinkerCard, has_cross_encoder=True))
    assert "joint threshold" not in render_card(card(LinkerCard))


def test_results_explain_the_metrics_that_they_show():
    matched = {"strong_f1": 0.5, "weak_f1": 0.75, "num_mentions": 4, "num_entities": 9}
    of_links = {"mentions": {"name": "x"}, "metrics": matched}
    of_mentions = {"mentions": {"name": "y"}, "metrics": metrics()}
    found, ranked = "A link is right if its entity is the mention's", "Recall@k is the share of mentions"
    for evaluations, words in (
        ([], (0, 0)),
        ([of_links], (1, 0)),
        ([of_mentions], (0, 1)),
        ([of_links, of_mentions], (1, 1)),
    ):
        text = render_card(card(ElqLinkerCard, evaluations=evaluations))
        assert (text.count(found), text.count(ranked)) == words
