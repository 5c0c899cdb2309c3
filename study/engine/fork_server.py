"""Processes of this machine: on Linux one that has loaded the libraries makes them, so that they begin at once."""

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

DRIVERS_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

if sys.platform == "linux":
    from multiprocessing import forkserver

    PROCESSES = multiprocessing.get_context("forkserver")
    PROCESSES.set_forkserver_preload(["study.engine.worker"])
else:
    PROCESSES = multiprocessing.get_context("spawn")
Pipe = Connection  # of anything that can be pickled


def load_ahead(trains: bool = True) -> None:
    """Let the fork server load the libraries from now on beside this process: seconds of a core. Idempotent.

    `trains`: whether its processes are to train; those that tell MLflow need no torch.
    """
    if sys.platform == "linux":
        if not trains:
            PROCESSES.set_forkserver_preload(["study.engine.mlflow_process"])
        with _deaf():
            forkserver.ensure_running()


def start_process(target: Callable[..., None], *arguments: object, name: str | None = None) -> tuple[BaseProcess, Pipe]:
    """A process that begins with `target(pipe, *arguments)`, and the pipe's other end.

    It has this process's environment variables, hears no signals of the driver's, and ends with it.
    """
    pipe, other = PROCESSES.Pipe()
    given = (dict(os.environ), target, other, *arguments)
    process = PROCESSES.Process(target=_begin, args=given, name=name, daemon=True)
    with _deaf():
        process.start()
    other.close()
    return process, pipe


def _begin(environment: Mapping[str, str], target: Callable[..., None], *arguments: object) -> None:
    """The fork server's own environment is of the time when it was started: a password set since isn't in it."""
    os.environ.clear()
    os.environ.update(environment)
    target(*arguments)


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """What is started meanwhile hears no signals of the driver's."""
    resource_tracker.ensure_running()  # its start unblocks signals
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, DRIVERS_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
