"""`python -m bench.overhead`: what the harness takes of a trial beside forward, backward and optimizer.

Trials of the profile `tiny` run in a real study one by one, with evaluations, MLflow, pictures and a checkpoint every
five seconds. The first, which loads the model, isn't counted, nor the last, which the study's own pictures follow.
"""

import tempfile
import time
from itertools import pairwise
from pathlib import Path

from bench.figures import Figure, publish
from study.config import load_config
from study.driver import drive
from study.watcher import Watcher
from wake2vec import RunConfig, WorkFolder, read_result

MODEL_PARTS = ("train", "validate", "sample")
"""Forward, backward and optimizer: of training, of validation, of the sample."""


PLAIN = ["study.anchors=null", "study.seeds=1", "study.stopping=null", "study.workers=1"]
"""Trials alone, each to its end."""


class Clock(Watcher):
    """A watcher that times each trial, from its start to the next one's: until all of it is told and logged."""

    def __init__(self) -> None:
        self.starts: list[float] = []

    def trial_started(self, number: int, run_config: RunConfig, ended: int) -> None:
        self.starts.append(time.perf_counter())


def main() -> None:
    config = load_config("tiny", ["study.trials=5", "machine.checkpoint_every_s=5", "study.startup_trials=8", *PLAIN])
    clock = Clock()
    with tempfile.TemporaryDirectory() as name:
        outcome = drive(config, Path(name), clock)
        results = [read_result(WorkFolder(Path(name) / "trials" / trial.digest)) for trial in outcome.trials]
    parts: dict[str, float] = {}
    walls = [after - before for before, after in pairwise(clock.starts)]
    for result, wall in zip(results[1:-1], walls[1:], strict=True):
        inside = {part: seconds for part, seconds in result.seconds.items() if part != "total"}
        other = {"records, rest": result.seconds["total"] - sum(inside.values())}
        for part, seconds in {**inside, **other, "picture, MLflow, Optuna": wall - result.seconds["total"]}.items():
            parts[part] = parts.get(part, 0.0) + seconds
    whole = sum(parts.values())
    overhead = 1 - sum(parts[part] for part in MODEL_PARTS) / whole
    publish(
        "overhead",
        "python -m bench.overhead",
        [
            Figure("harness, share of a tiny trial", overhead, "", "<= 0.1", overhead <= 0.1),
            Figure("three trials", whole, "s"),
            *(Figure(f"share: {part}", seconds / whole, "") for part, seconds in parts.items()),
        ],
    )


if __name__ == "__main__":
    main()
