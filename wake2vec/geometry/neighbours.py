"""Neighbours: which base rows a new row has come to lie near."""

import numpy as np
import scipy.special
import torch
from jaxtyping import Float, Int
from torch import Tensor

from wake2vec.geometry.chunks import TILE_ROWS
from wake2vec.geometry.group import Group
from wake2vec.products import row_products

QUANTILES = 1000


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
