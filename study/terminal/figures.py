"""Which figures of a trial are read first: those of the known issues, each with its null."""

from study.table import show
from wake2vec import NUMBERS, Numbers

SEEN = ("unseen", "seen_1", "seen_2_4", "seen_5_up")
ISSUES: dict[str, str | float | None] = {
    "validation.loss": None,
    "validation.bits_per_byte": None,
    "validation.loss_new_seen_targets": None,
    "validation.loss_new_unseen_targets": None,
    "geometry.norm_gap_d": 0.0,
    "geometry.norm_ratio": 1.0,
    "geometry.collapse_share": 0.0,
    **{f"geometry.collapse_share_{seen}": 0.0 for seen in SEEN},
    "geometry.byte_collapse_share": "geometry.byte_collapse_null",
    "geometry.top1_share_new": "geometry.top1_share_new_null",
    "geometry.isotropy_new": "geometry.isotropy_new_null",
    "geometry.isotropy_new_excess": 1.0,
    "geometry.cosine_new_new_mean": 0.0,
    "sample.spacing_rate": "sample.spacing_rate_corpus",
}
"""Figure, and what it reads where there is no issue: a number, or the address of one; None: nothing of the kind."""

LEAST_UNIT = 0.01
"""Figures are told apart relative to their size, but not to less than this: shares and cosines near 0 are noise."""
UNTOLD = ("_null", "_low", "_high", "_std", "_corpus", "_recall", "training.", "vocabulary.", "validation.targets")
"""Parts of the names of figures that say nothing of a difference between trials."""


def null_of(address: str, numbers: Numbers) -> float | None:
    """What an issue's figure reads where there is no issue."""
    null = ISSUES[address]
    return numbers.get(null) if isinstance(null, str) else null


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
