"""Hypervolume: how much of the space of objectives a study's front dominates, as one number, and how it grew.

The volume between the front and the baseline, which is the reference point (Zitzler & Thiele 1998), in units of what
the baseline lacks of the best trial in each objective (`study.trials.units_of`): so every objective spans an edge of
the same length, and the volume is 1 where one trial is best in all of them. A trial that is worse than the baseline in
any objective adds nothing. 0 is the null: no trial beats the baseline in every objective.

The units are those of the trials at hand. A new best in an objective makes earlier volumes smaller; whether a trial
raised the volume doesn't change by that.

Where no trial is better than the baseline there is nothing to gain: such an objective spans no volume, but is still to
be kept. With the plain definition one such objective would make every volume 0, and `patience` would end the study.
"""

from collections.abc import Iterable, Sequence

import moocore
import numpy as np

from study.config import StudyConfig
from study.runs import Run
from study.trials import costs_of, units_of

Point = tuple[float, ...]


def hypervolume(points: Iterable[Point], reference: Point) -> float:
    """Volume that the points dominate below the reference; less is better in each coordinate. Exact."""
    inside = [point for point in points if all(a < b for a, b in zip(point, reference, strict=True))]
    if not inside:
        return 0.0
    return float(moocore.hypervolume(np.array(inside, dtype=np.float64), ref=np.array(reference, dtype=np.float64)))


def study_hypervolume(trials: Sequence[Run], baseline: Run, config: StudyConfig, units: Sequence[float]) -> float:
    """Of these trials, over the objectives whose unit isn't 0; 0 if there are none."""
    own = costs_of(baseline, config)
    spanned = [place for place, unit in enumerate(units) if unit > 0]
    gains = [[cost - start for cost, start in zip(costs_of(trial, config), own, strict=True)] for trial in trials]
    points = [
        tuple(gain[place] / units[place] for place in spanned)
        for gain in gains
        if all(by <= 0 for place, by in enumerate(gain) if place not in spanned)
    ]
    return hypervolume(points, (0.0,) * len(spanned)) if spanned else 0.0


def hypervolume_history(trials: Sequence[Run], baseline: Run, config: StudyConfig) -> list[float]:
    """After each of the trials, in their order, of those that keep all bounds: it never falls."""
    feasible = [[trial for trial in trials[: count + 1] if trial.is_feasible] for count in range(len(trials))]
    units = units_of(feasible[-1] if feasible else [], baseline, config)
    return [study_hypervolume(kept, baseline, config, units) for kept in feasible]
