"""`python -m bench.overhead`: what the harness takes of a trial beside forward, backward and optimizer.

Trials of the profile `tiny` run in a real study one by one, with evaluations, MLflow, pictures and a checkpoint every
five seconds: as long as most of its default study are, 120 steps, and as short as any, 40, where what is done once a
trial weighs more. The first of a study, which loads the model, isn't counted, nor the last, which the study's own
pictures follow.
"""

import tempfile
import time
from itertools import pairwise
from pathlib import Path

from bench.figures import Figure, publish
from study.config import check_config, read_profile
from study.engine.drive import drive
from study.engine.executor import Watcher
from study.runs.run import Run
from wake2vec import RunConfig, WorkFolder, read_result

MODEL_PARTS = ("train", "validate", "sample")
"""Forward, backward and optimizer: of training, of validation, of the sample."""


PLAIN = ["study.anchors=null", "study.seeds=1", "study.stopping=null", "study.workers=1", "study.startup_trials=8"]
"""Trials alone, each to its end."""


class Clock(Watcher):
    """A watcher that times each trial, from its start to the next one's: until all of it is told and logged."""

    def __init__(self) -> None:
        self.starts: list[float] = []

    def run_started(self, run: Run, run_config: RunConfig, ended: int) -> None:
        self.starts.append(time.perf_counter())


def main() -> None:
    usual, short = trial_parts(120), trial_parts(40)
    overhead, at_most = harness_share(usual), harness_share(short)
    publish(
        "overhead",
        "python -m bench.overhead",
        [
            Figure("harness, share of a tiny trial of 120 steps", overhead, "", "<= 0.1", overhead <= 0.1),
            Figure("harness, share of a tiny trial of 40 steps", at_most, ""),
            Figure("a trial of 120 steps", sum(usual.values()), "s"),
            *(Figure(f"share: {part}", seconds / sum(usual.values()), "") for part, seconds in usual.items()),
        ],
    )


def harness_share(parts: dict[str, float]) -> float:
    return 1 - sum(parts[part] for part in MODEL_PARTS) / sum(parts.values())


def trial_parts(steps: int) -> dict[str, float]:
    """Seconds of a trial's parts, the mean of three."""
    tree = read_profile("tiny", ["study.trials=5", "machine.checkpoint_every_s=5", *PLAIN])
    tree["train"]["steps"] = steps
    for knobs in (tree["study"]["space"], tree["study"]["baseline"]):
        del knobs["train.steps"]
    config = check_config(tree)
    clock = Clock()
    with tempfile.TemporaryDirectory() as name:
        outcome = drive(config, Path(name), clock)
        results = [read_result(WorkFolder(Path(name) / "trials" / trial.digest)) for trial in outcome.trials]
    parts: dict[str, float] = {}
    walls = [after - before for before, after in pairwise(clock.starts)][1:]
    for result, wall in zip(results[1:-1], walls, strict=True):
        inside = {part: seconds for part, seconds in result.seconds.items() if part != "total"}
        other = {"records, rest": result.seconds["total"] - sum(inside.values())}
        for part, seconds in {**inside, **other, "picture, MLflow, Optuna": wall - result.seconds["total"]}.items():
            parts[part] = parts.get(part, 0.0) + seconds / len(walls)
    return parts


if __name__ == "__main__":
    main()
