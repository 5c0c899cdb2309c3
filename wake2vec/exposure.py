"""Exposure: how often a new token occurs in the training blocks, in four classes that every figure split by it shares.

A row that is never a target learns nothing but the softmax's push; one that is a target once is moved in one place of
the text. So figures of new rows are read by class.
"""

from jaxtyping import Bool, Int
from torch import Tensor

from wake2vec.data.audit_record import COUNT_CLASSES


def exposure_classes(counts: Int[Tensor, " *shape"]) -> dict[str, Bool[Tensor, " *shape"]]:
    """Which counts, 0 up, lie in each class; every count is in exactly one. On the counts' device."""
    return {
        name: (counts >= fewest) if most is None else (counts >= fewest) & (counts <= most)
        for name, (fewest, most) in COUNT_CLASSES.items()
    }
