"""The charts of a study: objectives against each other, over steps, cost and seeds, its gain, and what the knobs do."""

import math
import re
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate, combinations
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator
from matplotlib.transforms import Bbox

from study.charts.canvas import (
    BLUE,
    GREEN,
    INK,
    LINE,
    PAPER,
    SOFT,
    VERMILLION,
    Array,
    Panel,
    figure_of,
    label_axes,
    save_png,
    say,
    window,
)
from study.format import figure_name, shown_name
from study.noise import Interval, interval
from study.runs.compare import shown_figures, shown_intervals, shown_values
from study.runs.cost import LOSS, Cost, cost_of, curve_of, unit_of
from study.runs.judge import front_runs
from study.runs.record import StudyRecord
from study.runs.run import Role, Run, State
from study.search.importance import Importances, importances
from study.settings import Choices, Objective, Range
from wake2vec import ALL_METRICS, is_evaluated, private_folder


@dataclass(frozen=True)
class Kind:
    """How a kind of run is called and drawn, in whatever chart."""

    words: str
    colour: str
    opacity: float
    """Of its line, but for the chosen trial's."""
    line: dict[str, Any]
    mark: dict[str, Any]


def _mark(marker: str, size: float, face: str, edge: str) -> dict[str, Any]:
    return {"marker": marker, "markersize": size, "markerfacecolor": face, "markeredgecolor": edge}


KINDS = {
    "baseline": Kind(
        "Phase 1 baseline", VERMILLION, 1, {"lw": 1.9, "ls": (0, (4, 2))}, _mark("D", 7, VERMILLION, PAPER)
    ),
    "front": Kind("on the front", BLUE, 0.8, {"lw": 1.1}, _mark("o", 7, BLUE, PAPER)),
    "other": Kind("not on the front", SOFT, 0.55, {"lw": 0.8}, _mark("o", 5, PAPER, SOFT)),
    "stopped": Kind("stopped early", SOFT, 0.55, {"lw": 0.8, "ls": (0, (2, 3))}, _mark("x", 5, "none", INK)),
    "reference": Kind("reference", GREEN, 1, {"lw": 1.3, "ls": (0, (7, 2, 1.5, 2))}, _mark("s", 6.5, GREEN, PAPER)),
}
"""They differ by shape and by dashes, not by colour alone."""
RING = _mark("o", 14, "none", INK)
DRAWN_FROM_BELOW = ("stopped", "other", "reference", "front", "baseline")
MOST_ROWS = 12
"""Trials whose intervals are drawn."""
SIDES = np.array([(1, 0), (0, 1), (0, -1), (-1, 0), (0.8, 0.8), (-0.8, 0.8), (0.8, -0.8), (-0.8, -0.8)])
"""Of a mark, where its number may stand."""


