"""Isotropy: whether the rows of a group fill all directions alike; two measures, two names, and a null."""

import math
from statistics import NormalDist

import numpy as np
import scipy.special
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from wake2vec.metrics.readings import Measured, Readings
from wake2vec.metrics.registry import (
    ALL_GROUPS,
    GROUPS,
    INVARIANT,
    ORDER,
    ROTATION,
    Metric,
    Part,
    Shown,
    When,
    each,
    with_interval,
    with_null,
)
from wake2vec.metrics.rows import ROUNDING, Axes, Group, cross_sums, pair_sums, row_products, row_slices
from wake2vec.workfolder import Numbers

SAMPLE_ROWS = 5000
PROBE_ROWS = 2048
MANY_ROWS = 4
"""From so many rows a dimension on, to bound the sums costs less than to compute all."""
ROUNDING_OF_SUMS = 1e-5
"""More than the bounds are ever wrong by, a row of the sample."""
PROBED = 16
"""Rows at each end of an expanded Z among which its extremes are looked for."""


METRICS = (
    *each(
        ALL_GROUPS,
        *with_interval(
            Metric(
                "geometry.isotropy_{}",
                "Phase 1's isotropy, {}",
                better="higher",
                null="geometry.isotropy_{}_null",
                invariant=INVARIANT,
                phase1="isotropy.{}.score",
            ),
            over=" over samples",
            when=When.END,
        ),
        shown={
            "new": Shown(
                "isotropy of new rows",
                "isotropy",
                first=3,
                caution="Isotropy misleads by itself: rows that training hardly moved read what noise reads, {null}, "
                "nearly the best there is, and are useless. Read it beside the loss.",
            )
        },
    ),
    *each(
        ALL_GROUPS,
        Metric(
            "geometry.isotropy_{}_null",
            "the same of Gaussian noise, {}",
            invariant=INVARIANT,
            compares=False,
            part=Part.NULL,
            of="geometry.isotropy_{}",
        ),
    ),
    *each(
        GROUPS,
        Metric(
            "geometry.isotropy_{}_excess", "(1 - isotropy) / (1 - null), {}", better=1.0, null=1.0, invariant=INVARIANT
        ),
        shown={"new": Shown("isotropy excess of new rows", "isotropy excess", first=11)},
    ),
    *each(
        GROUPS,
        *with_null(
            Metric(
                "geometry.partition_isotropy_{}",
                "isotropy of Mu & Viswanath, {}",
                better="higher",
                invariant=(ROTATION, ORDER),
            ),
            "the same of Gaussian noise of those norms",
        ),
    ),
)


def at_evaluation(readings: Readings) -> Measured:
    numbers: Numbers = {}
    for name, group in readings.all_groups.items():
        numbers |= {
            f"geometry.isotropy_{name}": phase1_isotropy(group),
            f"geometry.isotropy_{name}_null": phase1_isotropy_null(*group.rows.shape) if len(group) > 1 else None,
        }
    for name, group in readings.groups.items():
        value, null = numbers[f"geometry.isotropy_{name}"], numbers[f"geometry.isotropy_{name}_null"]
        numbers |= {
            f"geometry.isotropy_{name}_excess": None if value is None or null is None else isotropy_excess(value, null),
            f"geometry.partition_isotropy_{name}": partition_isotropy(group, readings.axes[name]),
            f"geometry.partition_isotropy_{name}_null": partition_isotropy_null(group),
        }
    return Measured(numbers)


def at_end(readings: Readings) -> Measured:
    numbers: Numbers = {}
    for name, group in readings.all_groups.items():
        value = readings.known[f"geometry.isotropy_{name}"]
        low, high = (None, None) if value is None else phase1_isotropy_interval(group, value)
        numbers |= {f"geometry.isotropy_{name}_low": low, f"geometry.isotropy_{name}_high": high}
    return Measured(numbers)


