"""Settings of mining that make no sense are refused by name."""

import pytest

from hf_blink.training.mining_settings import MiningSettings


def test_how_many_and_how_far():
    assert (MiningSettings().num_hard, MiningSettings().num_random, MiningSettings().rank_end) == (10, 0, 10)
    mixed = MiningSettings(num_negatives=5, range_min=2, random_share=0.4, relative_margin=0.05)
    assert (mixed.num_hard, mixed.num_random, mixed.rank_end) == (3, 2, 11)
    assert MiningSettings(range_max=50).rank_end == 50


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_negatives": 0}, "num_negatives >= 1"),
        ({"range_min": -1}, "range_min >= 0"),
        ({"range_min": 5, "range_max": 14}, "range_max of at least .* = 15, got 14; raise it"),
        ({"random_share": 1.5}, "random_share from 0 to 1, got 1.5"),
        ({"absolute_margin": -0.1}, "absolute_margin of at least 0 or None, got -0.1"),
        ({"relative_margin": float("nan")}, "relative_margin of at least 0 or None, got nan"),
        ({"relative_margin": 2}, "relative_margin as a share of the gold score"),
        ({"cross_encoder_margin": float("inf")}, "cross_encoder_margin of at least 0"),
        ({"seed": -1}, "seed of at least 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MiningSettings(**settings)
