"""Cosines between rows: exact means, sampled spreads. Zero rows, which have no direction, are left out."""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from wake2vec.metrics.readings import Measured, Readings, array
from wake2vec.metrics.registry import (
    GROUPS,
    INVARIANT,
    PAIRS,
    ROTATION,
    SCALE,
    Metric,
    Part,
    Shown,
    When,
    each,
    with_interval,
    with_null,
)
from wake2vec.metrics.rows import Group, row_slices
from wake2vec.metrics.statistics import ks_distance, ks_distance_null, ks_interval, std_interval
from wake2vec.workfolder import Numbers

METRICS = (
    *each(
        PAIRS,
        Metric(
            "geometry.cosine_{}_mean",
            "mean of the pairwise cosines, {}",
            better=0.0,
            null=0.0,
            invariant=INVARIANT,
            phase1="pairwise_cosine.{}.mean",
        ),
        shown={"new_new": Shown("mean cosine of new rows", "cosine", first=6)},
    ),
    *each(
        PAIRS,
        Metric(
            "geometry.cosine_{}_centred_mean",
            "mean of the pairwise cosines after the mean of all rows is taken off, {}",
            better=0.0,
            when=When.END,
            invariant=INVARIANT,
        ),
        *with_interval(
            Metric(
                "geometry.cosine_{}_std",
                "std of the pairwise cosines, {}",
                null="geometry.cosine_{}_std_null",
                invariant=(ROTATION, SCALE),  # in another order other pairs are drawn
                phase1="pairwise_cosine.{}.std",
                compares=False,
            )
        ),
        Metric(
            "geometry.cosine_{}_std_null",
            "the same of Gaussian noise, {}",
            invariant=INVARIANT,
            compares=False,
            part=Part.NULL,
            of="geometry.cosine_{}_std",
        ),
    ),
    *with_interval(
        Metric(
            "geometry.cosine_ks",
            "Kolmogorov-Smirnov D, base-base to new-new cosines",
            better="lower",
            null="geometry.cosine_ks_null",
            invariant=(ROTATION, SCALE),
            phase1="pairwise_cosine.ks_test_bb_vs_nn.D",
        )
    ),
    Metric(
        "geometry.cosine_ks_null",
        "the same of two samples of one distribution",
        invariant=INVARIANT,
        compares=False,
        part=Part.NULL,
        of="geometry.cosine_ks",
    ),
    *each(
        GROUPS,
        *with_null(
            Metric(
                "geometry.common_share_{}", "norm of the mean row / mean norm, {}", better="lower", invariant=INVARIANT
            )
        ),
    ),
)


def at_evaluation(readings: Readings) -> Measured:
    base, new = readings.base, readings.new
    pairs = {"base_base": (base, base), "new_new": (new, new), "base_new": (base, new)}
    samples = {name: sample_pairwise_cosines(*groups) for name, groups in pairs.items()}
    numbers = _means(readings.groups, "mean")
    for pair, sample in samples.items():
        low, high = std_interval(sample) or (None, None)
        numbers |= {
            f"geometry.cosine_{pair}_std": float(sample.std(correction=0)) if len(sample) else None,
            f"geometry.cosine_{pair}_std_low": low,
            f"geometry.cosine_{pair}_std_high": high,
            f"geometry.cosine_{pair}_std_null": cosine_std_null(base.rows.shape[1]),
        }
    apart = samples["base_base"], samples["new_new"]
    sizes = len(apart[0]), len(apart[1])
    distance = ks_distance(*apart)
    low, high = (None, None) if distance is None else ks_interval(distance, *sizes)
    numbers |= {
        "geometry.cosine_ks": distance,
        "geometry.cosine_ks_low": low,
        "geometry.cosine_ks_high": high,
        "geometry.cosine_ks_null": None if distance is None else ks_distance_null(*sizes),
    }
    for name, group in readings.groups.items():
        numbers |= {
            f"geometry.common_share_{name}": common_share(group),
            f"geometry.common_share_{name}_null": 1 / math.sqrt(len(group)),
        }
    return Measured(numbers, {f"cosines_{pair}": array(sample) for pair, sample in samples.items()})


