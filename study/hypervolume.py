"""Hypervolume: how much of the space of objectives a study's front dominates, as one number, and how it grew.

The volume between the front and the baseline, which is the reference point (Zitzler & Thiele 1998), in units of the
baseline's values: in k objectives that each were brought from the baseline's value to 0 it is 1. A trial that is worse
than the baseline in any objective adds nothing. 0 is the null: no trial beats the baseline in every objective.

Where the baseline stands at exactly 0 there is nothing to gain: such an objective spans no volume, but is still to be
kept. With the plain definition one such objective would make every volume 0, and `patience` would end the study.
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
    """The trial's costs in units of the baseline's absolute values: its own are 1, -1 where more is better, or 0."""
    return tuple(
        cost / (abs(own) or 1.0) for cost, own in zip(costs_of(trial, config), costs_of(baseline, config), strict=True)
    )


def study_hypervolume(trials: Sequence[FinishedTrial], baseline: FinishedTrial, config: StudyConfig) -> float:
    """Of these trials, over the objectives in which the baseline leaves room; 0 if it leaves none."""
    reference = relative_costs(baseline, baseline, config)
    open_places = [place for place, cost in enumerate(reference) if cost]
    points = [
        tuple(costs[place] for place in open_places)
        for costs in (relative_costs(trial, baseline, config) for trial in trials)
        if all(cost <= 0 for place, cost in enumerate(costs) if place not in open_places)
    ]
    return hypervolume(points, tuple(reference[place] for place in open_places)) if open_places else 0.0


def hypervolume_history(trials: Sequence[FinishedTrial], baseline: FinishedTrial, config: StudyConfig) -> list[float]:
    """After each of the trials, in their order, of those that keep all bounds: it never falls."""
    feasible = [[trial for trial in trials[: count + 1] if trial.is_feasible] for count in range(len(trials))]
    return [study_hypervolume(kept, baseline, config) for kept in feasible]
