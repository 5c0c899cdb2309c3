"""Mutual collapse: which rows have many near others; every pair counts, few need their whole product.

`mutual_collapse` has sieves, each of which leaves fewer rows open than it found, and none of which decides a row
otherwise than all products would:

1. Rows with enough near others among `SAMPLE_ROWS` rows are collapsed. That settles every large clump.
2. With p the coordinates of a unit row on a few axes and r the norm of what is left of it, a cosine is at most
   p_i . p_j + r_i r_j (Cauchy-Schwarz), which is a product of m + 1 numbers. Rows with too few pairs that might be near
   are not collapsed, those without any are near to none. That settles rows in directions of their own, on few axes
   first, and what those leave on more. Where a sample says that it wouldn't pay, it is left out.
3. Rows that are still open are multiplied with all that may be near.

Where all rows lie just below tau of each other all products are computed, and the sieves before cost a few per cent.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from wake2vec.metrics.rows import TILE_COLUMNS, Group, Term, cross_sums, pair_sums, row_products, split_chosen

SAMPLE_ROWS = 512
AXES_SHARES = (1 / 12, 1 / 4, 1 / 2)
"""Axes of each round of the second sieve, as shares of all dimensions."""
ROUNDING = 1e-5
"""More than float32 products of unit rows, and their coordinates, are ever wrong by."""


Rows = Int[Tensor, " chosen"]
Coordinates = Callable[[Rows], Float[Tensor, "chosen coordinates"]]
"""Coordinates of chosen rows, whose products are cosines or at least cosines."""


def mutual_collapse(group: Group, axes: Float[Tensor, "dim dim"], tau: float, k: int = 10) -> Bool[Tensor, " rows"]:
    """Which rows have at least k other rows of the group at cosine >= tau; a zero row is near none.

    `axes` are the columns of a rotation, those first in which the rows are longest: any rotation gives the same
    rows, a good one (`principal_axes`) gives them sooner.
    """
    near = at_least(tau)
    collapsed = _near_the_sample(group, near, k)
    among = group.has_direction.clone()  # rows that anything may be near to
    open_ = (among & ~collapsed).nonzero()[:, 0]
    for share in AXES_SHARES:
        few = axes[:, : max(1, round(share * len(axes)))].float()
        maybe_near = at_least(tau - ROUNDING)
        if _pays(group.units(_spread(open_)), few, maybe_near, k, len(open_)):
            possible = _near_counts(open_, among, partial(_bounds, group, few), maybe_near)
            among[open_[possible == 0]] = False
            open_ = open_[possible >= k]
    collapsed[open_] = _near_counts(open_, among, group.units, near) >= k
    return collapsed


def at_least(tau: float) -> Term:
    """1 where a product is at least tau, else 0."""
    return lambda products: products.ge_(tau)


def _near_the_sample(group: Group, near: Term, k: int) -> Bool[Tensor, " rows"]:
    """First sieve: which rows have k near others in the sample alone; none where no row of the sample has."""
    found = torch.zeros_like(group.has_direction)
    sample = group.units(_spread(group.directed))
    if bool((pair_sums(sample, near) >= k).any()):
        for part in split_chosen(group.directed, sample.shape[1]):
            found[part] = cross_sums(group.units(part), sample, near) > k  # a row of the sample is near to itself, too
    return found


def _near_counts(
    chosen: Rows, among: Bool[Tensor, " rows"], coordinates: Coordinates, near: Term
) -> Float[Tensor, " chosen"]:
    """How many other rows, of those among which to look, are near, for each chosen row, which is one of them."""
    mine = coordinates(chosen)
    counts = pair_sums(mine, near)
    if len(chosen):
        for part in among.index_fill(0, chosen, False).nonzero()[:, 0].split(TILE_COLUMNS):
            counts += cross_sums(mine, coordinates(part), near)
    return counts


def _pays(
    sample: Float[Tensor, "sample dim"], few: Float[Tensor, "dim few"], maybe_near: Term, k: int, count: int
) -> bool:
    """Whether bounds on a few axes spare `count` open rows, of which this is a sample, more products than they cost."""
    if not count:
        return False
    possible = pair_sums(_bounding(sample, few), maybe_near) * (count / len(sample))
    still_open = float((possible >= k).double().mean())
    return few.shape[1] / few.shape[0] + still_open**2 < 0.75


def _bounds(group: Group, few: Float[Tensor, "dim few"], chosen: Rows) -> Float[Tensor, "chosen few_and_1"]:
    return torch.cat([_bounding(group.units(part), few) for part in split_chosen(chosen, len(few))])


def _bounding(units: Float[Tensor, "rows dim"], few: Float[Tensor, "dim few"]) -> Float[Tensor, "rows few_and_1"]:
    """Coordinates on a few axes, and the norm of what is left of the row: their products are at least the cosines."""
    coordinates = units @ few
    left = (1 + ROUNDING - coordinates.square().sum(1, keepdim=True)).clamp(min=0).sqrt()
    return torch.cat([coordinates, left], dim=1)


def _spread(rows: Rows) -> Int[Tensor, " sample"]:
    """Up to `SAMPLE_ROWS` of the rows, one of 32 or fewer, evenly spread over their order."""
    return rows[:: max(32, -(-len(rows) // SAMPLE_ROWS))]


def kth_cosines(group: Group, k: int = 10, sample_rows: int = 1000, seed: int = 42) -> Float[Tensor, " sample"]:
    """Cosine of a row to its k-th nearest other row of the group: the row is mutually collapsed where it is >= tau.

    So the share of the values >= tau is `mutual_collapse`'s share for any tau, of which this is the curve. Of more than
    `sample_rows` rows a sample is drawn without replacement (NumPy's generator of this seed), as all would take every
    product. -1 to 1; NaN for zero rows and where there are fewer than k others.
    """
    chosen = torch.arange(len(group), device=group.rows.device)
    if len(group) > sample_rows:
        drawn = np.random.default_rng(seed).choice(len(group), sample_rows, replace=False)
        chosen = torch.from_numpy(np.sort(drawn)).to(group.rows.device)
    mine, others = group.units(chosen), group.directed
    nearest = torch.full((len(chosen), k), -torch.inf, device=mine.device)
    for part in others.split(TILE_COLUMNS):
        cosines = row_products(mine, group.units(part)).masked_fill_(chosen[:, None] == part, -torch.inf)
        nearest = torch.cat([nearest, cosines], dim=1).topk(k, dim=1).values
    found = nearest[:, -1].clamp(max=1)
    return torch.where(group.has_direction[chosen] & found.isfinite(), found.clamp(min=-1), torch.nan)
