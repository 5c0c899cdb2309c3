"""One run, wherever it is worked off: all that it needs travels with it, all that it does is told in events."""

import contextlib
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import filelock

from study.engine.stop import Stop
from study.runs.system import SystemSampler
from study.search.stopping import Stopper
from wake2vec import (
    AVAILABLE_THREADS,
    Progress,
    RunConfig,
    RunResult,
    TrialAbandoned,
    TrialFailedError,
    TrialStopped,
    Wake2VecError,
    WorkFolder,
    measure_threads,
    prepare,
    quickest,
    run,
    use_threads,
)

SECONDS_BETWEEN_LOOKS = 0.2
"""From one question whether to stop to the next, while nothing else happens."""
MEASUREMENT_HOLDS_S = 60.0
"""So long what was measured of the threads is taken for what is so now."""


@dataclass(frozen=True)
class Task:
    """A trial or a companion that is to be run."""

    name: str
    """`trial 7`, `library default`, `trial 7, seed 43`."""
    run: RunConfig
    digest: str
    """Of its work folder."""
    stopper: Stopper | None = None
    """Judges by the trials that had ended when it was proposed: it needs nobody while it trains."""


@dataclass(frozen=True)
class Sample:
    """A sample of the machine's load, not a record of the training."""

    record: Progress


@dataclass(frozen=True)
class ThreadsChosen:
    """How many threads the run computes with, and what was measured: seconds of a pass by number of threads."""

    threads: int
    seconds: Mapping[int, float]


@dataclass(frozen=True)
class Restarted:
    """Another worker has the run, whose own was lost: it goes on from its checkpoint, or begins anew."""

    from_checkpoint: bool


Event = Progress | Sample | ThreadsChosen | Restarted
EVENTS: dict[str, Callable[..., Event]] = {kind.__name__: kind for kind in (Progress, Sample, ThreadsChosen, Restarted)}


def taken_apart(event: Event) -> list[Any]:
    """As lists, numbers and words, which a process can pass on without knowing what an event is."""
    return [
        type(event).__name__,
        *(taken_apart(value) if isinstance(value, Progress) else value for value in vars(event).values()),
    ]


def put_together(parts: list[Any]) -> Event:
    """The event that was taken apart."""
    name, *values = parts
    return EVENTS[name](*(put_together(value) if isinstance(value, list) else value for value in values))


@dataclass(frozen=True)
class Abandoned:
    """Ended by the stopper after `step`, in its words."""

    step: int
    reason: str


@dataclass(frozen=True)
class Failed:
    """It can't have a result."""

    fault: TrialFailedError


@dataclass(frozen=True)
class Suspended:
    """With a checkpoint: it was asked to stop."""


Outcome = RunResult | Abandoned | Failed | Suspended


def share_of_cores(workers: int) -> int:
    """Threads of each of so many workers."""
    return max(1, AVAILABLE_THREADS // workers)


class Worker:
    """Works tasks off in this process, one at a time, with at most so many threads; `folder` is the results folder."""

    def __init__(self, folder: Path, most_threads: int) -> None:
        self._folder = folder
        self._most_threads = most_threads
        self._measured: _ThreadTimes | None = None

    def run(self, task: Task, tell: Callable[[Event], None], stop: Callable[[], bool]) -> Outcome:
        """Run the task, or go on with it.

        Raises:
            Wake2VecError: an input can't be used, or the disk is full.
        """
        use_threads(self._most_threads)  # a run that went on from a checkpoint had its own
        work = WorkFolder(self._folder / "trials" / task.digest)
        sampler = SystemSampler(work)
        if task.stopper is not None:
            task.stopper.begin(work.progress())

        def observe(record: Progress) -> None:
            tell(record)
            for sample in sampler(record):
                tell(Sample(sample))
            reason = None if task.stopper is None else task.stopper.verdict(record)
            if reason is not None:
                raise TrialAbandoned(record.step, reason)

        try:
            run_config = task.run if work.result_path.exists() else self._with_threads(task.run, tell)
            return run(run_config, self._folder / "trials", observe, stop, self._folder / "cache")
        except TrialAbandoned as verdict:
            return Abandoned(verdict.step, verdict.reason)
        except TrialFailedError as fault:
            return Failed(fault)
        except TrialStopped:
            return Suspended()
        finally:
            sampler.close()

    def _with_threads(self, config: RunConfig, tell: Callable[[Event], None]) -> RunConfig:
        """With as many threads as are quickest now, unless the user set them: what else the machine does may change."""
        if config.machine.threads is not None:
            return config
        if self._measured is None or not self._measured.holds(config):
            material = prepare(config, self._folder / "cache")
            seconds = measure_threads(
                material.base.body, material.base_rows, config.corpus.block_tokens, self._most_threads
            )
            self._measured = _ThreadTimes(config, seconds, time.monotonic())
        threads = quickest(self._measured.seconds)
        if threads is None:
            return config
        tell(ThreadsChosen(threads, self._measured.seconds))
        machine = config.machine.model_copy(update={"threads": threads})
        return config.model_copy(update={"machine": machine})


@dataclass(frozen=True)
class _ThreadTimes:
    """Seconds of a pass by number of threads, as measured for a run."""

    measured_for: RunConfig
    seconds: dict[int, float]
    at_s: float

    def holds(self, config: RunConfig) -> bool:
        """For a run of the same model that begins within a minute: short runs needn't measure each."""
        known = self.measured_for
        same_model = (config.model, config.train.precision) == (known.model, known.train.precision)
        alike = same_model and (config.corpus, config.machine) == (known.corpus, known.machine)
        return alike and time.monotonic() - self.at_s < MEASUREMENT_HOLDS_S


class Line(Protocol):
    """A worker's way to its driver."""

    def send(self, event: Event) -> None: ...

    def asks_to_stop(self) -> bool: ...


def work_off(task: Task, worker: Worker, folder: Path, line: Line, time_given: Stop) -> Outcome | Exception:
    """Run it where nobody else does; an exception is the outcome too, to be raised again where the driver is."""

    def stop() -> bool:
        return line.asks_to_stop() or time_given()

    try:
        # The workers of a driver that was killed write a checkpoint after their step: whoever follows waits for it.
        with alone(folder / "cache" / f"{task.digest}.lock", stop) as is_alone:
            return worker.run(task, line.send, stop) if is_alone else Suspended()
    except Exception as fault:  # noqa: BLE001 (it is raised again where the driver is)
        if not isinstance(fault, Wake2VecError):
            fault.add_note(f"in a worker:\n{traceback.format_exc()}")
        return fault


@contextlib.contextmanager
def alone(path: Path, stop: Callable[[], bool]) -> Iterator[bool]:
    """Hold a work folder's lock, which the system frees with the process; False: it is to stop before it has it.

    A worker whose driver was killed, or was taken over from while it slept, is in the folder for a step more.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = filelock.FileLock(path)
    while not stop():
        with contextlib.suppress(filelock.Timeout):
            lock.acquire(timeout=SECONDS_BETWEEN_LOOKS)
            break
    try:
        yield lock.is_locked
    finally:
        lock.release()
