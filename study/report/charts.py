"""The report's charts of all trials: parallel coordinates, pairs of objectives, loss curves, objectives against cost.

Each run is a group with the attribute `data-trial`, by which the page's script lights it in all charts at once.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import combinations
from textwrap import wrap

import numpy as np
from markupsafe import Markup

from study.config import StudyConfig
from study.format import shown_name
from study.pictures.canvas import window
from study.report.runs import WORDS, ShownRun, in_order, unit_of
from study.report.svg import (
    ChoiceScale,
    NumberScale,
    Scale,
    cut,
    line,
    mark,
    panel,
    path,
    svg,
    tag,
    text,
    widened,
)
from study.settings import Choices, Objective, Range, Value

TOP, BOTTOM = 84.0, 330.0
AXIS_WIDTH = 126.0
MARGIN = 70.0
"""Left of the first axis, and right of the last."""


def grouped(run: ShownRun, *parts: Markup) -> Markup:
    """What a chart draws of a run: one group, with a title for those who read without a script."""
    kinds = f"run {run.kind}" + (" chosen" if run.is_chosen else "")
    return tag("g", {"class": kinds, "data-trial": run.key}, tag("title", {}, run.title), *parts)


def marked(run: ShownRun, x: float, y: float) -> Markup:
    """The run's mark at a place: shape by kind, a ring around the chosen one."""
    ring = mark("ring", x, y, "ring") if run.is_chosen else Markup("")
    return mark(run.kind, x, y, "mark") + ring


def parallel_coordinates(runs: Sequence[ShownRun], config: StudyConfig) -> Markup:
    """An axis a knob, logarithmic where its range is, then an axis an objective, better values above.

    A stopped trial's line ends with the knobs; a reference, whose knobs lie outside the space, has objectives alone.
    """
    knobs = {address: _knob_scale(space) for address, space in config.study.space.items()}
    columns = list(zip(*(run.values for run in runs if run.values), strict=True))
    goals = [
        _better_above(objective, column) for objective, column in zip(config.study.objectives, columns, strict=True)
    ]
    places = [MARGIN + AXIS_WIDTH * index for index in range(len(knobs) + len(goals))]
    axes, lines = [], []
    for index, (address, scale) in enumerate(knobs.items()):
        axes += _upright(places[index], scale, address, _range_note(config.study.space[address]))
    for index, (objective, scale) in enumerate(zip(config.study.objectives, goals, strict=True), len(knobs)):
        axes += _upright(places[index], scale, shown_name(objective), "better ↑")
    for run in runs:
        values: list[tuple[Scale, Value] | None]
        values = [(scale, run.params[address]) if run.params else None for address, scale in knobs.items()]
        values += list(zip(goals, run.values, strict=True)) if run.values else []
        points = [(x, pair[0].at(pair[1])) for x, pair in zip(places, values, strict=False) if pair]
        ends = [mark("stopped", *points[-1], "mark")] if run.kind == "stopped" else []
        ends += [mark(run.kind, *points[-1], "mark")] if run.kind in {"baseline", "reference"} else []
        lines.append(grouped(run, path(points, "curve"), *ends))
    label = f"Parallel coordinates of {len(runs)} runs over {len(knobs)} knobs and {len(goals)} objectives"
    return svg(places[-1] + MARGIN, BOTTOM + 20, label, *lines, *axes)


def pair_plots(runs: Sequence[ShownRun], objectives: Sequence[Objective]) -> list[Markup]:
    """A panel a pair of objectives; one objective alone is drawn by trial."""
    shown = [run for run in runs if run.values]
    names = list(map(shown_name, objectives))
    if len(objectives) == 1:
        numbers = {run.key: float(place) for place, run in enumerate(in_order(shown))}
        return [_scatter(shown, [numbers[run.key] for run in shown], _values(shown, 0), "trial", names[0])]
    return [
        _scatter(
            shown,
            _values(shown, x),
            _values(shown, y),
            f"{names[x]} {arrow(objectives[x], across=True)}",
            f"{names[y]} {arrow(objectives[y])}",
        )
        for x, y in combinations(range(len(objectives)), 2)
    ]


def cost_plots(runs: Sequence[ShownRun], objectives: Sequence[Objective]) -> list[Markup]:
    """A panel an objective, over the wall time of the trial."""
    shown = [run for run in runs if run.values]
    seconds = [run.cost.seconds for run in shown]
    unit, size = unit_of(max(seconds, default=0.0))
    return [
        _scatter(
            shown,
            [value / size for value in seconds],
            _values(shown, place),
            f"{unit} of training and evaluation",
            f"{shown_name(objective)} {arrow(objective)}",
        )
        for place, objective in enumerate(objectives)
    ]


