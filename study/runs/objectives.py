"""What a result is judged by: its objectives, and the bounds that it keeps or breaks."""

import math

from study.config import GPU_MEMORY, StudyConfig
from study.settings import Bound
from wake2vec import Numbers, RunResult, TrainingDivergedError, UndefinedFigureError


def objective_values(result: RunResult, config: StudyConfig) -> tuple[float, ...]:
    """In the profile's order, in the figures' units; where the goal is a number, the distance from it.

    Raises:
        TrialFailedError: an objective is undefined for this trial, or isn't finite.
    """
    return tuple(
        objective.value(_defined(result, objective.result, "objective")) for objective in config.study.objectives
    )


def violations(result: RunResult, baseline: RunResult | None, config: StudyConfig) -> tuple[float, ...]:
    """By how much the trial breaks each bound, in its figure's unit; 0 or less: it keeps it.

    `baseline` is what a bound on the baseline is measured from; without one such a bound binds nothing.

    Raises:
        TrialFailedError: a bounded figure is undefined for this trial, or isn't finite.
    """
    return tuple(
        bound.violation(_defined(result, bound.result, "bounded figure"), _measure(bound, result, baseline))
        for bound in config.study.bounds
    )


def bar_excesses(result: RunResult, baseline: RunResult | None, config: StudyConfig) -> tuple[float, ...]:
    """By how much the trial breaks each bar of the choice, as a share of the bar's limit; 0 or less: it keeps it.

    A bar at 0 has no shares: there the excess is in the figure's own unit. Infinite where the figure is undefined.
    """
    return tuple(_excess(bar, result, baseline) for bar in config.study.choice.bars)


def _excess(bar: Bound, result: RunResult, baseline: RunResult | None) -> float:
    figure, measure = _figure(result, bar.result), _measure(bar, result, baseline)
    if figure is None or not math.isfinite(figure):
        return math.inf
    return bar.violation(figure, measure) / (abs(bar.limit_of(measure) or 0.0) or 1.0)


def _measure(bound: Bound, result: RunResult, baseline: RunResult | None) -> float | None:
    """What the bound is measured from; None where there is none, or the baseline has no result."""
    return bound.measure_of(figures_of(result), result.start, figures_of(baseline) if baseline is not None else {})


def _defined(result: RunResult, address: str, what: str) -> float:
    figure = _figure(result, address)
    if figure is None:
        raise UndefinedFigureError(f"the {what} {address} is undefined for this trial")
    if not math.isfinite(figure):
        raise TrainingDivergedError(f"the {what} {address} must be finite: it is {figure}")
    return figure


def _figure(result: RunResult, address: str) -> float | None:
    return figures_of(result).get(address)


def figures_of(result: RunResult) -> Numbers:
    """All that may be bounded; None: undefined. A trial on a CPU takes 0 of a GPU's memory."""
    return {**result.numbers, GPU_MEMORY: result.computed.peak_memory_gb or 0.0}
