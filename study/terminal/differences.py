"""Figures with what the seed alone does to them: intervals as text, and whether a difference is more than noise."""

import math
from collections.abc import Sequence

from study.format import UNDEFINED
from study.format import shown as show
from study.judge import verdict
from study.noise import Interval
from study.settings import Objective

MOST_DECIMALS = 8


def plus_minus(interval: Interval) -> tuple[str, str]:
    """Mean and half the interval as texts, `4.312` and `±0.021`; the second is empty for one value, or none."""
    half = interval.high - interval.mean
    if interval.count < 2 or math.isnan(interval.mean):
        return show(interval.mean), ""
    if half == 0:
        return show(interval.mean), "±0"
    decimals = _decimals(half)
    return f"{interval.mean:.{decimals}f}", f"±{half:.{decimals}f}"


def signed(difference: Interval) -> str:
    """`-0.123 ±0.021`; without an interval to four digits."""
    if math.isnan(difference.mean):
        return UNDEFINED
    if difference.count < 2:
        return "0" if difference.mean == 0 else f"{difference.mean:+.4g}"
    mean, half = plus_minus(difference)
    return f"{'' if mean.startswith('-') else '+'}{mean} {half}"


def judged(objective: Objective, difference: Interval) -> str:
    """`better`, `worse`, `equal`, or `within the noise` where the interval over seeds holds 0."""
    return verdict(objective, difference)


def legend(differences: Sequence[Interval], seeds: int) -> str:
    """What the intervals of a table are, or why it has none; `seeds` are those that the study asks for."""
    count = min(difference.count for difference in differences)
    if count > 1:
        return f"± is half the 95 % interval over {count} seeds. Differences are paired by seed."
    if seeds > 1:
        return "One seed: no interval. The baseline and the finalists alone are run with more."
    return "One seed: no interval, a small difference may be noise. study.seeds=3 gives some."


def _decimals(half: float) -> int:
    """So many that half the interval is shown with two digits."""
    return min(max(1 - math.floor(math.log10(half)), 0), MOST_DECIMALS)
