"""Neighbours: which base rows a new row has come to lie near."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from wake2vec.geometry.chunks import TILE_ROWS
from wake2vec.geometry.group import Group


def nearest_rows(group: Group, base: Group, top: int = 5) -> tuple[Int[Tensor, "rows top"], Float[Tensor, "rows top"]]:
    """The `top` base rows nearest to every row by cosine: their indices and cosines, nearest first.

    Raw rows, not centred: where all rows share a direction every cosine is high, and only the order tells.
    Null (Gaussian rows): about sqrt(2 ln(base) / d) for the nearest. Zero base rows are nobody's neighbours;
    where fewer than `top` others are left there are as many columns as they. A zero row has indices -1 and
    cosines NaN.
    """
    kept = base.directed
    bases = base.units(kept)
    parts = torch.arange(len(group), device=kept.device).split(TILE_ROWS)
    found = [(group.units(part) @ bases.T).topk(min(top, len(kept)), dim=1) for part in parts]
    indices, cosines = kept[torch.cat([f.indices for f in found])], torch.cat([f.values for f in found])
    known = group.has_direction[:, None]
    return torch.where(known, indices, -1), torch.where(known, cosines.clamp(-1, 1), torch.nan)
