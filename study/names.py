"""What figures and objectives are called where people read, and which figure is shown beside which.

Addresses stay the keys of YAML, JSON and the study's database.
"""

import math
from collections.abc import Iterator, Sequence

from study.settings import Objective
from wake2vec import METRICS, Numbers, Shown

BESIDE = {"geometry.collapse_share": "geometry.byte_collapse_share"}
"""A figure that stands right after an objective wherever that is shown: `collapse_share` holds byte collapse, which is
what Phase 1 found, and can't be gamed as that can."""


class Beside(Objective):
    """No objective, but a figure that is shown beside one; its goal says which way is better."""


def with_beside(objectives: Sequence[Objective]) -> list[Objective]:
    """The objectives, each followed by the figure that is shown beside it."""
    aimed_at = {objective.result for objective in objectives}
    shown: list[Objective] = []
    for objective in objectives:
        shown.append(objective)
        other = BESIDE.get(objective.result)
        if other is not None and other not in aimed_at:
            shown.append(Beside(result=other, goal="minimize"))
    return shown


def row_of(objectives: Sequence[Objective], values: Sequence[float], numbers: Numbers) -> tuple[float, ...]:
    """The values of the objectives with those of `with_beside` among them; NaN: undefined."""
    own: Iterator[float] = iter(values)

    def value(figure: Objective) -> float:
        if not isinstance(figure, Beside):
            return next(own)
        beside = numbers.get(figure.result)
        return math.nan if beside is None else beside

    return tuple(map(value, with_beside(objectives)))


def figure_name(address: str) -> str:
    """`isotropy of new rows`."""
    return _name(address).words


def short_label(address: str) -> str:
    """`isotropy`: a narrow column's head."""
    return _name(address).label


def shown_name(objective: Objective) -> str:
    """`validation loss`, `norm gap |d|`, `|bits per byte - 2|`."""
    return _measured(objective, figure_name(objective.result))


def objective_label(objective: Objective) -> str:
    """The same, for a narrow column's head."""
    return _measured(objective, short_label(objective.result))


def _measured(objective: Objective, words: str) -> str:
    """Bars around what a distance is taken of."""
    if isinstance(objective.goal, str):
        return words
    symbol = _name(objective.result).symbol or words
    less = "" if objective.goal == 0 else f" {'-' if objective.goal > 0 else '+'} {abs(objective.goal):g}"
    return f"{words.removesuffix(symbol)}|{symbol}{less}|"


def _name(address: str) -> Shown:
    """Without one of its own: the address in words, but for the geometry's section, which most figures have."""
    if address in METRICS and (shown := METRICS[address].shown) is not None:
        return shown
    words = address.removeprefix("geometry.").replace(".", " ").replace("_", " ")
    return Shown(words, address.rsplit(".", 1)[-1].replace("_", " "))
