"""The next trial's parameters: from what the study has seen to what its sampler proposes.

The sampler works on a copy of the study in memory. There a stopped trial has the end that it would probably have had:
its last figures, moved on by what finished trials gained from that step to their ends. Optuna's samplers learn nothing
from a trial without values and would propose it again; with the figures of a third of its steps alone they would think
its whole region bad.
"""

import math
import statistics
from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, create_trial

from study.config import StudyConfig
from study.record import StudyRecord
from study.search.space import distributions, sampler_for, suggest
from study.search.stopping import is_evaluation
from study.settings import Value
from study.trials import FinishedTrial, StoppedTrial
from wake2vec import Progress


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
    """With the figures that it would probably have ended with; None where one of them is undefined."""
    config = record.config
    figures = _probable_end(trial, record)
    values = [objective.value(figures.get(objective.result, math.nan)) for objective in config.study.objectives]
    if not all(map(math.isfinite, values)):
        return None
    baseline = record.result(record.baseline.digest).numbers
    constraints = {
        str(bound): 0.0  # a figure that has no curve tells nothing
        if (figure := figures.get(bound.result)) is None
        else bound.violation(
            figure, figures.get(bound.from_result) if bound.from_result else baseline.get(bound.result)
        )
        for bound in config.study.bounds
    }
    return create_trial(
        values=values, params=trial.params, distributions=distributions(config), constraints=constraints
    )


def _probable_end(trial: StoppedTrial, record: StudyRecord) -> dict[str, float]:
    """Its last evaluation, plus the median change from that step to the end of the finished trials at least as long."""
    last = _evaluation(record.progress(trial.digest), trial.step)
    steps = record.steps(trial)
    gains: dict[str, list[float]] = {}
    for peer in record.finished:
        if record.steps(peer) < steps:
            continue
        progress = record.progress(peer.digest)
        then, end = _evaluation(progress, trial.step), _evaluation(progress, record.steps(peer))
        for address in then.keys() & end.keys():
            gains.setdefault(address, []).append(end[address] - then[address])
    return {address: figure + statistics.median(gains.get(address, [0.0])) for address, figure in last.items()}


def _evaluation(progress: Sequence[Progress], step: int) -> dict[str, float]:
    """The defined figures that were evaluated at that step; none where there was no evaluation."""
    numbers = next((record.numbers for record in progress if record.step == step and is_evaluation(record)), {})
    return {address: figure for address, figure in numbers.items() if figure is not None}
