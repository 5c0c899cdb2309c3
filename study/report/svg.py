"""Pictures as SVG inside a page: elements, scales, marks and panels, with every text escaped.

Colours and line styles are the page's: elements carry classes, and no style of their own, so that a picture follows the
page into dark mode and into print, and a content security policy can forbid styles that the page doesn't know.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

Number = float | int
LETTERS = 12.0
"""Height of a chart's letters in pixels, as the page's style sets it."""
WIDTHS = (
    ("ijl.,:;'|!", 0.35),
    (' ftrI()[]-/"', 0.45),
    ("mwMWGOQ%@–…←→", 1.0),
    ("ABCDEFHJKLNPRSTUVXYZ_", 0.78),
    ("", 0.65),
)
"""Letters and their widths as shares of their height; the last is that of all others."""
MARKS = {
    "other": "M-3.5,0a3.5,3.5 0 1,0 7,0a3.5,3.5 0 1,0 -7,0",
    "front": "M-4.5,0a4.5,4.5 0 1,0 9,0a4.5,4.5 0 1,0 -9,0",
    "baseline": "M0,-6.5L6.5,0L0,6.5L-6.5,0Z",
    "reference": "M-4.5,-4.5H4.5V4.5H-4.5Z",
    "stopped": "M-4,-4L4,4M-4,4L4,-4",
    "ring": "M-9,0a9,9 0 1,0 18,0a9,9 0 1,0 -18,0",
}
"""Outlines around (0, 0): kinds differ by shape, not by colour alone."""


@dataclass(frozen=True)
class NumberScale:
    """`low` lies at `start`, `high` at `stop`, pixels each."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False
    count: int = 5
    """Ticks at most; 0: none."""

    def at(self, value: float | str | bool) -> float:
        low, high, own = (math.log(float(v)) if self.log else float(v) for v in (self.low, self.high, value))
        return self.start + (own - low) / ((high - low) or 1.0) * (self.stop - self.start)

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high

    def ticks(self) -> list[tuple[float, str]]:
        if not self.count:
            return []
        values = log_ticks(self.low, self.high, self.count) if self.log else ticks(self.low, self.high, self.count)
        return [(self.at(value), short(value)) for value in values]