def phase1_isotropy(group: Group, sample_rows: int = SAMPLE_ROWS, seed: int = 42) -> float | None:
    """Phase 1's isotropy: how evenly the centred rows of a group see each other.

    The rows, less the mean of the whole group, are scaled to unit norm; of more than `sample_rows` rows a
    sample is drawn without replacement (NumPy's generator of this seed). C = U U^T with a zero diagonal,
    Z_i = sum_j exp(C_ij), value = min Z / max Z. From e^-2 to 1, higher is better; invariant to rotation,
    shift and scale. Null: `phase1_isotropy_null`, near .99 or above, so .998 says "like noise", not "good".
    Taking off the mean hides a direction that all rows share: a group that has collapsed altogether reads
    like noise again (see `mean_pairwise_cosine`), and on the way there the value flattens. A row
    that is equal to the mean has no direction: its C is 0. None where fewer than two rows have one.
    After Mu & Viswanath (2018), whose own measure is `partition_isotropy`.
    """
    units, has_direction = _centred_units(group, _sample(group, sample_rows, seed))
    if int(has_direction.sum()) < 2:
        return None
    least, greatest = _extreme_sums(units)
    return (len(units) + least) / (len(units) + greatest)


def _extreme_sums(units: Float[Tensor, "rows dim"]) -> tuple[float, float]:
    """The least and the greatest Z_i - n; exp(C) - 1 is small, so that float32 products lose nothing of it.

    Where rows are many more than dimensions, few sums are needed. As exp(x) = 1 + x + x^2 g(x), with g(x) from g(-1) =
    1/e to g(1) = e - 2 for a cosine x, Z_i - n lies between s_i + q_i / e and s_i + (e - 2) q_i: s_i, the sum of row
    i's cosines, and q_i, that of their squares, cost n d^2 for all rows, not n^2 d. Rows that these bounds keep from
    being extreme aren't summed.
    """
    count, dim = units.shape
    if count > MANY_ROWS * dim:
        own = units.square().sum(1)
        first = units @ units.sum(0) - own
        second = torch.linalg.vecdot(units @ (units.T @ units), units) - own.square()
        order = (first + second / 2).argsort()
        found = _sums_of(torch.cat([order[:PROBED], order[-PROBED:]]), units, own)
        slack = ROUNDING_OF_SUMS * count
        may_be_least = first + math.exp(-1) * second <= found.min() + slack
        may_be_greatest = first + (math.e - 2) * second >= found.max() - slack
        chosen = (may_be_least | may_be_greatest).nonzero()[:, 0]
        if len(chosen) < count / 3:
            sums = torch.cat([found, _sums_of(chosen, units, own)])
            return float(sums.min()), float(sums.max())
    sums = pair_sums(units, torch.Tensor.expm1_)
    return float(sums.min()), float(sums.max())


def _sums_of(
    chosen: Int[Tensor, " chosen"], units: Float[Tensor, "rows dim"], own: Float[Tensor, " rows"]
) -> Float[Tensor, " chosen"]:
    """Z_i - n of the chosen rows; `own` are their products with themselves, which count as 0."""
    return cross_sums(units[chosen], units, torch.Tensor.expm1_) - own[chosen].double().expm1()


def phase1_isotropy_null(count: int, dim: int, sample_rows: int = SAMPLE_ROWS) -> float:
    """What `phase1_isotropy` reads on average on Gaussian noise: `count` rows of `dim` dimensions.

    With n = min(count, sample_rows) and f = n / count, Z_i varies over the rows with the variance
        v = n (1 - f) / d  +  f (n / d + 1) / (2 d)  +  n / (2 d^2)
    around m = n (1 + 1 / (2 d)), and the extremes of n normal values lie a = quantile(.5264^(1/n)) standard
    deviations out (Chen & Tyler 1999): value = (m - a sqrt(v)) / (m + a sqrt(v)).
    The first term is the sum of the sampled unit rows, which isn't 0, as only the whole group is centred; for
    an unsampled group (f = 1) it vanishes, and only the spread of the norms (second term) and of the squared
    cosines (third) is left: 1 - value is then about sqrt(d) times smaller. So nulls, and values near them,
    compare only between groups of like size. Against simulation, 1 - value is right to about 5 % for
    n >= 200, d >= 16 (one draw scatters by 5 to 15 % around it).
    """
    n = min(count, sample_rows)
    assert n >= 2, "isotropy needs at least two rows"
    sampled = n / count
    variance = n * (1 - sampled) / dim + sampled * (n / dim + 1) / (2 * dim) + n / (2 * dim**2)
    mean = n * (1 + 1 / (2 * dim))
    reach = expected_maximum(n) * math.sqrt(variance)
    return (mean - reach) / (mean + reach)


