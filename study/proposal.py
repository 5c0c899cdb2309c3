"""The next trial's parameters: from what the study has seen to what its sampler proposes.

The sampler works on a copy of the study in memory. There a stopped trial has the values that it was stopped with: a
worse end than its own would have been, but one that keeps the sampler away, where Optuna's samplers learn
nothing from a trial without values and propose it again.
"""

import math

import optuna
from optuna.trial import FrozenTrial, create_trial

from study.config import StudyConfig
from study.record import StudyRecord
from study.settings import Value
from study.space import distributions, sampler_for, suggest
from study.stopping import is_evaluation
from study.trials import FinishedTrial, StoppedTrial


def propose(record: StudyRecord, number: int) -> dict[str, Value]:
    """Parameters for trial `number`: a pure function of the trials that ended before and of the study's seed."""
    config = record.config
    seen = optuna.create_study(
        directions=[objective.direction for objective in config.study.objectives],
        sampler=sampler_for(number, config),
    )
    for trial in record.trained:
        told = _stopped(trial, record) if isinstance(trial, StoppedTrial) else _finished(trial, config)
        if told is not None:
            seen.add_trial(told)
    return suggest(seen.ask(), config)


def _finished(trial: FinishedTrial, config: StudyConfig) -> FrozenTrial:
    constraints = {
        str(bound): violation for bound, violation in zip(config.study.bounds, trial.violations, strict=True)
    }
    return create_trial(
        values=trial.values, params=trial.params, distributions=distributions(config), constraints=constraints
    )


def _stopped(trial: StoppedTrial, record: StudyRecord) -> FrozenTrial | None:
    """With the figures of its last evaluation; None where one of them is undefined."""
    config = record.config
    figures = [progress for progress in record.progress(trial.digest) if is_evaluation(progress)][-1].numbers
    values = [
        objective.value(math.nan if (figure := figures[objective.result]) is None else figure)
        for objective in config.study.objectives
    ]
    if not all(map(math.isfinite, values)):
        return None
    baseline = record.result(record.baseline.digest).numbers
    constraints = {
        str(bound): 0.0  # a figure that has no curve tells nothing
        if (figure := figures.get(bound.result)) is None
        else bound.violation(figure, baseline.get(bound.result))
        for bound in config.study.bounds
    }
    return create_trial(
        values=values, params=trial.params, distributions=distributions(config), constraints=constraints
    )
