"""Groups of rows: read once for all metrics, and worked on in chunks and tiles that stay in a processor's cache.

A float64 copy of some megabytes is taken from memory that has just been given back; one of hundreds is new memory, page
by page, which costs more than the arithmetic on it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def row_products(left: Float[Tensor, "m k"], right: Float[Tensor, "n k"]) -> Float[Tensor, "m n"]:
    """`left @ right.T` in new memory, outside of autograd.

    In float32 on a CPU it is done by oneDNN, which torch brings along, but doesn't use for such products: on AMD's
    processors it takes 10 to 20 % less time than the MKL behind `@`. Both round; neither is nearer to the truth.
    """
    if left.dtype is right.dtype is torch.float32 and left.device.type == "cpu" and left.numel() and right.numel():
        return _on_cpu(left, right)
    return left @ right.T


def _by_onednn(left: Tensor, right: Tensor) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")
    return product


def _by_torch(left: Tensor, right: Tensor) -> Tensor:
    return left @ right.T


# What torch.compile calls for a linear layer on a CPU; a build of torch without oneDNN lacks it.
_on_cpu = _by_onednn if hasattr(torch.ops.mkldnn, "_linear_pointwise") else _by_torch


ROUNDING = 1e-10
"""Rows that lie this near to their mean, in units of their norm, are equal to it: the rest is rounding."""
PRODUCT_ROWS = 2048
BLOCK_COLUMNS = 256
"""Rows and columns of a product of the covariance; only blocks on and above the diagonal are computed."""
PRODUCTS_IN_FLOAT32 = 8
"""So many products are summed in float32 before their sum is added to float64: half the traffic, 1e-7 at the most."""
CHUNK_ELEMENTS = 2**18
"""Elements that are copied to float64 at a time: 2 MB."""
TILE_ROWS = 256
TILE_COLUMNS = 2048
"""A tile of products, rows by columns: 2 MB in float32."""

Term = Callable[[Float[Tensor, "tile_rows tile_columns"]], Float[Tensor, "tile_rows tile_columns"]]
"""What is summed over pairs: a function of each product; it may write into its argument."""


def row_slices(count: int, dim: int) -> Iterator[slice]:
    """Slices that cover `count` rows of `dim` elements in order, a chunk each; none where there are no rows."""
    size = max(1, CHUNK_ELEMENTS // dim)
    for start in range(0, count, size):
        yield slice(start, start + size)


def split_chosen(chosen: Int[Tensor, " chosen"], dim: int) -> Iterator[Int[Tensor, " part"]]:
    """Chosen rows of `dim` elements in parts of a chunk each; one empty part where none is chosen."""
    return iter(chosen.split(max(1, CHUNK_ELEMENTS // dim)))


def pair_sums(rows: Float[Tensor, "rows dim"], term: Term) -> Float[Tensor, " rows"]:
    """sum over j != i of term(rows_i . rows_j), for every row i.

    A tile is multiplied and summed in the rows' precision, tiles are added in float64. A pair is multiplied once
    and counts for both of its rows.
    """
    sums = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for start in range(0, len(rows), TILE_ROWS):
        for first in range(start, len(rows), TILE_COLUMNS):
            terms = term(row_products(rows[start : start + TILE_ROWS], rows[first : first + TILE_COLUMNS]))
            own = TILE_ROWS if first == start else 0  # columns that are the tile's own rows: both orders are in it
            if own:
                terms.diagonal().zero_()
            sums[start : start + TILE_ROWS] += terms.sum(1)
            sums[first + own : first + TILE_COLUMNS] += terms[:, own:].sum(0)
    return sums


def cross_sums(
    rows: Float[Tensor, "rows dim"], others: Float[Tensor, "others dim"], term: Term
) -> Float[Tensor, " rows"]:
    """sum over j of term(rows_i . others_j), for every row i, as in `pair_sums`."""
    sums = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for start in range(0, len(rows), TILE_ROWS):
        for first in range(0, len(others), TILE_COLUMNS):
            products = row_products(rows[start : start + TILE_ROWS], others[first : first + TILE_COLUMNS])
            sums[start : start + TILE_ROWS] += term(products).sum(1)
    return sums


@dataclass(frozen=True, eq=False)
class Group:
    """Rows outside of autograd, and their moments in float64; `read_group` makes one."""

    rows: Float[Tensor, "rows dim"]
    norms: Float[Tensor, " rows"]
    """Euclidean norm of every row."""
    total: Float[Tensor, " dim"]
    """Sum of the rows."""
    direction_total: Float[Tensor, " dim"]
    """Sum of the unit rows; a zero row adds nothing."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def mean(self) -> Float[Tensor, " dim"]:
        return self.total / len(self)

    @property
    def has_direction(self) -> Bool[Tensor, " rows"]:
        """Which rows aren't zero."""
        return self.norms > 0

    @cached_property
    def directed(self) -> Int[Tensor, " directed"]:
        """The rows that aren't zero."""
        return self.has_direction.nonzero()[:, 0]

    def units(self, chosen: Int[Tensor, " chosen"]) -> Float[Tensor, "chosen dim"]:
        """The chosen rows divided by their norms, in float32; zero rows stay zero.

        All units at once are as large as the rows, and new memory costs more than the divisions: ask by chunks.
        """
        units = torch.empty(len(chosen), self.rows.shape[1], dtype=torch.float32, device=self.rows.device)
        for part in row_slices(*units.shape):
            norms = self.norms[chosen[part], None]
            units[part] = self.rows.index_select(0, chosen[part]).double().div_(norms.where(norms > 0, 1.0))
        return units