@dataclass(frozen=True)
class StudyCharts:
    """Of one record, every value as it stands there."""

    record: StudyRecord

    @cached_property
    def runs(self) -> list[Run]:
        """In the order of drawing: what matters most comes last, and lies on top."""
        runs = [*self.record.finished, *self.record.stopped, *self.record.references]
        return sorted(runs, key=lambda run: (self.is_chosen(run), DRAWN_FROM_BELOW.index(self.kind(run))))

    def kind(self, run: Run) -> str:
        if run.role is Role.REFERENCE:
            return "reference"
        if run.state is State.STOPPED:
            return "stopped"
        return "baseline" if run.is_baseline else "front" if run.number in self.record.front else "other"

    def is_chosen(self, run: Run) -> bool:
        return run.role is Role.TRIAL and run.number == self.record.choice.trial.number

    @cached_property
    def loss(self) -> str:
        """The loss whose curves are drawn: the first that is an objective, else the validation loss by token.

        A study of several token forms judges by bits a byte, since a token is another thing in each.
        """
        results = (objective.result for objective in self.record.config.study.objectives)
        return next((one for one in results if one.startswith("validation.") and is_evaluated(one)), LOSS)

    @cached_property
    def _measured(self) -> dict[str, tuple[Array, Cost]]:
        """Its loss by step, and cost, by digest: each record of progress is read once."""
        progress = ((run.digest, self.record.progress(run.digest)) for run in self.runs)
        return {
            digest: (np.array(curve_of(own, self.loss), dtype=float).reshape(-1, 2), cost_of(own))
            for digest, own in progress
        }

    def front_pairs(self) -> list[Panel]:
        """A panel for each pair of objectives; one objective alone is drawn by trial."""
        objectives, shown = self.record.config.study.objectives, [run for run in self.runs if run.values]
        columns = {_goal(one): [run.values[place] for run in shown] for place, one in enumerate(objectives)}
        if len(columns) == 1:
            columns = {"trial": [float(run.number) for run in shown], **columns}
        return [self._scatter(shown, x, y) for x, y in combinations(columns.items(), 2)]

    def costs(self) -> list[Panel]:
        """A panel an objective, over the wall time of the run."""
        objectives, shown = self.record.config.study.objectives, [run for run in self.runs if run.values]
        seconds = [self._measured[run.digest][1].seconds for run in shown]
        unit, size = unit_of(max(seconds, default=0.0))
        times = f"{unit} of training and evaluation", [value / size for value in seconds]
        columns = [(_goal(one), [run.values[place] for run in shown]) for place, one in enumerate(objectives)]
        return [self._scatter(shown, times, column) for column in columns]

    def curves(self) -> Panel:
        """The loss over steps, a line a run; the legend has the numbers of the baseline and the chosen one."""
        name = figure_name(self.loss)
        curves = [(run, curve) for run in self.runs for curve in [self._measured[run.digest][0]]]
        curves = [(run, curve) for run, curve in curves if np.isfinite(curve[:, 1]).any()]

        def draw(ax: Axes) -> None:
            label_axes(ax, "step", f"{ALL_METRICS[self.loss].meaning}\n← better")
            if not curves:
                say(ax, "no trial has a finite value")
                return
            ends = [curve[-1, 1] for run, curve in curves if run.state is State.FINISHED]
            low, high = window(np.array(ends), np.concatenate([curve[:, 1] for _, curve in curves]))
            ax.set(ylim=(low, high), xlim=(0, max(curve[-1, 0] for _, curve in curves)))
            keys = {}
            for run, curve in curves:
                line = self._draw(ax, run, curve[:, 0], np.clip(curve[:, 1], low, high))
                keys[self._curve_told(run, curve)] = line
            _name_outside(ax, [run for run, curve in curves if ((curve[:, 1] < low) | (curve[:, 1] > high)).any()])
            figure = ax.get_figure(root=True)
            assert figure is not None
            figure.legend(keys.values(), keys, loc="outside lower left")

        return Panel(f"{name.capitalize()} of {len(curves)} runs by step", draw, size_in=(5.6, 3.9))

    def _curve_told(self, run: Run, curve: Array) -> str:
        words, chosen = KINDS[self.kind(run)].words, self.is_chosen(run)
        if not (run.is_baseline or chosen):
            return words
        step, least = curve[np.nanargmin(curve[:, 1])]
        roles = ", ".join([words] * run.is_baseline + ["chosen"] * chosen)
        return f"{roles} ({run.label}): lowest {least:.4g} at step {step:.0f}, last {curve[-1, 1]:.4g}"

    def growth(self) -> list[Panel]:
        """The hypervolume over the steps that all trials so far have trained, and over their wall time."""
        runs, volumes, steps, seconds = self.history()
        unit, size = unit_of(seconds[-1])
        rises = {
            run.number for run, before, after in zip(runs[1:], volumes, volumes[1:], strict=False) if after > before
        }

        def draw(ax: Axes, label: str, xs: Sequence[float]) -> None:
            label_axes(ax, label, "hypervolume, from baseline to best = 1")
            ax.set(xlim=(0, 1.04 * xs[-1] or 1.0), ylim=(0, 1.12 * max(volumes) or 1.0))
            ax.step([0.0, *xs], [0.0, *volumes], where="post", color=BLUE)
            for run, x, volume in zip(runs, xs, volumes, strict=True):
                self._draw(ax, run, [x], [volume])

        over: dict[str, Sequence[float]] = {
            "steps trained by all trials so far": steps,
            f"{unit} of training and evaluation so far": [value / size for value in seconds],
        }
        return [
            Panel(
                f"Hypervolume over {label}",
                partial(draw, label=label, xs=xs),
                partial(self._number, runs=runs, points=np.column_stack([xs, volumes]), wanted=rises),
            )
            for label, xs in over.items()
        ]

    def history(self) -> tuple[list[Run], list[float], list[int], list[float]]:
        """The trials that ended, in order, with the hypervolume after each, and steps and seconds of all until then.

        A stopped trial adds no volume, an imported one was free.
        """
        runs = sorted((run for run in self.runs if run.role is Role.TRIAL), key=lambda run: run.number)
        reached = dict(zip((run.number for run in self.record.finished), self.record.hypervolumes, strict=True))
        volumes = accumulate((reached.get(run.number, 0.0) for run in runs), max)
        costs = [Cost(0, 0.0) if run.source else self._measured[run.digest][1] for run in runs]
        steps, seconds = accumulate(cost.steps for cost in costs), accumulate(cost.seconds for cost in costs)
        return runs, list(volumes), list(steps), list(seconds)

    def importances(self, found: Importances) -> list[Panel]:
        """A panel an objective: a bar a knob, the same knobs in the same rows."""
        knobs = list(dict.fromkeys(knob for shares in found.shares if shares for knob in shares))

        def draw(ax: Axes, name: str, shares: dict[str, float] | None) -> None:
            ax.set_title(name)
            if shares is None:
                say(ax, "all trials have one value" if knobs else "too few trials to tell")
                return
            bars = ax.barh(list(map(_folded, knobs)), [shares.get(knob, 0.0) for knob in knobs], color=BLUE)
            ax.bar_label(bars, fmt="{:.2f}", padding=3)
            label_axes(ax, "share of the variance that knobs explain alone", "")
            ax.set_xlim(0, 1.12)
            ax.invert_yaxis()

        panels, size = [], (4.2, 0.9 + 0.3 * max(len(knobs), 2))
        for objective, shares in zip(self.record.config.study.objectives, found.shares, strict=True):
            name, told = shown_name(objective), ", ".join(f"{knob} {own:.2f}" for knob, own in (shares or {}).items())
            panels.append(
                Panel(f"Importances for {name}: {told}", partial(draw, name=name, shares=shares), size_in=size)
            )
        return panels

    def intervals(self) -> list[Panel]:
        """A panel an objective, or what stands beside one: a row a run, its mean over seeds and the 95 % interval."""
        rows = [(run, shown_intervals(self.record, run)) for run in front_runs(self.record)[:MOST_ROWS]]
        for run in self.record.references:
            rows.append((run, [interval([value]) for value in shown_values(self.record, run)]))

        def draw(ax: Axes, figure: Objective, defined: Sequence[tuple[Run, Interval]]) -> None:
            label_axes(ax, _goal(figure).replace("\n", " "), "")
            names = [f"{run.title}, baseline" if run.is_baseline else _folded(run.title) for run, _ in defined]
            ax.set_yticks(range(len(names)), names)
            ax.grid(axis="x", color=LINE)
            for row, (run, own) in enumerate(defined):
                if math.isfinite(own.low):
                    ax.plot([own.low, own.high], [row, row], color=INK, gid=self._gid(run))
                self._draw(ax, run, [own.mean], [row])
            ax.set_ylim(len(defined) - 0.4, -0.6)

        panels = []
        for place, figure in enumerate(shown_figures(self.record)):
            defined = [(run, own[place]) for run, own in rows if not math.isnan(own[place].mean)]
            label, size = (
                f"{shown_name(figure)} of {len(defined)} runs, with intervals",
                (4.2, 0.6 + 0.27 * len(defined)),
            )
            if defined:
                panels.append(Panel(label, partial(draw, figure=figure, defined=defined), size_in=size))
        return panels

    def parallel(self) -> Panel:
        """An axis a knob, logarithmic where its range is, then an axis an objective, better values above.

        A stopped trial's line ends with the knobs; a reference, whose knobs lie outside the space, has none of them.
        """
        space, objectives = self.record.config.study.space, self.record.config.study.objectives
        columns = list(zip(*(run.values for run in self.runs if run.values), strict=True))

        def draw(host: Axes) -> None:
            host.set(xlim=(0, len(space) + len(columns) - 1), ylim=(0, 1))
            host.axis("off")
            axes = [_knob_axis(host, at, address, own) for at, (address, own) in enumerate(space.items())]
            for objective, column in zip(objectives, columns, strict=True):
                axes.append(_upright(host, len(axes), shown_name(objective), "better ↑"))
                axes[-1].locator_params(axis="y", nbins=5)
                axes[-1].yaxis.set_major_formatter("{x:.5g}")
                axes[-1].set_ylim(*window(np.array(column), np.array(column))[:: -objective.sign])
            for run in self.runs:
                knobs = {} if run.role is Role.REFERENCE else {knob: run.params[knob] for knob in space}
                own = [_place(space[knob], value) for knob, value in knobs.items()]
                first, values = len(space) - len(own), [*own, *run.values]
                heights = [_height(ax, value) for ax, value in zip(axes[first:], values, strict=False)]
                self._draw(host, run, range(first, first + len(values)), heights)

        label = f"Parallel coordinates of {len(self.runs)} runs over {len(space)} knobs and {len(columns)} objectives"
        return Panel(label, draw, size_in=(1.35 * (len(space) + len(columns)), 3.9))

    def keys(self) -> list[Line2D]:
        """A mark and its words for each kind of run that there is."""
        there = {self.kind(run) for run in self.runs}
        looks = {kind.words: kind.mark for name, kind in KINDS.items() if name in there}
        looks["chosen (a ring, a thick line)"] = RING
        return [Line2D([0], [0], ls="none", label=words, **look) for words, look in looks.items()]

    def legend(self, section: str) -> list[tuple[Panel, str]]:
        """The same, each as a panel of its own for a section of a page."""
        keys = [(str(key.get_label()), key) for key in self.keys()]
        return [
            (Panel(f"{section}: {words}", partial(_draw_key, key=key), size_in=(0.28, 0.28)), words)
            for words, key in keys
        ]

    def _gid(self, run: Run) -> str:
        return f"run {self.kind(run)}{' chosen' * self.is_chosen(run)}|{run.key}"

    def _draw(self, ax: Axes, run: Run, xs: Sequence[float] | Array, ys: Sequence[float] | Array) -> Line2D:
        """The run as a line with its mark where it ends; a ring around the chosen one."""
        kind = KINDS[self.kind(run)]
        style = {
            "color": (kind.colour, kind.opacity),
            **kind.line,
            **kind.mark,
            "clip_on": False,
            "gid": self._gid(run),
        }
        if self.is_chosen(run):
            style |= {"color": kind.colour, "lw": 2.6}
            ax.plot(xs[-1:], ys[-1:], **{**style, **RING, "ls": "none"})
        if len(xs) == 1:
            style["ls"] = "none"
        return ax.plot(xs, ys, markevery=[len(xs) - 1], **style)[0]

    def _scatter(self, runs: Sequence[Run], x: tuple[str, Sequence[float]], y: tuple[str, Sequence[float]]) -> Panel:
        """Points that keep their distance; what lies far off on its own is drawn at the border, and named."""
        points = np.array([x[1], y[1]], dtype=float).T.reshape(-1, 2)
        named = [self.is_chosen(run) or self.kind(run) in {"baseline", "front"} for run in runs]
        limits = np.array([window(column[np.array(named, dtype=bool)], column) for column in points.T])
        inside = np.clip(points, *limits.T)

        def draw(ax: Axes) -> None:
            label_axes(ax, x[0], y[0])
            ax.set(xlim=limits[0], ylim=limits[1])
            for run, point in zip(runs, inside, strict=True):
                if np.isfinite(point).all():
                    self._draw(ax, run, point[:1], point[1:])
            _name_outside(ax, [run for run, gap in zip(runs, np.abs(points - inside), strict=True) if (gap > 0).any()])

        numbers = {run.number for run, name in zip(runs, named, strict=True) if name}
        finish = partial(self._number, runs=runs, points=inside, wanted=numbers)
        return Panel(f"{y[0]} against {x[0]}, {len(runs)} runs".replace("\n", " "), draw, finish)

    def _number(self, ax: Axes, runs: Sequence[Run], points: Array, wanted: Set[int]) -> None:
        """Number the chosen trial and the baseline, then others that are wanted, wherever a number has room."""
        figure = ax.get_figure(root=True)
        assert figure is not None
        pixels, places = figure.dpi / 72, ax.transData.transform(points)
        first = [self.is_chosen(run) or run.is_baseline for run in runs]
        taken = [Bbox([at - r, at + r]) for at, r in zip(places, pixels * np.where(first, 7, 3), strict=True)]
        for i in sorted(range(len(runs)), key=lambda i: (not self.is_chosen(runs[i]), not runs[i].is_baseline)):
            if runs[i].number not in wanted or not np.isfinite(points[i]).all():
                continue
            half = np.array([3.2 * len(runs[i].key), 5.0]) * pixels
            offsets = SIDES * (half + (9.5 if first[i] else 5) * pixels)
            boxes = [Bbox([places[i] + offset - half, places[i] + offset + half]) for offset in offsets]
            inside = [ax.bbox.count_contains(box.get_points()) == 2 for box in boxes]
            free = [fits and not box.count_overlaps(taken) for fits, box in zip(inside, boxes, strict=True)]
            if first[i] or any(free):
                spot = int(np.argmax(free if any(free) else inside))
                taken.append(boxes[spot])
                at = offsets[spot] / pixels
                ax.annotate(runs[i].key, points[i], at, textcoords="offset points", ha="center", va="center")


