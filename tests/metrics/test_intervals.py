"""Intervals of shares: SciPy's, and as often right as they say."""

import pytest
from scipy.stats import binomtest, hypergeom

from wake2vec.metrics.statistics import sampled_share_interval, wilson_interval


@pytest.mark.parametrize(("hits", "count"), [(0, 40), (3, 40), (40, 40), (84, 17_419)])
def test_the_interval_is_wilsons(hits: int, count: int) -> None:
    truth = binomtest(hits, count).proportion_ci(method="wilson")
    assert wilson_interval(hits / count, float(count)) == pytest.approx((truth.low, truth.high), abs=1e-6)


@pytest.mark.parametrize("share", [0.004, 0.1, 0.52, 0.97])
def test_the_interval_of_a_sampled_share_covers_it_as_often_as_it_says(share: float) -> None:
    population, sample = 44_500, 1000
    law = hypergeom(population, round(share * population), sample)
    bounds = [sampled_share_interval(k / sample, sample, population) for k in range(sample + 1)]
    covered = sum(law.pmf(k) for k, (low, high) in enumerate(bounds) if low <= share <= high)
    assert 0.93 <= covered <= 0.975
    assert sampled_share_interval(0.25, 400, 400) == (0.25, 0.25)
