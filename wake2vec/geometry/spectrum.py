"""The spectrum of a group: how its variance spreads over directions.

All numbers are of the eigenvalues of the exact covariance, with no cap on the components (Phase 1's
"101 PCs" means that its cap of 100 was hit). They follow partial collapse further than `phase1_isotropy`
does, but are blind to a collapse of the whole group: what is left around its mean is noise, and reads so;
watch the mean cosine too. All are invariant to rotation, shift and scale of the rows, and None for rows
without variance.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from wake2vec.geometry.group import Group

ROUNDING = 1e-10
"""Rows that lie this near to their mean, in units of their norm, are equal to it: the rest is rounding."""
PRODUCT_ROWS = 2048
BLOCK_COLUMNS = 256
"""Rows and columns of a product of the covariance; only blocks on and above the diagonal are computed."""
PRODUCTS_IN_FLOAT32 = 8
"""So many products are summed in float32 before their sum is added to float64: half the traffic, 1e-7 at the most."""


TRACY_WIDOM_MEAN = -1.2065335745820


@dataclass(frozen=True, eq=False)
class Axes:
    """The eigenvectors of the second moments E^T E of a group's raw rows, strongest first."""

    strengths: Float[Tensor, " dim"]
    """Eigenvalues: the sum of the squares of all rows' coordinates on the axis."""
    vectors: Float[Tensor, "dim dim"]
    """One axis a column, in float64."""


def covariance(group: Group) -> Float[Tensor, "dim dim"]:
    """Population covariance of the rows, in float64.

    Rows are centred in their own precision, float32 at least, and multiplied in float32, which is more than twice as
    fast as float64 and costs 1e-7 of the largest eigenvalue: nothing cancels after the centring, and a difference is
    rounded to its own size. What the centre's rounding leaves of the mean is taken off at the end. Sums over many
    products are float64. The rows' scale is taken off, so that no square leaves the range of float32.
    """
    count, dim = group.rows.shape
    scale = (group.norms.square().mean().sqrt() / dim**0.5).clamp(min=torch.finfo(torch.float32).tiny)
    precision = torch.promote_types(group.rows.dtype, torch.float32)
    centre = group.mean.to(precision)
    centred = torch.empty(min(count, PRODUCT_ROWS), dim, dtype=torch.float32, device=group.rows.device)
    upper = torch.zeros(dim, dim, dtype=torch.float64, device=group.rows.device)
    for many in group.rows.split(PRODUCT_ROWS * PRODUCTS_IN_FLOAT32):
        sums = torch.zeros(dim, dim, dtype=torch.float32, device=group.rows.device)
        for rows in many.split(PRODUCT_ROWS):
            part = torch.sub(rows.to(precision), centre, out=centred[: len(rows)]).div_(scale)
            for start in range(0, dim, BLOCK_COLUMNS):
                sums[start : start + BLOCK_COLUMNS, start:].addmm_(
                    part[:, start : start + BLOCK_COLUMNS].T, part[:, start:]
                )
        upper += sums
    left = group.mean - centre
    whole = upper.triu_().add_(upper.triu(1).T).mul_(scale.square() / count)
    return whole.addr_(left, left, alpha=-1)


def covariance_spectrum(covariance: Float[Tensor, "dim dim"], mean: Float[Tensor, " dim"]) -> Float[Tensor, " dim"]:
    """Eigenvalues of the population covariance of rows with this mean, largest first, none below 0.

    They sum to the mean squared distance from the mean row; all are 0 where the rows are equal. Right to 1e-6 of
    the largest (see `covariance`).
    """
    if float(covariance.trace()) <= ROUNDING**2 * float(mean @ mean):
        return torch.zeros_like(mean)
    ascending: Tensor = torch.linalg.eigvalsh(covariance)
    return ascending.flip(0).clamp(min=0)


def principal_axes(group: Group, covariance: Float[Tensor, "dim dim"]) -> Axes:
    """Axes of the raw, not centred rows: E^T E = n (covariance + mean mean^T)."""
    values, vectors = torch.linalg.eigh(len(group) * (covariance + torch.outer(group.mean, group.mean)))
    return Axes(values.flip(0).clamp(min=0), vectors.flip(1))


def top1_share(eigenvalues: Float[Tensor, " dim"]) -> float | None:
    """Share of the variance on the first principal component: 1/d to 1, lower is better; null: `top1_share_null`."""
    total = float(eigenvalues.sum())
    return float(eigenvalues[0]) / total if total > 0 else None


