"""`python -m bench.asks`: what a proposal takes of the driver, by how many trials have ended and how many are open.

The trials are made up: knobs drawn at random from the space of `tiny`, figures that bend with them and scatter. What a
sampler takes hangs on their number and that of the front, hardly on what they say. Processor time is counted.
"""

import math
import random
import time
import warnings
from pathlib import Path

import optuna
from optuna.samplers import RandomSampler

from bench.figures import Figure, publish
from study.config import StudyConfig, load_config
from study.runs.record import StudyRecord
from study.runs.run import Run, State
from study.search.proposal import propose, suggest

OPEN = 8
GP_ENDED = (30, 100, 300, 500)
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
    """Processor time of a proposal, the middle one of three."""
    record = made_up(config, ended, opened)
    taken = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(ended + opened, ended + opened + 3):
            began = time.process_time()
            propose(record, number)
            taken.append(time.process_time() - began)
    return sorted(taken)[1]


def made_up(config: StudyConfig, ended: int, opened: int) -> StudyRecord:
    study, dice = optuna.create_study(sampler=RandomSampler(seed=0)), random.Random(0)
    trials = []
    for number in range(ended + opened):
        params = config.study.baseline if number == 0 else suggest(study.ask(), config)
        if number >= ended:
            trials.append(Run(State.RUNNING, number, params))
            continue
        noise, rate, steps = (math.log(float(params[key])) for key in ("init.noise_scale", "train.lr", "train.steps"))
        bends = (rate + 6) ** 2 - 0.3 * steps, abs(noise - 0.1 * rate), noise - 0.2 * rate, (rate + 5) ** 2 * 0.1
        values = tuple(bend + dice.gauss(0, 0.02) for bend in bends)
        trials.append(Run(State.FINISHED, number, params, values, violations=(values[0] - 1, values[1] - 1)))
    return StudyRecord(config, Path(), trials, {})


if __name__ == "__main__":
    main()
