"""What a study has cost, and what it had reached when so much was spent."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from study.record import StudyRecord
from study.runs import State
from study.show.values import shown_figures, shown_values


@dataclass(frozen=True)
class Spent:
    """Cost of a study so far, repeats, references, stopped, failed and open trials among it."""

    steps: int
    """Updates done."""
    seconds: float
    """Wall time of training and evaluations, without pauses."""
    device: str
    """Where the baseline was computed; `this device` where that isn't known."""


@dataclass(frozen=True)
class Best:
    """The best value of an objective, and what had been spent when its trial was done."""

    value: float
    trial: int
    steps: int
    seconds: float


def spent(record: StudyRecord) -> Spent:
    companions = [companion.digest for companion in record.companions]
    costs = [record.cost(digest) for digest in [*_own_digests(record), *companions]]
    device = record.result(record.baseline.digest).computed.device if record.finished else "this device"
    return Spent(sum(cost.steps for cost in costs), sum(cost.seconds for cost in costs), device)


def bests(record: StudyRecord) -> list[Best | None]:
    """Of each of `shown_figures`, among the finished trials that keep all bounds; of all where none does.

    None: the figure is undefined in all.
    """
    steps, seconds, figures = 0, 0.0, shown_figures(record)
    found: list[Best | None] = [None] * len(figures)
    is_any_feasible = any(trial.is_feasible for trial in record.finished)
    for run in record.begun:
        if run.digest and not run.source:
            cost = record.cost(run.digest)
            steps, seconds = steps + cost.steps, seconds + cost.seconds
        if run.state is not State.FINISHED or (is_any_feasible and not run.is_feasible):
            continue
        for place, (figure, value) in enumerate(zip(figures, shown_values(record, run), strict=True)):
            best = found[place]
            if not math.isnan(value) and (best is None or figure.sign * value < figure.sign * best.value):
                found[place] = Best(value, run.number, steps, seconds)
    return found


def _own_digests(record: StudyRecord) -> Iterator[str]:
    """Of all trials but those that another study has paid for; each once."""
    yield from dict.fromkeys(run.digest for run in record.begun if run.digest and not run.source)