def expected_maximum(count: int) -> float:
    """Of so many independent normal values, in standard deviations: quantile(.5264^(1/count)), Chen & Tyler (1999)."""
    return NormalDist().inv_cdf(0.5264 ** (1 / count))


def phase1_isotropy_interval(
    group: Group, value: float, sample_rows: int = SAMPLE_ROWS, draws: int = 20, seed: int = 43
) -> tuple[float, float]:
    """95 % interval of `phase1_isotropy` over the draw of its sample: value * exp(-+ t s), within e^-2 and 1.

    s is the standard deviation of ln(min Z / max Z) over other samples, t Student's quantile for so many. Of each, Z is
    summed for those rows only that come first and last where exp is expanded to the second order: Z_i = n +
    u_i . sum_j u_j + u_i . S u_i / 2, the sum over the sample, S over the whole group, scaled. So a draw costs n d, not
    n^2 d. (A bootstrap of one sample's rows isn't sound: the value rests on extremes.) A group that isn't sampled has
    no such error: (value, value).
    """
    count = len(group)
    if count <= sample_rows:
        return value, value
    units, has_direction = _centred_units(group, torch.arange(count, device=group.rows.device))
    drawn = _draws(count, sample_rows, draws, seed).to(units.device)
    moments, second = units.T @ units / (2 * count), []
    for part in units.split(PROBE_ROWS):
        second.append(torch.linalg.vecdot(part @ moments, part))
    order = torch.cat(second)[:, None] * sample_rows + units @ (units.T @ drawn)
    outside, probes = drawn == 0, min(PROBED, sample_rows)
    ends = [(order * sign).masked_fill_(outside, -torch.inf).topk(probes, dim=0).indices for sign in (-1, 1)]
    probed, places = torch.cat(ends).unique(return_inverse=True)  # most are at an end of many samples
    sums = -math.expm1(1) * has_direction[probed, None] * drawn[probed]  # a row's product with itself counts as 0
    extreme = units[probed]
    for part, members in zip(units.split(PROBE_ROWS), drawn.split(PROBE_ROWS), strict=True):
        sums += row_products(extreme, part).expm1_() @ members
    found = sample_rows + sums.gather(0, places)
    logs = found.amin(0).log() - found.amax(0).log()
    spread = float(scipy.special.stdtrit(draws - 1, 0.975)) * float(logs.double().std())
    return max(value * math.exp(-spread), math.exp(-2)), min(value * math.exp(spread), 1.0)


def _draws(count: int, sample_rows: int, draws: int, seed: int) -> Float[Tensor, "count draws"]:
    """1 where a row is of that sample, drawn without replacement by NumPy's generator of this seed, else 0."""
    random, drawn = np.random.default_rng(seed), torch.zeros(count, draws)
    for of_draw in drawn.T:
        of_draw[torch.from_numpy(random.choice(count, sample_rows, replace=False))] = 1
    return drawn


def isotropy_excess(value: float, null: float) -> float:
    """(1 - I) / (1 - I_null): how many times less isotropic than Gaussian noise of the same size.

    0 up; 1 (+- .15) is like noise and best, larger is less isotropic. An unsampled group has a much finer
    null than a sampled one (see `phase1_isotropy_null`), so that excesses compare over steps and trials, not
    between groups.
    """
    assert null < 1, "the null of an isotropy is below 1"
    return (1 - value) / (1 - null)


def partition_isotropy(group: Group, axes: Axes) -> float:
    """Isotropy of Mu & Viswanath (2018), on the raw rows: not the number that Phase 1 calls isotropy.

    Z(c) = sum_w exp(c . w) over all rows w, for the unit eigenvectors c of E^T E and their negatives; value =
    min Z / max Z. 0 to 1, higher is better. Invariant to rotation, but not to scale or shift: short rows read
    near 1 whatever their directions, so compare it only where the norms are alike. Null: `partition_isotropy_null`.

    Only the axes that may hold the least or the greatest Z are summed over all rows (`_extreme_axes`): one to
    three of 2,048 where norms are below 1, all where they are 5.
    """
    vectors = axes.vectors[:, _extreme_axes(group, axes)]
    parts = []
    for part in row_slices(*group.rows.shape):
        projections = group.rows[part].double() @ vectors
        parts.append(torch.cat([projections.logsumexp(0), (-projections).logsumexp(0)]))
    log_sums = torch.stack(parts).logsumexp(0)
    return float((log_sums.min() - log_sums.max()).exp())


