"""Runs on Ray, on this machine or on the machines of a cluster, wherever there is room. The one file that imports ray.

A run is a task of Ray. What it tells travels in batches through an actor on the driver's machine, whose answers say
whether to stop: so a worker needs no signal, and one whose driver is gone notices. Ray gives a task whose machine is
lost to another one; there it goes on from its checkpoint, where the machines share the results folder.
"""

import itertools
import logging
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import ray
from ray._private import ray_constants
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.engine.executor import Scheduler
from study.engine.inbox import Inbox
from study.engine.ray_address import LOCAL, no_cluster
from study.engine.stop import Stop
from study.engine.worker import (
    SECONDS_BETWEEN_LOOKS,
    Event,
    Failed,
    Outcome,
    Restarted,
    Task,
    Worker,
    put_together,
    taken_apart,
    work_off,
)
from study.runs.faults import GoneError
from wake2vec import RunConfig, RunResult, TrialFailedError, Wake2VecError, in_one_line, write_atomic

RETRIES = 3
"""Of a run whose worker or machine is lost."""
SECONDS_BETWEEN_BATCHES = 0.5
SECONDS_TO_LEAVE = 60.0
"""For open runs to write their checkpoints when the driver ends by a fault."""
STORE_BYTES = 200_000_000
"""Of Ray's object store on this machine, through which outcomes come, and files where no folder is shared."""
RESULT = "result.json"


@dataclass(frozen=True)
class Resources:
    """What each run takes of a machine; no number depends on it by more than rounding."""

    threads: int
    gpus: float = 0.0
    memory_bytes: float = 0.0

    @classmethod
    def of(cls, config: RunConfig, threads: int, has_gpus: bool) -> "Resources":
        """Of the settings `machine.*`; without `machine.gpus` one GPU, where the cluster has some."""
        machine = config.machine
        gpus = float(has_gpus) if machine.gpus is None else machine.gpus
        memory = 0.0 if machine.memory_gb is None or gpus else machine.memory_gb * 1e9
        return cls(machine.threads or threads, gpus, memory)


class Work(Protocol):
    """How a task is worked off in the folder of results, with so many threads."""

    def __call__(self, task: Task, folder: Path, threads: int, line: "Line", stop: Stop) -> Outcome | Exception: ...


def train(task: Task, folder: Path, threads: int, line: "Line", stop: Stop) -> Outcome | Exception:
    return work_off(task, _worker(folder, threads), folder, line, stop)


@cache
def _worker(folder: Path, threads: int) -> Worker:
    """One for all tasks of this process: it knows how long a pass takes."""
    return Worker(folder, threads)


