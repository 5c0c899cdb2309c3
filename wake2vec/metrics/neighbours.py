"""Neighbours: which base rows a new row has come to lie near."""

import numpy as np
import scipy.special
import torch
from jaxtyping import Float, Int
from torch import Tensor

from wake2vec.data.tokenizer import KINDS
from wake2vec.metrics.readings import Measured, Readings, by_exposure
from wake2vec.metrics.registry import CLASSES, INVARIANT, Metric, When, each, with_null
from wake2vec.metrics.rows import TILE_ROWS, Group, row_products
from wake2vec.workfolder import Numbers

QUANTILES = 1000

METRICS = (
    *with_null(
        Metric(
            "geometry.neighbour_cosine_mean",
            "mean cosine of a new row to its nearest base row",
            when=When.END,
            invariant=INVARIANT,
        )
    ),
    *each(
        CLASSES,
        Metric(
            "geometry.neighbour_cosine_mean_{}",
            "mean cosine to the nearest base row, {}",
            when=When.END,
            invariant=INVARIANT,
            needs=("new_counts",),
        ),
    ),
    *each(
        {
            "byte": "a byte",
            "special": "a control or reserved token",
            "punctuation": "without letter or digit",
            "piece": "a piece inside a word",
            "word": "a word or its beginning",
        },
        Metric(
            "geometry.neighbour_{}_share",
            "new rows whose nearest base row is {}",
            when=When.END,
            invariant=INVARIANT,
            needs=("base_kinds",),
        ),
    ),
)


def at_end(readings: Readings) -> Measured:
    base, new, subject = readings.base, readings.new, readings.subject
    ids, cosines = nearest_rows(new, base)
    nearest = cosines[:, 0] if cosines.shape[1] else torch.full((len(new),), torch.nan)
    known = nearest[~nearest.isnan()].double()
    numbers: Numbers = {
        "geometry.neighbour_cosine_mean": float(known.mean()) if len(known) else None,
        "geometry.neighbour_cosine_mean_null": nearest_cosine_null(len(base), base.rows.shape[1]),
        **by_exposure("geometry.neighbour_cosine_mean", nearest, subject.new_counts),
        **dict.fromkeys(f"geometry.neighbour_{kind}_share" for kind in KINDS),
    }
    if subject.base_kinds is not None and ids.shape[1]:
        kinds = subject.base_kinds.to(ids.device)[ids[ids[:, 0] >= 0, 0]]
        counts = torch.bincount(kinds, minlength=len(KINDS)).tolist()
        for kind, count in zip(KINDS, counts, strict=True):
            numbers[f"geometry.neighbour_{kind}_share"] = count / len(new)
    return Measured(
        numbers,
        {"neighbour_ids": ids.int().cpu().numpy(), "neighbour_cosines": cosines.half().cpu().numpy()},
    )


def nearest_rows(group: Group, base: Group, top: int = 5) -> tuple[Int[Tensor, "rows top"], Float[Tensor, "rows top"]]:
    """The `top` base rows nearest to every row by cosine: their indices and cosines, nearest first.

    Raw rows, not centred: where all rows share a direction every cosine is high, and only the order tells.
    Null of the nearest: `nearest_cosine_null`. Zero base rows are nobody's neighbours;
    where fewer than `top` others are left there are as many columns as they. A zero row has indices -1 and
    cosines NaN.
    """
    kept = base.directed
    bases = base.units(kept)
    parts = torch.arange(len(group), device=kept.device).split(TILE_ROWS)
    found = [row_products(group.units(part), bases).topk(min(top, len(kept)), dim=1) for part in parts]
    indices, cosines = kept[torch.cat([f.indices for f in found])], torch.cat([f.values for f in found])
    known = group.has_direction[:, None]
    return torch.where(known, indices, -1), torch.where(known, cosines.clamp(-1, 1), torch.nan)


def nearest_cosine_null(count: int, dim: int) -> float:
    """Mean cosine of a row to the nearest of `count` Gaussian rows, exact up to quadrature.

    For directions in d dimensions c sqrt((d - 1) / (1 - c^2)) of a cosine c is Student's t with d - 1 degrees of
    freedom, and the largest of `count` has the quantiles p^(1/count); their mean is taken. sqrt(2 ln(count) / d) lies
    above.
    """
    if dim == 1:
        return 1 - 2 * 0.5**count
    chances = (np.arange(QUANTILES) + 0.5) / QUANTILES
    t = scipy.special.stdtrit(dim - 1, chances ** (1 / count))
    return float(np.mean(t / np.sqrt(t * t + dim - 1)))
