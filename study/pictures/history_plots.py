"""The pictures of a study's course: hypervolume against what it took, and what each knob explains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from study.pictures.canvas import BLUE, GREEN, GREY, VERMILLION, blank_figure, frozen, label_axes, say

PALETTE = (BLUE, VERMILLION, GREEN, "#E69F00", "#CC79A7", "#56B4E9")  # Okabe and Ito's
HATCHES = ("", "//", "..", "xx", "--", "oo")
NAMED = 12
"""More numbers than this on a line are a smear."""


@dataclass(frozen=True)
class Moment:
    """A study after one more trial has ended."""

    number: int
    """Of that trial."""
    steps: int
    """Updates done in all trials so far, in stopped ones too."""
    seconds: float
    """Wall time of their training and evaluations."""
    hypervolume: float


def hypervolume_figure(moments: Sequence[Moment], title: str) -> Figure:
    """Hypervolume between the baseline and the best, over updates and over time.

    The trials that raised it stand with their numbers.

    A study that stops bad trials early gets further to the left at the same height.
    """
    figure = blank_figure(4.6, title)
    volumes = np.array([moment.hypervolume for moment in moments], dtype=float)
    minutes = [moment.seconds / 60 for moment in moments]
    in_hours = bool(minutes) and minutes[-1] > 180
    times = [value / 60 for value in minutes] if in_hours else minutes
    spent = {
        "updates in all trials, stopped ones too": [float(moment.steps) for moment in moments],
        f"training and evaluation, {'hours' if in_hours else 'minutes'}": times,
    }
    rises = [at for at in range(1, len(moments)) if volumes[at] > volumes[at - 1]]
    if len(rises) > NAMED:  # the highest ones
        rises = sorted(sorted(rises, key=lambda at: volumes[at - 1] - volumes[at])[:NAMED])
    for place, (label, xs) in enumerate(spent.items(), start=1):
        ax = figure.add_subplot(1, 2, place)
        label_axes(ax, label, "hypervolume, from baseline to best = 1" if place == 1 else "")
        if not moments:
            say(ax, "no trial has a result")
            continue
        ax.step([0.0, *xs], [0.0, *volumes], where="post", color=BLUE, linewidth=1.8)
        ax.plot(xs, volumes, "|", color=GREY, markersize=7)
        top = float(volumes.max()) or 1.0
        ax.set_ylim(-0.02 * top, 1.12 * top)
        ax.set_xlim(0, xs[-1] * 1.04 or 1.0)
        for at in rises:
            ax.annotate(
                str(moments[at].number),
                (xs[at], volumes[at]),
                (-3, 4),
                textcoords="offset points",
                fontsize=9,
                ha="right",
            )
    return frozen(figure)


def importances_figure(importances: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """A group of bars for each knob, a bar for each objective, from 0 to 1; objectives under their own names."""
    knobs = list(dict.fromkeys(knob for shares in importances.values() for knob in shares))
    figure = blank_figure(2.2 + 0.2 * max(len(knobs), 1) * max(len(importances), 1), title)
    ax = figure.add_subplot()
    label_axes(ax, "share of what the knobs explain one by one of the objective's variance (fANOVA)", "")
    if not importances:
        say(ax, "too few trials to tell")
        return frozen(figure)
    width = 0.8 / len(importances)
    for place, (objective, shares) in enumerate(importances.items()):
        at = [index + place * width for index in range(len(knobs))]
        values = [shares[knob] for knob in knobs]
        hatch, colour = HATCHES[place % len(HATCHES)], PALETTE[place % len(PALETTE)]
        ax.barh(at, values, width, align="edge", label=objective, color=colour, hatch=hatch, edgecolor="white")
        for y, value in zip(at, values, strict=True):
            ax.annotate(
                f"{value:.2f}", (value, y + width / 2), (3, 0), textcoords="offset points", fontsize=8, va="center"
            )
    ax.set_yticks([index + 0.4 for index in range(len(knobs))], knobs)
    ax.set_xlim(0, 1.06)
    ax.invert_yaxis()
    figure.legend(loc="outside lower center", fontsize=9, frameon=False, ncols=2)
    return frozen(figure)
