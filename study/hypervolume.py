"""Hypervolume: how much of the space of objectives a study's front dominates, as one number, and how it grew.

The volume between the front and the baseline, which is the reference point (Zitzler & Thiele 1998), in units of the
baseline's values: in k objectives that each were brought from the baseline's value to 0 it is 1. A trial that is worse
than the baseline in any objective adds nothing. 0 is the null: no trial beats the baseline in every objective.
"""

from collections.abc import Iterable, Sequence

import moocore
import numpy as np

from study.config import StudyConfig
from study.trials import FinishedTrial, costs_of

Point = tuple[float, ...]


def hypervolume(points: Iterable[Point], reference: Point) -> float:
    """Volume that the points dominate below the reference; less is better in each coordinate. Exact."""
    inside = [point for point in points if all(a < b for a, b in zip(point, reference, strict=True))]
    if not inside:
        return 0.0
    return float(moocore.hypervolume(np.array(inside, dtype=np.float64), ref=np.array(reference, dtype=np.float64)))


def relative_costs(trial: FinishedTrial, baseline: FinishedTrial, config: StudyConfig) -> Point:
    """The trial's costs in units of the baseline's absolute values: its own are 1, or -1 where more is better."""
    return tuple(
        cost / (abs(own) or 1.0) for cost, own in zip(costs_of(trial, config), costs_of(baseline, config), strict=True)
    )


def study_hypervolume(trials: Sequence[FinishedTrial], baseline: FinishedTrial, config: StudyConfig) -> float:
    """Of the trials that keep all bounds."""
    points = [relative_costs(trial, baseline, config) for trial in trials if trial.is_feasible]
    return hypervolume(points, relative_costs(baseline, baseline, config))


def hypervolume_history(trials: Sequence[FinishedTrial], baseline: FinishedTrial, config: StudyConfig) -> list[float]:
    """After each of the trials, in their order: it never falls."""
    return [study_hypervolume(trials[: count + 1], baseline, config) for count in range(len(trials))]
