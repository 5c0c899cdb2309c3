"""How figures are written where people read: their names, their values, times, intervals over seeds.

Addresses stay the keys of YAML, JSON and the study's database.
"""

import math
import re
from collections.abc import Iterator, Sequence

from study.noise import Interval
from study.settings import Objective
from wake2vec import ALL_METRICS, Numbers, Shown

BESIDE = {"geometry.collapse_share": "geometry.byte_collapse_share"}
"""A figure that stands right after an objective wherever that is shown: `collapse_share` holds byte collapse, which is
what Phase 1 found, and can't be gamed as that can."""

COMMANDS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal would obey: control characters, ends of lines, other directions of writing; and what is no text."""


def printable(text: str, kept: str = "") -> str:
    """Text from anywhere on one line, with what a terminal would obey written out (`\\x1b`), but for what is `kept`."""

    def written(found: re.Match[str]) -> str:
        return found[0] if found[0] in kept else found[0].encode("unicode_escape", "surrogatepass").decode()

    return COMMANDS.sub(written, text)


LONGEST = 1200


def on_one_line(text: str) -> str:
    """Text for an error: what is too long loses its middle, since rule and value come first, the remedy last."""
    shown = printable(text)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 400]} ... {shown[-395:]}"


def plain(text: str) -> str:
    """Text of many lines as `printable`: what is written into pages, notes, tags and files to look at."""
    return printable(text, kept="\n\t")


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
    if address in ALL_METRICS and (own := ALL_METRICS[address].shown) is not None:
        return own
    words = address.removeprefix("geometry.").replace(".", " ").replace("_", " ")
    return Shown(words, words if address.startswith("geometry.") else address.rsplit(".", 1)[-1].replace("_", " "))


UNDEFINED = "–"
MOST_DECIMALS = 8


def shown(value: float | str | None, digits: int = 4) -> str:
    """A figure or setting as text, a dash where it is undefined; counts are whole: `33,750`, not `3.375e+04`."""
    if value is None:
        return UNDEFINED
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return UNDEFINED
    is_count = value.is_integer() and 10**digits <= abs(value) < 2**53  # from there on every float is whole
    return f"{value:,.0f}" if is_count else f"{value:.{digits}g}"


def duration(seconds: float) -> str:
    """`0.14 s`, `12 s`, `4 min`, `7.8 h`."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def goal_of(objective: Objective) -> str:
    """`minimize`, `to 0`; of what is shown beside an objective, `no goal`."""
    if isinstance(objective, Beside):
        return "no goal"
    return objective.goal if isinstance(objective.goal, str) else f"to {objective.goal:g}"


def over_seeds(interval: Interval) -> str:
    """Mean and half the 95 % interval, `4.312 ±0.021`; the mean alone for one value."""
    half = interval.high - interval.mean
    if interval.count < 2 or math.isnan(interval.mean):
        return shown(interval.mean)
    if half == 0:
        return f"{shown(interval.mean)} ±0"
    decimals = min(max(1 - math.floor(math.log10(half)), 0), MOST_DECIMALS)  # half the interval has two digits
    return f"{interval.mean:.{decimals}f} ±{half:.{decimals}f}"


def signed(difference: Interval) -> str:
    """The same with the sign of the mean, `-0.123 ±0.021`; no sign for a single 0."""
    if math.isnan(difference.mean):
        return UNDEFINED
    if difference.count < 2:
        return "0" if difference.mean == 0 else f"{difference.mean:+.4g}"
    text = over_seeds(difference)
    return text if text.startswith("-") else f"+{text}"
