"""`python -m bench.asks`: what a proposal takes of the driver, by how many trials have ended and how many are open.

The trials are made up: knobs drawn at random from the space of `tiny`, 20 of them on the front of its four objectives.
What a sampler takes hangs on these numbers, hardly on what the trials say. Processor time is counted.
"""

import time
import warnings
from pathlib import Path

import numpy as np
import optuna
from optuna.samplers import RandomSampler

from bench.figures import Figure, publish
from study.config import StudyConfig, load_config
from study.runs.record import StudyRecord
from study.runs.run import Run, State
from study.search.proposal import propose, suggest

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
                seconds = ask_s(config, ended, opened)
                bar = {("gp", 300, OPEN): 5.0, ("tpe", 10_000, 0): 1.0}.get((sampler, ended, opened))
                told = (f"<= {bar:g}", seconds <= bar) if bar else ()
                figures.append(
                    Figure(f"{sampler} ask, {ended:,} ended trials, {opened} open: processor time", seconds, "s", *told)
                )
    publish("asks", "python -m bench.asks", figures)


def ask_s(config: StudyConfig, ended: int, opened: int) -> float:
    """Processor time of a proposal, the middle one of three: each of other trials, as Optuna keeps what it reckoned."""
    taken = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for more in range(3):
            record = made_up(config, ended + more, opened)
            began = time.process_time()
            propose(record, len(record.trials))
            taken.append(time.process_time() - began)
    return sorted(taken)[1]


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
