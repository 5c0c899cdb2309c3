"""How much a machine does with how many workers: measured with as many processes, each with its share of the cores."""

import contextlib
import sys
import time
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from queue import Empty
from typing import Any

import psutil

from study.engine.fork_server import PROCESSES
from study.engine.worker import SECONDS_BETWEEN_LOOKS, share_of_cores
from wake2vec import AVAILABLE_THREADS, RunConfig, passes_in, powers_of_two, prepare

MOST_WORKERS = 16
BYTES_A_PROCESS = 5e8
"""Beside what its run takes: the libraries."""
BYTES_OF_MLFLOW = 6e8
"""Of the process that tells MLflow where several runs are open (`bench.cluster slots`)."""
ROUND_S = 1.5
ROUNDS = 2
"""The counts take turns, so that what else the machine does meets all of them."""


@dataclass(frozen=True)
class Pace:
    """Training passes a second of all workers together, by how many there are."""

    passes_a_second: dict[int, float]

    @property
    def best(self) -> int:
        """The fewest workers that do nearly the most: within the twentieth by which such a measurement scatters."""
        most = max(self.passes_a_second.values())
        return min(count for count, pace in self.passes_a_second.items() if pace >= 0.95 * most)


def measure_workers(config: RunConfig, run_bytes: float) -> Pace | None:
    """Of 1, 2, 4, ... workers, as many as there are cores and memory for; None: there is nothing to compare, or one of
    them has died.

    A run takes `run_bytes`. The processes share nothing but the files, as a study's workers do.
    """
    free_bytes = max(psutil.virtual_memory().available - BYTES_OF_MLFLOW, 0)
    fit = int(free_bytes // (run_bytes + BYTES_A_PROCESS))
    counts = powers_of_two(min(fit, AVAILABLE_THREADS, MOST_WORKERS))
    if len(counts) < 2:
        return None
    together, answers = PROCESSES.Barrier(counts[-1]), PROCESSES.Queue()
    workers = [
        PROCESSES.Process(target=_pass, args=(config, counts, number, together, answers), daemon=True)
        for number in range(counts[-1])
    ]
    for worker in workers:
        worker.start()
    found = dict.fromkeys(counts, 0.0)
    try:
        left = ROUNDS * sum(counts)
        while left:
            with contextlib.suppress(Empty):
                count, passes = answers.get(timeout=SECONDS_BETWEEN_LOOKS)
                found[count] += passes / (ROUNDS * ROUND_S)
                left -= 1
            if any(worker.exitcode for worker in workers):
                return None  # the memory wasn't enough for all
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
    return Pace(found)


def _pass(config: RunConfig, counts: list[int], number: int, together: Barrier, answers: Any) -> None:
    """In a process: passes in each round that needs this worker, beside the others of it."""
    own_threads = config.machine.threads
    try:
        material = prepare(config)
        for count in counts * ROUNDS:
            together.wait()
            if number < count:
                body, rows, block = material.base.body, material.base_rows, config.corpus.block_tokens
                answers.put((count, passes_in(ROUND_S, body, rows, block, own_threads or share_of_cores(count))))
            else:
                time.sleep(ROUND_S)
    except Exception:  # noqa: BLE001 - whatever it is, what is planned doesn't hang on it
        sys.exit(1)
