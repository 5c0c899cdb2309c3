"""The pictures of a study: every pair of objectives with the front, and the curves of all trials."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import combinations
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

from study.pictures.canvas import BLUE, GREY, VERMILLION, Array, blank_figure, finite, frozen, label_axes, say, window

HEIGHTS_IN = (4.6, 6.4, 7.6, 7.6, 9.6, 10.5)  # of a front figure, by number of objectives


@dataclass(frozen=True)
class FrontPoint:
    """One finished trial; `values` in the order of the objectives, NaN where a value is undefined."""

    number: int
    values: tuple[float, ...]
    on_front: bool
    is_baseline: bool
    is_chosen: bool


def front_figure(
    points: Sequence[FrontPoint], objectives: Sequence[str], title: str, directions: Sequence[str]
) -> Figure:
    """Every pair of 1 to 6 objectives, "minimize" or "maximize" each; a single one is drawn by trial number.

    The front is that of all objectives together: in one pair its trials may look dominated. Limits hold the
    baseline, the chosen trial and the best values; a trial far off on the worse side is named above a panel.
    """
    k = len(objectives)
    if not 1 <= k <= 6 or len(directions) != k or not set(directions) <= {"minimize", "maximize"}:
        rule = '1 to 6 objectives, each with its direction, "minimize" or "maximize"'
        raise ValueError(f"{rule}: got {list(objectives)}, {list(directions)}")
    columns = [np.array([point.values[i] for point in points], dtype=float) for i in range(k)]
    named = np.array([point.is_baseline or point.is_chosen for point in points], dtype=bool)
    signs = [1 if way == "minimize" else -1 for way in directions]
    best = [sign * finite(sign * v).min(initial=np.inf) for v, sign in zip(columns, signs, strict=True)]
    windows = [window(np.append(v[named], top), v) for v, top in zip(columns, best, strict=True)]
    better = {"minimize": "← lower is better", "maximize": "higher is better →"}
    labels = [f"{_wrapped(name)}\n{better[way]}" for name, way in zip(objectives, directions, strict=True)]
    if k == 1:
        trials = np.array([point.number for point in points], dtype=float)
        columns, windows, labels = [trials, *columns], [window(trials, trials), *windows], ["trial", *labels]
    figure, side, panels = blank_figure(HEIGHTS_IN[k - 1], title), max(k - 1, 1), []
    for place, (x, y) in enumerate(combinations(range(len(columns)), 2), start=1):
        ax = figure.add_subplot(*((2, 3, place) if k == 4 else (side, side, (y - 1) * side + x + 1)))
        label_axes(ax, labels[x] if k == 4 or y == side else "", labels[y] if k == 4 or x == 0 else "")
        ax.set(xlim=windows[x], ylim=windows[y])
        front_label = "best trial" if k == 1 else f"front of the {k} objectives"
        _draw_points(ax, points, columns[x], columns[y], front_label)
        panels.append((ax, np.column_stack([columns[x], columns[y]])))
    style: dict[str, Any] = {"loc": "outside lower center", "ncols": 4}
    if k in (3, 5, 6):  # the corner above the triangle is empty
        style = {"loc": "upper right", "bbox_to_anchor": (0.99, 0.92)}
    figure.legend(*panels[0][0].get_legend_handles_labels(), fontsize=9, frameon=False, **style)
    frozen(figure)
    for ax, xy in panels:
        _write_numbers(ax, points, xy, figure.dpi / 72)
    return figure


def curves_figure(
    curves: Mapping[int, Sequence[tuple[int, float]]],
    baseline: int,
    chosen: int | None,
    label: str,
    stopped: Set[int] = frozenset(),
) -> Figure:
    """`label` over steps, a line a trial: the baseline and the chosen trial in colour, the others grey.

    Those that were stopped early are dashed and end in a cross.
    """
    figure = blank_figure(5.4, "")
    ax = figure.add_subplot()
    label_axes(ax, "step", label)
    tables = {number: np.array(curve, dtype=float).reshape(-1, 2) for number, curve in sorted(curves.items())}
    tables = {number: table for number, table in tables.items() if np.isfinite(table[:, 1]).any()}
    if not tables:
        say(ax, "no trial has a finite value")
        return frozen(figure)
    named = [number for number in dict.fromkeys((baseline, chosen)) if number in tables]
    others = [number for number in tables if number not in named]
    _draw_others(ax, [tables[number] for number in others if number not in stopped], "other trials", "-")
    _draw_others(ax, [tables[number] for number in others if number in stopped], "stopped early", "--")
    for number in named:
        steps, values = tables[number].T
        best = int(np.nanargmin(values))
        roles = ["Phase 1 baseline"] * (number == baseline) + ["chosen"] * (number == chosen)
        text = f"{', '.join(roles)} (trial {number}): lowest {values[best]:.4g} at step {steps[best]:.0f}"
        colour, line, marker = (VERMILLION, "--", "D") if number == baseline else (BLUE, "-", "o")
        style: dict[str, Any] = {"color": colour, "linestyle": line, "marker": marker, "markevery": [best]}
        ax.plot(steps, values, linewidth=2.4, label=f"{text}, last {values[-1]:.4g}", **style)
    low, high = window(
        np.concatenate([tables[number][:, 1] for number in named or others]),
        np.concatenate([table[:, 1] for table in tables.values()]),
    )
    ax.set_ylim(low, high)
    if outside := sum(bool(((t[:, 1] < low) | (t[:, 1] > high)).any()) for t in tables.values()):
        ax.set_title(f"{outside} of {len(tables)} trials leave the axes", loc="right", fontsize=9)
    figure.legend(loc="outside lower center", fontsize=9, frameon=False)
    return frozen(figure)


def _draw_others(ax: Axes, tables: Sequence[Array], name: str, line: str) -> None:
    for table in tables:
        label = f"{name} (n = {len(tables)})" if table is tables[0] else None
        style: dict[str, Any] = {"color": GREY, "alpha": 0.6, "linewidth": 0.9, "linestyle": line, "label": label}
        if line == "--":
            style |= {"marker": "x", "markevery": [len(table) - 1], "markersize": 6, "markeredgewidth": 1.6}
        ax.plot(*table.T, **style)


def _draw_points(ax: Axes, points: Sequence[FrontPoint], xs: Array, ys: Array, front_label: str) -> None:
    flags = [(point.on_front, point.is_baseline, point.is_chosen) for point in points]
    front, baseline, chosen = np.array(flags, dtype=bool).reshape(-1, 3).T
    groups: tuple[tuple[str, Array, str, float, str, str], ...] = (
        ("other trials", ~front & ~baseline, "o", 5, "white", GREY),
        (front_label, front & ~baseline, "o", 6.5, BLUE, "white"),
        ("Phase 1 baseline, not on the front", baseline & ~front, "D", 8, "white", VERMILLION),
        ("Phase 1 baseline, on the front", baseline & front, "D", 8, VERMILLION, VERMILLION),
        ("chosen trial", chosen, "o", 14, "none", "black"),
    )
    for label, those, marker, size, face, edge in groups:
        if those.any():
            style: dict[str, Any] = {"markersize": size, "markerfacecolor": face, "markeredgecolor": edge}
            ax.plot(xs[those], ys[those], marker, label=label, markeredgewidth=1.3, **style)
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    outside = (xs < left) | (xs > right) | (ys < bottom) | (ys > top)
    if outside.any():
        first = [str(points[i].number) for i in np.flatnonzero(outside)[:4]]
        text = f"off the axes: {', '.join(first)}" + ", …" * bool(outside.sum() > 4)
        ax.set_title(text, loc="right", fontsize=9, color="dimgrey", pad=2)


def _write_numbers(ax: Axes, points: Sequence[FrontPoint], xy: Array, pixels: float) -> None:
    """Number the chosen trial and the baseline, then the front's trials wherever a number has room."""
    places = ax.transData.transform(xy)
    named = [point.is_chosen or point.is_baseline for point in points]
    radii = [(7 if name else 3) * pixels for name in named]
    taken = [Bbox([at - r, at + r]) for at, r in zip(places, radii, strict=True) if np.isfinite(at).all()]
    sides = np.array([(1, 0), (0, 1), (0, -1), (-1, 0), (0.8, 0.8), (-0.8, 0.8), (0.8, -0.8), (-0.8, -0.8)])
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 9, "textcoords": "offset points"}
    for i in sorted(range(len(points)), key=lambda i: (not points[i].is_chosen, not points[i].is_baseline)):
        if not (named[i] or points[i].on_front) or not ax.bbox.contains(*places[i]):
            continue
        half = np.array([3.2 * len(str(points[i].number)), 5.0]) * pixels
        offsets = sides * (half + (9.5 if named[i] else 5) * pixels)
        boxes = [Bbox([places[i] + offset - half, places[i] + offset + half]) for offset in offsets]
        inside = [ax.bbox.count_contains(box.get_points()) == 2 for box in boxes]
        free = [fits and not box.count_overlaps(taken) for fits, box in zip(inside, boxes, strict=True)]
        if named[i] or any(free):
            spot = int(np.argmax(free if any(free) else inside))
            taken.append(boxes[spot])
            note = ax.annotate(str(points[i].number), xy[i], offsets[spot] / pixels, **style)
            note.set_path_effects([withStroke(linewidth=2, foreground="white")])


def _wrapped(name: str) -> str:
    """Lines of at most 24 characters, broken at spaces or after dots: a result's address has no spaces."""
    return fill(name.replace(".", ". "), 24, break_long_words=False).replace(". ", ".")
