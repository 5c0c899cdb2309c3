"""What a trial took, and its curve: read from its record of progress."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from sys import intern

from wake2vec import Numbers, Progress

LOSS = "validation.loss"
Evaluations = Mapping[int, Numbers]
"""The figures of each evaluation, under its step."""
PAUSE_S = 60.0
PAUSE_IN_STEPS = 50
"""A gap between two records that is longer than both was no work: the machine was away."""


@dataclass(frozen=True)
class Cost:
    """What a trial took."""

    steps: int
    seconds: float
    """Wall time of its training and evaluations, without pauses."""


def is_evaluation(record: Progress) -> bool:
    return LOSS in record.numbers


def evaluations_of(progress: Sequence[Progress]) -> Evaluations:
    """Where a step was evaluated twice, the first counts. Addresses are interned: those of many trials may be kept."""
    return {
        record.step: {intern(address): figure for address, figure in record.numbers.items()}
        for record in reversed(progress)
        if is_evaluation(record)
    }


def curve_of(progress: Sequence[Progress], address: str) -> list[tuple[int, float]]:
    """A figure of the evaluations by step."""
    return [(record.step, figure) for record in progress if (figure := record.numbers.get(address)) is not None]


def cost_of(progress: Sequence[Progress]) -> Cost:
    """Steps and seconds from a record of progress."""
    times = [record.time_s for record in progress]
    gaps = sorted(after - before for before, after in pairwise(times))
    longest = max(PAUSE_S, PAUSE_IN_STEPS * gaps[len(gaps) // 2]) if gaps else PAUSE_S
    return Cost(max((record.step for record in progress), default=0), sum(gap for gap in gaps if gap <= longest))


def unit_of(seconds: float) -> tuple[str, float]:
    """Name and seconds of the unit that so long a time is told in."""
    return ("hours", 3600.0) if seconds >= 7200 else ("minutes", 60.0) if seconds >= 120 else ("seconds", 1.0)
