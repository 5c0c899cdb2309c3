"""`python -m bench.scale`: what the driver itself takes of a trial, in a study that grows to 1,000 of them.

Everything is real but the training: one trial of the profile `tiny` is trained, and an executor answers each task with
that trial's files, its figures drawn anew. The study database, MLflow's, records of progress and early stopping are
those of any study; the sampler is random, as what a sampler itself takes is Optuna's. Processor time is counted, since
a busy machine hardly changes it, and only while the driver works: not while the executor writes files.
"""

import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import optuna

from bench.figures import Figure, publish
from study.config import StudyConfig, load_config
from study.engine.driver import Driver
from study.engine.executor import Scheduler, Watcher
from study.engine.worker import Abandoned, Outcome, Task
from study.runs.run import Run
from study.runs.storage import fingerprint_of, open_study
from study.tracking.sync import Projection
from wake2vec import Progress, RunResult, WorkFolder, fingerprint_inputs, read_result, run, write_json

FEW, MANY = 50, 1_000
AROUND = 10
"""Trials before and after such a number whose mean is taken: one alone hangs on what else is written just then."""
KEPT = ("geometry.safetensors", "rows.safetensors")
STUDY = ["machine.threads=1", "study.sampler=random", "study.seeds=1", "study.anchors=null", "study.workers=1"]
SHOWN = ("embedding.png", "audit.json", "sample.txt")


class Quiet(Watcher):
    """Says nothing."""


class Clock:
    """Processor time of this process, but while it is held."""

    def __init__(self) -> None:
        self._held_s = 0.0

    def __call__(self) -> float:
        return time.process_time() - self._held_s

    @contextmanager
    def held(self) -> Iterator[None]:
        since = time.process_time()
        try:
            yield
        finally:
            self._held_s += time.process_time() - since


class Source:
    """A trial that was trained, whose files others get, with other figures."""

    def __init__(self, work: WorkFolder) -> None:
        self.work, self._result, self._progress = work, read_result(work), work.progress()

    def records(self, task: Task, dice: random.Random) -> list[Progress]:
        """Those of the trial that was trained, as far as this one's steps go, the last where it ends."""
        factors = {address: dice.uniform(0.9, 1.1) for address in self._result.numbers}
        steps = task.run.train.steps
        last = self._progress[-1]
        kept = [record for record in self._progress if record.step < steps]
        return [
            Progress(record.step, {key: value and value * factors[key] for key, value in record.numbers.items()}, 0.0)
            for record in [*kept, Progress(steps, last.numbers, 0.0)]
        ]

    def finish(self, task: Task, work: WorkFolder, records: list[Progress]) -> RunResult:
        numbers = {**self._result.numbers, **records[-1].numbers}
        result = self._result.model_copy(update={"config": task.run, "digest": task.digest, "numbers": numbers})
        for name in KEPT:
            if not (work.path / name).exists():
                os.link(self.work.path / name, work.path / name)
        write_json(work.result_path, result.model_dump())
        return result


class Replay:
    """An executor that trains nothing: each run gets the files of one trial, with other figures."""

    def __init__(self, folder: Path, source: Source) -> None:
        self._folder, self._source, self._clock = folder, source, Clock()
        self._dice = random.Random(0)
        self.seconds: list[float] = []
        """Of the driver, for each run."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        return

    def work(self, scheduler: Scheduler) -> None:
        while True:
            began = self._clock()
            if (task := scheduler.next_task()) is None:
                return
            scheduler.ended(task, self._outcome(task, scheduler))
            self.seconds.append(self._clock() - began)
            if len(self.seconds) % 50 == 0:
                print(f"{len(self.seconds)} trials, {statistics.fmean(self.seconds[-AROUND:]):.3f} s", file=sys.stderr)

    def _outcome(self, task: Task, scheduler: Scheduler) -> Outcome:
        with self._clock.held():
            records = self._source.records(task, self._dice)
            work = WorkFolder(self._folder / "trials" / task.digest)
            log = work.start_progress()
        for record in records:
            with self._clock.held():
                told = log.add(record.step, record.numbers)
            scheduler.told(task, told)
            if task.stopper is not None and (reason := task.stopper.verdict(told)) is not None:
                log.close()
                return Abandoned(told.step, reason)
        with self._clock.held():
            log.close()
            return self._source.finish(task, work, records)


class Unpictured(Projection):
    """Draws the first picture alone, and shows it for every trial: what it takes doesn't hang on their number."""

    def __init__(self, config: StudyConfig, folder: Path, inputs: dict[str, str]) -> None:
        super().__init__(config, folder, inputs)
        self._shown: WorkFolder | None = None

    def show(self, run: Run) -> None:
        work = WorkFolder(self.folder / "trials" / run.digest)
        if self._shown is None:
            super().show(run)
            self._shown = work
        else:
            for name in SHOWN:
                shutil.copy(self._shown.path / name, work.path / name)


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    most = int(sys.argv[1]) if sys.argv[1:] else MANY
    config = load_config("tiny", [*STUDY, f"study.trials={most + AROUND}"])
    inputs = fingerprint_inputs(config.run)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = run(config.run_config(config.study.baseline), folder / "source")
        replay = Replay(folder, Source(WorkFolder(folder / "source" / first.digest)))
        study = open_study(folder, config, fingerprint_of(config, inputs))
        record = Driver(study, Unpictured(config, folder, inputs), Quiet()).run(replay).record
        began = time.process_time()
        Projection(config, folder, inputs).missing(record)
        asked = time.process_time() - began
        began = time.process_time()
        Projection(config, folder, inputs).show(record.baseline)
        picture = time.process_time() - began
    few, many = at(replay.seconds, FEW), at(replay.seconds, most)
    publish(
        "scale",
        "python -m bench.scale",
        [
            Figure(f"the driver's processor time a trial, at {FEW} trials", few, "s"),
            Figure(f"the driver's processor time a trial, at {most:,} trials", many, "s", "<= 0.3", many <= 0.3),
            Figure("ratio of the two", many / few, "", "<= 1.5", many / few <= 1.5),
            Figure("not in it: the picture of a trial's rows, if it wasn't stopped", picture, "s"),
            Figure(f"asked of MLflow by another driver: which of {most + AROUND:,} runs it holds", asked, "s"),
            Figure("stopped early, share of the trials", len(record.stopped) / record.ended, ""),
        ],
    )


def at(seconds: list[float], trials: int) -> float:
    """The mean around that many trials."""
    return statistics.fmean(seconds[trials - AROUND : trials + AROUND])


if __name__ == "__main__":
    main()
