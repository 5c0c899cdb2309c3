"""Trials and how they compare: the front, the baseline, what beats it, what keeps the bounds."""

from collections.abc import Sequence

from study.config import StudyConfig
from study.runs import Run


def costs_of(trial: Run, config: StudyConfig) -> tuple[float, ...]:
    """The trial's objective values, signed so that less is better."""
    return tuple(objective.sign * value for objective, value in zip(config.study.objectives, trial.values, strict=True))


def front_numbers(trials: Sequence[Run], config: StudyConfig) -> set[int]:
    """The trials that no other is at least as good as in all objectives, and better in one."""
    costs = {trial.number: costs_of(trial, config) for trial in trials}
    return {
        number
        for number, cost in costs.items()
        if not any(other != cost and all(a <= b for a, b in zip(other, cost, strict=True)) for other in costs.values())
    }


def baseline_of(trials: Sequence[Run]) -> Run:
    """Trial 0, or the first with a result where that one failed."""
    return next((trial for trial in trials if trial.is_baseline), trials[0])


def beats_baseline(trial: Run, baseline: Run, config: StudyConfig) -> bool:
    """Whether the trial is at least as good as the baseline in every objective, and better in one."""
    return (
        trial.number != baseline.number
        and trial.number in front_numbers([baseline, trial], config)
        and (baseline.number not in front_numbers([baseline, trial], config))
    )


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
