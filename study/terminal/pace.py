"""How long a study takes: how many runs and steps it has, and its own pace."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from study.companions import references
from study.config import StudyConfig
from study.settings import Range

PASS_TOKENS = 512
"""Of the pass that is timed before a run (`wake2vec.training.machine`)."""
FIRST_STEPS = 5
"""Of the first run, before they tell how long the study takes."""
BESIDE_STEPS = 1.5
"""A run's time in that of its steps, before it is known: evaluations, samples, pictures."""


class Pace:
    """What is left of a study, from what its runs took so far; before the first ended, from its steps or one pass."""

    def __init__(self, config: StudyConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._step_s: float | None = None
        self._steps: list[int] = []
        self._seconds = 0.0
        self._open: dict[str, _Run] = {}
        self._companions_left = companion_runs(config)

    def timed(self, pass_s: float) -> None:
        """A training pass took so long."""
        if not self._seconds:
            batch_tokens = self._config.run.train.batch_blocks * self._config.run.corpus.block_tokens
            self._step_s = BESIDE_STEPS * pass_s * batch_tokens / PASS_TOKENS

    def begin(self, name: str, steps: int, is_companion: bool = False) -> None:
        """A run of so many steps begins."""
        self._open[name] = _Run(steps, self._clock(), is_companion)

    def trained(self, name: str, step: int) -> None:
        """The run has come to that step: it isn't one whose result is only read."""
        run, now = self._open[name], self._clock()
        run.has_trained, run.done = True, max(run.done, step)
        if step and run.stepped is None:
            run.stepped = (step, now)
        if run.stepped is not None and not self._seconds and step - run.stepped[0] >= FIRST_STEPS:
            self._step_s = BESIDE_STEPS * (now - run.stepped[1]) / (step - run.stepped[0])

    def end(self, name: str) -> None:
        """The run has ended."""
        run = self._open.pop(name)
        self._companions_left -= run.is_companion
        if run.has_trained:
            self._seconds += self._clock() - run.started
            self._steps.append(run.steps)
            self._step_s = self._seconds / sum(self._steps)

    def left_s(self, ended: int) -> float | None:
        """Seconds, the open runs included, when so many trials have ended; None: nothing was timed yet."""
        if self._step_s is None:
            return None
        study = self._config.study
        usual = sum(self._steps) / len(self._steps) if self._steps else mean_steps(self._config)
        trials = max(study.trials - ended, 0)
        steps = trials * usual + max(self._companions_left, 0) * baseline_steps(self._config)
        done = sum(run.done for run in self._open.values())
        return max(steps - done, 0) * self._step_s / study.workers


@dataclass
class _Run:
    """A run that is open."""

    steps: int
    started: float
    is_companion: bool
    done: int = 0
    """Its last step."""
    has_trained: bool = False
    stepped: tuple[int, float] | None = None
    """Its first step since it began, and when it was done."""


def companion_runs(config: StudyConfig) -> int:
    """Runs that are no trials: references, and baseline and finalists with the other seeds."""
    return len(references(config)) + (1 + config.study.finalists) * (config.study.seeds - 1)


def baseline_steps(config: StudyConfig) -> int:
    return config.run_config(config.study.baseline).train.steps


def mean_steps(config: StudyConfig) -> float:
    """Steps of a trial on average, if the sampler drew from the space at random."""
    space = config.study.space.get("train.steps")
    if space is None:
        return config.run.train.steps
    if not isinstance(space, Range):
        return sum(float(choice) for choice in space.choices) / len(space.choices)
    if space.log:
        return (space.high - space.low) / math.log(space.high / space.low)
    return (space.low + space.high) / 2
