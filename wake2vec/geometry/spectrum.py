"""The spectrum of a group: how its variance spreads over directions.

All numbers are of the eigenvalues of the exact covariance, with no cap on the components (Phase 1's
"101 PCs" means that its cap of 100 was hit). They follow partial collapse further than `phase1_isotropy`
does, but are blind to a collapse of the whole group: what is left around its mean is noise, and reads so;
watch the mean cosine too. All are invariant to rotation, shift and scale of the rows, and None for rows
without variance.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from wake2vec.geometry.chunks import row_chunks

ROUNDING = 1e-10
"""Rows that lie this near to their mean, in units of their norm, are equal to it: the rest is rounding."""


def column_mean(rows: Float[Tensor, "rows dim"]) -> Float[Tensor, " dim"]:
    """Mean row of a group, in float64."""
    total = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device)
    for chunk in row_chunks(rows):
        total += chunk.double().sum(0)
    return total / len(rows)


def covariance_spectrum(rows: Float[Tensor, "rows dim"]) -> Float[Tensor, " dim"]:
    """Eigenvalues of the population covariance of the rows, exact, in float64, largest first, none below 0.

    They sum to the mean squared distance from the mean row; all are 0 where the rows are equal.
    """
    mean = column_mean(rows)
    covariance = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64, device=rows.device)
    for chunk in row_chunks(rows):
        centred = chunk.double() - mean
        covariance += centred.T @ centred
    covariance /= len(rows)
    if float(covariance.trace()) <= ROUNDING**2 * float(mean @ mean):
        return torch.zeros_like(mean)
    ascending: Tensor = torch.linalg.eigvalsh(covariance)
    return ascending.flip(0).clamp(min=0)


def top1_share(eigenvalues: Float[Tensor, " dim"]) -> float | None:
    """Share of the variance on the first principal component: 1/d to 1, lower is better.

    Null (n Gaussian rows): (1 + sqrt(d / n))^2 / d.
    """
    total = float(eigenvalues.sum())
    return float(eigenvalues[0]) / total if total > 0 else None


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

    Null (n Gaussian rows): d / (1 + d / n). Led by the large eigenvalues: one strong direction pulls it down.
    """
    total = float(eigenvalues.sum())
    if total <= 0:
        return None
    shares = eigenvalues / total
    return 1 / float(shares @ shares)


def effective_rank(eigenvalues: Float[Tensor, " dim"]) -> float | None:
    """Effective rank of the covariance: exp(-sum p ln p) of the normalised eigenvalues p.

    1 to d, higher is better. Null (n >= d Gaussian rows): d exp(-d / (2 n)). Softer than the participation
    ratio, never below it. Roy & Vetterli (2007) normalise singular values: those of the covariance are its
    eigenvalues; of the matrix of rows itself the number would be another, larger one.
    """
    total = float(eigenvalues.sum())
    return float(torch.special.entr(eigenvalues / total).sum().exp()) if total > 0 else None
