"""The spectrum of a group: how its variance spreads over directions.

All numbers are of the eigenvalues of the exact covariance, with no cap on the components (Phase 1's
"101 PCs" means that its cap of 100 was hit). They follow partial collapse further than `phase1_isotropy`
does, but are blind to a collapse of the whole group: what is left around its mean is noise, and reads so;
watch the mean cosine too. All are invariant to rotation, shift and scale of the rows, and None for rows
without variance.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from wake2vec.metrics.readings import Measured, Readings, array
from wake2vec.metrics.registry import GROUPS, INVARIANT, Metric, Shown, each, with_null
from wake2vec.metrics.rows import ROUNDING
from wake2vec.workfolder import Numbers

TRACY_WIDOM_MEAN = -1.2065335745820

METRICS = (
    *each(
        GROUPS,
        Metric(
            "geometry.components_90_{}",
            "principal directions for 90 % of the variance, {}",
            unit="directions",
            better="higher",
            invariant=INVARIANT,
            phase1="intrinsic_dim.{}_90pct",
        ),
        Metric(
            "geometry.components_95_{}",
            "principal directions for 95 % of the variance, {}",
            unit="directions",
            better="higher",
            invariant=INVARIANT,
            phase1="intrinsic_dim.{}_95pct",
        ),
        *with_null(
            Metric(
                "geometry.participation_ratio_{}",
                "participation ratio of the spectrum, {}",
                unit="directions",
                better="higher",
                invariant=INVARIANT,
            )
        ),
        *with_null(
            Metric(
                "geometry.effective_rank_{}",
                "effective rank of the spectrum, {}",
                unit="directions",
                better="higher",
                invariant=INVARIANT,
            )
        ),
        *with_null(Metric("geometry.isoscore_{}", "IsoScore, {}", better="higher", invariant=INVARIANT)),
    ),
    *each(
        GROUPS,
        *with_null(
            Metric(
                "geometry.top1_share_{}",
                "variance share of the first principal direction, {}",
                better="lower",
                invariant=INVARIANT,
                phase1="intrinsic_dim.{}_top1_var",
            )
        ),
        shown={
            "new": Shown("top-1 share of new rows", "top-1 share", first=12),
            "base": Shown("top-1 share of base rows", "top-1, base"),
        },
    ),
)


def at_evaluation(readings: Readings) -> Measured:
    numbers: Numbers = {}
    arrays = {}
    for name, group in readings.groups.items():
        values = covariance_spectrum(readings.covariances[name], group.mean)
        size = group.rows.shape
        numbers |= {
            f"geometry.top1_share_{name}": top1_share(values),
            f"geometry.top1_share_{name}_null": top1_share_null(*size),
            f"geometry.components_90_{name}": components_for(values, 0.9),
            f"geometry.components_95_{name}": components_for(values, 0.95),
            f"geometry.participation_ratio_{name}": participation_ratio(values),
            f"geometry.participation_ratio_{name}_null": participation_ratio_null(*size),
            f"geometry.effective_rank_{name}": effective_rank(values),
            f"geometry.effective_rank_{name}_null": effective_rank_null(*size),
            f"geometry.isoscore_{name}": isoscore(values),
            f"geometry.isoscore_{name}_null": isoscore_null(*size),
        }
        arrays[f"spectrum_{name}"] = array(values)
    return Measured(numbers, arrays)


def covariance_spectrum(covariance: Float[Tensor, "dim dim"], mean: Float[Tensor, " dim"]) -> Float[Tensor, " dim"]:
    """Eigenvalues of the population covariance of rows with this mean, largest first, none below 0.

    They sum to the mean squared distance from the mean row; all are 0 where the rows are equal. Right to 1e-6 of
    the largest (see `covariance`).
    """
    if float(covariance.trace()) <= ROUNDING**2 * float(mean @ mean):
        return torch.zeros_like(mean)
    ascending: Tensor = torch.linalg.eigvalsh(covariance)
    return ascending.flip(0).clamp(min=0)


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
