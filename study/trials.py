"""Trials with a result, and how they compare: the front, the baseline, and what beats it."""

from collections.abc import Sequence
from dataclasses import dataclass

from study.config import StudyConfig, Value


@dataclass(frozen=True)
class FinishedTrial:
    """What the study database knows of a trial with a result."""

    number: int
    params: dict[str, Value]
    values: tuple[float, ...]
    """One for each objective, in the profile's order."""
    digest: str

    @property
    def is_baseline(self) -> bool:
        return self.number == 0


def front_numbers(trials: Sequence[FinishedTrial], config: StudyConfig) -> set[int]:
    """The trials that no other is at least as good as in all objectives, and better in one."""
    signs = [1 if objective.direction == "minimize" else -1 for objective in config.study.objectives]
    costs = {
        trial.number: tuple(sign * value for sign, value in zip(signs, trial.values, strict=True)) for trial in trials
    }
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
