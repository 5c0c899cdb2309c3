"""Drift: how far training has moved rows from where they were."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from wake2vec.geometry.chunks import row_slices


@dataclass(frozen=True, eq=False)
class Drift:
    """How far rows moved; for base rows less is safer, and 0 (cosine 1) means that they were frozen."""

    cosine_mean: float | None
    """Mean cosine of a row to itself before, -1 to 1; None where no row has a direction at both times."""
    cosine_std: float | None
    """Population standard deviation of those cosines; None where `cosine_mean` is."""
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
    before, after = before.detach(), after.detach()
    cosine, distance = torch.empty(2, len(before), dtype=torch.float64, device=after.device)
    for part in row_slices(*before.shape):
        new = after[part].double()
        old = before[part].to(new.device).double()
        old_norms, new_norms = torch.linalg.vector_norm(old, dim=1), torch.linalg.vector_norm(new, dim=1)
        defined = (old_norms > 0) & (new_norms > 0)
        cosines = (torch.linalg.vecdot(old, new) / (old_norms * new_norms)).clamp(-1, 1)
        cosine[part] = torch.where(defined, cosines, torch.nan)
        distance[part] = torch.linalg.vector_norm(new - old, dim=1)
    known = cosine[~cosine.isnan()]
    return Drift(
        cosine_mean=float(known.mean()) if len(known) else None,
        cosine_std=float(known.std(correction=0)) if len(known) else None,
        l2_mean=float(distance.mean()),
        top_movers=tuple(distance.topk(min(top, len(distance))).indices.tolist()),
        cosines=cosine,
        distances=distance,
    )
