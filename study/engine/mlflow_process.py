"""MLflow told by a process of its own, where runs lie side by side: they needn't wait for what it takes of a processor.

It needs nobody to end well: when the driver dies, its pipe is cut, and it tells what it has heard and ends; once
another driver has taken over, the fence lets nothing through. When it dies itself, another follows it, and brings what
MLflow lacks.
"""

import contextlib
import logging
import queue
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import optuna

from study.engine.fork_server import DRIVERS_SIGNALS, Pipe, start_process
from study.runs.reader import record_of
from study.runs.record import StudyRecord
from study.runs.run import Run
from study.runs.storage import load_study
from study.runs.study_database import Fence
from study.tracking import fenced
from study.tracking.sync import Projection
from study.tracking.telling import LACKING, Telling
from wake2vec import Progress

SECONDS_TO_ANOTHER = 5.0
"""After the end of one that died: its start takes a processor for two."""
SECONDS_TO_LEAVE = 60.0
"""For one that has all to tell that it heard."""
LOOKS_S = 0.1
Message = tuple[Any, ...]
"""The name of a `Teller`'s method, and what it is given; or what comes back."""


class MlflowProcess:
    """A `Teller` and a context, which waits only in `bring` and at its end: what it is given lies in a queue.

    `say` is given lines as `Telling` gives them, when the driver has something to tell or asks to catch up.
    """

    def __init__(self, projection: Projection, say: Callable[[str], None], fence: Fence) -> None:
        self._projection, self._say, self._fence = projection, say, fence
        self._open: dict[str, tuple[Run, Mapping[str, str]]] = {}
        self._child: _Child | None = None
        self._again_at = self._hear_at = 0.0

    def __enter__(self) -> Self:
        self._child = _Child(self._projection, self._fence, lacks=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What was told is told to its end, but where the process is to end at once."""
        if self._child is not None:
            is_whole = kind is None or issubclass(kind, Exception)
            self._child.end(SECONDS_TO_LEAVE if is_whole else 0.0)
            self.catch_up()
            self._child = None

    def begin(self, run: Run, inputs: Mapping[str, str]) -> None:
        self._send("begin", run, inputs)
        self._open[run.label] = run, inputs

    def progressed(self, label: str, record: Progress) -> None:
        if time.monotonic() >= self._hear_at:  # records come by the hundred
            self.catch_up()
        self._send("progressed", label, record)

    def restarted(self, label: str) -> None:
        self._send("restarted", label)

    def suspended(self, label: str) -> None:
        self._send("suspended", label)
        del self._open[label]

    def ended(self, run: Run) -> None:
        self._send("ended", run)
        del self._open[run.label]

    def catch_up(self) -> None:
        self._hear_at = time.monotonic() + LOOKS_S
        while self._child is not None and (answer := self._child.heard()) is not None:
            self._take(answer)

    def bring(self, record: StudyRecord, has_news: bool) -> bool:
        pictures: Sequence[Path] = ()
        if has_news:
            self._send("prepare", record)
            with contextlib.suppress(Exception):  # then the process draws, and says what is amiss
                pictures = self._projection.draw(record)
        for _ in range(2):  # it may die of what it does last
            self._bury()
            self._again_at = 0.0
            self._send("bring", record, has_news, pictures)
            while self._child is not None and not self._child.is_dead:
                answer = self._child.heard(LOOKS_S)
                if answer is not None and answer[0] == "brought":
                    return bool(answer[1])
                if answer is not None:
                    self._take(answer)
        self._say(LACKING)
        return False

    def _bury(self) -> None:
        """Notice that the process has died."""
        if self._child is not None and self._child.is_dead:
            self.catch_up()
            self._say(
                f"MLflow isn't told for now, the study goes on: its process ended with code {self._child.end(0.0)}"
            )
            self._child, self._again_at = None, time.monotonic() + SECONDS_TO_ANOTHER

    def _send(self, *message: Any) -> None:
        """To the process, or to the one that follows it, which finds out itself what was sent while there was none."""
        self._bury()
        if self._child is None and time.monotonic() >= self._again_at:
            self._child = _Child(self._projection, self._fence, lacks=True)
            for begun in self._open.values():
                self._child.send(("begin", *begun))
        if self._child is not None:
            self._child.send(message)

    def _take(self, answer: Message) -> None:
        match answer:
            case "said", line:
                self._say(line)
            case "logged", name, level, line:
                logging.getLogger(name).log(level, "%s", line)


class _Child:
    """The driver's side of the process.

    A thread of its own starts it, for seconds, and sends: neither that nor a process that is stopped stops anybody.
    """

    def __init__(self, projection: Projection, fence: Fence, lacks: bool) -> None:
        self._process: BaseProcess | None = None
        self._pipe: Pipe | None = None
        self._has_begun = threading.Event()
        self._waiting: queue.SimpleQueue[Message] = queue.SimpleQueue()
        threading.Thread(target=self._feed, args=(projection, fence, lacks), daemon=True).start()

    @property
    def is_dead(self) -> bool:
        return self._has_begun.is_set() and not (self._process is not None and self._process.is_alive())

    def send(self, message: Message) -> None:
        self._waiting.put(message)

    def heard(self, wait_s: float = 0.0) -> Message | None:
        """The next that it says; None: nothing, in so many seconds."""
        if not self._has_begun.wait(wait_s) or self._pipe is None or self._process is None:
            return None
        try:
            return self._pipe.recv() if self._pipe.poll(wait_s) else None
        except (EOFError, OSError):
            self._process.join(wait_s)  # so it has ended, or is about to
            return None

    def end(self, seconds: float) -> int | None:
        """Wait so long for it to have told all that it was sent; its exit code, None: it hasn't begun."""
        self.send(("leave",))
        self._has_begun.wait(seconds)
        if self._process is None:
            return None
        self._process.join(seconds)
        self._process.kill()
        self._process.join()
        return self._process.exitcode

    def _feed(self, projection: Projection, fence: Fence, lacks: bool) -> None:
        try:
            self._process, self._pipe = start_process(_serve, projection, fence, lacks, name="mlflow")
        finally:
            self._has_begun.set()
        with contextlib.suppress(OSError):
            while (message := self._waiting.get())[0] != "leave":
                self._pipe.send(message)
            self._pipe.send(message)


def _serve(pipe: Pipe, projection: Projection, fence: Fence, lacks: bool) -> None:
    """The process's life: until it is sent away, or the driver is no more."""
    signal.pthread_sigmask(signal.SIG_BLOCK, DRIVERS_SIGNALS)
    config, folder = projection.config, projection.folder
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger().addHandler(_Forwarding(pipe))
    with fenced(folder, fence.check):
        telling = Telling(
            projection,
            lambda: record_of(load_study(folder, config.study.name), config, folder),
            lambda line: _answer(pipe, "said", line),
            fence,
            lacks,
        )
        while (message := _heard(pipe)) is not None:
            name, *given = message
            came = getattr(telling, name)(*given)
            if name == "bring":
                _answer(pipe, "brought", came)
            telling.catch_up()


def _heard(pipe: Pipe) -> Message | None:
    """None: it is to end."""
    try:
        message: Message = pipe.recv()
    except (EOFError, OSError):
        return None
    return None if message[0] == "leave" else message


def _answer(pipe: Pipe, *answer: Any) -> None:
    with contextlib.suppress(OSError):  # nobody hears
        pipe.send(answer)


class _Forwarding(logging.Handler):
    """To the driver, which knows where lines are shown."""

    def __init__(self, pipe: Pipe) -> None:
        super().__init__(logging.WARNING)
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        _answer(self._pipe, "logged", record.name, record.levelno, record.getMessage())
