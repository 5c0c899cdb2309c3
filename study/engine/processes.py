"""Runs side by side on this machine, each in a process of its own that has its share of the cores."""

import signal
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from study.engine.executor import Scheduler
from study.engine.fork_server import DRIVERS_SIGNALS, Pipe, start_process
from study.engine.stop import Stop
from study.engine.worker import SECONDS_BETWEEN_LOOKS, Event, Outcome, Task, Worker, share_of_cores, work_off
from study.runs.faults import GoneError
from wake2vec import Wake2VecError

SECONDS_TO_LEAVE = 5.0
"""For a worker that has nothing to do: one that is killed leaves what its libraries registered with the system."""


class Processes:
    """An executor with so many workers, which share the cores; `folder` is the results folder.

    A worker needs nobody to end well: when the driver dies, its pipe is cut, and it leaves a checkpoint. Signals are
    the driver's, which tells its workers to stop: a terminal's Ctrl-C goes to all of them.
    """

    def __init__(self, folder: Path, workers: int) -> None:
        self._folder = folder.resolve()
        self._count = workers
        self._workers: list[_WorkerProcess] = []

    def __enter__(self) -> Self:
        self._workers = [_WorkerProcess.start(self._folder, share_of_cores(self._count)) for _ in range(self._count)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Open runs are left with a checkpoint; where the process is to end at once, or the folder is gone, without."""
        try:
            if kind is not None and issubclass(kind, GoneError):  # a checkpoint would make another in its place
                return
            for worker in self._workers:
                worker.pipe.close()
            if kind is None or issubclass(kind, Exception):
                for worker in self._workers:
                    worker.process.join(None if worker.task is not None else SECONDS_TO_LEAVE)
        finally:
            for worker in self._workers:
                worker.process.kill()
                worker.process.join()

    def work(self, scheduler: Scheduler) -> None:
        """Raises Wake2VecError: a worker died."""
        is_news = True
        while True:
            for worker in self._workers:  # what can begin changes only when a run has ended
                if is_news and worker.task is None and (task := scheduler.next_task()) is not None:
                    worker.begin(task, scheduler.deadline)
            busy = {worker.pipe: worker for worker in self._workers if worker.task is not None}
            if not busy:
                return
            heard = [busy[pipe].hear(scheduler) for pipe in wait(list(busy), SECONDS_BETWEEN_LOOKS)]  # type: ignore[index]
            is_news = any(heard)
            if scheduler.stop():
                for worker in busy.values():
                    worker.ask_to_stop()


@dataclass
class _WorkerProcess:
    """The driver's side of a process, and the task that it has."""

    process: BaseProcess
    pipe: Pipe
    task: Task | None = None
    is_stopping: bool = False

    @classmethod
    def start(cls, folder: Path, threads: int) -> "_WorkerProcess":
        return cls(*start_process(_serve, folder, threads))

    def begin(self, task: Task, deadline: float | None) -> None:
        self.task, self.is_stopping = task, False
        self._send((task, deadline))

    def ask_to_stop(self) -> None:
        if self.task is not None and not self.is_stopping:
            self.is_stopping = True
            self._send(None)

    def hear(self, scheduler: Scheduler) -> bool:
        """Pass one message on; gives whether it was the last of a task."""
        assert self.task is not None
        try:
            told = self.pipe.recv()
        except (EOFError, OSError):
            raise self._death() from None
        if not isinstance(told, _Ended):
            scheduler.told(self.task, told)
            return False
        task, self.task = self.task, None
        if isinstance(told.outcome, Exception):
            raise told.outcome
        scheduler.ended(task, told.outcome)
        return True

    def _send(self, message: object) -> None:
        try:
            self.pipe.send(message)
        except OSError:
            raise self._death() from None

    def _death(self) -> Wake2VecError:
        self.process.join()
        during = "" if self.task is None else f" in {self.task.name}"
        self.task = None
        return Wake2VecError(
            f"a worker must live as long as its study: one ended{during} with code {self.process.exitcode} (-9: it was "
            "killed, perhaps for want of memory); the same command continues, with study.workers=1 in less memory"
        )


@dataclass(frozen=True)
class _Ended:
    """The last that a worker tells of a task; an exception is raised again where the driver is."""

    outcome: Outcome | Exception


def _serve(pipe: Pipe, folder: Path, threads: int) -> None:
    """A worker's life: one task after the other, until the driver is no more."""
    signal.pthread_sigmask(signal.SIG_BLOCK, DRIVERS_SIGNALS)
    line, worker = _Line(pipe), Worker(folder, threads)
    while (order := line.next_order()) is not None:
        task, deadline = order
        line.tell(_Ended(work_off(task, worker, folder, line, Stop.at(deadline))))


class _Line:
    """The worker's end of the pipe; one that is cut asks to stop."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._is_cut = False
        self._is_to_stop = False

    def next_order(self) -> tuple[Task, float | None] | None:
        """Task and deadline; None: the driver is no more."""
        self._is_to_stop = False
        while not self._is_cut:
            order = self._receive()
            if order is not None:  # None: to stop what has just ended
                return order
        return None

    def asks_to_stop(self) -> bool:
        if not (self._is_to_stop or self._is_cut) and self._pipe.poll():
            self._receive()
            self._is_to_stop = True
        return self._is_to_stop or self._is_cut

    def send(self, event: Event) -> None:
        self.tell(event)

    def tell(self, message: "Event | _Ended") -> None:
        try:
            self._pipe.send(message)
        except OSError:
            self._is_cut = True

    def _receive(self) -> Any:
        try:
            return self._pipe.recv()
        except (EOFError, OSError):
            self._is_cut = True
            return None
