"""A study whose trials sleep in place of training, and a driver of it on a Ray that runs.

Everything else is real: the study database, MLflow's, records of progress, results, and what Ray does of it. A trial
gets the files of one that was trained, with other figures (`bench.scale`).
"""

import functools
import random
import sys
import time
from pathlib import Path

from bench.scale import STUDY, Quiet, Source, Unpictured
from study.config import StudyConfig, load_config
from study.engine.drive import run_on
from study.engine.executor import Watcher
from study.engine.stop import Stop
from study.engine.worker import Line, Outcome, Suspended, Task
from study.runs.lease import only_driver
from study.runs.record import StudyRecord
from study.runs.storage import fingerprint_of, open_study
from study.tracking import fenced
from wake2vec import WorkFolder, fingerprint_inputs, run

LOOKS_S = 0.1
PLAIN = [*STUDY, "study.stopping=null", "study.order=free", "study.aimed_trials=0", "machine.gpus=0"]
"""An aimed trial waits for all others: four of them at the end would be run one after the other."""


def sleeping_study(trials: int) -> StudyConfig:
    return load_config("tiny", [*PLAIN, f"study.trials={trials}"])


def trained(config: StudyConfig, folder: Path) -> WorkFolder:
    """The baseline's trial, whose files are everyone's."""
    return WorkFolder(folder / run(config.run_config(config.study.baseline), folder).digest)


def sleep_off(
    source: WorkFolder, seconds: float, task: Task, folder: Path, threads: int, line: Line, stop: Stop
) -> Outcome:
    """In place of `study.engine.cluster.train`: so many seconds of sleep, and between them its records."""
    own = Source(source)
    records = own.records(task, random.Random(task.digest))
    work = WorkFolder(folder / "trials" / task.digest)
    log = work.start_progress()
    began = time.monotonic()
    for place, record in enumerate(records, 1):
        until = began + seconds * place / len(records)
        while (left := until - time.monotonic()) > 0:
            if line.asks_to_stop() or stop():
                log.close()
                return Suspended()
            time.sleep(min(left, LOOKS_S))
        line.send(log.add(record.step, record.numbers))
    log.close()
    return own.finish(task, work, records)


def drive(
    config: StudyConfig,
    folder: Path,
    source: WorkFolder,
    seconds: float,
    slots: int,
    address: str,
    watcher: Watcher | None = None,
) -> StudyRecord:
    """The study to its end, as `study.engine.drive.drive` does it; at a cluster's address Ray is joined here."""
    from study.engine.cluster import Cluster

    inputs = fingerprint_inputs(config.run)
    work = functools.partial(sleep_off, source, seconds)
    with only_driver(folder, config.study.name) as lease, fenced(folder, lease.check):
        study = open_study(folder, config, fingerprint_of(config, inputs), lease)
        executor = Cluster(folder, slots, config.run, address, work=work)
        return run_on(executor, study, Unpictured(config, folder, inputs), watcher or Quiet(), lease=lease).record


def main() -> None:
    """`python -m bench.cluster.sleeping ADDRESS FOLDER SOURCE TRIALS SLOTS SECONDS`: a driver that may be killed."""
    address, folder, source, trials, slots, seconds = sys.argv[1:]
    drive(sleeping_study(int(trials)), Path(folder), WorkFolder(Path(source)), float(seconds), int(slots), address)


if __name__ == "__main__":
    main()
