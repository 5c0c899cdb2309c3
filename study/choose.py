"""The choice of one trial from a study's front, by a written rule."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from study.config import StudyConfig
from study.trials import FinishedTrial, baseline_of, front_numbers


@dataclass(frozen=True)
class Choice:
    """The trial chosen, and why, in a sentence."""

    trial: FinishedTrial
    reason: str


def nearest_to_ideal(trials: Sequence[FinishedTrial], config: StudyConfig) -> Choice:
    """The trial of the front that lies nearest to the ideal point, in units of the baseline's values.

    The ideal point has the best value that any trial reached in each objective. One unit of an objective is the
    baseline's absolute value, or the median of all trials' where that is larger (a baseline near 0 is no measure).
    So a tenth off the loss counts as much as a tenth off |d|, and differences in the last digits count
    for nothing. Euclidean; ties go to the earlier trial.
    """
    baseline = baseline_of(trials)
    columns = list(zip(*(trial.values for trial in trials), strict=True))
    ideal = [
        min(column) if objective.direction == "minimize" else max(column)
        for objective, column in zip(config.study.objectives, columns, strict=True)
    ]
    units = [
        max(abs(own), statistics.median(map(abs, column))) or 1.0
        for own, column in zip(baseline.values, columns, strict=True)
    ]

    def distance(trial: FinishedTrial) -> float:
        return math.hypot(
            *((value - best) / unit for value, best, unit in zip(trial.values, ideal, units, strict=True))
        )

    front = front_numbers(trials, config)
    chosen = min(
        (trial for trial in trials if trial.number in front), key=lambda trial: (distance(trial), trial.number)
    )
    return Choice(
        chosen,
        f"trial {chosen.number}, of {len(front)} on the front, is nearest to the ideal point: distance "
        f"{distance(chosen):.2f} in units of the baseline's values (the baseline itself: {distance(baseline):.2f})",
    )
