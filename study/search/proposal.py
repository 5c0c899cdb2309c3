"""The search space, and the next trial's parameters: from what the study has seen to what its sampler proposes.

The sampler works on a copy of the study in memory. There a stopped trial has the end that it would probably have had:
its last figures, moved on by what finished trials gained from that step to their ends. Optuna's samplers learn nothing
from a trial without values and would propose it again; with the figures of a third of its steps alone they would think
its whole region bad.

A study's last trials may be aimed at its choice. The gain of hypervolume spreads trials over the whole front, of which
a person takes one point. So the sampler is asked for the expected improvement of the first objective alone, where all
bounds and bars are likely to be kept (Gardner et al. 2014): docs/log.md has what it gains.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import cast

import moocore
import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from study.config import StudyConfig
from study.runs.record import StudyRecord
from study.runs.run import Run, State
from study.settings import Bound, Figures, Objective, Range, Value
from wake2vec import Numbers, flatten

NEAR = 0.1
"""What is near a bar's limit, as a share of the way from the baseline's figure to it."""


def distributions(config: StudyConfig) -> dict[str, BaseDistribution]:
    """Optuna's distribution of each knob of the space, in the order of the profile."""
    knobs = flatten(config.run.model_dump())
    found: dict[str, BaseDistribution] = {}
    for address, space in config.study.space.items():
        if not isinstance(space, Range):
            found[address] = CategoricalDistribution(space.choices)
        elif isinstance(knobs[address], int):
            found[address] = IntDistribution(round(space.low), round(space.high), log=space.log)
        else:
            found[address] = FloatDistribution(space.low, space.high, log=space.log)
    return found


def suggest(trial: optuna.Trial, config: StudyConfig) -> dict[str, Value]:
    """A value for each knob of the space, in the order of the profile."""
    values: dict[str, Value] = {}
    for address, space in distributions(config).items():
        if isinstance(space, IntDistribution):
            values[address] = trial.suggest_int(address, space.low, space.high, log=space.log)
        elif isinstance(space, FloatDistribution):
            values[address] = trial.suggest_float(address, space.low, space.high, log=space.log)
        else:
            assert isinstance(space, CategoricalDistribution)
            values[address] = cast(Value, trial.suggest_categorical(address, space.choices))
    return values


def gp(seed: int, startup_trials: int) -> BaseSampler:
    """A Gaussian process an objective and bound; the largest expected gain of hypervolume (Daulton et al. 2020)."""
    return GPSampler(seed=seed, n_startup_trials=startup_trials)


def tpe(seed: int, startup_trials: int) -> BaseSampler:
    """Parzen estimators of the good trials and of the others, over all knobs at once (Ozaki et al. 2022)."""
    return TPESampler(seed=seed, n_startup_trials=startup_trials, multivariate=True)


def random(seed: int, startup_trials: int) -> BaseSampler:
    """Independent draws: what a sampler must beat."""
    return RandomSampler(seed=seed)


SAMPLERS: dict[str, Callable[[int, int], BaseSampler]] = {"gp": gp, "tpe": tpe, "random": random}
GP_TRIALS = 300
"""Trials that a Gaussian process is asked to bear where the sampler is `auto`: a proposal takes seconds by then."""
GP_BYTES = 4e9
"""And the memory of a proposal, most of which goes with the front (`gp_bytes`)."""
BYTES_A_BOX = 2 * 8 * 2048 * 128
"""For each objective: two numbers, of each candidate that Optuna compares, in each sample of what it may give."""
SEEDS = 2**32
"""NumPy's generators take seeds below it."""
UNTAUGHT = ("random",)
"""Samplers that learn nothing from trials, and are told none: to copy a thousand takes .1 s."""


@dataclass(frozen=True)
class Proposal:
    """A trial to come: its knobs, and which of `SAMPLERS` gave them."""

    params: dict[str, Value]
    sampler: str