def draw_study(record: StudyRecord) -> list[Path]:
    """Draw what MLflow shows of a study anew, into `<results>/studies/<study>`; gives the paths."""
    charts, name, count = StudyCharts(record), record.config.study.name, len(record.finished)
    found = importances(record.finished, record.config)
    figures = {
        "front.png": figure_of(charts.front_pairs(), f"{name}: front of {count} trials", keys=charts.keys()),
        "curves.png": figure_of([charts.curves()], f"{name}: {figure_name(charts.loss)}"),
        "hypervolume.png": figure_of(charts.growth(), f"{name}: what the trials gained", keys=charts.keys()),
        "importances.png": figure_of(charts.importances(found), f"{name}: what each knob decides, by {count} trials"),
    }
    folder = record.folder / "studies" / name
    private_folder(folder)
    for file, figure in figures.items():
        save_png(figure, folder / file)
    return [folder / file for file in figures]


def _goal(objective: Objective) -> str:
    """Its name, and which way along an axis is better."""
    return f"{shown_name(objective)}\n{'← better' if objective.direction == 'minimize' else 'better →'}"


def _folded(name: str) -> str:
    """In lines of some 20 characters, broken at spaces, after dots and underscores."""
    return fill(re.sub(r"([._])", "\\1\0 ", name), 22, break_long_words=False).replace("\0 ", "").replace("\0", "")


