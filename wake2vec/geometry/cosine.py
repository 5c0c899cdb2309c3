"""Cosines between rows: exact means, sampled spreads. Zero rows, which have no direction, are left out."""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from wake2vec.geometry.chunks import row_slices
from wake2vec.geometry.group import Group
from wake2vec.intervals import NORMAL_95


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


def std_interval(sample: Float[Tensor, " pairs"]) -> tuple[float, float] | None:
    """95 % interval of the spread over all pairs, from a sample of them; None where there is none.

    s -+ 1.96 sqrt((m4 - s^4) / (4 s^2 n)), m4 the fourth central moment (delta method). Pairs are drawn independently
    out of all pairs, so that theory of independent draws holds, though pairs share rows. Not below 0.
    """
    if not len(sample):
        return None
    centred = sample.double() - sample.double().mean()
    variance = float(centred.square().mean())
    if variance == 0:
        return 0.0, 0.0
    error = math.sqrt(max(float(centred.pow(4).mean()) - variance**2, 0.0) / (4 * variance * len(sample)))
    return max(math.sqrt(variance) - NORMAL_95 * error, 0.0), math.sqrt(variance) + NORMAL_95 * error


def common_share(group: Group) -> float | None:
    """Norm of the mean row in mean norms: how much of the rows is one direction that all share.

    0 to 1, lower is better. Raw cosines rise with it: about its square where norms are alike. Null (n Gaussian rows):
    1 / sqrt(n). None where all rows are zero. Rotation, order and scale change nothing.
    """
    length = float(group.norms.mean())
    return float(group.mean.norm()) / length if length > 0 else None


def ks_distance(x: Float[Tensor, " x"], y: Float[Tensor, " y"]) -> float | None:
    """Kolmogorov-Smirnov distance D: the largest gap between the two empirical distribution functions.

    0 to 1, lower is more alike; null: about .87 * sqrt(1/x + 1/y). On samples D keeps its size as the samples
    grow, its p-value doesn't. None where a sample is empty.
    """
    if not len(x) or not len(y):
        return None
    x, y = x.double().sort().values, y.double().sort().values
    points = torch.cat([x, y])
    below_x = torch.searchsorted(x, points, right=True).double() / len(x)
    below_y = torch.searchsorted(y, points, right=True).double() / len(y)
    return float((below_x - below_y).abs().max())


def ks_distance_null(x: int, y: int) -> float:
    """Mean `ks_distance` of two samples of these sizes of one distribution: sqrt(pi / 2) ln 2 sqrt(1/x + 1/y).

    The mean of Kolmogorov's law: right to 2 % for samples of 1,000 (a little high), exact for large ones.
    """
    return math.sqrt(math.pi / 2) * math.log(2) * math.sqrt(1 / x + 1 / y)


def ks_interval(distance: float, x: int, y: int) -> tuple[float, float]:
    """95 % interval of the distance of two distributions, from the `ks_distance` of samples of these sizes.

    Each empirical distribution function lies within sqrt(ln(80) / (2 n)) of its own with probability .975
    (Dvoretzky-Kiefer-Wolfowitz, Massart 1990), so that D is off by the sum of both at the most. It holds for every
    distribution and size and is on the safe side; a bootstrap of D isn't sound where the distributions are equal.
    """
    reach = sum(math.sqrt(math.log(80) / (2 * count)) for count in (x, y))
    return max(distance - reach, 0.0), min(distance + reach, 1.0)
