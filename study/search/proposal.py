"""The next trial's parameters: from what the study has seen to what its sampler proposes.

The sampler works on a copy of the study in memory. There a stopped trial has the end that it would probably have had:
its last figures, moved on by what finished trials gained from that step to their ends. Optuna's samplers learn nothing
from a trial without values and would propose it again; with the figures of a third of its steps alone they would think
its whole region bad.

A study's last trials may be aimed at its choice. The gain of hypervolume spreads trials over the whole front, of which
a person takes one point. So the sampler is asked for the expected improvement of the first objective alone, where all
bounds and bars are likely to be kept (Gardner et al. 2014): docs/log.md has what it gains.
"""

import math
import statistics
from collections.abc import Mapping, Sequence

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from study.record import StudyRecord
from study.runs import Run, State
from study.search.space import distributions, sampler_for, suggest
from study.search.stopping import is_evaluation
from study.settings import Objective, Value
from wake2vec import Progress

NEAR = 0.1
"""What is near a bar's limit, as a share of the way from the baseline's figure to it."""


def propose(record: StudyRecord, number: int) -> dict[str, Value]:
    """Parameters for trial `number`: a pure function of the trials that it sees and of the study's settings.

    The trials that may run beside it are pending, whether they still run or not: so when they end doesn't matter.
    """
    config = record.config
    pending = record.beside(number)
    record = record.seen_by(number)
    aimed = config.study.is_aimed(number)
    aims = config.study.objectives[:1] if aimed else config.study.objectives
    seen = optuna.create_study(
        directions=[objective.direction for objective in aims],
        sampler=sampler_for(number, config),
    )
    for trial in record.trained:
        if trial.state is State.STOPPED:
            told = _stopped(trial, record, aims, aimed)
        else:
            told = _finished(trial, record, aims, aimed)
        if told is not None:
            seen.add_trial(told)
    for params in pending:
        seen.add_trial(create_trial(state=TrialState.RUNNING, params=params, distributions=distributions(config)))
    # Where one point is far better than all others drawn, Optuna divides 0 by 0 and goes on from that point alone.
    with np.errstate(invalid="ignore"):
        return suggest(seen.ask(), config)


def _finished(trial: Run, record: StudyRecord, aims: Sequence[Objective], aimed: bool) -> FrozenTrial:
    config = record.config
    constraints = {
        str(bound): violation for bound, violation in zip(config.study.bounds, trial.violations, strict=True)
    }
    if aimed:
        constraints |= _sides(record.result(trial.digest).numbers, record)
    return create_trial(
        values=trial.values[: len(aims)],
        params=trial.params,
        distributions=distributions(config),
        constraints=constraints,
    )


def _stopped(trial: Run, record: StudyRecord, aims: Sequence[Objective], aimed: bool) -> FrozenTrial | None:
    """With the figures that it would probably have ended with; None where one of them is undefined."""
    config = record.config
    figures = _probable_end(trial, record)
    values = [objective.value(figures.get(objective.result, math.nan)) for objective in aims]
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
    if aimed:
        constraints |= _sides(figures, record)
    return create_trial(
        values=values, params=trial.params, distributions=distributions(config), constraints=constraints
    )


def _sides(figures: Mapping[str, float | None], record: StudyRecord) -> dict[str, float]:
    """How far a trial is from keeping each bar: 0 or less on all sides of it; an undefined figure breaks its bar."""
    baseline = record.result(record.baseline.digest).numbers
    found = {}
    for bar in record.config.study.choice.bars:
        figure, before = figures.get(bar.result), baseline.get(bar.result)
        measure = figures.get(bar.from_result) if bar.from_result else before
        sides = bar.sides(0.0, measure) if figure is None else bar.sides(figure, measure)
        near = 0.0 if before is None else NEAR * bar.violation(before, measure)
        for place, by in enumerate(sides):
            found[f"bar {bar}, side {place}"] = 1.0 if figure is None else _compressed(by, near)
    return found


def _compressed(by: float, near: float) -> float:
    """What lies within `near` of the limit as it is, and farther excesses by their logarithm.

    A Gaussian process that must explain a |d| of 8 takes a difference of .05 at the limit for noise.
    """
    return near * math.asinh(by / near) if near > 0 else by


def _probable_end(trial: Run, record: StudyRecord) -> dict[str, float]:
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
