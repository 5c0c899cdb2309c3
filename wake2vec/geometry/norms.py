"""Norms: how long the rows of a group are, and how far apart the lengths of two groups lie."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class NormSummary:
    """Moments of the norms of a group; `std` is the population's (ddof 0), as in Phase 1."""

    mean: float
    std: float
    minimum: float
    maximum: float
    count: int


def norm_summary(norms: Float[Tensor, " rows"]) -> NormSummary:
    """Mean, population standard deviation and range of the norms of at least one row; zero rows count."""
    assert len(norms), "a summary needs at least one row"
    return NormSummary(
        mean=float(norms.mean()),
        std=float(norms.std(correction=0)),
        minimum=float(norms.min()),
        maximum=float(norms.max()),
        count=len(norms),
    )


def cohens_d(base_norms: Float[Tensor, " base"], new_norms: Float[Tensor, " new"]) -> float | None:
    """Gap between the mean norms of base and new rows, in standard deviations: base minus new.

    d = (mean base - mean new) / sqrt((var base + var new) / 2), variances of the population (ddof 0).
    Any real number; 0 is best, the sign says who is longer, so an objective takes |d|. Null: two samples of
    one distribution give 0 +- sqrt(1/base + 1/new). It explodes where both groups are tight, and 0 doesn't
    mean equal distributions: read it with `norm_ratio` and `wasserstein_distance`. None where neither group
    has a spread. Cohen, Statistical Power Analysis (1988).
    """
    base, new = base_norms.double(), new_norms.double()
    return cohens_d_from_moments(
        float(base.mean()), float(base.std(correction=0)), float(new.mean()), float(new.std(correction=0))
    )


def cohens_d_from_moments(mean_base: float, std_base: float, mean_new: float, std_new: float) -> float | None:
    """`cohens_d` from means and population standard deviations, as a report prints them."""
    pooled = math.sqrt((std_base**2 + std_new**2) / 2)
    if pooled <= 1e-12 * max(abs(mean_base), abs(mean_new)):
        return None
    return (mean_base - mean_new) / pooled


def norm_ratio(base_norms: Float[Tensor, " base"], new_norms: Float[Tensor, " new"]) -> float | None:
    """Mean norm of the new rows in mean norms of the base rows: 0 up, 1 is best, also the null.

    Unlike d it doesn't depend on the spread. None where all base rows are zero.
    """
    base, new = float(base_norms.double().mean()), float(new_norms.double().mean())
    return new / base if base > 0 else None


def wasserstein_distance(base_norms: Float[Tensor, " base"], new_norms: Float[Tensor, " new"]) -> float:
    """Wasserstein-1 distance of the two distributions of norms, in units of the norm.

    W = integral of |F_base(x) - F_new(x)| dx over the empirical distribution functions. 0 up, lower is
    better, 0 only where the distributions are equal: it sees what d and the ratio miss. Null: of the order
    of std * sqrt(1/base + 1/new). It scales with the rows.
    """
    base, new = base_norms.double().sort().values, new_norms.double().sort().values
    points = torch.cat([base, new]).sort().values
    base_below = torch.searchsorted(base, points[:-1], right=True).double() / len(base)
    new_below = torch.searchsorted(new, points[:-1], right=True).double() / len(new)
    return float(((base_below - new_below).abs() * points.diff()).sum())


def welch_t(base_norms: Float[Tensor, " base"], new_norms: Float[Tensor, " new"]) -> float | None:
    """Welch's t of the norms, base minus new.

    t = (mean base - mean new) / sqrt(var base / base + var new / new), ddof 1. Any real number; null: 0 +- 1.
    It grows with the square root of the number of rows, so that it says "different", not "how different":
    compare d instead. None where a group has fewer than two rows or neither has a spread. Welch (1947).
    """
    base, new = base_norms.double(), new_norms.double()
    if min(len(base), len(new)) < 2:
        return None
    mean_base, mean_new = float(base.mean()), float(new.mean())
    error = math.sqrt(float(base.var()) / len(base) + float(new.var()) / len(new))
    if error <= 1e-14 * max(mean_base, mean_new):
        return None
    return (mean_base - mean_new) / error


def mann_whitney_u(base_norms: Float[Tensor, " base"], new_norms: Float[Tensor, " new"]) -> float:
    """U of the base rows: pairs in which the base row is longer than the new row, ties counting half.

    0 to base * new; null: half of that, +- sqrt(base * new * (base + new + 1) / 12). U / (base * new) is the
    chance that a base row is the longer one. Mann & Whitney (1947).
    """
    base, new = base_norms.double().contiguous(), new_norms.double().sort().values
    shorter = torch.searchsorted(new, base).double()
    not_longer = torch.searchsorted(new, base, right=True).double()
    return float((shorter + not_longer).sum() / 2)
