"""Drift: how far training has moved rows from where they were."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from wake2vec.metrics.readings import Measured, Readings, array, by_exposure
from wake2vec.metrics.registry import CLASSES, GROUPS, INVARIANT, ORDER, ROTATION, Metric, each
from wake2vec.metrics.rows import row_slices
from wake2vec.workfolder import Numbers

METRICS = (
    *each(
        GROUPS,
        Metric(
            "geometry.drift_{}_cosine",
            "mean cosine of {}, before to after",
            invariant=INVARIANT,
            phase1="drift.{}_cosine_mean",
            needs=("{}_before",),
        ),
        Metric(
            "geometry.drift_{}_cosine_std",
            "std of the cosines of {}, before to after",
            invariant=INVARIANT,
            needs=("{}_before",),
            compares=False,
        ),
        Metric(
            "geometry.drift_{}_l2",
            "mean distance of {}, before to after",
            unit="of the rows",
            invariant=(ROTATION, ORDER),
            phase1="drift.{}_l2_mean",
            needs=("{}_before",),
        ),
        phase1={"new": "wake"},
    ),
    *each(
        CLASSES,
        Metric(
            "geometry.drift_new_cosine_{}",
            "mean cosine, before to after, {}",
            invariant=INVARIANT,
            needs=("new_before", "new_counts"),
        ),
        Metric(
            "geometry.drift_new_l2_{}",
            "mean distance, before to after, {}",
            unit="of the rows",
            invariant=(ROTATION, ORDER),
            needs=("new_before", "new_counts"),
        ),
    ),
)


def at_evaluation(readings: Readings) -> Measured:
    subject = readings.subject
    numbers: Numbers = {}
    arrays: dict[str, np.ndarray] = {}
    for group, before in (("base", subject.base_before), ("new", subject.new_before)):
        moved = drift(before, readings.groups[group].rows) if before is not None else None
        numbers |= {
            f"geometry.drift_{group}_cosine": moved.cosine_mean if moved else None,
            f"geometry.drift_{group}_cosine_std": moved.cosine_std if moved else None,
            f"geometry.drift_{group}_l2": moved.l2_mean if moved else None,
        }
        if group == "new":
            cosines, distances = (moved.cosines, moved.distances) if moved else (None, None)
            numbers |= by_exposure("geometry.drift_new_cosine", cosines, subject.new_counts)
            numbers |= by_exposure("geometry.drift_new_l2", distances, subject.new_counts)
        arrays |= {
            f"drift_cosine_{group}": array(moved.cosines) if moved else np.array([]),
            f"drift_top_movers_{group}": np.array(moved.top_movers if moved else []),
        }
    return Measured(numbers, arrays)


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
