"""The table of neighbours: the base tokens nearest to new ones that a reader looks for."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from wake2vec.result import Neighbours

PHASE1_WORDS = (
    *("paùpulation", "générations", "deathfête", "cask", "loon"),
    *("grandmère", "brofèsor", "goof", "paco"),
)
"""Words whose neighbours Phase 1's report shows: the last four lay on the byte rows."""


def nearest_tokens(
    arrays: dict[str, np.ndarray], names: Sequence[str], new_counts: Int[Tensor, " new"] | None, of_each: int = 4
) -> list[Neighbours]:
    """The nearest base tokens of chosen new ones, from the arrays of the last report; `names` are those of all rows.

    First the words of Phase 1's table that are there, then the most seen ones, and some seen once and never; where no
    count is known some at even distances. Cosines have three digits, as much as the arrays hold.
    """
    ids, cosines = arrays["neighbour_ids"], arrays["neighbour_cosines"]
    words = names[len(names) - len(ids) :]
    index_of = {word: index for index, word in enumerate(words)}
    known = [index_of[word] for word in PHASE1_WORDS if word in index_of]
    return [
        Neighbours(
            word=words[index],
            seen=None if new_counts is None else int(new_counts[index]),
            tokens=[names[row] for row in ids[index].tolist() if row >= 0],
            cosines=[round(value, 3) for value in cosines[index][ids[index] >= 0].tolist()],
        )
        for index in dict.fromkeys([*known, *_typical(len(ids), new_counts, of_each)])
    ]


def _typical(count: int, new_counts: Int[Tensor, " new"] | None, of_each: int) -> list[int]:
    if new_counts is None:
        return [round(at) for at in np.linspace(0, count - 1, 4 * of_each).tolist()]
    most = torch.argsort(new_counts, descending=True, stable=True)[: 2 * of_each]
    rare = [(new_counts == times).nonzero()[:of_each, 0] for times in (1, 0)]
    return torch.cat([most, *rare]).tolist()
