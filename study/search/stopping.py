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
from study.runs.cost import LOSS, Evaluations, evaluations_of, is_evaluation
from study.runs.trials import Point, ranks
from study.settings import Objective, StoppingSettings
from wake2vec import Numbers, Progress


class Stopper:
    """Judges a trial of so many steps; `peers` are steps and evaluations of those that ended before it."""

    def __init__(self, config: StudyConfig, steps: int, peers: Iterable[tuple[int, Evaluations]]) -> None:
        assert config.study.stopping is not None
        self._settings: StoppingSettings = config.study.stopping
        self._objectives = config.study.objectives
        self._steps = steps
        self._start_loss: float | None = None
        self._rungs: dict[int, list[Point]] = {}
        for _, evaluations in (peer for peer in peers if peer[0] >= steps):
            for step, numbers in evaluations.items():
                if self._settings.grace_steps <= step < steps:
                    self._rungs.setdefault(step, []).append(costs_at(numbers, self._objectives))

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
        if (first := evaluations_of(progress).get(0)) is not None:
            self._start_loss = first[LOSS]

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


def costs_at(numbers: Numbers, objectives: Sequence[Objective]) -> Point:
    """The objectives of one moment, signed so that less is better; an undefined one is the worst."""
    return tuple(
        math.inf if (figure := numbers.get(objective.result)) is None else objective.sign * objective.value(figure)
        for objective in objectives
    )


def trials_ahead(own: Point, others: Sequence[Point]) -> int:
    """How many of the others lie on better fronts, when all are sorted into fronts."""
    mine, *theirs = ranks([own, *others])
    return sum(rank < mine for rank in theirs)
