"""Measuring again: the runs of a results folder get the figures that are new since they were trained.

It happens by itself when a study is opened. Nothing is trained: `wake2vec.remeasure` reads the rows that are kept.
"""

from collections.abc import Callable
from pathlib import Path

from study.config import StudyConfig
from study.runs.storage import driver_of, only_driver, study_names
from wake2vec import Wake2VecError, WorkFolder, stale_metrics

Say = Callable[[str], None]
FEW = 3


def stale_runs(folder: Path) -> dict[str, list[str]]:
    """The digests of finished runs that lack figures of today, of whatever study, and the figures' addresses."""
    works = [WorkFolder(path.parent) for path in sorted((folder / "trials").glob("*/result.json"))]
    return {work.path.name: stale for work in works if (stale := stale_metrics(work))}


def measure_runs(config: StudyConfig, folder: Path, say: Say) -> int:
    """Measure what is lacking, to be called by who holds the study's lock; how many runs were measured.

    A run whose rows or inputs are gone keeps what it has, and it is said why.
    """
    runs = stale_runs(folder)
    if not runs:
        return 0
    from wake2vec import remeasure  # loads torch

    names = sorted({address for stale in runs.values() for address in stale})
    shown = ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "")
    say(f"measuring {shown} of {len(runs)} runs that are trained already")
    faults = []
    for digest, stale in runs.items():
        try:
            remeasure(WorkFolder(folder / "trials" / digest), stale, config.run, folder / "cache")
        except Wake2VecError as fault:
            faults.append(str(fault))
    if faults:
        say(f"{len(faults)} of them stay without: {faults[0]}")
    return len(runs) - len(faults)


def bring_up_to_date(config: StudyConfig, folder: Path, say: Say) -> int:
    """The same where nobody drives the study, and MLflow is told; how many runs were measured.

    Raises:
        ConfigError: another process holds the study's lock.
    """
    if not stale_runs(folder):
        return 0
    with only_driver(folder, config.study.name):
        measured = measure_runs(config, folder, say)
        if measured and config.study.name in study_names(folder):
            from study.runs.record import read_record
            from study.tracking.sync import Projection

            record = read_record(config, folder)
            projection = Projection(config, folder, record.inputs)
            projection.missing(record)
            if record.finished:
                projection.study(record)
    return measured


def opened(config: StudyConfig, folder: Path, say: Say) -> StudyConfig:
    """The configuration, once its runs have been brought up to date; a driver that is at work has done that itself."""
    if driver_of(folder, config.study.name) is None:
        try:
            bring_up_to_date(config, folder, say)
        except OSError as fault:
            say(f"figures that are new can't be measured here: {fault}")
    return config
