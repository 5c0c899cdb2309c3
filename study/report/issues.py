"""Phase 1's known issues, before and after: a picture and a reading each, of the baseline and of the chosen trial."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from study.report.issue_pictures import (
    Side,
    collapse_pictures,
    cosine_pictures,
    neighbour_pictures,
    norm_pictures,
    spacing_pictures,
    spectrum_pictures,
)
from wake2vec import METRICS, PHASE1_PRINTED, null_of

UNDEFINED = "–"


@dataclass(frozen=True)
class Reading:
    """What the picture's headline number reads."""

    value: str
    null: str
    base_rows: str
    note: str


@dataclass(frozen=True)
class KnownIssue:
    """What is compared, and how it is read and drawn."""

    title: str
    meaning: str
    address: str
    """Of the number that is read."""
    read: Callable[[Side], Reading]
    draw: Callable[[Sequence[Side]], tuple[Markup, ...]]

    @property
    def what(self) -> str:
        """The number in words."""
        return METRICS[self.address].meaning


@dataclass(frozen=True)
class Issue:
    """One of `KNOWN`, of some trials."""

    known: KnownIssue
    phase1: str
    """What Phase 1's report prints of the number; empty where it prints nothing."""
    readings: tuple[Reading, ...]
    """One for each side."""
    pictures: tuple[Markup, ...]


def issues_of(sides: Sequence[Side]) -> list[Issue]:
    """All known issues, each drawn on the same axes for all sides."""
    printed = {known.address: PHASE1_PRINTED.get(METRICS[known.address].phase1) for known in KNOWN}
    return [
        Issue(known, "" if value is None else f"{value:g}", tuple(map(known.read, sides)), known.draw(sides))
        for known in KNOWN
        for value in [printed[known.address]]
    ]


def _norm_reading(side: Side) -> Reading:
    base, new = (len(rows) for rows in side.norms)
    null = f"0 ± {1.96 * math.sqrt(1 / base + 1 / new):.2f}"
    means = f"mean norm of the new rows {_number(side, 'geometry.norm_new_mean')}"
    return Reading(
        _number(side, "geometry.norm_gap_d", "+.2f"),
        null,
        f"mean norm {_number(side, 'geometry.norm_base_mean')}",
        means,
    )


def _collapse_reading(side: Side) -> Reading:
    byte, mutual = _number(side, "geometry.byte_collapse_share"), _number(side, "geometry.mutual_collapse_share")
    occurring = _number(side, "geometry.byte_collapse_null")
    base_rows = UNDEFINED if occurring == UNDEFINED else f"{occurring} of those that the text has lie on byte rows"
    return Reading(
        _number(side, "geometry.collapse_share"),
        _null(side, "geometry.collapse_share", "g"),
        base_rows,
        f"onto byte rows {byte}, onto each other {mutual}",
    )


def _direction_reading(side: Side) -> Reading:
    needed = _number(side, "geometry.components_90_new", ",.0f")
    return Reading(
        _number(side, "geometry.top1_share_new"),
        _null(side, "geometry.top1_share_new"),
        _number(side, "geometry.top1_share_base"),
        f"{needed} directions hold 90 % of their variance",
    )


def _isotropy_reading(side: Side) -> Reading:
    low, high = _number(side, "geometry.isotropy_new_low"), _number(side, "geometry.isotropy_new_high")
    return Reading(
        _number(side, "geometry.isotropy_new"),
        _null(side, "geometry.isotropy_new"),
        _number(side, "geometry.isotropy_base"),
        f"95 % interval {low} to {high}; mean cosine of two new rows {_number(side, 'geometry.cosine_new_new_mean')}",
    )


def _spacing_reading(side: Side) -> Reading:
    low, high = side.number("sample.spacing_excess_low"), side.number("sample.spacing_excess_high")
    if low is None or high is None:
        note = "no boundary in the samples"
    elif low <= 0 <= high:
        note = f"no more than the text itself has: the interval of the excess, {low:.4f} to {high:.4f}, holds 0"
    else:
        note = f"{'more' if low > 0 else 'fewer'} than the text itself has: excess {low:.4f} to {high:.4f}"
    rate, null = _number(side, "sample.spacing_rate", ".4f"), _null(side, "sample.spacing_rate", ".4f")
    return Reading(rate, null, UNDEFINED, note)


def _neighbour_reading(side: Side) -> Reading:
    kinds = {"word": "a word", "piece": "a piece of a word", "byte": "a byte"}
    shares = [f"{_number(side, f'geometry.neighbour_{kind}_share', '.0%')} {words}" for kind, words in kinds.items()]
    null = _null(side, "geometry.neighbour_cosine_mean")
    return Reading(_number(side, "geometry.neighbour_cosine_mean"), null, UNDEFINED, f"nearest to {', '.join(shares)}")


def _number(side: Side, address: str, form: str = ".3f") -> str:
    return _text(side.number(address), form)


def _null(side: Side, address: str, form: str = ".3f") -> str:
    return _text(null_of(address, side.numbers), form)


def _text(value: float | None, form: str) -> str:
    return UNDEFINED if value is None or not math.isfinite(value) else format(value, form)


KNOWN = (
    KnownIssue(
        "Norm gap",
        "New rows should be about as long as base rows: then the two outlines lie over each other.",
        "geometry.norm_gap_d",
        _norm_reading,
        norm_pictures,
    ),
    KnownIssue(
        "Isotropy",
        "Cosines of rows that point everywhere lie around 0; a hump on the right is a direction that they share.",
        "geometry.isotropy_new",
        _isotropy_reading,
        cosine_pictures,
    ),
    KnownIssue(
        "Collapse",
        "New rows that lie on the byte rows, or on each other, can hardly be told apart by the model.",
        "geometry.collapse_share",
        _collapse_reading,
        collapse_pictures,
    ),
    KnownIssue(
        "One direction",
        "A tall first bar says that the new rows differ along one line, and hardly otherwise.",
        "geometry.top1_share_new",
        _direction_reading,
        spectrum_pictures,
    ),
    KnownIssue(
        "Spacing",
        "Word boundaries that the samples lose or add, beside those of the held-out text itself.",
        "sample.spacing_rate",
        _spacing_reading,
        spacing_pictures,
    ),
    KnownIssue(
        "Neighbours",
        "How near a new row lies to its nearest base row: above noise it has a place among them, at 1 it lies on one.",
        "geometry.neighbour_cosine_mean",
        _neighbour_reading,
        neighbour_pictures,
    ),
)
"""The objectives first, then in the order of Phase 1's report."""