class Cluster:
    """An executor with room for `slots` runs at once; `folder` is the results folder.

    `address` is one that `check_address` takes. A worker that sees the token which the driver leaves in the
    folder works there, and what it made stands there; any other has a folder of its own, and sends its files.

    Raises:
        ConfigError: the cluster can't be reached.
    """

    def __init__(
        self, folder: Path, slots: int, config: RunConfig, address: str, threads: int = 1, work: Work = train
    ) -> None:
        self._folder, self._slots, self._config = folder.resolve(), slots, config
        self._address, self._threads, self._work = address, threads, work
        self._token = self._folder / "cache" / f".{uuid.uuid4().hex}.shared"
        self._open: dict[Any, Task] = {}
        self._inbox: Any = None
        self._is_own = not ray.is_initialized()
        if self._is_own and address != LOCAL:
            _connect(address, 0)  # before anything is made: who is refused is refused here

    def __enter__(self) -> Self:
        if self._is_own and self._address == LOCAL:
            _connect(LOCAL, self._slots * (self._config.machine.threads or self._threads))
        self._token.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._token.touch(mode=0o600)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Open runs are left with a checkpoint; where the process is to end at once, or the folder is gone, without."""
        try:
            left = list(self._open)
            if left and kind is not None and issubclass(kind, Exception) and not issubclass(kind, GoneError):
                ray.get(self._inbox.take.remote(True))
                _, left = ray.wait(left, num_returns=len(left), timeout=SECONDS_TO_LEAVE)
            for reference in left:
                ray.cancel(reference)  # not by force: Ray 2.60 aborts the driver where the task ends at that moment
        except RayError:
            pass  # it is gone, and with it what ran there
        finally:
            self._token.unlink(missing_ok=True)
            if self._is_own:
                ray.shutdown()

    def work(self, scheduler: Scheduler) -> None:
        """Raises Wake2VecError: a run lost its worker more often than `RETRIES` times, or Ray itself is gone."""
        try:
            self._work_off(scheduler)
        except RayError as fault:
            raise Wake2VecError(
                f"Ray must live as long as its study: {in_one_line(fault)}; start it again, and the same command "
                "continues"
            ) from None

    def _work_off(self, scheduler: Scheduler) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._inbox = ray.remote(num_cpus=0)(Inbox).options(scheduling_strategy=here).remote()
        remote, numbers, is_news = self._remote(), itertools.count(), True
        while True:
            while is_news and len(self._open) < self._slots and (task := scheduler.next_task()) is not None:
                left_s = None if scheduler.deadline is None else scheduler.deadline - time.monotonic()
                place = (str(self._folder), self._token.name)
                self._open[remote.remote(task, next(numbers), *place, self._inbox, left_s)] = task
            if not self._open:
                return
            ended, _ = ray.wait(list(self._open), timeout=SECONDS_BETWEEN_BATCHES)
            self._hear(scheduler)
            for reference in ended:
                self._end(reference, scheduler)
            is_news = bool(ended)

    def _remote(self) -> Any:
        resources = Resources.of(self._config, self._threads, ray.cluster_resources().get("GPU", 0) > 0)
        work, threads = self._work, resources.threads

        def serve(
            task: Task, number: int, folder: str, token: str, inbox: Any, left_s: float | None
        ) -> tuple[Outcome | Exception, dict[str, bytes]]:
            return _serve(work, threads, task, number, folder, token, inbox, left_s)

        return ray.remote(
            num_cpus=resources.threads,
            num_gpus=resources.gpus,
            memory=resources.memory_bytes,
            max_retries=RETRIES,
            max_calls=1
            if resources.gpus
            else 0,  # the next run may get another GPU: torch keeps the first one for good
        )(serve)

    def _hear(self, scheduler: Scheduler) -> None:
        tasks = {task.name: task for task in self._open.values()}
        for name, parts in ray.get(self._inbox.take.remote(scheduler.stop())):
            if name in tasks:  # a lost worker's last words may come after its task's end
                scheduler.told(tasks[name], put_together(parts))

    def _end(self, reference: Any, scheduler: Scheduler) -> None:
        task = self._open.pop(reference)
        try:
            outcome, files = ray.get(reference)
        except RayTaskError as fault:  # before the run began, or after it: its own faults are outcomes
            raise Wake2VecError(
                f"a worker must have this version of the project: {task.name}: {in_one_line(fault.cause)}; install it "
                "on all machines, and the same command continues"
            ) from None
        except RayError as fault:
            raise Wake2VecError(
                f"a run must keep its worker: {task.name} lost it {RETRIES + 1} times ({in_one_line(fault)}); the same "
                "command continues, with fewer workers in less memory"
            ) from None
        _put(files, self._folder / "trials" / task.digest)
        if isinstance(outcome, Exception):
            raise outcome
        scheduler.ended(task, outcome)


def _connect(address: str, cpus: int, gpus: int | None = None) -> None:
    """To a Ray of one's own, which listens on the loopback address alone, or to a cluster that runs.

    `gpus`: how many it is to have; None: those that Ray finds.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address == LOCAL:
        os.environ.setdefault("RAY_worker_niceness", "0")  # runs are what the machine is for; Ray's own is 15
        # As Ray does it on macOS and Windows. Elsewhere it takes an address that others reach, even where it is given
        # the loopback's.
        reachable, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
        try:
            ray.init(
                address=LOCAL,
                num_cpus=cpus,
                num_gpus=gpus,
                object_store_memory=STORE_BYTES,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        finally:
            ray_constants.ENABLE_RAY_CLUSTER = reachable
        return
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (RayError, ConnectionError, RuntimeError, ValueError) as fault:
        raise no_cluster(address, str(fault)) from None


class Line:
    """A worker's way to the driver; where the driver is gone it asks to stop."""

    def __init__(self, name: str, inbox: Any) -> None:
        self._name, self._inbox = name, inbox
        self._waiting: list[Event] = []
        self._sent_at = 0.0
        self._is_to_stop = False

    def send(self, event: Event) -> None:
        self._waiting.append(event)

    def asks_to_stop(self) -> bool:
        if time.monotonic() - self._sent_at >= SECONDS_BETWEEN_LOOKS:
            self.flush()
        return self._is_to_stop

    def flush(self) -> None:
        events, self._waiting = self._waiting, []
        told = [(self._name, taken_apart(event)) for event in events]
        try:
            self._is_to_stop = ray.get(self._inbox.put.remote(told)) or self._is_to_stop
        except RayError:
            self._is_to_stop = True
        self._sent_at = time.monotonic()


def _serve(
    work: Work, threads: int, task: Task, number: int, folder: str, token: str, inbox: Any, left_s: float | None
) -> tuple[Outcome | Exception, dict[str, bytes]]:
    """In a worker: the outcome, and the files where the driver doesn't see them."""
    line = Line(task.name, inbox)
    is_shared = (Path(folder) / "cache" / token).exists()
    here = Path(folder) if is_shared else _own_folder(folder)
    made = here / "trials" / task.digest
    again = Restarted(from_checkpoint=any((made / "checkpoints").glob("*")))
    inbox.begin.remote(number, (task.name, taken_apart(again)))  # not waited for: the inbox takes a second to begin
    stop = Stop.at(None if left_s is None else time.monotonic() + left_s)
    outcome = work(task, here, threads, line, stop)
    if isinstance(outcome, RunResult) and outcome.digest != task.digest:
        outcome = Failed(
            TrialFailedError(
                "model, corpus and lexicon must be the same on all machines of a cluster: here they give "
                f"{outcome.digest}, the driver's {task.digest}"
            )
        )
    line.flush()
    return outcome, {} if is_shared else {path.name: path.read_bytes() for path in _files(made)}


def _own_folder(folder: str) -> Path:
    """Of this machine, for the results of that folder on the driver's: nobody else's place, as /tmp is."""
    name = uuid.uuid5(uuid.NAMESPACE_URL, folder).hex[:12]
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wake2vec" / name


def _files(made: Path) -> Iterator[Path]:
    return (path for path in sorted(made.glob("*")) if path.is_file() and not path.name.startswith("."))


def _put(files: dict[str, bytes], made: Path) -> None:
    """The result last: where it stands, the run is whole."""
    for name in sorted(files, key=lambda name: name == RESULT):
        write_atomic(made / name, files[name])
