"""Drift: how far training has moved rows from where they were."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from wake2vec.geometry.chunks import row_chunks


@dataclass(frozen=True, eq=False)
class Drift:
    """How far rows moved; for base rows less is safer, and 0 (cosine 1) means that they were frozen."""

    cosine_mean: float | None
    """Mean cosine of a row to itself before, -1 to 1; None where no row has a direction at both times."""
    l2_mean: float
    """Mean Euclidean distance of a row from itself before, 0 up, in units of the rows."""
    top_movers: tuple[int, ...]
    """The rows that moved farthest by Euclidean distance, farthest first."""
    cosines: Float[Tensor, " rows"]
    """Cosine of each row to itself before; NaN where it was or is zero."""
    distances: Float[Tensor, " rows"]


def drift(before: Float[Tensor, "rows dim"], after: Float[Tensor, "rows dim"], top: int = 10) -> Drift:
    """Compare at least one row with itself, row by row, in float64.

    Null: no training reads cosine 1 and distance 0 (to 1e-15); unrelated Gaussian rows read cosine 0.
    """
    assert before.shape == after.shape and len(before), "drift compares the same rows, at least one"
    cosines, distances = [], []
    for old, new in zip(row_chunks(before), row_chunks(after), strict=True):
        old, new = old.double(), new.double()
        old_norms, new_norms = old.norm(dim=1), new.norm(dim=1)
        defined = (old_norms > 0) & (new_norms > 0)
        cosine = ((old / old_norms[:, None]) * (new / new_norms[:, None])).sum(1).clamp(-1, 1)
        cosines.append(torch.where(defined, cosine, torch.nan))
        distances.append((new - old).norm(dim=1))
    cosine, distance = torch.cat(cosines), torch.cat(distances)
    known = cosine[~cosine.isnan()]
    return Drift(
        cosine_mean=float(known.mean()) if len(known) else None,
        l2_mean=float(distance.mean()),
        top_movers=tuple(distance.topk(min(top, len(distance))).indices.tolist()),
        cosines=cosine,
        distances=distance,
    )
