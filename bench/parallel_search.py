"""`python -m bench.parallel_search [SEED ...]`: what eight open trials cost proposals, at equal numbers of trials.

A surrogate of the profile `tiny` stands in for training: 64 of its trials are run at random points of its space, and a
Gaussian process is fitted to each figure that objectives and bounds judge. It is the same for both sides, so what is
compared is the sampler alone, with as many trials one at a time and eight at a time. All trials take equally long, so
the oldest ends first. Searches are kept in `mlruns/parallel_search`, and the command goes on where it stopped: hours
on one core, nearly all of them Optuna's proposals.
"""

import functools
import itertools
import json
import math
import statistics
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import optuna
from optuna.samplers import RandomSampler
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.model_selection import cross_val_predict

from bench.figures import ROOT, Figure, publish
from study.config import StudyConfig, load_config
from study.runs.record import StudyRecord
from study.runs.run import Run, State
from study.runs.trials import study_hypervolume, units_of
from study.search.proposal import propose, suggest
from study.settings import Range, Value
from wake2vec import run, write_json

FOLDER = ROOT / "mlruns" / "parallel_search"
POINTS, SEEDS, OPEN = 64, range(20), 8
BARS = {30: 0.9, 60: 0.95}
"""By trials, how much of the hypervolume of one at a time."""
TRIALS = max(BARS)
PLAIN = [
    *("sample.count=1", "sample.new_tokens=1", "train.evaluate_every_steps=1000", "machine.threads=1"),
    *("study.anchors=null", "study.stopping=null", "study.seeds=1", "study.order=free", f"study.trials={TRIALS}"),
    *("study.aimed_trials=0",),
]
SIDES = {"one at a time": ("gp", 1), f"{OPEN} at a time": ("gp", OPEN), "random": ("random", 1)}
"""Sampler and open trials; random search shows what a poor search loses here."""


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", ConvergenceWarning)
    seeds = tuple(map(int, sys.argv[1:])) or tuple(SEEDS)
    surrogate = Surrogate.fitted(load_config("tiny", PLAIN))
    for place, count in enumerate(BARS, start=1):
        for seed, name in itertools.product(seeds, SIDES):
            search(name, seed, count, surrogate)
            print(f"{count} trials of seed {seed}, {name}: done", file=sys.stderr)
        publish("parallel_search", "python -m bench.parallel_search", figures(seeds, surrogate, list(BARS)[:place]))


class Surrogate:
    """The figures of a trial, from its knobs: one Gaussian process a figure, over the knobs on their own scales."""

    def __init__(self, config: StudyConfig, params: list[dict[str, Value]], figures: list[dict[str, float]]) -> None:
        self.config, self._space = config, config.study.space
        self.addresses = [*(aim.result for aim in config.study.objectives), *(b.result for b in config.study.bounds)]
        self.addresses = list(dict.fromkeys(self.addresses))
        table = np.array([self._place(values) for values in params])
        self._models, self.explained = {}, {}
        for address in self.addresses:
            truth = np.array([values[address] for values in figures])
            kernel = ConstantKernel(1.0, (1e-2, 1e3)) * RBF([0.3] * table.shape[1], (0.05, 10.0)) + WhiteKernel(1e-3)
            model = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=3, random_state=0)
            missed = cross_val_predict(model, table, truth, cv=8) - truth
            self.explained[address] = 1 - float(np.mean(missed**2) / np.var(truth))
            self._models[address] = model.fit(table, truth)

    @classmethod
    def fitted(cls, config: StudyConfig) -> "Surrogate":
        """Of the baseline and of random points, trained here if they aren't there yet."""
        draws = optuna.create_study(sampler=RandomSampler(seed=0))
        params = [config.study.baseline, *(suggest(draws.ask(), config) for _ in range(POINTS))]
        figures = []
        for place, values in enumerate(params):
            numbers = run(config.run_config(values), FOLDER / "trials", cache=FOLDER / "cache").numbers
            figures.append({address: figure for address, figure in numbers.items() if figure is not None})
            print(f"{place + 1} of {len(params)} points", file=sys.stderr)
        return cls(config, params, figures)

    def _place(self, params: dict[str, Value]) -> list[float]:
        """In the unit cube."""
        place = []
        for address, space in self._space.items():
            assert isinstance(space, Range) and space.log
            place.append(math.log(float(params[address]) / space.low) / math.log(space.high / space.low))
        return place

    def __call__(self, params: dict[str, Value]) -> dict[str, float]:
        at = [self._place(params)]
        found = {address: float(self._models[address].predict(at)[0]) for address in self.addresses}
        return {
            address: min(max(figure, 0.0), 1.0) if "share" in address else figure for address, figure in found.items()
        }


def search(name: str, seed: int, count: int, surrogate: Surrogate) -> list[Run]:
    """The baseline, then what the study proposes, so many trials in all; each is kept for the next call."""
    sampler, opened = SIDES[name]
    config = load_config("tiny", [*PLAIN, f"study.sampler={sampler}", f"study.seed={seed}", f"study.workers={opened}"])
    kept = FOLDER / "searches" / f"{name.replace(' ', '-')}-{seed}.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    params = json.loads(kept.read_text("utf-8")) if kept.exists() else [config.study.baseline]
    trials = [ended(surrogate, number, own) for number, own in enumerate(params)]
    for number in range(len(trials), count):
        oldest = max(number - opened + 1, 0)
        running = [Run(State.RUNNING, other.number, other.params) for other in trials[oldest:]]
        proposed = propose(StudyRecord(config, Path(), [*trials[:oldest], *running]), number).params
        trials.append(ended(surrogate, number, proposed))
        write_json(kept, [trial.params for trial in trials])
    return trials[:count]


def ended(surrogate: Surrogate, number: int, params: dict[str, Value]) -> Run:
    figures, start = surrogate(params), baseline_figures(surrogate)
    study = surrogate.config.study
    values = tuple(aim.value(figures[aim.result]) for aim in study.objectives)
    broken = tuple(bound.violation(figures[bound.result], start[bound.result]) for bound in study.bounds)
    return Run(State.FINISHED, number, params, values, violations=broken)


@functools.cache
def baseline_figures(surrogate: Surrogate) -> dict[str, float]:
    return surrogate(surrogate.config.study.baseline)


def figures(seeds: Sequence[int], surrogate: Surrogate, counts: Sequence[int]) -> list[Figure]:
    """Volumes of one seed's searches are in the same units: what the baseline lacks of the best of them all."""
    rows = [
        Figure(f"the surrogate's share of the variance of {address}, cross-validated", share, "")
        for address, share in surrogate.explained.items()
    ]
    one, *others = SIDES
    for count in counts:
        volumes: dict[str, list[float]] = {name: [] for name in SIDES}
        for seed in seeds:
            sides = {name: search(name, seed, count, surrogate) for name in SIDES}
            whole = [trial for trials in sides.values() for trial in trials]
            units = units_of(whole, whole[0], surrogate.config)
            for name, trials in sides.items():
                volumes[name].append(study_hypervolume(trials, trials[0], surrogate.config, units))
        means = {name: statistics.fmean(own) for name, own in volumes.items()}
        rows += [
            Figure(f"{count} trials, {name}: hypervolume, mean of {len(seeds)}", means[name], "") for name in SIDES
        ]
        for name in others:
            share = means[name] / means[one]
            told = (f">= {BARS[count]}", share >= BARS[count]) if SIDES[name][1] > 1 else ()
            rows.append(Figure(f"  share of one at a time, {name}", share, "", *told))
    return rows


if __name__ == "__main__":
    main()
