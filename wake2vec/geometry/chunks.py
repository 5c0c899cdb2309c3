"""Chunks and tiles: what keeps float64 copies and products small enough to stay in a processor's cache.

A copy of some megabytes is taken from memory that has just been given back; one of hundreds is new memory, page by
page, which costs more than the arithmetic on it.
"""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from wake2vec.products import row_products

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
