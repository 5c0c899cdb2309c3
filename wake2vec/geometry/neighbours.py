"""Neighbours: which base rows a new row has come to lie near."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from wake2vec.geometry.chunks import PRODUCT_ROWS, row_chunks
from wake2vec.geometry.cosine import unit_rows


def nearest_rows(
    rows: Float[Tensor, "rows dim"], base_rows: Float[Tensor, "base dim"], top: int = 5
) -> tuple[Int[Tensor, "rows top"], Float[Tensor, "rows top"]]:
    """The `top` base rows nearest to every row by cosine: their indices and cosines, nearest first.

    Raw rows, not centred: where all rows share a direction every cosine is high, and only the order tells.
    Null (Gaussian rows): about sqrt(2 ln(base) / d) for the nearest. Zero base rows are nobody's neighbours;
    where fewer than `top` others are left there are as many columns as they. A zero row has indices -1 and
    cosines NaN.
    """
    (units, has_direction), (bases, usable) = unit_rows(rows), unit_rows(base_rows)
    kept = usable.nonzero()[:, 0]
    bases = bases[kept]
    found = [(chunk @ bases.T).topk(min(top, len(kept)), dim=1) for chunk in row_chunks(units, PRODUCT_ROWS)]
    indices, cosines = kept[torch.cat([f.indices for f in found])], torch.cat([f.values for f in found])
    known = has_direction[:, None]
    return torch.where(known, indices, -1), torch.where(known, cosines.clamp(-1, 1), torch.nan)
