"""The choice of one trial from a study's front, by a written rule."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from study.config import StudyConfig
from study.trials import FinishedTrial, front_numbers


@dataclass(frozen=True)
class Choice:
    """The trial chosen, and why, in a sentence."""

    trial: FinishedTrial
    reason: str


def nearest_to_ideal(trials: Sequence[FinishedTrial], config: StudyConfig) -> Choice:
    """The trial of the front that lies nearest to the ideal point, in units of the baseline's distance from it.

    The ideal point has the best value that any trial reached in each objective. Each objective counts by the
    share of the baseline's shortfall that is left, so that one unit is what the Phase 1 recipe lacks; where the
    baseline itself is the best, by the spread of all trials. Euclidean; ties go to the earlier trial.
    """
    signs = [1 if objective.direction == "minimize" else -1 for objective in config.study.objectives]
    costs = {trial.number: [sign * value for sign, value in zip(signs, trial.values, strict=True)] for trial in trials}
    columns = list(zip(*costs.values(), strict=True))
    ideal = [min(column) for column in columns]
    baseline = next((cost for number, cost in costs.items() if number == 0), [max(column) for column in columns])
    units = [
        (own - best) or (max(column) - best) or 1.0 for own, best, column in zip(baseline, ideal, columns, strict=True)
    ]

    def distance(trial: FinishedTrial) -> float:
        return math.hypot(
            *((cost - best) / unit for cost, best, unit in zip(costs[trial.number], ideal, units, strict=True))
        )

    front = front_numbers(trials, config)
    chosen = min(
        (trial for trial in trials if trial.number in front),
        key=lambda trial: (distance(trial), trial.number),
    )
    return Choice(
        chosen,
        f"trial {chosen.number} of {len(front)} on the front is nearest to the ideal point: distance "
        f"{distance(chosen):.2f}, in units of what the baseline lacks in each objective",
    )
