"""Figures of two trials, and how far they differ."""

from study.table import show
from wake2vec import METRICS, Numbers

LEAST_UNIT = 0.01
"""Figures are told apart relative to their size, but not to less than this: shares and cosines near 0 are noise."""


def relative_differences(before: Numbers, after: Numbers) -> list[tuple[str, float]]:
    """Each figure that both define, and its difference in units of the larger of the two; largest first.

    From -2 to 2; the unit is at least `LEAST_UNIT`.
    """
    found = []
    for address, metric in METRICS.items():
        a, b = before.get(address), after.get(address)
        if a is None or b is None or not metric.compares:
            continue
        found.append((address, (b - a) / max(abs(a), abs(b), LEAST_UNIT)))
    return sorted(found, key=lambda pair: -abs(pair[1]))


def shown(figure: float | None) -> str:
    return "undefined" if figure is None else show(figure)
