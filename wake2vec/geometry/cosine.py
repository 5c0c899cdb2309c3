"""Cosines between rows: exact means, sampled spreads. Zero rows, which have no direction, are left out."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from wake2vec.geometry.chunks import row_chunks
from wake2vec.geometry.norms import row_norms


def unit_rows(rows: Float[Tensor, "rows dim"]) -> tuple[Float[Tensor, "rows dim"], Bool[Tensor, " rows"]]:
    """The rows divided by their norms, in float32, and which have a direction; the others stay zero."""
    norms = row_norms(rows)
    has_direction = norms > 0
    divisors = torch.where(has_direction, norms, 1.0)
    units = torch.empty(rows.shape, dtype=torch.float32, device=rows.device)
    pieces = zip(row_chunks(units), row_chunks(rows), row_chunks(divisors), strict=True)
    for unit, chunk, divisor in pieces:
        unit.copy_(chunk.double() / divisor[:, None])
    return units, has_direction


def mean_pairwise_cosine(rows: Float[Tensor, "rows dim"]) -> float | None:
    """Mean cosine over all pairs of different rows of a group, exact in one pass.

    (|sum u|^2 - n) / (n (n - 1)) over the unit rows u. -1/(n - 1) to 1. Not centred, so a shared direction
    shows, which the centred isotropy hides. Nearer 0 is better; null (Gaussian rows): 0 +- sqrt(2 / d) / n.
    Zero rows are left out; None where fewer than two rows have a direction.
    """
    total, count = _direction_sum(rows)
    return (float(total @ total) - count) / (count * (count - 1)) if count > 1 else None


def mean_cross_cosine(a: Float[Tensor, "a dim"], b: Float[Tensor, "b dim"]) -> float | None:
    """Mean cosine over all pairs of a row of `a` and a row of `b`, exact in one pass.

    (sum u) . (sum v) / (a b) over the unit rows. -1 to 1; null (Gaussian rows): 0 +- 1 / sqrt(a b d). The
    groups should be disjoint: a row in both is paired with itself. Zero rows are left out; None where a
    group has no row with a direction.
    """
    (total_a, count_a), (total_b, count_b) = _direction_sum(a), _direction_sum(b)
    return float(total_a @ total_b) / (count_a * count_b) if count_a and count_b else None


def sample_pairwise_cosines(
    a: Float[Tensor, "a dim"], b: Float[Tensor, "b dim"], pairs: int = 20_000, seed: int = 42
) -> Float[Tensor, " pairs"]:
    """Cosines of random pairs of a row of `a` and a row of `b`, in float64: for the spread, not for the mean.

    Pairs are drawn with replacement by NumPy's generator of this seed. Where `a` and `b` are the same tensor
    the two rows of a pair differ. Null of the spread (Gaussian rows): 1 / sqrt(d). Zero rows are left out;
    empty where there is no pair.
    """
    same = a.shape == b.shape and a.stride() == b.stride() and a.data_ptr() == b.data_ptr()
    norms_a, norms_b = row_norms(a), row_norms(b)
    usable_a, usable_b = (norms_a > 0).nonzero()[:, 0], (norms_b > 0).nonzero()[:, 0]
    if not len(usable_a) or len(usable_b) < 1 + same:
        return torch.empty(0, dtype=torch.float64, device=a.device)
    random = np.random.default_rng(seed)
    first = random.integers(len(usable_a), size=pairs)
    if same:
        second = (first + random.integers(1, len(usable_b), size=pairs)) % len(usable_b)
    else:
        second = random.integers(len(usable_b), size=pairs)
    left, right = (
        usable_a[torch.from_numpy(first).to(a.device)],
        usable_b[torch.from_numpy(second).to(b.device)],
    )
    both = zip(row_chunks(left), row_chunks(right), strict=True)
    dots = [(a.detach()[i].double() * b.detach()[j].double()).sum(1) for i, j in both]
    lengths = norms_a[left] * norms_b[right]
    return (torch.cat(dots) / lengths).clamp(-1, 1)


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


def _direction_sum(rows: Float[Tensor, "rows dim"]) -> tuple[Float[Tensor, " dim"], int]:
    """Sum of the unit rows in float64, and how many rows have a direction."""
    norms = row_norms(rows)
    weights = torch.where(norms > 0, 1 / norms, 0.0)
    total = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device)
    for chunk, weight in zip(row_chunks(rows), row_chunks(weights), strict=True):
        total += weight @ chunk.double()
    return total, int((norms > 0).sum())