def _name_outside(ax: Axes, runs: Iterable[Run]) -> None:
    """What is shown at the border instead of at its place."""
    if named := [run.label for run in sorted(runs, key=lambda run: (run.number < 0, run.number))]:
        told = f"at the border, off the axes: {', '.join(named[:4])}{', …' * (len(named) > 4)}"
        ax.set_title(fill(told, 56), color=SOFT)


def _draw_key(ax: Axes, key: Line2D) -> None:
    ax.axis("off")
    ax.set(xlim=(-1, 1), ylim=(-1, 1))
    key.set_clip_on(False)
    ax.add_line(key)


def _upright(host: Axes, at: int, name: str, note: str) -> Axes:
    """A vertical axis of its own scale across the host, with its name above it."""
    own = host.twinx()
    own.spines["bottom"].set_visible(False)
    own.spines["left"].set_position(("data", at))
    own.yaxis.tick_left()
    host.text(at, 1.03, note, ha="center", va="bottom", color=SOFT)
    host.text(at, 1.09, _folded(name), ha="center", va="bottom", weight="bold")
    return own


def _knob_axis(host: Axes, at: int, address: str, space: Range | Choices) -> Axes:
    if isinstance(space, Choices):
        own = _upright(host, at, address, "")
        own.set_ylim(-0.5, len(space.choices) - 0.5)
        own.set_yticks(range(len(space.choices)), [_folded(str(choice)) for choice in space.choices])
        return own
    own = _upright(host, at, address, "log" if space.log else "")
    if space.log:
        own.set_yscale("log")
        own.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
        own.yaxis.set_minor_locator(NullLocator())
    own.yaxis.set_major_formatter("{x:g}")
    own.set_ylim(space.low, space.high)
    return own


def _place(space: Range | Choices, value: Any) -> float:
    return space.choices.index(value) if isinstance(space, Choices) else float(value)


def _height(ax: Axes, value: float) -> float:
    """Of a value, in an axis's own scale: 0 at its foot, 1 at its top."""
    return float((ax.transScale + ax.transLimits).transform((0, value))[1])
