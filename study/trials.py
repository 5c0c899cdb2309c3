"""Trials and how they compare: the front, the baseline, what beats it, what keeps the bounds."""

import statistics
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

    @property
    def is_baseline(self) -> bool:
        return self.number == 0

    @property
    def is_feasible(self) -> bool:
        """Whether it keeps all bounds."""
        return all(violation <= 0 for violation in self.violations)


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


def units_of(trials: Sequence[FinishedTrial]) -> tuple[float, ...]:
    """What one unit of each objective is: the baseline's absolute value.

    It is the median of all trials' where that is larger: a baseline near 0 is no measure. 1 where all are 0. So
    a tenth off the loss counts as much as a tenth off |d|, and differences in the last digits for nothing.
    """
    columns = zip(*(trial.values for trial in trials), strict=True)
    return tuple(
        max(abs(own), statistics.median(map(abs, column))) or 1.0
        for own, column in zip(baseline_of(trials).values, columns, strict=True)
    )