def partition_isotropy_null(group: Group) -> float:
    """`partition_isotropy` of Gaussian rows as many and as long: exp(-2 a sqrt((r^2 + r^4 / 4) / (n d))).

    r^2 is the mean square norm, a the expected maximum of 2 d normal values. On an axis c the first-order part of
    ln Z, the mean of c . w, has the variance r^2 / (n d), the second, half the mean square, r^4 / (4 n d) over the
    axes (Marchenko-Pastur). 1 - value is right to 10 % for n >= 5 d and norms up to 2.
    """
    count, dim = group.rows.shape
    square = float(group.norms.square().mean())
    return math.exp(-2 * expected_maximum(2 * dim) * math.sqrt((square + square**2 / 4) / (count * dim)))


def _extreme_axes(group: Group, axes: Axes) -> Bool[Tensor, " dim"]:
    """Which axes may hold the least or the greatest Z, by what is known without another pass.

    With x = c . w, exp(x) = 1 + x + x^2 g(x), where g(x) = (exp(x) - 1 - x) / x^2 rises with x and |x| is at most
    the largest norm r: Z(c) lies between n + s + l g(-r) and n + s + l g(r), s being the sum of all x and l the
    sum of their squares, which is the axis' eigenvalue.
    """
    reach = group.norms.max().clamp(min=1e-3)  # a wider interval is as true, and nothing cancels
    least, greatest = ((torch.expm1(x) - x) / x.square() for x in (-reach, reach))
    sums = group.total @ axes.vectors
    rounding = 1e-6 * axes.strengths[0]
    base = len(group) + torch.stack([sums, -sums])
    low = base + (axes.strengths - rounding) * least
    high = (base + (axes.strengths + rounding) * greatest).nan_to_num(nan=torch.inf)
    return ((high >= low.max()) | (low <= high.min())).any(0)


def _centred_units(
    group: Group, chosen: Int[Tensor, " chosen"]
) -> tuple[Float[Tensor, "chosen dim"], Bool[Tensor, " chosen"]]:
    """Rows less the mean, scaled to unit norm in float32, and which differ from the mean; the others are zero."""
    mean = group.mean
    units = torch.empty(len(chosen), len(mean), dtype=torch.float32, device=mean.device)
    norms = torch.empty(len(chosen), dtype=torch.float64, device=mean.device)
    for part in row_slices(*units.shape):
        centred = group.rows.index_select(0, chosen[part]).double() - mean
        norms[part] = torch.linalg.vector_norm(centred, dim=1)
        units[part] = centred.div_(norms[part, None])
    has_direction = norms > ROUNDING * (norms.max() + mean.norm())
    return units.masked_fill_(~has_direction[:, None], 0.0), has_direction


def centred_mean_cosine(group: Group, sample_rows: int = SAMPLE_ROWS, seed: int = 42) -> float | None:
    """Mean cosine over all pairs of the rows that `phase1_isotropy` looks at: less the group's mean, sampled alike.

    Phase 1 prints it beside its isotropy. -1/(n - 1) to 1. Null: -1/(n - 1) for a whole group, whose centred rows
    sum to 0, about 0 for a sample; a direction that all rows share is taken off, so it doesn't tell of it (see
    `mean_pairwise_cosine`). None where fewer than two rows differ from the mean.
    """
    units, has_direction = _centred_units(group, _sample(group, sample_rows, seed))
    count = int(has_direction.sum())
    total = units.double().sum(0)
    return (float(total @ total) - count) / (count * (count - 1)) if count > 1 else None


def _sample(group: Group, sample_rows: int, seed: int) -> Int[Tensor, " chosen"]:
    """All rows of a group, or the sample of a larger one."""
    chosen = torch.arange(len(group))
    if len(group) > sample_rows:
        chosen = torch.from_numpy(np.random.default_rng(seed).choice(len(group), sample_rows, replace=False))
    return chosen.to(group.rows.device)
