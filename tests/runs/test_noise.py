"""Intervals over seeds, against SciPy's own t test and planted noise."""

import math

import numpy as np
import pytest
from scipy import stats

from study.noise import interval, paired_difference


def test_the_interval_is_students() -> None:
    values = [4.31, 4.35, 4.29, 4.40]
    found = interval(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(values), low, high))


def test_one_seed_tells_no_interval() -> None:
    found = interval([4.31])
    assert (found.mean, found.low, found.high) == (4.31, -math.inf, math.inf)
    assert found.holds(1e9)


def test_what_seeds_share_falls_out_of_a_paired_difference() -> None:
    luck = np.random.default_rng(0).normal(0, 1, 5)
    before, after = luck.tolist(), (luck - 0.1 + np.array([0.01, -0.01, 0, 0.01, -0.01])).tolist()
    assert not paired_difference(before, after).holds(0)
    assert interval(before).low < interval(after).mean < interval(before).high
    assert paired_difference(before, after[:3]).count == 3


def test_the_interval_holds_the_truth_19_times_in_20() -> None:
    generator = np.random.default_rng(1)
    held = [interval(generator.normal(3, 2, 5).tolist()).holds(3) for _ in range(4_000)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.012)
