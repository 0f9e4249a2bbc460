"""Intervals of a mean over mentions, by resampling them."""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000


def resampled(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the mean of a value for each mention; it says nothing of other seeds."""
    numbers = np.asarray(values, dtype=float)
    draws = np.random.default_rng(0).integers(len(numbers), size=(RESAMPLES, len(numbers)))
    low, high = np.quantile(numbers[draws].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)
