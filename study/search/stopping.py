"""Early stopping with several objectives: which trials are not worth their remaining steps.

Optuna has no pruning with several objectives. A trial is judged at each evaluation, and ended for one of three
reasons. *Diverged*: its validation loss lies above the one it began with. *Stuck*: half its steps are done and the loss
has hardly moved. *Dominated*: of the trials that were evaluated at this step, finished or stopped, too many are better
in the sense of non-dominated sorting; that is asynchronous successive halving for several objectives (MO-ASHA,
Schmucker et al. 2021), whose rungs are here the evaluations.

Only trials with at least as many steps are peers: the learning rate falls to 0 over a trial's length, so at equal steps
a shorter trial is nearer to its end and looks better than it compares (docs/log.md). A trial is compared with what
stood when it came to the step: the same trials in the same order are stopped alike, and a driver that died goes on
with the same verdicts.
"""

import math
from collections.abc import Iterable, Sequence

from study.config import StudyConfig
from study.settings import Objective, StoppingSettings
from wake2vec import Numbers, Progress

LOSS = "validation.loss"
Costs = tuple[float, ...]


class Stopper:
    """Judges a trial of so many steps; `peers` are steps and records of progress of those that ended before it."""

    def __init__(self, config: StudyConfig, steps: int, peers: Iterable[tuple[int, Sequence[Progress]]]) -> None:
        assert config.study.stopping is not None
        self._settings: StoppingSettings = config.study.stopping
        self._objectives = config.study.objectives
        self._steps = steps
        self._start_loss: float | None = None
        self._rungs: dict[int, list[Costs]] = {}
        for length, progress in peers:
            for record in progress:
                if length >= steps and is_evaluation(record):
                    self._rungs.setdefault(record.step, []).append(costs_at(record.numbers, self._objectives))

    def verdict(self, record: Progress) -> str | None:
        """Why the trial should end now, in words; None where it should go on."""
        if not is_evaluation(record):
            return None
        loss = record.numbers[LOSS]
        if record.step == 0:
            self._start_loss = loss
        if record.step < self._settings.grace_steps or record.step >= self._steps:
            return None
        return self._without_progress(record.step, loss) or self._dominated(record)

    def begin(self, progress: Sequence[Progress]) -> None:
        """Take in what a trial that goes on from a checkpoint has already recorded."""
        for record in progress:
            if record.step == 0 and is_evaluation(record):
                self._start_loss = record.numbers[LOSS]

    def _without_progress(self, step: int, loss: float | None) -> str | None:
        start, settings = self._start_loss, self._settings
        if start is None or loss is None:
            return None
        if settings.diverged_nats is not None and loss > start + settings.diverged_nats:
            return f"diverged: validation loss {loss:.3f} at step {step}, {start:.3f} at step 0"
        if settings.stuck_nats is not None and 2 * step >= self._steps and loss > start - settings.stuck_nats:
            return f"stuck: validation loss {loss:.3f} at step {step} of {self._steps}, {start:.3f} at step 0"
        return None

    def _dominated(self, record: Progress) -> str | None:
        if self._settings.keep_share is None:
            return None
        own = costs_at(record.numbers, self._objectives)
        others = self._rungs.get(record.step, [])
        ahead = trials_ahead(own, others)
        kept = math.ceil(self._settings.keep_share * (len(others) + 1))
        if ahead < kept:
            return None
        return f"dominated: at step {record.step} {ahead} of {len(others)} trials as long lie on better fronts"


def is_evaluation(record: Progress) -> bool:
    return LOSS in record.numbers


def costs_at(numbers: Numbers, objectives: Sequence[Objective]) -> Costs:
    """The objectives of one moment, signed so that less is better; an undefined one is the worst."""
    return tuple(
        math.inf if (figure := numbers.get(objective.result)) is None else objective.sign * objective.value(figure)
        for objective in objectives
    )


def trials_ahead(own: Costs, others: Sequence[Costs]) -> int:
    """How many of the others lie on better fronts, when all are sorted into fronts.

    The first front is what nothing dominates, the second what only the first dominates, and so on (Deb et al. 2002).
    """
    left, ahead = [own, *others], 0
    while True:
        front = [costs for costs in left if not any(dominates(other, costs) for other in left)]
        if own in front:
            return ahead
        ahead += len(front)
        left = [costs for costs in left if costs not in front]


def dominates(costs: Costs, other: Costs) -> bool:
    """At least as good in all, better in one."""
    return costs != other and all(a <= b for a, b in zip(costs, other, strict=True))
