"""Trials and how they compare: costs, fronts, the baseline, and the hypervolume, how much of the space they dominate.

The hypervolume (Zitzler & Thiele 1998) is the volume between the front and the baseline, which is the reference point,
in units of what the baseline lacks of the best trial in each objective (`units_of`): so every objective spans an edge
of the same length, and the volume is 1 where one trial is best in all of them. A trial that is worse than the baseline
in any objective adds nothing. 0 is the null: no trial beats the baseline in every objective.

The units are those of the trials at hand. A new best in an objective makes earlier volumes smaller; whether a trial
raised the volume doesn't change by that. Where no trial is better than the baseline there is nothing to gain: such an
objective spans no volume, but is still to be kept. With the plain definition one such objective would make every volume
0, and `patience` would end the study.
"""

import math
from collections.abc import Iterable, Sequence

import moocore
import numpy as np

from study.config import StudyConfig
from study.runs.run import Run

Point = tuple[float, ...]
"""Costs, or gains on the baseline: less is better in each coordinate."""


def costs_of(trial: Run, config: StudyConfig) -> Point:
    """The trial's objective values, signed so that less is better."""
    return tuple(objective.sign * value for objective, value in zip(config.study.objectives, trial.values, strict=True))


def ranks(points: Sequence[Point]) -> list[int]:
    """The front that each point lies on: 0 is what nothing dominates, 1 what only those dominate (Deb et al. 2002).

    Equal points share a front. One with a NaN can't be compared: it lies on the first, and dominates nothing.
    """
    found = np.zeros(len(points), dtype=np.int64)
    comparable = np.array([not any(map(math.isnan, point)) for point in points], dtype=np.bool_)
    if comparable.any():
        table = np.array(points, dtype=np.float64)[comparable]
        # Only the order in a column counts: by places in it, as moocore takes infinity for its own sentinel.
        places = [np.unique(column, return_inverse=True)[1] for column in table.T]
        found[comparable] = moocore.pareto_rank(np.array(places, dtype=np.float64).T)
    return [int(rank) for rank in found]


def front_numbers(trials: Sequence[Run], config: StudyConfig) -> set[int]:
    """The trials that no other is at least as good as in all objectives, and better in one."""
    of_each = ranks([costs_of(trial, config) for trial in trials])
    return {trial.number for trial, rank in zip(trials, of_each, strict=True) if rank == 0}


def baseline_of(trials: Sequence[Run]) -> Run:
    """Trial 0, or the first with a result where that one failed."""
    return next((trial for trial in trials if trial.is_baseline), trials[0])


NOISE_IN_UNIT = 3.0
"""Standard deviations of the seeds that a unit has at least: what is less is no difference."""


def units_of(
    trials: Sequence[Run],
    baseline: Run,
    config: StudyConfig,
    deviations: Sequence[float] | None = None,
) -> tuple[float, ...]:
    """What one unit of each objective is: what the baseline lacks of the best of these trials.

    So every objective counts alike, however far its values lie from 0: in units of the baseline's values the whole
    range of the loss would weigh a tenth of that of |d|. `deviations` are standard deviations over seeds: a unit is
    never less than three of them. 0 where no trial is better than the baseline and no deviation is known.
    """
    own = costs_of(baseline, config)
    best = [min(column) for column in zip(own, *(costs_of(trial, config) for trial in trials), strict=True)]
    floors = deviations or [0.0] * len(own)
    return tuple(
        max(cost - least, NOISE_IN_UNIT * deviation) for cost, least, deviation in zip(own, best, floors, strict=True)
    )


def hypervolume(points: Iterable[Point], reference: Point) -> float:
    """Volume that the points dominate below the reference; less is better in each coordinate. Exact.

    Of the front alone: a point behind it would change the last digit.
    """
    inside = [point for point in points if all(a < b for a, b in zip(point, reference, strict=True))]
    if not inside:
        return 0.0
    front = moocore.filter_dominated(np.array(inside, dtype=np.float64))
    return float(moocore.hypervolume(front, ref=np.array(reference, dtype=np.float64)))


def study_hypervolume(trials: Sequence[Run], baseline: Run, config: StudyConfig, units: Sequence[float]) -> float:
    """Of these trials, whether they keep the bounds or not; 0 if there are none, or no unit but 0."""
    points = [point for trial in trials if (point := gains_of(trial, baseline, config, units)) is not None]
    return hypervolume(points, (0.0,) * len(points[0])) if points else 0.0


def gains_of(trial: Run, baseline: Run, config: StudyConfig, units: Sequence[float]) -> Point | None:
    """What it gains on the baseline where the unit isn't 0, less is better; None: it isn't better in each of these, or
    is worse in another."""
    costs, own = costs_of(trial, config), costs_of(baseline, config)
    gains = [cost - start for cost, start in zip(costs, own, strict=True)]
    spanned = [place for place, unit in enumerate(units) if unit > 0]
    is_inside = all(gain < 0 if place in spanned else gain <= 0 for place, gain in enumerate(gains))
    return tuple(gains[place] / units[place] for place in spanned) if spanned and is_inside else None


class Growth:
    """The hypervolume after each trial with a result that keeps all bounds, in units that stay; each is looked at once.

    Only a trial on the front of its time can raise it, so only then it is computed anew.
    """

    def __init__(self, baseline: Run, config: StudyConfig, units: Sequence[float]) -> None:
        self.baseline, self.units = baseline, units
        self._config = config
        self._front: list[Point] = []
        self.numbers: list[int] = []
        """Of the trials so far."""
        self.volumes: list[float] = []
        """After each of them: it never falls."""

    def add(self, trial: Run) -> None:
        volume = self.volumes[-1] if self.volumes else 0.0
        point = gains_of(trial, self.baseline, self._config, self.units) if trial.is_feasible else None
        if point is not None and not any(_covers(other, point) for other in self._front):
            self._front = [*(other for other in self._front if not _covers(point, other)), point]
            volume = hypervolume(self._front, (0.0,) * len(point))
        self.numbers.append(trial.number)
        self.volumes.append(volume)


def growth_of(trials: Sequence[Run], baseline: Run, config: StudyConfig, before: Growth | None = None) -> Growth:
    """Of the trials in their order; `before` is that of the first of them, and goes on where its units still hold."""
    units = units_of([trial for trial in trials if trial.is_feasible], baseline, config)
    growth = before or Growth(baseline, config, units)
    begun = [trial.number for trial in trials[: len(growth.numbers)]]
    if (growth.baseline, growth.units, growth.numbers) != (baseline, units, begun):
        growth = Growth(baseline, config, units)
    for trial in trials[len(growth.numbers) :]:
        growth.add(trial)
    return growth


def _covers(one: Point, other: Point) -> bool:
    """At least as good in all."""
    return all(a <= b for a, b in zip(one, other, strict=True))
