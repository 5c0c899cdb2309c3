"""Drivers of a study whose trials sleep, on real servers: what the parts have in common."""

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bench.cluster.sleeping import sleep_off
from bench.figures import Figure
from bench.scale import Quiet
from bench.servers import Mlflow, Postgres
from study.config import StudyConfig
from study.engine import drive as driving
from study.engine.executor import InProcess
from study.engine.stop import Stop
from study.engine.worker import Event, Outcome, Task
from wake2vec import WorkFolder


@dataclass
class Sleeper:
    """In place of a `Worker`."""

    source: WorkFolder
    seconds: float
    folder: Path

    def run(self, task: Task, tell: Callable[[Event], None], stop: Callable[[], bool]) -> Outcome:
        class Line:
            def send(self, event: Event) -> None:
                tell(event)

            def asks_to_stop(self) -> bool:
                return stop()

        return sleep_off(self.source, self.seconds, task, self.folder, 1, Line(), Stop.at(None))


def drive(config: StudyConfig, folder: Path, source: WorkFolder, seconds: float, watcher: Quiet) -> None:
    """As `study run` does it, but for the training."""
    executor = InProcess(folder)
    executor._worker = Sleeper(source, seconds, folder)  # type: ignore[assignment]
    driving.executor_for = lambda *given: executor
    driving.drive(config, folder, watcher)


def restart(server: Postgres | Mlflow) -> None:
    server.stop()
    time.sleep(1.0)
    server.start()


def rows_of(database: Path, config: StudyConfig, trials: int) -> Iterator[Figure]:
    """Of MLflow: each trial has one run, and no figure stands there twice."""
    with closing(sqlite3.connect(database)) as opened:
        active = "FROM runs WHERE lifecycle_stage = 'active' AND name LIKE 'trial %'"
        runs = opened.execute(f"SELECT name, status {active}").fetchall()
        figures = opened.execute(
            "SELECT name, key, step, count(*) FROM metrics JOIN runs USING (run_uuid) WHERE lifecycle_stage = 'active' "
            "AND name LIKE 'trial %' AND key NOT LIKE 'system%' GROUP BY 1, 2, 3 HAVING count(*) > 1"
        ).fetchall()
    names = Counter(name for name, _ in runs)
    whole = sum(status == "FINISHED" for _, status in runs)
    yield Figure("MLflow: trials' runs that are finished", whole, "", f"= {trials}", whole == trials == len(names))
    double = sum(count - 1 for count in names.values())
    yield Figure("MLflow: runs that are there twice", double, "", "= 0", double == 0)
    yield Figure("MLflow: figures that are there twice", len(figures), "", "= 0", not figures)


def wait_for(it: Callable[[], bool]) -> None:
    until = time.monotonic() + 180
    while not it():
        assert time.monotonic() < until
        time.sleep(0.05)
