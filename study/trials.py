"""Trials and how they compare: the front, the baseline, what beats it, what keeps the bounds."""

from collections.abc import Sequence
from dataclasses import dataclass

from study.config import StudyConfig
from study.settings import Value


@dataclass(frozen=True)
class FinishedTrial:
    """A trial with a result."""

    number: int
    params: dict[str, Value]
    values: tuple[float, ...]
    """One for each objective, in the profile's order."""
    digest: str
    violations: tuple[float, ...] = ()
    """By how much each bound is broken, in the profile's order; 0 or less: it is kept."""
    name: str = ""
    """Of the anchor, where it is one: `noise 1.0`."""
    source: str = ""
    """Study and trial that it was taken from by a warm start; it isn't counted as a trial of this study."""

    bars: tuple[float, ...] = ()
    """By how much each bar of the choice is broken, as a share of its limit; 0 or less: it is kept."""

    @property
    def is_baseline(self) -> bool:
        return self.number == 0

    @property
    def is_feasible(self) -> bool:
        """Whether it keeps all bounds."""
        return all(violation <= 0 for violation in self.violations)

    @property
    def keeps_bars(self) -> bool:
        return all(excess <= 0 for excess in self.bars)


@dataclass(frozen=True)
class StoppedTrial:
    """A trial that was ended early, as one that would not have been chosen."""

    number: int
    params: dict[str, Value]
    digest: str
    step: int
    """Updates done."""
    reason: str
    name: str = ""
    """Of the anchor, where it is one."""


@dataclass(frozen=True)
class FailedTrial:
    """A trial that could not be run to its end."""

    number: int
    params: dict[str, Value]
    reason: str
    name: str = ""
    """Of the anchor, where it is one."""


@dataclass(frozen=True)
class OpenTrial:
    """A trial that a driver began and hasn't ended: it runs, or goes on with the next driver."""

    number: int
    params: dict[str, Value]
    """Empty or partial where the driver died while it asked."""


def costs_of(trial: FinishedTrial, config: StudyConfig) -> tuple[float, ...]:
    """The trial's objective values, signed so that less is better."""
    return tuple(objective.sign * value for objective, value in zip(config.study.objectives, trial.values, strict=True))


def front_numbers(trials: Sequence[FinishedTrial], config: StudyConfig) -> set[int]:
    """The trials that no other is at least as good as in all objectives, and better in one."""
    costs = {trial.number: costs_of(trial, config) for trial in trials}
    return {
        number
        for number, cost in costs.items()
        if not any(other != cost and all(a <= b for a, b in zip(other, cost, strict=True)) for other in costs.values())
    }


def baseline_of(trials: Sequence[FinishedTrial]) -> FinishedTrial:
    """Trial 0, or the first with a result where that one failed."""
    return next((trial for trial in trials if trial.is_baseline), trials[0])


def beats_baseline(trial: FinishedTrial, baseline: FinishedTrial, config: StudyConfig) -> bool:
    """Whether the trial is at least as good as the baseline in every objective, and better in one."""
    return (
        trial.number != baseline.number
        and trial.number in front_numbers([baseline, trial], config)
        and (baseline.number not in front_numbers([baseline, trial], config))
    )


NOISE_IN_UNIT = 3.0
"""Standard deviations of the seeds that a unit has at least: what is less is no difference."""


def units_of(
    trials: Sequence[FinishedTrial],
    baseline: FinishedTrial,
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