def read_group(rows: Float[Tensor, "rows dim"]) -> Group:
    """Norms and sums of the rows, in one pass."""
    rows = rows.detach()
    norms = torch.empty(len(rows), dtype=torch.float64, device=rows.device)
    total = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device)
    direction_total = torch.zeros_like(total)
    for part in row_slices(*rows.shape):
        chunk = rows[part].double()
        norm = torch.linalg.vector_norm(chunk, dim=1)
        norms[part] = norm
        total += chunk.sum(0)
        direction_total += torch.where(norm > 0, 1 / norm, 0.0) @ chunk
    return Group(rows, norms, total, direction_total)


def joined(first: Group, second: Group, rows: Float[Tensor, "rows dim"]) -> Group:
    """Both groups as one; `rows` are those of the first, then those of the second, so that nothing is copied."""
    assert len(rows) == len(first) + len(second), "the rows of a joined group are those of both"
    return Group(
        rows.detach(),
        torch.cat([first.norms, second.norms]),
        first.total + second.total,
        first.direction_total + second.direction_total,
    )


@dataclass(frozen=True, eq=False)
class Axes:
    """The eigenvectors of the second moments E^T E of a group's raw rows, strongest first."""

    strengths: Float[Tensor, " dim"]
    """Eigenvalues: the sum of the squares of all rows' coordinates on the axis."""
    vectors: Float[Tensor, "dim dim"]
    """One axis a column, in float64."""


def covariance(group: Group) -> Float[Tensor, "dim dim"]:
    """Population covariance of the rows, in float64.

    Rows are centred in their own precision, float32 at least, and multiplied in float32, which is more than twice as
    fast as float64 and costs 1e-7 of the largest eigenvalue: nothing cancels after the centring, and a difference is
    rounded to its own size. What the centre's rounding leaves of the mean is taken off at the end. Sums over many
    products are float64. The rows' scale is taken off, so that no square leaves the range of float32.
    """
    count, dim = group.rows.shape
    scale = (group.norms.square().mean().sqrt() / dim**0.5).clamp(min=torch.finfo(torch.float32).tiny)
    precision = torch.promote_types(group.rows.dtype, torch.float32)
    centre = group.mean.to(precision)
    centred = torch.empty(min(count, PRODUCT_ROWS), dim, dtype=torch.float32, device=group.rows.device)
    upper = torch.zeros(dim, dim, dtype=torch.float64, device=group.rows.device)
    for many in group.rows.split(PRODUCT_ROWS * PRODUCTS_IN_FLOAT32):
        sums = torch.zeros(dim, dim, dtype=torch.float32, device=group.rows.device)
        for rows in many.split(PRODUCT_ROWS):
            part = torch.sub(rows.to(precision), centre, out=centred[: len(rows)]).div_(scale)
            for start in range(0, dim, BLOCK_COLUMNS):
                sums[start : start + BLOCK_COLUMNS, start:].addmm_(
                    part[:, start : start + BLOCK_COLUMNS].T, part[:, start:]
                )
        upper += sums
    left = group.mean - centre
    whole = upper.triu_().add_(upper.triu(1).T).mul_(scale.square() / count)
    return whole.addr_(left, left, alpha=-1)


def principal_axes(group: Group, covariance: Float[Tensor, "dim dim"]) -> Axes:
    """Axes of the raw, not centred rows: E^T E = n (covariance + mean mean^T)."""
    values, vectors = torch.linalg.eigh(len(group) * (covariance + torch.outer(group.mean, group.mean)))
    return Axes(values.flip(0).clamp(min=0), vectors.flip(1))
