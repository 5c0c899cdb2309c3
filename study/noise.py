"""The noise floor: what a change of the seed alone does to a figure, as intervals over seeds."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import stdtrit


@dataclass(frozen=True)
class Interval:
    """Mean over seeds, and the 95 % interval of that mean."""

    mean: float
    low: float
    high: float
    count: int

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


def interval(values: Sequence[float]) -> Interval:
    """Student's t interval of the mean; with one value it is unbounded, with an undefined one all of it is NaN.

    Raises StatisticsError: no value.
    """
    mean, count = statistics.fmean(values), len(values)
    if math.isnan(mean):
        return Interval(math.nan, math.nan, math.nan, count)
    if count == 1:
        return Interval(mean, -math.inf, math.inf, 1)
    half = float(stdtrit(count - 1, 0.975)) * statistics.stdev(values) / math.sqrt(count)
    return Interval(mean, mean - half, mean + half, count)


def paired_difference(before: Sequence[float], after: Sequence[float]) -> Interval:
    """Of `after` less `before`, seed by seed: what two trials share of a seed's luck (batches, noise) falls out.

    Where it holds 0, the two don't differ by more than the noise. A seed that only one of them has is left out.
    """
    return interval([b - a for a, b in zip(before, after, strict=False)])
