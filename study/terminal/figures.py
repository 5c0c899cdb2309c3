"""Which figures of a trial are read first: those of the known issues."""

from study.format import shown as show
from wake2vec import COUNT_CLASSES, HEADLINE, NUMBERS, Numbers

ISSUES = (
    *HEADLINE,
    "geometry.isotropy_new_excess",
    "geometry.top1_share_new",
    "geometry.norm_ratio",
    *(f"geometry.collapse_share_{name}" for name in COUNT_CLASSES),
    "validation.bits_per_byte",
    "validation.loss_new_seen_targets",
    "validation.loss_new_unseen_targets",
    "sample.spacing_rate",
)
"""In the order in which they are shown."""

LEAST_UNIT = 0.01
"""Figures are told apart relative to their size, but not to less than this: shares and cosines near 0 are noise."""
UNTOLD = ("_null", "_low", "_high", "_std", "_corpus", "_recall", "training.", "vocabulary.", "validation.targets")
"""Parts of the names of figures that say nothing of a difference between trials."""


def relative_differences(before: Numbers, after: Numbers) -> list[tuple[str, float]]:
    """Each figure that both define, and its difference in units of the larger of the two; largest first.

    From -2 to 2; the unit is at least `LEAST_UNIT`.
    """
    found = []
    for address in NUMBERS:
        a, b = before.get(address), after.get(address)
        if a is None or b is None or any(part in address for part in UNTOLD):
            continue
        found.append((address, (b - a) / max(abs(a), abs(b), LEAST_UNIT)))
    return sorted(found, key=lambda pair: -abs(pair[1]))


def shown(figure: float | None) -> str:
    return "undefined" if figure is None else show(figure)