def at_end(readings: Readings) -> Measured:
    """After the mean of all rows is taken off: a shift of all rows is nothing to the softmax."""
    return Measured(_means(readings.centred, "centred_mean"))


def _means(groups: dict[str, Group], name: str) -> Numbers:
    base, new = groups.values()
    return {
        f"geometry.cosine_base_base_{name}": mean_pairwise_cosine(base),
        f"geometry.cosine_new_new_{name}": mean_pairwise_cosine(new),
        f"geometry.cosine_base_new_{name}": mean_cross_cosine(base, new),
    }


def mean_pairwise_cosine(group: Group) -> float | None:
    """Mean cosine over all pairs of different rows of a group, exact in one pass.

    (|sum u|^2 - n) / (n (n - 1)) over the unit rows u. -1/(n - 1) to 1. Not centred, so a shared direction
    shows, which the centred isotropy hides. Nearer 0 is better; null (Gaussian rows): 0 +- sqrt(2 / d) / n.
    Zero rows are left out; None where fewer than two rows have a direction.
    """
    total, count = group.direction_total, len(group.directed)
    return (float(total @ total) - count) / (count * (count - 1)) if count > 1 else None


def mean_cross_cosine(a: Group, b: Group) -> float | None:
    """Mean cosine over all pairs of a row of `a` and a row of `b`, exact in one pass.

    (sum u) . (sum v) / (a b) over the unit rows. -1 to 1; null (Gaussian rows): 0 +- 1 / sqrt(a b d). The
    groups should be disjoint: a row in both is paired with itself. Zero rows are left out; None where a
    group has no row with a direction.
    """
    pairs = len(a.directed) * len(b.directed)
    return float(a.direction_total @ b.direction_total) / pairs if pairs else None


def sample_pairwise_cosines(a: Group, b: Group, pairs: int = 20_000, seed: int = 42) -> Float[Tensor, " pairs"]:
    """Cosines of random pairs of a row of `a` and a row of `b`, in float64: for the spread, not for the mean.

    Pairs are drawn with replacement by NumPy's generator of this seed. Where `a` and `b` are the same group
    the two rows of a pair differ. Null of the spread (Gaussian rows): 1 / sqrt(d). Zero rows are left out;
    empty where there is no pair.
    """
    same = a is b
    if not len(a.directed) or len(b.directed) < 1 + same:
        return torch.empty(0, dtype=torch.float64, device=a.rows.device)
    random = np.random.default_rng(seed)
    first = random.integers(len(a.directed), size=pairs)
    if same:
        second = (first + random.integers(1, len(b.directed), size=pairs)) % len(b.directed)
    else:
        second = random.integers(len(b.directed), size=pairs)
    left, right = (group.directed[torch.from_numpy(at).to(a.rows.device)] for group, at in ((a, first), (b, second)))
    dots = torch.empty(pairs, dtype=torch.float64, device=a.rows.device)
    for part in row_slices(pairs, a.rows.shape[1]):
        products = a.rows.index_select(0, left[part]).double().mul_(b.rows.index_select(0, right[part]))
        dots[part] = products.sum(1)
    return (dots / (a.norms[left] * b.norms[right])).clamp(-1, 1)


def cosine_std_null(dim: int) -> float:
    """Spread of the cosines of Gaussian rows: 1 / sqrt(d), exactly."""
    return 1 / math.sqrt(dim)


def common_share(group: Group) -> float | None:
    """Norm of the mean row in mean norms: how much of the rows is one direction that all share.

    0 to 1, lower is better. Raw cosines rise with it: about its square where norms are alike. Null (n Gaussian rows):
    1 / sqrt(n). None where all rows are zero. Rotation, order and scale change nothing.
    """
    length = float(group.norms.mean())
    return float(group.mean.norm()) / length if length > 0 else None
