"""Norms, cosines, spectra, isotropy, drift, neighbours: each against a closed form or NumPy and SciPy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from wake2vec.metrics import cosine, isotropy, norms, spectrum, statistics
from wake2vec.metrics import rows as chunks
from wake2vec.metrics.drift import drift
from wake2vec.metrics.neighbours import nearest_rows
from wake2vec.metrics.rows import joined, read_group


def gaussian(count: int, dim: int, seed: int = 0, shift: float = 0.0) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)) + shift


def rotation(dim: int) -> Tensor:
    return torch.linalg.qr(gaussian(dim, dim, seed=99).double()).Q.float()


def cosines(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.einsum("id,jd->ij", rows, others) / np.outer(np.linalg.norm(rows, axis=1), np.linalg.norm(others, axis=1))


def eigenvalues_of(rows: Tensor) -> Tensor:
    group = read_group(rows)
    return spectrum.covariance_spectrum(chunks.covariance(group), group.mean)


def phase1_isotropy(rows: Tensor) -> float | None:
    return isotropy.phase1_isotropy(read_group(rows))


def partition_isotropy(rows: Tensor) -> float:
    group = read_group(rows)
    return isotropy.partition_isotropy(group, chunks.principal_axes(group, chunks.covariance(group)))


# Groups


def test_a_group_is_its_moments_and_units_in_float64() -> None:
    rows = gaussian(700, 9, shift=0.4)
    rows[3] = 0
    group, truth = read_group(torch.nn.Parameter(rows)), rows.double().numpy()
    lengths = np.linalg.norm(truth, axis=1)
    units = np.divide(truth, lengths[:, None], where=lengths[:, None] > 0, out=np.zeros_like(truth))
    assert group.norms.numpy() == pytest.approx(lengths, rel=1e-14)
    assert group.mean.numpy() == pytest.approx(truth.mean(axis=0), rel=1e-12)
    assert group.direction_total.numpy() == pytest.approx(units.sum(axis=0), rel=1e-10)
    assert np.array_equal(group.units(torch.arange(700)).numpy(), units.astype(np.float32))
    assert group.directed.tolist() == [index for index in range(700) if index != 3]
    both = joined(read_group(rows[:200]), read_group(rows[200:]), rows)
    assert torch.equal(both.norms, group.norms) and torch.allclose(both.mean, group.mean, rtol=1e-12)


# Norms


def test_the_phase1_report_gives_its_cohens_d_and_welch_t() -> None:
    d = norms.cohens_d_from_moments(0.8560, 0.0708, 0.4681, 0.0706)
    assert d == pytest.approx(0.3879 / math.sqrt(0.0049985))
    assert d == pytest.approx(5.49, abs=5e-3)
    base, new = (
        torch.tensor([0.8560 - 0.0708, 0.8560 + 0.0708]),
        torch.tensor([0.4681 - 0.0706, 0.4681 + 0.0706]),
    )
    base, new = base.double().repeat(16_000), new.double().repeat(22_250)
    assert norms.cohens_d(base, new) == pytest.approx(d)
    assert norms.welch_t(base, new) == pytest.approx(748.66, rel=2e-3)  # the report rounds its moments
    assert norms.mann_whitney_u(base, new) == 32_000 * 44_500  # its 1.42e9: every base row is longer


values = st.lists(st.integers(0, 40).map(lambda tenths: tenths / 10), min_size=2, max_size=40)


@given(values, values)
def test_statistics_of_norms_are_their_definitions(base: list[float], new: list[float]) -> None:
    b, n = torch.tensor(base, dtype=torch.float64), torch.tensor(new, dtype=torch.float64)
    grid = np.arange(41) / 10
    gaps = np.abs(np.mean(grid[:, None] >= np.array(base), axis=1) - np.mean(grid[:, None] >= np.array(new), axis=1))
    assert norms.wasserstein_distance(b, n) == pytest.approx(0.1 * gaps.sum(), abs=1e-12)
    assert statistics.ks_distance(b, n) == pytest.approx(gaps.max())
    assert norms.mann_whitney_u(b, n) == sum((x > y) + (x == y) / 2 for x in base for y in new)
    if np.ptp(base) and np.ptp(new):
        error = np.sqrt(np.var(base, ddof=1) / len(base) + np.var(new, ddof=1) / len(new))
        assert norms.welch_t(b, n) == pytest.approx((np.mean(base) - np.mean(new)) / error, abs=1e-9)
        assert norms.cohens_d(b, n) == -norms.cohens_d(n, b)


def test_norm_gaps_are_undefined_without_spread_and_blind_to_shape() -> None:
    tight, wide = torch.full((1000,), 0.7), torch.tensor([0.6, 0.8]).repeat(500)
    assert norms.cohens_d(tight, tight) is None and norms.welch_t(tight, tight) is None
    assert norms.norm_ratio(torch.zeros(3), tight) is None
    assert norms.cohens_d(tight, wide) == pytest.approx(0, abs=1e-6)
    assert norms.norm_ratio(tight, wide) == pytest.approx(1)
    assert norms.wasserstein_distance(tight, wide) == pytest.approx(0.1)


# Cosines


def test_mean_cosines_are_the_means_over_all_pairs() -> None:
    a, b = gaussian(70, 12, shift=0.3), gaussian(50, 12, seed=1, shift=0.1)
    pairs = cosines(a.double().numpy(), a.double().numpy())[~np.eye(70, dtype=bool)]
    group, other = read_group(a), read_group(b)
    assert cosine.mean_pairwise_cosine(group) == pytest.approx(pairs.mean(), abs=1e-12)
    across = cosines(a.double().numpy(), b.double().numpy())
    assert cosine.mean_cross_cosine(group, other) == pytest.approx(across.mean(), abs=1e-12)
    for sample, truth in (
        (cosine.sample_pairwise_cosines(group, group), pairs),
        (cosine.sample_pairwise_cosines(group, other), across),
    ):
        assert float(sample.std()) == pytest.approx(truth.std(), rel=0.02)
        ordered = np.sort(truth.ravel())
        nearest = ordered[np.searchsorted(ordered, sample.numpy() - 1e-12)]
        assert np.abs(nearest - sample.numpy()).max() < 2e-12  # each is the cosine of one of the pairs
    orthogonal = read_group(torch.eye(5))
    assert cosine.sample_pairwise_cosines(orthogonal, orthogonal).max() == 0  # never a row with itself


def test_cosines_leave_zero_rows_out() -> None:
    rows = torch.cat([gaussian(20, 6), torch.zeros(5, 6)])
    whole, kept, zeros, last = (read_group(part) for part in (rows, rows[:20], rows[20:], rows[19:]))
    assert cosine.mean_pairwise_cosine(whole) == pytest.approx(cosine.mean_pairwise_cosine(kept), abs=1e-15)
    assert torch.equal(cosine.sample_pairwise_cosines(whole, whole), cosine.sample_pairwise_cosines(kept, kept))
    assert cosine.mean_pairwise_cosine(last) is None and cosine.mean_cross_cosine(whole, zeros) is None
    assert len(cosine.sample_pairwise_cosines(whole, zeros)) == 0
    assert statistics.ks_distance(rows[0], rows[0][:0]) is None


@given(st.floats(1e-18, 1e18))
def test_cosines_see_no_scale(scale: float) -> None:
    rows = gaussian(30, 8, shift=0.5)
    scaled = cosine.mean_pairwise_cosine(read_group(rows * scale))
    assert scaled == pytest.approx(cosine.mean_pairwise_cosine(read_group(rows)), abs=1e-6)


# Spectrum


def test_the_spectrum_of_a_known_covariance() -> None:
    variances = torch.tensor([8.0, 4.0, 2.0, 1.0, 1.0])
    axes = torch.cat([torch.eye(5), -torch.eye(5)]) * (variances.repeat(2) * 5)[:, None].sqrt()  # covariance: diagonal
    eigenvalues = eigenvalues_of(axes @ rotation(5) + 3)
    assert eigenvalues.numpy() == pytest.approx(variances.numpy(), rel=1e-5)
    assert spectrum.top1_share(variances) == 0.5
    assert [spectrum.components_for(variances, share) for share in (0.5, 0.51, 0.75, 0.9, 1.0)] == [
        1,
        2,
        2,
        4,
        5,
    ]
    assert spectrum.participation_ratio(variances) == pytest.approx(256 / 86)
    entropy = sum(-p * math.log(p) for p in (0.5, 0.25, 0.125, 0.0625, 0.0625))
    assert spectrum.effective_rank(variances) == pytest.approx(math.exp(entropy))


def test_the_spectrum_is_that_of_the_singular_values() -> None:
    rows = gaussian(200, 16, shift=1.0) @ torch.diag(torch.linspace(0.1, 2, 16))
    centred = rows.double().numpy() - rows.double().numpy().mean(axis=0)
    truth = np.linalg.svd(centred, compute_uv=False) ** 2 / 200
    assert eigenvalues_of(rows).numpy() == pytest.approx(truth, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-18, 1.0, 1e12])
@pytest.mark.parametrize("shift", [0.0, 1.0, 100.0])
def test_the_spectrum_is_float64s_for_ill_conditioned_rows_far_from_0(shift: float, scale: float) -> None:
    rows = (gaussian(5000, 300) * torch.logspace(-3, 0, 300)) @ rotation(300) + shift
    rows *= scale
    truth = np.linalg.eigvalsh(np.cov(rows.double().numpy().T, ddof=0))[::-1]
    found = eigenvalues_of(rows)
    assert found.numpy() == pytest.approx(truth, rel=1e-6, abs=1e-7 * truth[0])
    exact = torch.from_numpy(truth.copy())
    assert spectrum.top1_share(found) == pytest.approx(spectrum.top1_share(exact), rel=1e-7)
    assert spectrum.effective_rank(found) == pytest.approx(spectrum.effective_rank(exact), rel=1e-7)
    assert spectrum.participation_ratio(found) == pytest.approx(spectrum.participation_ratio(exact), rel=1e-7)


def test_axes_are_those_of_the_raw_rows() -> None:
    rows = gaussian(400, 20, shift=0.5) * torch.linspace(0.2, 2, 20)
    group = read_group(rows)
    axes = chunks.principal_axes(group, chunks.covariance(group))
    raw = rows.double().T @ rows.double()
    assert torch.allclose(axes.vectors.T @ raw @ axes.vectors, axes.strengths.diag(), atol=1e-5 * float(raw.trace()))
    assert axes.strengths.tolist() == sorted(axes.strengths.tolist(), reverse=True)


def test_the_spectrum_of_noise_reads_its_nulls() -> None:
    n, d = 4000, 100
    eigenvalues = eigenvalues_of(gaussian(n, d))
    assert spectrum.top1_share(eigenvalues) == pytest.approx((1 + math.sqrt(d / n)) ** 2 / d, rel=0.05)
    assert spectrum.participation_ratio(eigenvalues) == pytest.approx(d / (1 + d / n), rel=0.01)
    assert spectrum.effective_rank(eigenvalues) == pytest.approx(d * math.exp(-d / (2 * n)), rel=0.01)


def test_equal_rows_have_no_spectrum() -> None:
    eigenvalues = eigenvalues_of(torch.full((7, 4), 0.1))
    assert eigenvalues.tolist() == [0, 0, 0, 0]
    assert spectrum.top1_share(eigenvalues) is None and spectrum.components_for(eigenvalues, 0.9) is None
    assert spectrum.participation_ratio(eigenvalues) is None and spectrum.effective_rank(eigenvalues) is None


# Isotropy


def phase1_in_numpy(rows: np.ndarray) -> float:
    centred = rows - rows.mean(axis=0)
    if len(rows) > 5000:
        centred = centred[np.random.default_rng(42).choice(len(rows), 5000, replace=False)]
    matrix = cosines(centred, centred)
    np.fill_diagonal(matrix, 0)
    sums = np.exp(matrix).sum(axis=1)
    return float(sums.min() / sums.max())


@pytest.mark.parametrize(("count", "dim"), [(300, 96), (300, 24), (5300, 24)])
@pytest.mark.parametrize("in_a_clump", [0.0, 0.1, 0.9])
def test_phase1_isotropy_is_its_formula_in_float64(count: int, dim: int, in_a_clump: float) -> None:
    """With all sums, with those that bounds leave, and where bounds leave too many."""
    rows = gaussian(count, dim, shift=0.5) * torch.linspace(0.2, 2, dim)
    rows[: int(in_a_clump * count)] = gaussian(1, dim, seed=1) + 0.05 * gaussian(int(in_a_clump * count), dim, seed=2)
    value = phase1_isotropy(rows)
    assert value == pytest.approx(phase1_in_numpy(rows.double().numpy()), abs=1e-7)
    assert phase1_isotropy(rows @ rotation(dim) * 7 + 1) == pytest.approx(value, abs=1e-4)


def test_isotropy_finds_the_greatest_sum_where_cosines_and_their_squares_point_elsewhere() -> None:
    """To the second order of exp two opposite clumps come before the one clump whose sums are greatest."""
    clump, other = torch.eye(24)[:2]
    noise = gaussian(600, 24)
    noise[:, :2] = 0
    clumps = [clump.repeat(100, 1), -clump.repeat(20, 1), other.repeat(120, 1), -other.repeat(120, 1)]
    rows = torch.cat([*clumps, noise, -noise])
    assert phase1_isotropy(rows) == pytest.approx(phase1_in_numpy(rows.double().numpy()), abs=1e-7)


@pytest.mark.parametrize(
    ("count", "dim", "draws"), [(200, 16, 24), (1000, 64, 12), (3000, 192, 4), (5800, 64, 4), (12_000, 32, 4)]
)
def test_the_isotropy_null_is_the_mean_over_noise(count: int, dim: int, draws: int) -> None:
    values = [1 - (phase1_isotropy(gaussian(count, dim, seed)) or 0) for seed in range(draws)]
    null = 1 - isotropy.phase1_isotropy_null(count, dim)
    error = 3 * np.std(values, ddof=1) / math.sqrt(draws)
    assert np.mean(values) == pytest.approx(null, abs=error + 0.05 * null)
    assert isotropy.isotropy_excess(1 - float(np.mean(values)), 1 - null) == pytest.approx(np.mean(values) / null)


def test_isotropy_of_equal_rows_is_undefined() -> None:
    assert phase1_isotropy(torch.full((50, 4), 0.1)) is None
    assert phase1_isotropy(gaussian(1, 4)) is None


def test_a_whole_groups_collapse_hides_from_centred_numbers_only() -> None:
    """The trap that the document names: this is what the mean cosine is for."""
    collapsed = gaussian(1, 32) + 0.05 * gaussian(800, 32, seed=1)
    null = isotropy.phase1_isotropy_null(800, 32)
    assert isotropy.isotropy_excess(phase1_isotropy(collapsed) or 0, null) == pytest.approx(1, abs=0.4)
    assert (cosine.mean_pairwise_cosine(read_group(collapsed)) or 0) > 0.98
    assert partition_isotropy(collapsed) < 0.01


def test_partition_isotropy_is_its_formula_and_is_told_by_axes() -> None:
    rows = gaussian(400, 10, shift=0.2)
    w = rows.double().numpy()
    axes = np.linalg.svd(w)[2]
    sums = [np.exp(sign * w @ axis).sum() for axis in axes for sign in (1, -1)]
    assert partition_isotropy(rows) == pytest.approx(min(sums) / max(sums), rel=1e-6)
    assert partition_isotropy(rows @ rotation(10)) == pytest.approx(min(sums) / max(sums), rel=1e-5)
    assert partition_isotropy(torch.cat([torch.eye(6), -torch.eye(6)])) == pytest.approx(1)
    assert partition_isotropy(1000 * rows) == 0  # and no overflow


@given(
    norm=st.sampled_from([0.0, 1e-4, 0.1, 0.7, 3.0, 30.0, 900.0]),
    common=st.floats(0, 1),
    count=st.integers(2, 300),
    seed=st.integers(0, 9),
)
def test_the_axes_left_out_of_partition_isotropy_never_decide(
    norm: float, common: float, count: int, seed: int
) -> None:
    rows = gaussian(count, 16, seed) * (1 - common) + gaussian(1, 16, seed + 1) * common
    rows = norm * rows / rows.norm(dim=1, keepdim=True)
    group = read_group(rows)
    axes = chunks.principal_axes(group, chunks.covariance(group))
    projections = rows.double() @ axes.vectors
    log_sums = torch.cat([projections, -projections], dim=1).logsumexp(0)
    truth = float((log_sums.min() - log_sums.max()).exp())
    assert isotropy.partition_isotropy(group, axes) == pytest.approx(truth, rel=1e-9, abs=1e-300)


def test_few_axes_of_short_rows_are_summed() -> None:
    rows = 0.5 * gaussian(3000, 128) / 128**0.5
    group = read_group(rows)
    axes = chunks.principal_axes(group, chunks.covariance(group))
    assert int(isotropy._extreme_axes(group, axes).sum()) <= 16
    assert partition_isotropy(rows) > 0.9


# Drift and neighbours


def test_drift_of_known_moves() -> None:
    before = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0], [3.0, 0.0]])
    after = torch.tensor([[0.0, 1.0], [0.0, 2.0], [0.0, 5.0], [-3.0, 0.0]])
    moved = drift(before, after, top=2)
    assert moved.cosines.nan_to_num(9).tolist() == [0, 1, 9, -1]
    assert moved.cosine_mean == 0 and moved.top_movers == (3, 2)
    assert moved.distances.tolist() == pytest.approx([math.sqrt(2), 0, 5, 6])
    assert moved.l2_mean == pytest.approx((math.sqrt(2) + 11) / 4)
    assert drift(before[2:3], after[2:3]).cosine_mean is None


def test_nearest_rows_are_those_of_the_whole_product() -> None:
    rows, base = gaussian(1100, 16), gaussian(300, 16, seed=1)
    truth = cosines(rows.double().numpy(), base.double().numpy())
    indices, found = nearest_rows(read_group(rows), read_group(base))
    assert np.array_equal(indices.numpy(), np.argsort(-truth, axis=1)[:, :5])
    assert found.numpy() == pytest.approx(-np.sort(-truth, axis=1)[:, :5], abs=1e-6)


def test_zero_rows_are_and_have_no_neighbours() -> None:
    base = torch.tensor([[0.0, 0.0], [-1.0, 0.0], [1.0, 1.0]])
    indices, found = nearest_rows(read_group(torch.tensor([[2.0, 0.0], [0.0, 0.0]])), read_group(base))
    assert indices.tolist() == [[2, 1], [-1, -1]]
    assert found[0].tolist() == pytest.approx([math.sqrt(0.5), -1]) and found[1].isnan().all()


# All


def test_chunks_and_tiles_make_the_whole_and_trained_rows_need_no_detaching(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.nn.Parameter(gaussian(4096 + 700, 8, shift=0.4))
    truth = rows.detach().double()
    covariance = np.cov(truth.numpy().T, ddof=0)
    products = truth[:1100] @ truth[:1100].T
    whole = phase1_isotropy(rows)
    for elements, tile_rows, tile_columns in ((2**18, 512, 2048), (8 * 1000, 300, 700), (3, 512, 1024)):
        monkeypatch.setattr(chunks, "CHUNK_ELEMENTS", elements)
        monkeypatch.setattr(chunks, "TILE_ROWS", tile_rows)
        monkeypatch.setattr(chunks, "TILE_COLUMNS", tile_columns)
        monkeypatch.setattr(chunks, "PRODUCT_ROWS", tile_rows)
        assert torch.equal(torch.cat([rows[part] for part in chunks.row_slices(*rows.shape)]), rows)
        assert torch.allclose(read_group(rows).norms, truth.norm(dim=1), rtol=1e-14)
        assert eigenvalues_of(rows).numpy() == pytest.approx(np.linalg.eigvalsh(covariance)[::-1], rel=1e-6)
        assert phase1_isotropy(rows) == pytest.approx(whole, abs=1e-7)
        pairs = chunks.pair_sums(truth[:1100], torch.Tensor.square)
        assert torch.allclose(pairs, products.square().sum(1) - products.diagonal().square())
        across = chunks.cross_sums(truth[:1100], truth[1100:], torch.Tensor.square)
        assert torch.allclose(across, (truth[:1100] @ truth[1100:].T).square().sum(1))
    assert drift(rows, rows).cosine_mean == pytest.approx(1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_precision_is_measured_as_float64(dtype: torch.dtype) -> None:
    rows = gaussian(300, 8, shift=0.4).to(dtype)
    group, exact = read_group(rows), read_group(rows.double())
    assert torch.equal(group.norms, exact.norms)
    assert cosine.mean_pairwise_cosine(group) == cosine.mean_pairwise_cosine(exact)
    assert torch.allclose(chunks.covariance(group), chunks.covariance(exact), rtol=0, atol=2e-7)
    assert isotropy.phase1_isotropy(group) == isotropy.phase1_isotropy(exact)
    assert torch.equal(nearest_rows(group, group)[0], nearest_rows(exact, exact)[0])
