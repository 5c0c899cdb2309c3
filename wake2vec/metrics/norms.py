"""Norms: how long the rows of a group are, and how far apart the lengths of two groups lie."""

import math

import numpy as np
import scipy.stats
import torch
from jaxtyping import Float
from torch import Tensor

from wake2vec.metrics.readings import Measured, Readings, array, by_exposure
from wake2vec.metrics.registry import (
    ALL_GROUPS,
    CLASSES,
    INVARIANT,
    ORDER,
    ROTATION,
    Metric,
    Shown,
    each,
    with_null,
)
from wake2vec.metrics.statistics import ks_distance, ks_distance_null, values

METRICS = (
    *each(
        ALL_GROUPS,
        Metric(
            "geometry.norm_{}_mean",
            "mean of the norms, {}",
            unit="of the rows",
            invariant=(ROTATION, ORDER),
            phase1="norms.{}.mean",
        ),
        Metric(
            "geometry.norm_{}_std",
            "std of the norms, {}",
            unit="of the rows",
            invariant=(ROTATION, ORDER),
            phase1="norms.{}.std",
            compares=False,
        ),
        phase1={"all": "global"},
    ),
    Metric("geometry.welch_t", "Welch's t of the norms", better=0.0, invariant=INVARIANT, phase1="norms.welch_t.t"),
    Metric(
        "geometry.mann_whitney_u",
        "Mann-Whitney's U of the norms",
        unit="pairs",
        invariant=INVARIANT,
        phase1="norms.mann_whitney_u.U",
    ),
    Metric(
        "geometry.norm_gap_d",
        "Cohen's d of the norms, base minus new",
        unit="standard deviations",
        better=0.0,
        null=0.0,
        invariant=INVARIANT,
        shown=Shown("norm gap d", "norm gap d", "d", first=2),
        phase1="norms.cohens_d",
    ),
    Metric(
        "geometry.norm_ratio",
        "mean norm, new / base",
        better=1.0,
        null=1.0,
        invariant=INVARIANT,
        shown=Shown("norm ratio, new / base", "norm ratio", first=13),
    ),
    Metric(
        "geometry.norm_wasserstein",
        "Wasserstein-1 distance of the norms",
        unit="of the rows",
        better="lower",
        invariant=(ROTATION, ORDER),
    ),
    *with_null(
        Metric("geometry.norm_ks", "Kolmogorov-Smirnov D of the norms", better="lower", invariant=INVARIANT),
        "the same of two samples of one distribution",
    ),
    *each(
        CLASSES,
        Metric(
            "geometry.norm_new_mean_{}",
            "mean of the norms, {}",
            unit="of the rows",
            invariant=(ROTATION, ORDER),
            needs=("new_counts",),
        ),
    ),
)


def at_evaluation(readings: Readings) -> Measured:
    base, new = readings.base.norms, readings.new.norms
    both = torch.cat([base, new])
    numbers = {
        "geometry.norm_gap_d": cohens_d(base, new),
        "geometry.norm_ratio": norm_ratio(base, new),
        "geometry.norm_wasserstein": wasserstein_distance(base, new),
        "geometry.norm_ks": ks_distance(base, new),
        "geometry.norm_ks_null": ks_distance_null(len(base), len(new)),
        "geometry.welch_t": welch_t(base, new),
        "geometry.mann_whitney_u": mann_whitney_u(base, new),
        **by_exposure("geometry.norm_new_mean", new, readings.subject.new_counts),
    }
    for name, norms in (("all", both), ("base", base), ("new", new)):
        numbers |= {
            f"geometry.norm_{name}_mean": float(norms.mean()),
            f"geometry.norm_{name}_std": float(norms.std(correction=0)),
        }
    return Measured(numbers, {"norms": array(both), "base_count": np.array(len(base))})


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
    return float(scipy.stats.wasserstein_distance(values(base_norms), values(new_norms)))


def welch_t(base_norms: Float[Tensor, " base"], new_norms: Float[Tensor, " new"]) -> float | None:
    """Welch's t of the norms, base minus new.

    t = (mean base - mean new) / sqrt(var base / base + var new / new), ddof 1. Any real number; null: 0 +- 1.
    It grows with the square root of the number of rows, so that it says "different", not "how different":
    compare d instead. None where a group has fewer than two rows or neither has a spread. Welch (1947).
    """
    if min(len(base_norms), len(new_norms)) < 2:
        return None
    (mean_base, std_base, base), (mean_new, std_new, new) = (
        (float(norms.mean()), float(norms.std()), len(norms)) for norms in (base_norms.double(), new_norms.double())
    )
    if math.hypot(std_base / math.sqrt(base), std_new / math.sqrt(new)) <= 1e-14 * max(mean_base, mean_new):
        return None
    found = scipy.stats.ttest_ind_from_stats(mean_base, std_base, base, mean_new, std_new, new, equal_var=False)
    return float(found.statistic)


def mann_whitney_u(base_norms: Float[Tensor, " base"], new_norms: Float[Tensor, " new"]) -> float:
    """U of the base rows: pairs in which the base row is longer than the new row, ties counting half.

    0 to base * new; null: half of that, +- sqrt(base * new * (base + new + 1) / 12). U / (base * new) is the
    chance that a base row is the longer one. Mann & Whitney (1947).
    """
    return float(scipy.stats.mannwhitneyu(values(base_norms), values(new_norms), method="asymptotic").statistic)
