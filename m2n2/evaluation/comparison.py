"""Is one result better than another on the same objects, or is it chance? Paired bootstrap over objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ROUNDS = 10_000
ROUNDS_AT_ONCE = 1_000


@dataclass(frozen=True)
class Comparison:
    """Mean difference (second minus first) with its 95% interval and two-sided p-value against no difference."""

    difference: float
    low: float
    high: float
    p_value: float


def compare_paired(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Comparison:
    """Compare two measurements of the same objects, in the same order.

    Objects are drawn with replacement 10,000 times. The p-value is twice the share of draws whose mean difference lies
    on the other side of 0 from the observed one, or on it (Efron and Tibshirani 1993, chapter 16), and never below
    1/10,000, which is all that so many draws can tell.

    Raises:
        ValueError: no objects, or not as many in the one as in the other.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"{len(first)} and {len(second)} objects: the same objects, at least one, are needed in both")
    differences = np.asarray(second, np.float64) - np.asarray(first, np.float64)
    observed = float(differences.mean())
    random = np.random.default_rng(seed)
    draws = [
        differences[random.integers(0, len(differences), (ROUNDS_AT_ONCE, len(differences)))].mean(axis=1)
        for _ in range(ROUNDS // ROUNDS_AT_ONCE)
    ]
    means = np.concatenate(draws)
    other_side = np.count_nonzero(means <= 0) if observed > 0 else np.count_nonzero(means >= 0)
    p_value = 1.0 if observed == 0 else min(1.0, max(2 * int(other_side), 1) / ROUNDS)
    low, high = np.quantile(means, [0.025, 0.975])
    return Comparison(observed, float(low), float(high), p_value)