def gp_bytes(front: int, objectives: int) -> float:
    """Bytes of memory that a proposal of the Gaussian process takes, about, beside a front of so many trials.

    It goes with the boxes into which the front cuts what no trial dominates: with two objectives one a trial, with more
    about (.6 m + 1) n^(m / 3), as counted of Optuna 5.0 for 5 to 40 points of a sphere and 3 to 6 objectives.
    """
    if objectives < 3:
        return BYTES_A_BOX * objectives * front * (objectives - 1)
    return BYTES_A_BOX * objectives * (0.6 * objectives + 1) * front ** (objectives / 3)


def sampler_named(config: StudyConfig, told: Sequence[FrozenTrial], aims: Sequence[Objective]) -> str:
    """Which of `SAMPLERS` proposes from these trials: for `auto` a Gaussian process as long as it can bear them."""
    if config.study.sampler != "auto":
        return config.study.sampler
    feasible = [trial.values for trial in told if all(by <= 0 for by in trial.constraints.values())]
    front = (
        len(moocore.filter_dominated(np.array(feasible), maximise=[aim.sign < 0 for aim in aims])) if feasible else 0
    )
    return "gp" if len(told) <= GP_TRIALS and gp_bytes(front, len(aims)) <= GP_BYTES else "tpe"


def sampler_for(number: int, name: str, config: StudyConfig) -> BaseSampler:
    """The sampler of that name that proposes trial `number`.

    Each trial has a sampler of its own, seeded by its number, so that a study which was interrupted goes on
    with the trials that it would have had. It models what has ended: with several workers that is less.
    """
    startup_trials = max(1, config.study.startup_trials - (config.study.workers - 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return SAMPLERS[name]((config.study.seed * 1_000_003 + number) % SEEDS, startup_trials)


def propose(record: StudyRecord, number: int) -> Proposal:
    """Parameters for trial `number`: a pure function of the trials that it sees and of the study's settings.

    The trials that may run beside it are pending, whether they still run or not: so when they end doesn't matter.
    """
    config, pending = record.config, record.beside(number)
    aimed = config.study.is_aimed(number)
    told = Told(record.seen_by(number), config.study.objectives[:1] if aimed else config.study.objectives, aimed)
    known = told.trials() if config.study.sampler not in UNTAUGHT else []
    name = sampler_named(config, known, told.aims)
    seen = optuna.create_study(
        directions=[objective.direction for objective in told.aims], sampler=sampler_for(number, name, config)
    )
    seen.add_trials(known)
    for params in pending:
        seen.add_trial(own_trial(params, told.distributions))
    # Where one point is far better than all others drawn, Optuna divides 0 by 0 and goes on from that point alone.
    with np.errstate(invalid="ignore"):
        return Proposal(suggest(seen.ask(), config), name)


class Own(FrozenTrial):
    """A trial that one study in memory has, and nobody else, so that Optuna's storage needn't copy it.

    To copy ten thousand took half of a proposal.
    """

    def __deepcopy__(self, memo: object) -> "Own":
        return self


def own_trial(
    params: Mapping[str, Value],
    spaces: Mapping[str, BaseDistribution],
    values: Sequence[float] | None = None,
    constraints: Mapping[str, float] | None = None,
) -> Own:
    """For a study in memory, which alone may have it; without values it runs."""
    now = datetime.now()
    trial = Own(
        number=-1,  # the storage gives both
        trial_id=-1,
        state=TrialState.RUNNING if values is None else TrialState.COMPLETE,
        value=None,
        values=values,
        datetime_start=now,
        datetime_complete=None if values is None else now,
        params=dict(params),
        distributions=dict(spaces),
        user_attrs={},
        system_attrs={},
        intermediate_values={},
    )
    for name, by in (constraints or {}).items():
        trial.set_constraint(name, by)
    return trial


class Gains:
    """Of one figure from one step on: what finished trials gained until their ends, each with its steps."""

    def __init__(self, found: Sequence[tuple[int, float]]) -> None:
        self._steps = np.array([steps for steps, _ in found], dtype=np.int64)
        self._gains = np.array([gain for _, gain in found], dtype=np.float64)
        self._medians: dict[int, float] = {}

    def median(self, steps: int) -> float:
        """Of the trials with at least so many steps; 0 where there are none."""
        if steps not in self._medians:
            gains = self._gains[self._steps >= steps]
            self._medians[steps] = float(np.median(gains)) if len(gains) else 0.0
        return self._medians[steps]


class Told:
    """What the sampler is told of each trial, for one proposal."""

    def __init__(self, record: StudyRecord, aims: Sequence[Objective], aimed: bool) -> None:
        self.record, self.aims = record, aims
        self.distributions = distributions(record.config)
        self._study = record.config.study
        self._bars = self._study.choice.bars if aimed else []
        bounds = (*self._study.bounds, *self._bars)
        judged = [*(aim.result for aim in aims), *(address for b in bounds for address in (b.result, b.from_result))]
        self._addresses = list(dict.fromkeys(address for address in judged if address is not None))
        self._gains: dict[int, dict[str, Gains]] = {}

    def trials(self) -> list[FrozenTrial]:
        """All whose figures are known."""
        return [told for trial in self.record.trained if (told := self.trial(trial)) is not None]

    def trial(self, trial: Run) -> FrozenTrial | None:
        """None: one of its figures is undefined."""
        if trial.state is not State.STOPPED:
            constraints = dict(zip(map(str, self._study.bounds), trial.violations, strict=True))
            numbers, start = (self.record.numbers(trial), self.record.start(trial)) if self._bars else ({}, {})
            return self._frozen(trial, trial.values[: len(self.aims)], constraints, numbers, start)
        figures, start = self.probable_end(trial), self.record.evaluations(trial).get(0, {})
        values = [aim.value(figures.get(aim.result, math.nan)) for aim in self.aims]
        if not all(map(math.isfinite, values)):
            return None
        constraints = {
            str(bound): 0.0  # a figure that has no curve tells nothing
            if (figure := figures.get(bound.result)) is None
            else bound.violation(figure, bound.measure_of(figures, start, self._baseline))
            for bound in self._study.bounds
        }
        return self._frozen(trial, values, constraints, figures, start)

    def _frozen(
        self, trial: Run, values: Sequence[float], constraints: dict[str, float], numbers: Figures, start: Figures
    ) -> FrozenTrial:
        barred = sides(numbers, start, self._baseline, self._bars) if self._bars else {}
        return own_trial(trial.params, self.distributions, values, constraints | barred)

    @cached_property
    def _baseline(self) -> Numbers:
        return self.record.numbers(self.record.baseline)

    def probable_end(self, trial: Run) -> dict[str, float]:
        """What it is judged by: its last evaluation, plus the median gain from there of finished trials as long."""
        last = self.record.evaluations(trial).get(trial.step, {})
        if trial.step not in self._gains:
            self._gains[trial.step] = self._gains_from(trial.step)
        gains, steps = self._gains[trial.step], self.record.steps(trial)
        return {
            address: figure + gains[address].median(steps)
            for address in self._addresses
            if (figure := last.get(address)) is not None
        }

    def _gains_from(self, step: int) -> dict[str, Gains]:
        ends = [(self.record.steps(peer), self.record.evaluations(peer)) for peer in self.record.finished]
        found = {}
        for address in self._addresses:
            both = [(steps, at.get(step, {}).get(address), at.get(steps, {}).get(address)) for steps, at in ends]
            known = [(steps, end - then) for steps, then, end in both if then is not None and end is not None]
            found[address] = Gains(known)
        return found


def sides(numbers: Figures, start: Figures, baseline: Figures, bars: Sequence[Bound]) -> dict[str, float]:
    """How far a trial is from keeping each bar: 0 or less on all sides of it; an undefined figure breaks its bar."""
    found = {}
    for bar in bars:
        figure, before = numbers.get(bar.result), baseline.get(bar.result)
        measure = bar.measure_of(numbers, start, baseline)
        by_side = bar.sides(0.0, measure) if figure is None else bar.sides(figure, measure)
        near = 0.0 if before is None else NEAR * bar.violation(before, measure)
        for place, by in enumerate(by_side):
            found[f"bar {bar}, side {place}"] = 1.0 if figure is None else _compressed(by, near)
    return found


def _compressed(by: float, near: float) -> float:
    """What lies within `near` of the limit as it is, and farther excesses by their logarithm.

    A Gaussian process that must explain a |d| of 8 takes a difference of .05 at the limit for noise.
    """
    return near * math.asinh(by / near) if near > 0 else by
