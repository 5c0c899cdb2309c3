"""Processes of this machine: on Linux one that has loaded the libraries makes them, so that they begin at once."""

import contextlib
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator
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
    """A process that begins with `target(pipe, *arguments)`, and the pipe's other end. It hears no signals of the
    driver's, and ends with it."""
    pipe, other = PROCESSES.Pipe()
    process = PROCESSES.Process(target=target, args=(other, *arguments), name=name, daemon=True)
    with _deaf():
        process.start()
    other.close()
    return process, pipe


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """What is started meanwhile hears no signals of the driver's."""
    resource_tracker.ensure_running()  # its start unblocks signals
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, DRIVERS_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