@dataclass(frozen=True)
class ChoiceScale:
    """One place for each choice, evenly from `start` to `stop`."""

    choices: tuple[float | int | str | bool, ...]
    start: float
    stop: float

    def at(self, value: float | str | bool) -> float:
        return self.start + (self.choices.index(value) + 0.5) / len(self.choices) * (self.stop - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        return [(self.at(choice), str(choice)) for choice in self.choices]


Scale = NumberScale | ChoiceScale


def ticks(low: float, high: float, count: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten from `low` to `high`, `count` at most."""
    if high <= low:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / count))
    for step in (power * factor for factor in (1, 2, 5, 10, 20)):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < count:
            return [index * step for index in range(first, last + 1)]
    raise AssertionError((low, high, count))


def log_ticks(low: float, high: float, count: int) -> list[float]:
    """1, 2, 5 or 1, 3 or 1 times powers of ten from `low` to `high`; plain ticks where fewer than two of them fit."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [f * 10.0**p for p in powers for f in factors if low * (1 - 1e-9) <= f * 10.0**p <= high * (1 + 1e-9)]
        if len(found) <= count:
            return found if len(found) > 1 else ticks(low, high, count)
    return found[:: math.ceil(len(found) / count)]


def short(value: float) -> str:
    """`0.001`, `1e-04`, `1,500`: at most four digits that count."""
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def tag(name: str, attributes: Mapping[str, str | Number], *children: Markup | str) -> Markup:
    """One element; a child that isn't markup is escaped."""
    inside = Markup("").join(children)
    written = Markup("").join(Markup(' {}="{}"').format(key, _plain(value)) for key, value in attributes.items())
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, inside)


def path(points: Iterable[tuple[float, float]], classes: str) -> Markup:
    """A line through the points; one that isn't finite breaks it."""
    parts, pen = [], "M"
    for x, y in points:
        if math.isfinite(x) and math.isfinite(y):
            parts.append(f"{pen}{_plain(x)},{_plain(y)}")
            pen = "L"
        else:
            pen = "M"
    return tag("path", {"class": classes, "d": "".join(parts)})


def line(x1: float, y1: float, x2: float, y2: float, classes: str) -> Markup:
    return path([(x1, y1), (x2, y2)], classes)


def mark(shape: str, x: float, y: float, classes: str) -> Markup:
    """One of `MARKS` at a place."""
    return tag("path", {"class": classes, "d": MARKS[shape], "transform": f"translate({_plain(x)} {_plain(y)})"})


def text(x: float, y: float, words: str, anchor: str = "start", classes: str = "") -> Markup:
    return tag("text", {"x": x, "y": y, "text-anchor": anchor, **({"class": classes} if classes else {})}, words)


def width_of(words: str, size: float = LETTERS) -> float:
    """At most so wide a text is, in letters of that size: reckoned with a wide face, since each machine has another."""
    return size * sum(next(width for letters, width in WIDTHS if letter in letters or not letters) for letter in words)


def cut(words: str, room: float, size: float = LETTERS) -> str:
    """As much of the text as fits, with an ellipsis where some doesn't."""
    if width_of(words, size) <= room:
        return words
    kept = words
    while kept and width_of(f"{kept}…", size) > room:
        kept = kept[:-1]
    return f"{kept.rstrip()}…"


def centred(x: float, y: float, words: str, width: float, classes: str = "") -> Markup:
    """A text around `x`, or as near to it as a picture of that width has room for all of it."""
    words = cut(words, width - 4)
    half = width_of(words) / 2 + 2
    return text(min(max(x, half), width - half), y, words, "middle", classes)


def steps(edges: Sequence[float], heights: Sequence[float], x: Scale, y: Scale, classes: str) -> Markup:
    """A histogram's outline, closed at the floor."""
    corners = [(x.at(edges[0]), y.at(0.0))]
    for left, right, height in zip(edges, edges[1:], heights, strict=False):
        corners += [(x.at(left), y.at(height)), (x.at(right), y.at(height))]
    return path([*corners, (x.at(edges[-1]), y.at(0.0))], classes)


def svg(width: float, height: float, label: str, *children: Markup) -> Markup:
    """A picture that a screen reader reads as `label`."""
    attributes = {"viewBox": f"0 0 {_plain(width)} {_plain(height)}", "role": "img", "aria-label": label}
    return tag("svg", attributes, *children)


@dataclass(frozen=True)
class Panel:
    """A picture with two axes; `x` and `y` lie inside its margins, see `panel`."""

    width: float
    height: float
    x: NumberScale
    y: NumberScale
    x_label: str
    y_label: str

    def drawn(self, label: str, *marks: Markup) -> Markup:
        left, right, bottom, top = self.x.start, self.x.stop, self.y.start, self.y.stop
        parts = [line(left, bottom, right, bottom, "axis")]
        for at, words in self.x.ticks():
            parts += [line(at, bottom, at, bottom + 4, "axis"), centred(at, bottom + 16, words, self.width)]
        for at, words in self.y.ticks():
            parts += [line(left, at, right, at, "grid"), text(left - 6, at + 4, words, "end")]
        parts.append(centred((left + right) / 2, bottom + 33, self.x_label, self.width))
        parts.append(text(4, top - 10, cut(self.y_label, self.width - 8)))
        return svg(self.width, self.height, label, *parts, *marks)


def panel(
    width: float,
    height: float,
    xs: tuple[float, float],
    ys: tuple[float, float],
    x_label: str,
    y_label: str,
    *,
    log_x: bool = False,
) -> Panel:
    """A panel of that size in pixels whose axes hold these ranges; on the left there is room for the longest tick."""
    y = NumberScale(*ys, height - 42, 26)
    left = max(52.0, *(width_of(words) + 10 for _, words in y.ticks()))
    x = NumberScale(*xs, left, width - 14, log_x, max(3, int(width // 90)))
    return Panel(width, height, x, y, x_label, y_label)


def widened(values: Iterable[float]) -> tuple[float, float]:
    """From the least to the greatest of the finite values, and a little more."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    margin = 0.05 * (high - low) or 0.05 * abs(low) or 0.05
    return low - margin, high + margin


def _plain(value: str | Number) -> str:
    """Numbers with one digit behind the point: a tenth of a pixel."""
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
