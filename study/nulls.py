"""What a figure reads where there is nothing of what it looks for: of noise, or of the held-out text itself."""

from collections.abc import Iterable

from wake2vec import COUNT_CLASSES, Numbers

CONSTANT = {
    "geometry.norm_gap_d": 0.0,
    "geometry.norm_ratio": 1.0,
    "geometry.collapse_share": 0.0,
    **{f"geometry.collapse_share_{name}": 0.0 for name in COUNT_CLASSES},
    "geometry.mutual_collapse_share": 0.0,
    "geometry.isotropy_base_excess": 1.0,
    "geometry.isotropy_new_excess": 1.0,
    **{f"geometry.cosine_{pair}_mean": 0.0 for pair in ("base_base", "new_new", "base_new")},
    "sample.spacing_excess": 0.0,
}
"""Nulls that are the same at every size."""
NAMED = {
    "geometry.byte_collapse_share": "geometry.byte_collapse_null",
    "sample.spacing_rate": "sample.spacing_rate_corpus",
}
"""Nulls that are measured, under another name than the figure's own with `_null`."""


def null_of(address: str, numbers: Numbers) -> float | None:
    """The null of a figure, for the sizes at hand; None: it has none, or it is undefined here."""
    if address in CONSTANT:
        return CONSTANT[address]
    return numbers.get(NAMED.get(address, f"{address}_null"))


MISLEADING = {
    "geometry.isotropy_new": (
        "Isotropy misleads by itself: rows that training hardly moved read what noise reads, {null}, nearly the best "
        "there is, and are useless. Read it beside the loss."
    ),
}
"""What is to be known of a figure before it is aimed at."""


def cautions(addresses: Iterable[str], numbers: Numbers) -> list[str]:
    """Of those figures that mislead, a sentence each, with the null for the sizes at hand."""
    found = []
    for address in addresses:
        if address in MISLEADING:
            null = null_of(address, numbers)
            found.append(MISLEADING[address].format(null="nearly 1" if null is None else f"{null:.3f}"))
    return found
