"""How many trained steps the study needs for what random search reaches with 60 trials: profile `tiny`, five seeds.

Random search and Optuna's own default sampler run without early stopping, anchors or bounds, as a script that uses
Optuna alone would have them. What counts is the hypervolume of the profile's objectives with the baseline as reference
point, against steps: the machine's pace doesn't matter. The study is measured a second time with stopping off, to tell
what its two parts are worth. Trials are kept in `mlruns/optimiser`, and the command goes on where it stopped. Samples
don't touch the objectives and are left out. Part of `make findings`; two to three hours on one core.
"""

import itertools
import statistics
import sys
from collections.abc import Callable, Sequence

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from bench.figures import ROOT, Figure, publish
from study.config import StudyConfig, load_config
from study.engine.drive import drive
from study.engine.executor import Watcher
from study.runs.objectives import objective_values
from study.runs.record import StudyRecord
from study.runs.run import Run, State
from study.runs.trials import study_hypervolume, units_of
from study.search.proposal import suggest
from study.settings import Value
from wake2vec import run

FOLDER = ROOT / "mlruns" / "optimiser"
SEEDS = range(5)
TRIALS = 60
QUICK = ["sample.count=1", "sample.new_tokens=1"]
Curve = list[tuple[int, float]]
"""After each trial: trained steps so far, and the hypervolume."""


class Quiet(Watcher):
    """Says nothing."""


def main() -> None:
    plain = load_config("tiny", [*QUICK, "train.evaluate_every_steps=1000"])
    seeds = tuple(map(int, sys.argv[1:])) or SEEDS
    drawn = [random_trials(plain, seed) for seed in seeds]
    units = [units_of(trials, trials[0], plain) for trials in drawn]
    random = [
        Curve((steps, volume(trials[: count + 1], plain, unit)) for count, steps in enumerate(steps_so_far(trials)))[1:]
        for trials, unit in zip(drawn, units, strict=True)
    ]
    goals = [curve[-1][1] for curve in random]
    given = list(zip(seeds, goals, units, strict=True))
    ours = [study_curve("stopping", seed, goal, unit) for seed, goal, unit in given]
    whole = [study_curve("whole", seed, goal, unit, "study.stopping=null") for seed, goal, unit in given]
    default = [search(plain, TPESampler(seed=seed), goal, unit) for seed, goal, unit in given]
    publish("optimiser", "python -m bench.optimiser", figures(random, ours, whole, default))


def random_trials(config: StudyConfig, seed: int) -> list[Run]:
    """The baseline and 60 random trials: what the best of them reach gives the volumes their units."""
    study = optuna.create_study(sampler=RandomSampler(seed=seed))
    params = [config.study.baseline, *(suggest(study.ask(), config) for _ in range(TRIALS))]
    return [trial_of(config, values, number) for number, values in enumerate(params)]


def steps_so_far(trials: Sequence[Run]) -> list[int]:
    return list(itertools.accumulate(map(steps_of, trials)))


def search(config: StudyConfig, sampler: BaseSampler, goal: float, units: Sequence[float]) -> Curve:
    """The baseline, then what a sampler of Optuna's asks for, until it reaches the goal, at most 60 trials."""
    study = optuna.create_study(directions=["minimize"] * len(config.study.objectives), sampler=sampler)
    trials, curve = [trial_of(config, config.study.baseline, 0)], Curve()
    steps = steps_of(trials[0])
    while len(curve) < TRIALS and not reached(goal)(curve):
        asked = study.ask()
        trials.append(trial_of(config, suggest(asked, config), len(trials)))
        study.tell(asked, trials[-1].values)
        steps += steps_of(trials[-1])
        curve.append((steps, volume(trials, config, units)))
    return curve


def trial_of(config: StudyConfig, params: dict[str, Value], number: int) -> Run:
    result = run(config.run_config(params), FOLDER / "trials", cache=FOLDER / "cache")
    return Run(State.FINISHED, number, params, objective_values(result, config), result.digest)