def loss_curves(runs: Sequence[ShownRun]) -> Markup:
    """Validation loss over steps, a line a run; a cross where a trial was stopped, a mark where a run ended."""
    curves = [run for run in runs if run.curve]
    last = max((step for run in curves for step, _ in run.curve), default=1)
    every = np.array([loss for run in curves for _, loss in run.curve], dtype=float)
    low, high = window(np.array([run.curve[-1][1] for run in curves if run.kind != "stopped"]), every)
    axes = panel(760, 380, (0, last), (low, high), "step", "validation loss, nats a token ↓ lower is better")
    parts = []
    for run in curves:
        points = [(axes.x.at(step), axes.y.at(min(max(loss, low), high))) for step, loss in run.curve]
        parts.append(grouped(run, path(points, "curve"), marked(run, *points[-1])))
    clipped = [run for run in curves if any(not low <= loss <= high for _, loss in run.curve)]
    return axes.drawn(f"Validation loss of {len(curves)} runs by step", *parts) + _off_the_axes(clipped)


def legend(runs: Sequence[ShownRun]) -> list[tuple[Markup, str]]:
    """A mark and its words for each kind of run that there is."""
    kinds = [kind for kind in WORDS if any(run.kind == kind for run in runs)]
    keys = [(kind, mark(kind, 10, 10, "mark"), WORDS[kind]) for kind in kinds]
    keys.append(("chosen", mark("ring", 10, 10, "ring"), "chosen (a ring, a thick line)"))
    return [
        (
            tag(
                "svg",
                {"viewBox": "0 0 20 20", "aria-hidden": "true", "class": "key"},
                tag("g", {"class": f"run {kind}"}, shape),
            ),
            words,
        )
        for kind, shape, words in keys
    ]


def arrow(objective: Objective, *, across: bool = False) -> str:
    """Which way is better, on an axis that runs upwards or across."""
    least = objective.direction == "minimize"
    return ("← better" if least else "better →") if across else ("↓ better" if least else "↑ better")


def _scatter(runs: Sequence[ShownRun], xs: Sequence[float], ys: Sequence[float], x_label: str, y_label: str) -> Markup:
    """Points that keep their distance; what lies far off on its own is drawn at the border, and named."""
    named = np.array([run.is_chosen or run.kind in {"baseline", "front"} for run in runs], dtype=bool)
    x, y = np.array(xs, dtype=float), np.array(ys, dtype=float)
    limits = [window(column[named], column) for column in (x, y)]
    axes = panel(380, 300, limits[0], limits[1], x_label, y_label)
    parts, outside = [], []
    for run, own_x, own_y in zip(runs, x.tolist(), y.tolist(), strict=True):
        inside = [float(np.clip(value, *limit)) for value, limit in zip((own_x, own_y), limits, strict=True)]
        if inside != [own_x, own_y]:
            outside.append(run)
        parts.append(grouped(run, marked(run, axes.x.at(inside[0]), axes.y.at(inside[1]))))
    return axes.drawn(f"{y_label} against {x_label}, {len(runs)} runs", *parts) + _off_the_axes(outside)


def _off_the_axes(outside: Sequence[ShownRun]) -> Markup:
    """A caption that names what a picture shows at its border instead of at its place."""
    if not outside:
        return Markup("")
    named = ", ".join(run.title for run in in_order(list(outside))[:4]) + (", …" if len(outside) > 4 else "")
    return tag("figcaption", {}, f"At the border, off the axes: {named}.")


def _values(runs: Iterable[ShownRun], place: int) -> list[float]:
    return [run.values[place] for run in runs if run.values]


def _knob_scale(space: Range | Choices) -> Scale:
    if isinstance(space, Range):
        return NumberScale(space.low, space.high, BOTTOM, TOP, space.log, 6)
    return ChoiceScale(tuple(space.choices), BOTTOM, TOP)


def _range_note(space: Range | Choices) -> str:
    return "log" if isinstance(space, Range) and space.log else ""


def _better_above(objective: Objective, column: Sequence[float]) -> NumberScale:
    low, high = widened(column)
    if objective.direction == "minimize":
        return NumberScale(low, high, TOP, BOTTOM)
    return NumberScale(low, high, BOTTOM, TOP)


def _upright(x: float, scale: Scale, name: str, note: str) -> list[Markup]:
    """A vertical axis with its name in up to four lines above it."""
    parts = [line(x, TOP, x, BOTTOM, "axis")]
    for y, words in scale.ticks():
        parts += [line(x - 4, y, x, y, "axis"), text(x - 7, y + 4, cut(words, MARGIN - 9), "end", "tick")]
    parts.append(text(x, TOP - 10, note, "middle", "soft"))
    names = [row for part in re.findall(r"[^.]+\.?", name) for row in _folded(part)]
    for row, words in enumerate(reversed(names[:4])):
        parts.append(text(x, TOP - 26 - 14 * row, words, "middle", "name"))
    return parts


def _folded(part: str) -> list[str]:
    """A name in lines of at most 16 characters, broken at spaces and after underscores."""
    rows = wrap(part.replace("_", "_\0 "), 16, break_long_words=False)
    return [cut(row.replace("\0 ", "").replace("\0", ""), AXIS_WIDTH) for row in rows]
