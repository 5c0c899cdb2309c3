"""The report's charts of the outcome: the front with intervals, what the study gained and when, what knobs matter."""

import math
from collections.abc import Sequence
from itertools import accumulate

from markupsafe import Markup

from study.format import shown_name
from study.noise import Interval
from study.record import StudyRecord
from study.report.charts import arrow, grouped, marked
from study.report.runs import ShownRun, in_order, unit_of
from study.report.svg import NumberScale, centred, cut, line, panel, path, svg, tag, text, widened, width_of
from study.runs import Run
from study.search.importance import Importances
from study.settings import Objective
from study.show.values import shown_figures, shown_intervals

MOST_ROWS = 12
ROW = 22.0
WIDTH, RIGHT = 380.0, 366.0
MOST_LEFT = 0.45 * WIDTH
"""Room for the names of rows: a longer one is cut, its whole name stands in the picture's tip."""


def front_rows(record: StudyRecord) -> list[Run]:
    """The baseline, the chosen trial, its runners-up and the rest of the front in order of the first objective."""
    first = record.config.study.objectives[0]
    rest = sorted(
        (trial for trial in record.finished if trial.number in record.front),
        key=lambda trial: first.sign * trial.values[0],
    )
    rows = [record.baseline, record.choice.trial, *record.choice.runners_up, *rest]
    return list({trial.number: trial for trial in rows}.values())


def interval_plots(record: StudyRecord, runs: Sequence[ShownRun]) -> list[Markup]:
    """A panel an objective, or what stands beside one: a row a run, its mean over seeds and the 95 % interval of it."""
    known = {run.key: run for run in runs}
    rows = [(known[str(trial.number)], shown_intervals(record, trial)) for trial in front_rows(record)[:MOST_ROWS]]
    for run in runs:
        if run.kind == "reference" and run.shown:
            rows.append((run, [Interval(value, -math.inf, math.inf, 1) for value in run.shown]))
    panels = [
        ([(run, own[place]) for run, own in rows if not math.isnan(own[place].mean)], figure)
        for place, figure in enumerate(shown_figures(record))
    ]
    return [_intervals(defined, figure) for defined, figure in panels if defined]


def growth_plots(record: StudyRecord, runs: Sequence[ShownRun]) -> list[Markup]:
    """The hypervolume over the steps that all trials so far have trained, and over their wall time."""
    volumes = {str(t.number): volume for t, volume in zip(record.finished, record.hypervolumes, strict=True)}
    imported = {str(trial.number) for trial in record.finished if trial.source}
    own = [run for run in in_order(list(runs)) if run.kind != "reference"]
    paid = [0.0 if run.key in imported else 1.0 for run in own]
    steps = list(accumulate(run.cost.steps * share for run, share in zip(own, paid, strict=True)))
    seconds = list(accumulate(run.cost.seconds * share for run, share in zip(own, paid, strict=True)))
    unit, size = unit_of(seconds[-1])
    return [
        _growth(own, steps, volumes, "steps trained by all trials so far"),
        _growth(own, [value / size for value in seconds], volumes, f"{unit} of training and evaluation so far"),
    ]


def importance_plots(found: Importances, objectives: Sequence[Objective]) -> list[Markup]:
    """A panel an objective: a bar a knob, the same knobs in the same rows."""
    knobs = list(dict.fromkeys(knob for shares in found.shares if shares for knob in shares))
    return [_bars(knobs, shares, shown_name(o)) for shares, o in zip(found.shares, objectives, strict=True)]


def _intervals(rows: Sequence[tuple[ShownRun, Interval]], objective: Objective) -> Markup:
    ends = [end for _, own in rows for end in (own.low, own.mean, own.high)]
    height = 40 + ROW * len(rows) + 34
    names = [_row_name(run) for run, _ in rows]
    left = _room_for(names)
    x = NumberScale(*widened(ends), left, RIGHT, count=4)
    floor = height - 34
    parts = [
        _heading(f"{shown_name(objective)} {arrow(objective, across=True)}"),
        line(left, floor, RIGHT, floor, "axis"),
    ]
    for at, words in x.ticks():
        parts += [line(at, 30, at, floor, "grid"), centred(at, floor + 16, words, WIDTH)]
    for row, (run, own) in enumerate(rows):
        y = 40 + ROW * (row + 0.5)
        whisker = line(x.at(own.low), y, x.at(own.high), y, "whisker") if math.isfinite(own.low) else Markup("")
        label = text(left - 12, y + 4, cut(names[row], left - 14), "end")
        parts.append(grouped(run, label, whisker, marked(run, x.at(own.mean), y)))
    return svg(WIDTH, height, f"{shown_name(objective)} of {len(rows)} runs, with intervals", *parts)


def _growth(runs: Sequence[ShownRun], xs: Sequence[float], volumes: dict[str, float], x_label: str) -> Markup:
    """A stair: it rises where a trial adds to the front."""
    top = max(volumes.values(), default=0.0)
    axes = panel(380, 300, (0.0, xs[-1]), (0.0, 1.08 * top or 1.0), x_label, "hypervolume ↑ better")
    level, stair, marks = 0.0, [(axes.x.at(0.0), axes.y.at(0.0))], []
    for run, x in zip(runs, xs, strict=True):
        stair.append((axes.x.at(x), axes.y.at(level)))
        level = volumes.get(run.key, level)
        stair.append((axes.x.at(x), axes.y.at(level)))
        marks.append(grouped(run, marked(run, axes.x.at(x), axes.y.at(level))))
    return axes.drawn(f"Hypervolume over {x_label}", path(stair, "stair"), *marks)


def _bars(knobs: Sequence[str], shares: dict[str, float] | None, title: str) -> Markup:
    height = 34 + ROW * max(len(knobs), 1)
    label = f"Importances for {title}: " + ", ".join(f"{knob} {share:.2f}" for knob, share in (shares or {}).items())
    parts = [_heading(title)]
    if shares is None:
        parts.append(text(4, 46, "all trials have one value", classes="soft"))
        return svg(WIDTH, height, label, *parts)
    left = _room_for(knobs)
    scale = NumberScale(0.0, 1.0, left, RIGHT - 36)
    for row, knob in enumerate(knobs):
        y, share = 30 + ROW * row, shares.get(knob, 0.0)
        bar: dict[str, str | float] = {
            "class": "bar",
            "x": left,
            "y": y + 3,
            "width": max(scale.at(share) - left, 0.5),
            "height": ROW - 6,
        }
        parts += [
            text(left - 12, y + 15, cut(knob, left - 14), "end"),
            tag("rect", bar),
            text(scale.at(share) + 6, y + 15, f"{share:.2f}"),
        ]
    return svg(WIDTH, height, label, *parts)


def _row_name(run: ShownRun) -> str:
    """A reference is told by its mark."""
    if run.kind == "reference":
        return run.title.removeprefix("Reference ")
    return f"{run.title}, baseline" if run.kind == "baseline" else run.title


def _heading(words: str) -> Markup:
    return text(4, 18, cut(words, WIDTH - 8))


def _room_for(names: Sequence[str]) -> float:
    """Where the axis begins, right of the names."""
    return min(max(map(width_of, names), default=0.0) + 14, MOST_LEFT)
