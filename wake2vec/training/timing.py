"""How long something takes, foretold from a part of it, and how sure that is."""

import functools
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

ROUNDS = 3
"""So often the largest part is timed: what else the machine does comes and goes."""


@dataclass(frozen=True)
class Estimate:
    """Seconds, and between which they lie by the spread of what was timed."""

    seconds: float
    low: float
    high: float

    def __add__(self, other: "Estimate") -> "Estimate":
        return Estimate(self.seconds + other.seconds, self.low + other.low, self.high + other.high)

    def __mul__(self, times: float | int) -> "Estimate":
        return Estimate(self.seconds * times, self.low * times, self.high * times)

    @property
    def doubt(self) -> float:
        """The farther of both bounds, as a share of the seconds."""
        return max(self.high - self.seconds, self.seconds - self.low) / self.seconds if self.seconds else 0.0


def total(parts: Iterable[Estimate]) -> Estimate:
    return functools.reduce(Estimate.__add__, parts)


def seconds_of(work: Callable[[], Any], device: torch.device) -> float:
    """Of one call."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def foretell(time_of: Callable[[int], float], sizes: Sequence[int], budget_s: float) -> Estimate:
    """The time of work of the last size, from such sizes as the budget bears.

    `time_of(size)` does the work and gives its seconds. Sizes rise from the least that makes sense to the whole. They
    are tried in turn until the next would take too long; the largest is then timed again. What was timed is drawn on as
    a straight line through the least and the largest, since a part of the time is the same for every size; the bounds
    are the lines through the slowest and the quickest. Where the least alone took all the time that there was, the
    bounds are that everything is the same for every size and that nothing is.
    """
    first = time_of(sizes[0])
    if first < budget_s / 8:  # it has warmed up
        first = min(first, time_of(sizes[0]))
    size, spent, timed = sizes[0], first, {sizes[0]: [first]}
    for larger in sizes[1:]:
        rounds = ROUNDS if len(timed) > 1 else 1
        if spent + rounds * min(timed[size]) * (larger / size if len(timed) > 1 else 1) > budget_s:
            break
        size = larger
        timed[size] = [time_of(size)]
        spent += timed[size][0]
    while len(timed[size]) < ROUNDS and spent + min(timed[size]) <= budget_s:
        timed[size].append(time_of(size))
        spent += timed[size][-1]
    return _drawn_on(timed, sizes[-1])


def _drawn_on(timed: dict[int, list[float]], whole: int) -> Estimate:
    """The lines through the smallest and the largest size that were timed, at the whole."""
    smallest, size = min(timed), max(timed)
    seconds, low, high = _mean(timed[size]), min(timed[size]), max(timed[size])
    if size == whole:
        return Estimate(seconds, low, high)
    if size == smallest:
        return Estimate(math.sqrt(low * high * whole / size), low, high * whole / size)
    of_small = min(min(timed[smallest]), low)
    more = (whole - size) / (size - smallest)
    middle, least, most = (at + more * (at - of_small) for at in (seconds, low, high))
    return Estimate(middle, least, most)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
