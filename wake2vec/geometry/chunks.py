"""Chunks of rows: what keeps every product and every float64 copy small."""

from collections.abc import Iterator

from jaxtyping import Shaped
from torch import Tensor

COPY_ROWS = 4096
"""Rows that are copied to float64 at a time."""
PRODUCT_ROWS = 512
"""Rows that are multiplied with a whole group at a time."""


def row_chunks(rows: Shaped[Tensor, "rows ..."], size: int = COPY_ROWS) -> Iterator[Shaped[Tensor, "chunk ..."]]:
    """The rows in order, `size` at a time, outside of autograd; one empty chunk where there are none."""
    for start in range(0, max(len(rows), 1), size):
        yield rows.detach()[start : start + size]
