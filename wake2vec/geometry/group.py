"""A group of rows with what one pass over them gives, so that no number reads its norms or units a second time."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from wake2vec.geometry.chunks import row_slices


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
