"""`python -m bench.asks`: what a proposal takes of the driver, by how many trials have ended and how many are open.

The trials are made up: knobs drawn at random from the space of `tiny`, 20 of them on the front of its four objectives.
What a sampler takes hangs on these numbers, hardly on what the trials say. Processor time is counted, with as many
threads as the driver gives a proposal beside so many workers.
"""

import statistics
import time
import warnings
from pathlib import Path

import numpy as np
import optuna
from optuna.samplers import RandomSampler

from bench.figures import Figure, publish
from study.config import StudyConfig, load_config
from study.engine.worker import share_of_cores
from study.runs.record import StudyRecord
from study.runs.run import Run, State
from study.search.proposal import propose, suggest
from wake2vec import use_threads

OPEN, FRONT = 8, 20
GP_ENDED = (30, 100, 300)
TPE_ENDED = (1_000, 10_000)


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    figures = []
    for sampler, counts in (("gp", GP_ENDED), ("tpe", TPE_ENDED)):
        for ended in counts:
            config = load_config("tiny", [f"study.sampler={sampler}", "study.trials=20000", "study.order=free"])
            for opened in (0, OPEN):
                first_s, seconds = ask_s(config, ended, opened)
                bar = {("gp", 300, OPEN): 5.0, ("tpe", 10_000, 0): 1.0}.get((sampler, ended, opened))
                told = (f"<= {bar:g}", seconds <= bar) if bar else ()
                what = f"{sampler} ask, {ended:,} ended trials, {opened} open"
                figures.append(Figure(f"{what}: the first of a driver", first_s, "s"))
                figures.append(Figure(f"{what}: one after a trial more", seconds, "s", *told))
    publish("asks", "python -m bench.asks", figures)


def ask_s(config: StudyConfig, ended: int, opened: int) -> tuple[float, float]:
    """Processor time of the first proposal in a process, and the middle one of five that follow, after one trial more
    each: Optuna keeps some of what it reckoned, as it does in a study."""
    taken = []
    use_threads(share_of_cores(max(opened, 1)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for more in range(6):
            record = made_up(config, ended + more, opened)
            began = time.process_time()
            propose(record, len(record.trials))
            taken.append(time.process_time() - began)
    return taken[0], statistics.median(taken[1:])


def made_up(config: StudyConfig, ended: int, opened: int) -> StudyRecord:
    """`FRONT` of the trials dominate all others, which are a cloud."""
    study, dice = optuna.create_study(sampler=RandomSampler(seed=0)), np.random.default_rng(0)
    places = np.abs(dice.normal(size=(ended, len(config.study.objectives)))) + 0.01
    ahead = places / np.linalg.norm(places, axis=1, keepdims=True)
    signs = [objective.sign for objective in config.study.objectives]
    trials = []
    for number in range(ended + opened):
        params = config.study.baseline if number == 0 else suggest(study.ask(), config)
        if number >= ended:
            trials.append(Run(State.RUNNING, number, params))
            continue
        costs = -ahead[number] if number < FRONT else places[number]
        values = tuple(float(cost * sign) for cost, sign in zip(costs, signs, strict=True))
        trials.append(
            Run(State.FINISHED, number, params, values, violations=(-float(ahead[number][0]), -float(ahead[number][1])))
        )
    return StudyRecord(config, Path(), trials, {})


if __name__ == "__main__":
    main()
