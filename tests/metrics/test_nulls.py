"""What the numbers read on noise, as closed forms, and how far samples are off: both against simulation."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from wake2vec.metrics import cosine, isotropy, spectrum, statistics
from wake2vec.metrics import rows as chunks
from wake2vec.metrics.neighbours import nearest_cosine_null, nearest_rows
from wake2vec.metrics.rows import read_group

SIZES = [(200, 16, 24), (1000, 64, 12), (3000, 192, 4), (5800, 64, 4)]


def noise(count: int, dim: int, seed: int) -> Tensor:
    """Rows of norm .7 or so."""
    return 0.7 * torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)) / dim**0.5


def read(rows: Tensor) -> dict[str, float]:
    group = read_group(rows)
    covariance = chunks.covariance(group)
    values, axes = spectrum.covariance_spectrum(covariance, group.mean), chunks.principal_axes(group, covariance)
    return {
        "top1_share": spectrum.top1_share(values) or 0,
        "participation_ratio": spectrum.participation_ratio(values) or 0,
        "effective_rank": spectrum.effective_rank(values) or 0,
        "isoscore": spectrum.isoscore(values) or 0,
        "1 - partition_isotropy": 1 - isotropy.partition_isotropy(group, axes),
        "1 - partition_isotropy_null": 1 - isotropy.partition_isotropy_null(group),
        "cosine_std": float(cosine.sample_pairwise_cosines(group, group).std()),
        "common_share": cosine.common_share(group) or 0,
    }


@pytest.mark.parametrize(("count", "dim", "draws"), SIZES)
def test_nulls_are_the_means_over_noise(count: int, dim: int, draws: int) -> None:
    found = [read(noise(count, dim, seed)) for seed in range(draws)]
    nulls = {
        "top1_share": (spectrum.top1_share_null(count, dim), 0.01),
        "participation_ratio": (spectrum.participation_ratio_null(count, dim), 0.001),
        "effective_rank": (spectrum.effective_rank_null(count, dim), 0.001),
        "isoscore": (spectrum.isoscore_null(count, dim), 0.001),
        "1 - partition_isotropy": (found[0]["1 - partition_isotropy_null"], 0.1),
        "cosine_std": (cosine.cosine_std_null(dim), 0.005),
        "common_share": (1 / math.sqrt(count), 0.01),
    }
    for name, (null, tolerance) in nulls.items():
        values = [one[name] for one in found]
        error = 3 * np.std(values, ddof=1) / math.sqrt(draws)
        assert null is not None
        assert np.mean(values) == pytest.approx(null, abs=error + tolerance * null), name


@pytest.mark.parametrize(("count", "dim"), [(80, 200), (100, 90)])
def test_nulls_of_fewer_rows_than_dimensions(count: int, dim: int) -> None:
    found = [read(noise(count, dim, seed)) for seed in range(8)]
    for name in ("top1_share", "participation_ratio", "effective_rank", "isoscore"):
        null = {"top1_share": spectrum.top1_share_null, "participation_ratio": spectrum.participation_ratio_null}
        other = {"effective_rank": spectrum.effective_rank_null, "isoscore": spectrum.isoscore_null}
        assert np.mean([one[name] for one in found]) == pytest.approx((null | other)[name](count, dim), rel=0.04), name


@pytest.mark.parametrize(("count", "dim", "_"), SIZES)
def test_the_null_of_the_nearest_cosine(count: int, dim: int, _: int) -> None:
    rows = read_group(noise(500, dim, 9))
    found = [float(nearest_rows(rows, read_group(noise(count, dim, seed)), top=1)[1].mean()) for seed in range(4)]
    assert np.mean(found) == pytest.approx(nearest_cosine_null(count, dim), rel=0.01)


def test_one_row_and_one_dimension_have_no_null() -> None:
    nulls = (spectrum.top1_share_null, spectrum.participation_ratio_null, spectrum.effective_rank_null)
    assert [null(1, 9) for null in nulls] == [None] * 3
    assert [null(50, 1) for null in nulls] == [1, 1, 1]
    assert spectrum.isoscore_null(50, 1) is None and spectrum.isoscore_null(1, 9) is None


@pytest.mark.parametrize(("x", "y"), [(500, 2000), (2000, 2000)])
def test_the_null_of_two_samples_of_one_distribution(x: int, y: int) -> None:
    random = torch.Generator().manual_seed(0)
    found = [
        statistics.ks_distance(torch.rand(x, generator=random), torch.rand(y, generator=random)) for _ in range(400)
    ]
    assert np.mean(np.array(found)) == pytest.approx(statistics.ks_distance_null(x, y), rel=0.04)


# IsoScore


def isoscore_by_definition(eigenvalues: np.ndarray) -> float:
    """Steps 3 to 6 of Rudman et al. (2022), algorithm 1, of the variances in the basis of principal components."""
    n = len(eigenvalues)
    diagonal = math.sqrt(n) * eigenvalues / np.linalg.norm(eigenvalues)
    defect = np.linalg.norm(diagonal - 1) / math.sqrt(2 * (n - math.sqrt(n)))
    used = (n - defect**2 * (n - math.sqrt(n))) ** 2 / n**2
    return (n * used - 1) / (n - 1)


@given(st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=60))
def test_isoscore_is_its_definition(eigenvalues: list[float]) -> None:
    values = torch.tensor(sorted(eigenvalues, reverse=True), dtype=torch.float64)
    assert spectrum.isoscore(values) == pytest.approx(isoscore_by_definition(values.numpy()), abs=1e-9)


@pytest.mark.parametrize(("used", "dim"), [(1, 9), (2, 9), (5, 9), (9, 9), (30, 192)])
def test_isoscore_is_the_share_of_the_dimensions_that_are_used(used: int, dim: int) -> None:
    values = torch.zeros(dim, dtype=torch.float64)
    values[:used] = 3.0
    assert spectrum.isoscore(values) == pytest.approx((used - 1) / (dim - 1), abs=1e-12)
    assert spectrum.isoscore(torch.zeros(dim, dtype=torch.float64)) is None


# Intervals


def covered(interval: tuple[float, float] | None, truth: float) -> bool:
    assert interval is not None
    return interval[0] <= truth <= interval[1]


def test_the_interval_of_a_sampled_spread_covers_that_of_all_pairs() -> None:
    group = read_group(noise(60, 8, 0) + 0.2)
    units = group.units(torch.arange(60)).double()
    truth = float((units @ units.T)[~torch.eye(60, dtype=torch.bool)].std(correction=0))
    samples = [cosine.sample_pairwise_cosines(group, group, pairs=1000, seed=seed) for seed in range(400)]
    share = np.mean([covered(statistics.std_interval(sample), truth) for sample in samples])
    assert 0.92 <= share <= 0.98
    assert statistics.std_interval(samples[0][:0]) is None and statistics.std_interval(torch.ones(9)) == (0, 0)


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_the_interval_of_d_is_on_the_safe_side(shift: float) -> None:
    random = torch.Generator().manual_seed(0)
    truth = 2 * scipy.stats.norm.cdf(shift / 2) - 1
    draws = [[torch.randn(800, generator=random), torch.randn(800, generator=random) + shift] for _ in range(200)]
    intervals = [statistics.ks_interval(statistics.ks_distance(x, y) or 0.0, len(x), len(y)) for x, y in draws]
    assert np.mean([covered(interval, truth) for interval in intervals]) >= 0.95


@pytest.mark.parametrize("collapsed", [0.0, 0.1, 0.6])
def test_the_interval_of_a_sampled_isotropy_is_as_wide_as_draws_scatter(collapsed: float) -> None:
    rows = noise(3000, 64, 0)
    rows[: int(3000 * collapsed)] = noise(1, 64, 1) + 0.1 * rows[: int(3000 * collapsed)]
    group = read_group(rows)
    draws = [math.log(isotropy.phase1_isotropy(group, 1000, seed) or 0) for seed in range(60)]
    low, high = isotropy.phase1_isotropy_interval(group, math.exp(draws[0]), 1000)
    reach = scipy.stats.t.ppf(0.975, 19) * np.std(draws, ddof=1)
    assert draws[0] - math.log(low) == pytest.approx(reach, rel=0.4)
    assert low < math.exp(draws[0]) < high <= 1
    assert isotropy.phase1_isotropy_interval(read_group(rows[:900]), 0.5, 1000) == (0.5, 0.5)
