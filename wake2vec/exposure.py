"""Exposure: how often a new token occurs in the training blocks, in four classes that every figure split by it shares.

A row that is never a target learns nothing but the softmax's push; one that is a target once is moved in one place of
the text. So figures of new rows are read by class.
"""

from jaxtyping import Bool, Int
from torch import Tensor

COUNT_CLASSES: dict[str, tuple[int, int | None]] = {
    "unseen": (0, 0),
    "seen_1": (1, 1),
    "seen_2_4": (2, 4),
    "seen_5_up": (5, None),
}
"""Fewest and most occurrences of a class, both included; None: no limit. They partition the counts."""


def exposure_classes(counts: Int[Tensor, " *shape"]) -> dict[str, Bool[Tensor, " *shape"]]:
    """Which counts, 0 up, lie in each class; every count is in exactly one. On the counts' device."""
    return {
        name: (counts >= fewest) if most is None else (counts >= fewest) & (counts <= most)
        for name, (fewest, most) in COUNT_CLASSES.items()
    }
