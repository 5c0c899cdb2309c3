"""The search space, and the sampler that proposes the next trial."""

import warnings
from collections.abc import Callable
from typing import cast

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler

from study.config import StudyConfig
from study.settings import Range, Value
from wake2vec import flatten


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


def sampler_for(number: int, config: StudyConfig) -> BaseSampler:
    """The sampler that proposes trial `number`.

    Each trial has a sampler of its own, seeded by its number, so that a study which was interrupted goes on
    with the trials that it would have had. It models what has ended: with several workers that is less.
    """
    startup_trials = max(1, config.study.startup_trials - (config.study.workers - 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return SAMPLERS[config.study.sampler](config.study.seed * 1_000_003 + number, startup_trials)
