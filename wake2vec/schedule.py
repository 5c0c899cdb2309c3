"""Learning rate and batch as pure functions of the step, so that a resumed run can't drift."""

import math

import torch


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