def study_curve(folder: str, seed: int, goal: float, units: Sequence[float], *changes: str) -> Curve:
    """The study as the profile has it, trial by trial until it reaches the goal; without what no sampler sees.

    Each way of stopping has a folder of its own: a trial that another one ran to its end would not be stopped here.
    """
    config = load_config(
        "tiny", [*QUICK, f"study.seed={seed}", f"study.name=optimiser-{seed}", "study.seeds=1", *changes]
    )
    anchors = {name: values for name, values in config.study.anchors.items() if config.lies_in_space(values)}
    curve = Curve()
    while len(curve) <= TRIALS and not reached(goal)(curve):
        study = config.study.model_copy(update={"anchors": anchors, "trials": len(curve) + 1})
        outcome = drive(config.model_copy(update={"study": study}), FOLDER / folder, Quiet())
        curve = curve_of(outcome.record, units)
    first = next((place for place, (_, own) in enumerate(curve) if own >= goal), len(curve))
    return curve[: first + 1]  # a study that was run before may have gone further


def curve_of(record: StudyRecord, units: Sequence[float]) -> Curve:
    """Of a study's trials, stopped ones with the steps that they were given."""
    curve, steps, finished = Curve(), 0, []
    for trial in record.trained:
        steps += steps_of(trial)
        finished += [trial] if trial.values else []
        curve.append((steps, volume(finished, record.config, units)))
    return curve


def steps_of(trial: Run) -> int:
    return trial.step if trial.state is State.STOPPED else int(trial.params["train.steps"])


def volume(trials: Sequence[Run], config: StudyConfig, units: Sequence[float]) -> float:
    """Of the front of all trials, whether they keep the bounds or not: the same measure for every search."""
    return study_hypervolume(trials, trials[0], config, units)


def reached(goal: float) -> Callable[[Curve], bool]:
    return lambda curve: bool(curve) and curve[-1][1] >= goal


def figures(random: list[Curve], ours: list[Curve], whole: list[Curve], default: list[Curve]) -> list[Figure]:
    goals = [curve[-1][1] for curve in random]
    full, own, unstopped, theirs = (
        statistics.fmean(curve[-1][0] for curve in curves) for curves in (random, ours, whole, default)
    )
    missed = [place for place, goal in enumerate(goals) if default[place][-1][1] < goal]
    note = f" ({len(missed)} never reached it in {TRIALS} trials: counted with those)" if missed else ""
    rows = [
        Figure(
            "random search, 60 trials: hypervolume, seed by seed",
            listed(goals, 4),
            "of the box between baseline and best",
        ),
        Figure("random search, 60 trials: trained steps, mean", full, "steps"),
        Figure("this study: trained steps to the same hypervolume, mean", own, "steps"),
        Figure("  trials it took, seed by seed", listed([len(curve) for curve in ours], 0), ""),
        Figure("  share of random search's steps, seed by seed", listed(ratios(ours, random), 3), ""),
        Figure("  share of random search's steps, of the means", own / full, "", "<= 1/3", own / full <= 1 / 3),
        Figure("  with stopping off: share of random search's steps, of the means", unstopped / full, ""),
        Figure("  trials it took, seed by seed", listed([len(curve) for curve in whole], 0), ""),
        Figure(f"Optuna's default sampler: trained steps to the same, mean{note}", theirs, "steps"),
        Figure("  trials it took, seed by seed", listed([len(curve) + 1 for curve in default], 0), ""),
    ]
    return [*rows, Figure("this study's steps / Optuna's default's", own / theirs, "", "<= 2/3", own / theirs <= 2 / 3)]


def ratios(curves: list[Curve], others: list[Curve]) -> list[float]:
    return [curve[-1][0] / other[-1][0] for curve, other in zip(curves, others, strict=True)]


def listed(values: Sequence[float], digits: int) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in values)


if __name__ == "__main__":
    main()