def top1_share_null(count: int, dim: int) -> float | None:
    """Mean `top1_share` of `count` Gaussian rows: that of the Tracy-Widom law of order 1 (mean -1.2065).

    With m = count - 1, a = sqrt(m - 1/2), b = sqrt(dim - 1/2) the largest eigenvalue of m times the covariance lies at
    (a + b)^2 - 1.2065 (a + b) (1/a + 1/b)^(1/3), and their sum at m dim. Right to 1 % for count >= 150, dim >= 16.
    Johnstone (2001), with the halves of Ma (2012). None for fewer than two rows.
    """
    if count < 2:
        return None
    if dim == 1:
        return 1.0
    a, b = math.sqrt(count - 1.5), math.sqrt(dim - 0.5)
    largest = (a + b) ** 2 + TRACY_WIDOM_MEAN * (a + b) * (1 / a + 1 / b) ** (1 / 3)
    return min(largest / ((count - 1) * dim), 1.0)


def components_for(eigenvalues: Float[Tensor, " dim"], share: float) -> int | None:
    """Fewest principal components that hold at least `share` (0 to 1) of the variance.

    1 to d, more is better. Null: near share * d for many more rows than dimensions, fewer for fewer rows.
    """
    total = float(eigenvalues.sum())
    if total <= 0:
        return None
    held = eigenvalues.cumsum(0) / total
    return min(int((held < share - 1e-12).sum()) + 1, len(eigenvalues))


def participation_ratio(eigenvalues: Float[Tensor, " dim"]) -> float | None:
    """Number of directions that share the variance: (sum l)^2 / sum l^2, 1 to d, higher is better.

    Null: `participation_ratio_null`. Led by the large eigenvalues: one strong direction pulls it down.
    """
    total = float(eigenvalues.sum())
    if total <= 0:
        return None
    shares = eigenvalues / total
    return 1 / float(shares @ shares)


def participation_ratio_null(count: int, dim: int) -> float | None:
    """`participation_ratio` of `count` Gaussian rows: (m d + 2) / (m + d + 1) with m = count - 1.

    The ratio of the exact means of (sum l)^2 and sum l^2 of a Wishart matrix; right to .1 %. None for fewer than two
    rows.
    """
    m = count - 1
    return (m * dim + 2) / (m + dim + 1) if m > 0 else None


def isoscore(eigenvalues: Float[Tensor, " dim"]) -> float | None:
    """IsoScore (Rudman et al. 2022, arXiv 2108.07344): which share of the dimensions is used, 0 to 1, higher is better.

    Their definition: the eigenvalues as a vector of length sqrt(d), delta its distance from (1, ..., 1) over
    sqrt(2 (d - sqrt(d))), value = ((d - delta^2 (d - sqrt(d)))^2 - d) / (d (d - 1)). Since d - delta^2 (d - sqrt(d)) is
    sqrt(d) sum l / |l|, that is (PR - 1) / (d - 1) of the participation ratio PR, which is how it is computed: another
    scale, no other information. k of d equal eigenvalues read (k - 1) / (d - 1). Invariant to rotation, shift and
    scale. None for rows without variance and for one dimension. Null: `isoscore_null`.
    """
    ratio, dim = participation_ratio(eigenvalues), len(eigenvalues)
    return (ratio - 1) / (dim - 1) if ratio is not None and dim > 1 else None


def isoscore_null(count: int, dim: int) -> float | None:
    """`isoscore` of `count` Gaussian rows, from `participation_ratio_null`."""
    ratio = participation_ratio_null(count, dim)
    return (ratio - 1) / (dim - 1) if ratio is not None and dim > 1 else None


def effective_rank(eigenvalues: Float[Tensor, " dim"]) -> float | None:
    """Effective rank of the covariance: exp(-sum p ln p) of the normalised eigenvalues p.

    1 to d, higher is better; null: `effective_rank_null`. Softer than the participation ratio, never below it. Roy &
    Vetterli (2007) normalise singular values: those of the covariance are its eigenvalues; of the matrix of rows itself
    the number would be another, larger one.
    """
    total = float(eigenvalues.sum())
    return float(torch.special.entr(eigenvalues / total).sum().exp()) if total > 0 else None


def effective_rank_null(count: int, dim: int) -> float | None:
    """`effective_rank` of `count` Gaussian rows: k exp(-(k + 1) / (2 K)), k and K the smaller and larger of m and d.

    m = count - 1. exp(-k / (2 K)) is the Marchenko-Pastur law's, the 1 that of real Gaussians, as in
    `participation_ratio_null`; right to .1 %. None for fewer than two rows.
    """
    few, many = sorted((count - 1, dim))
    return max(few * math.exp(-(few + 1) / (2 * many)), 1.0) if few > 0 else None
