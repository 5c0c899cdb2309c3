"""Adafactor (Shazeer & Stern 2018) for one matrix, at an outside learning rate: transformers' numbers, to rounding.

transformers' step makes five copies of the matrix and goes over it twenty times, which on a CPU takes a fifteenth of a
whole training step at 76,500 rows of 2,048. Here the squared updates' second moments are read in one pass over parts
that fit into a processor's cache, the length of the update in another, and the rows are moved in a third.

Learning rate and batch as pure functions of the step, so that a resumed run can't drift.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

PART_ELEMENTS = {"cpu": 2**20, "cuda": 2**24}
"""Elements of the matrix at a time: 4 MB, and 64 MB where each operation has to be sent to a GPU."""
EPSILON = 1e-30
"""Added to each squared gradient."""
DECAY_RATE = -0.8
"""After t steps the moments keep 1 - t^DECAY_RATE of what they were."""
CLIP_THRESHOLD = 1.0
"""Largest root mean square of an update, in learning rates."""


class Adafactor(torch.optim.Optimizer):
    """Second moments as one number a row and one a column; no first moment, no scaling by the rows' size."""

    def __init__(self, rows: nn.Parameter, lr: float, weight_decay: float) -> None:
        super().__init__([rows], {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move the rows by the gradient that stands there."""
        (group,) = self.param_groups
        (rows,) = group["params"]
        gradient, state = rows.grad, self.state[rows]
        if not state:
            count, dim = rows.shape
            state.update(step=0, exp_avg_sq_row=rows.new_zeros(count), exp_avg_sq_col=rows.new_zeros(dim))
        state["step"] += 1
        _track(gradient, state["exp_avg_sq_row"], state["exp_avg_sq_col"], 1 - state["step"] ** DECAY_RATE)
        of_row = state["exp_avg_sq_row"].div(state["exp_avg_sq_row"].mean()).rsqrt_()
        of_column = state["exp_avg_sq_col"].rsqrt()
        length = _update_length(gradient, of_row, of_column)
        share = group["lr"] / (length / (rows.numel() ** 0.5 * CLIP_THRESHOLD)).clamp(min=1.0)
        keep = 1 - group["weight_decay"] * group["lr"]
        for part in _parts(rows):
            update = (gradient[part] * of_column).mul_((of_row[part] * share)[:, None])
            rows[part].mul_(keep).sub_(update) if keep != 1 else rows[part].sub_(update)


def _track(
    gradient: Float[Tensor, "rows dim"], of_rows: Float[Tensor, " rows"], of_columns: Float[Tensor, " dim"], keep: float
) -> None:
    """Bring both moving averages up to date: the means of the squares along rows and along columns."""
    means, sums = torch.empty_like(of_rows), torch.zeros_like(of_columns)
    for part in _parts(gradient):
        squares = gradient[part].square().add_(EPSILON)
        means[part] = squares.mean(1)
        sums += squares.sum(0)
    of_rows.mul_(keep).add_(means, alpha=1 - keep)
    of_columns.mul_(keep).add_(sums / len(gradient), alpha=1 - keep)


def _update_length(
    gradient: Float[Tensor, "rows dim"], of_row: Float[Tensor, " rows"], of_column: Float[Tensor, " dim"]
) -> Float[Tensor, ""]:
    """Euclidean norm of the update before it is clipped: gradient * of_row * of_column."""
    lengths = torch.empty_like(of_row)
    for part in _parts(gradient):
        lengths[part] = torch.linalg.vector_norm(gradient[part] * of_column, dim=1)
    return torch.linalg.vector_norm(lengths * of_row)


def _parts(rows: Float[Tensor, "rows dim"]) -> list[slice]:
    size = max(1, PART_ELEMENTS[rows.device.type] // rows.shape[1])
    return [slice(start, start + size) for start in range(0, len(rows), size)]


def lr_at(step: int, *, steps: int, peak: float, warmup_share: float) -> float:
    """Learning rate of the update number `step` (from 0): linear from 0 to `peak`, then linear to 0.

    The same as transformers' linear schedule with `warmup_steps = ceil(warmup_share * steps)`, which Phase 1
    used: the first update has the rate 0, if there is a warm-up.
    """
    warmup = math.ceil(warmup_share * steps)
    if step < warmup:
        return peak * step / warmup
    return peak * max(0.0, (steps - step) / max(1, steps - warmup))


def batch_at(step: int, *, blocks: int, batch_blocks: int, seed: int) -> list[int]:
    """Indices of the blocks of update number `step`: seeded shuffles of all blocks, one after another."""
    first = step * batch_blocks
    indices: list[int] = []
    for position in range(first, first + batch_blocks):
        epoch, place = divmod(position, blocks)
        if not indices or place == 0:
            order = _shuffle(blocks, seed, epoch)
        indices.append(int(order[place]))
    return indices


def _shuffle(blocks: int, seed: int, epoch: int) -> torch.Tensor:
    return torch.randperm(blocks, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
