"""Cosines between rows: exact means, sampled spreads. Zero rows, which have no direction, are left out."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from wake2vec.geometry.chunks import row_slices
from wake2vec.geometry.group import Group


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
