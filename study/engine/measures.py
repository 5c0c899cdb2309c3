"""Measuring again: the runs of a results folder get the figures that are new since they were trained.

It happens by itself when a study is opened. Nothing is trained: `wake2vec.remeasure` reads the rows that are kept.
"""

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

from study.config import StudyConfig
from study.runs.addresses import addresses_of
from study.runs.faults import StorageFault
from study.runs.storage import study_names
from study.runs.study_database import Lease, study_database
from wake2vec import (
    UNREADABLE,
    DamagedError,
    RunConfig,
    Wake2VecError,
    WorkFolder,
    set_aside,
    stale_metrics,
    write_json,
)

logger = logging.getLogger(__name__)

Say = Callable[[str], None]
FEW = 3
MEASURED = ".measured"
"""In a results folder: when figures of any run were last measured again."""


def stale_runs(folder: Path, now: RunConfig | None = None) -> dict[str, list[str]]:
    """The digests of finished runs that lack figures of today, of whatever study, and the figures' addresses.

    `now` is what a study asks for today, which retention may have been read on another text for.
    """
    return {work.path.name: stale for work in _finished(folder) if (stale := _stale(work, now))}


def _stale(work: WorkFolder, now: RunConfig | None) -> list[str]:
    """None of a damaged result: who shows the run tells of it."""
    try:
        return stale_metrics(work, now)
    except DamagedError:
        return []


def measure_runs(config: StudyConfig, folder: Path, say: Say, again: bool = False) -> int:
    """Measure what is lacking, to be called by who holds the study's lock; how many runs were measured.

    A run of any study counts: an equal one of this study would take its result. One whose rows or inputs are gone keeps
    what it has, and it is said why; these figures of it are tried once more only with `again`.
    """
    runs = _to_measure(config.run, folder, again)
    if not runs:
        return 0
    from wake2vec import remeasure  # loads torch

    names = sorted({address for stale in runs.values() for address in stale})
    shown = ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "")
    say(f"measuring {shown} of {len(runs)} runs that are trained already")
    faults = []
    for digest, stale in runs.items():
        work = WorkFolder(folder / "trials" / digest)
        try:
            remeasure(work, stale, config.run, folder / "cache")
            _forget(work.unmeasured_path)
        except Wake2VecError as fault:
            faults.append(str(fault))
            write_json(work.unmeasured_path, {"figures": stale, "fault": str(fault)})
    if len(faults) < len(runs):
        write_json(folder / MEASURED, time.time())
    if faults:
        say(f"{len(faults)} of them stay without: {faults[0]}; then run `make measure`")
    return len(runs) - len(faults)


def _forget(path: Path) -> None:
    """A mark that holds no more; what stands in its place and is none stays, aside."""
    if path.is_dir():
        set_aside(path)
    path.unlink(missing_ok=True)


def bring_up_to_date(config: StudyConfig, folder: Path, say: Say, again: bool = False) -> int:
    """The same where nobody drives the study, and its MLflow is told; how many runs were measured.

    MLflow is told too of what another study's opening has measured.

    Raises:
        ConfigError: another process holds the study's lock.
    """
    if addresses_of(folder).is_shared or (not _to_measure(config.run, folder, again) and _is_told(config, folder)):
        return 0  # of a shared study: what others have must stay what it is
    with study_database(folder).hold(config.study.name) as lease:
        measured = measure_runs(config, folder, say, again)
        if not _is_told(config, folder):
            _tell(config, folder, say, lease)
    return measured


def sync_mlflow(config: StudyConfig, folder: Path) -> None:
    """Bring MLflow what it lacks of the study; nothing is trained.

    Raises:
        ConfigError: there is no such study.
        StorageFault: MLflow's database can't be used, or another process drives the study.
    """
    from study.runs.reader import read_record
    from study.tracking.database import check_tracking
    from study.tracking.sync import Projection

    fetch(config, folder)
    record = read_record(config, folder)
    check_tracking(folder)
    with study_database(folder).hold(config.study.name) as lease, lease.fence().alone():
        projection = Projection(config, folder, record.inputs)
        projection.missing(record)
        if record.finished:
            projection.study(record)


def _tell(config: StudyConfig, folder: Path, say: Say, lease: Lease) -> None:
    measured_s = _time_in(folder / MEASURED)
    if config.study.name in study_names(folder):
        from study.runs.reader import read_record
        from study.tracking.sync import Projection
        from study.tracking.telling import Telling

        record = read_record(config, folder)
        mlflow = Telling(Projection(config, folder, record.inputs), lambda: record, say, lease.fence())
        if not mlflow.bring(record, has_news=True):
            return
    write_json(_told_path(config, folder), measured_s)


def _is_told(config: StudyConfig, folder: Path) -> bool:
    """Whether the study's MLflow knows what was last measured again, by whomever."""
    return _time_in(_told_path(config, folder)) >= _time_in(folder / MEASURED)


def _told_path(config: StudyConfig, folder: Path) -> Path:
    """Up to which measuring the study's MLflow was told."""
    return folder / f".{config.study.name}.told"


def _time_in(path: Path) -> float:
    """Seconds since 1970; 0: there is no such file. Of one that is damaged, when it was written last."""
    if not path.exists():
        return 0.0
    try:
        return float(json.loads(path.read_text(encoding="utf-8")))
    except UNREADABLE:
        logger.warning("%s is damaged: what MLflow shows is brought up to date again", path)
        return path.stat().st_mtime


def _to_measure(now: RunConfig, folder: Path, again: bool) -> dict[str, list[str]]:
    """The stale runs, without those whose figures were found not to be had, but `again`."""

    def tried(digest: str) -> list[str]:
        path = WorkFolder(folder / "trials" / digest).unmeasured_path
        try:
            return [str(address) for address in json.loads(path.read_text(encoding="utf-8"))["figures"]]
        except FileNotFoundError:
            return []
        except UNREADABLE:
            logger.warning("%s is damaged: what it says not to be had is tried again", path)
            return []

    return {digest: stale for digest, stale in stale_runs(folder, now).items() if again or {*stale} - {*tried(digest)}}


def _finished(folder: Path) -> list[WorkFolder]:
    return [WorkFolder(path.parent) for path in sorted((folder / "trials").glob("*/result.json"))]


def fetch(config: StudyConfig, folder: Path) -> None:
    """Bring what other drivers of a shared study have made, without its rows.

    Raises:
        StorageFault: a server doesn't answer, or doesn't let this user in.
    """
    if addresses_of(folder).is_shared:
        from study.tracking.archive import bring_results

        bring_results(folder, config.study.name)


def fetch_rows(config: StudyConfig, folder: Path, digest: str) -> None:
    """Of a run of a shared study that another driver has trained. Raises StorageFault: as `fetch`."""
    if addresses_of(folder).is_shared:
        from study.tracking.archive import bring_rows

        bring_rows(folder, config.study.name, digest)


def opened(config: StudyConfig, folder: Path, say: Say) -> StudyConfig:
    """The configuration, once its runs have been brought up to date; a driver that is at work has done that itself."""
    fetch(config, folder)
    if study_database(folder).driver_of(config.study.name) is None:
        try:
            bring_up_to_date(config, folder, say)
        except (OSError, StorageFault) as fault:
            say(f"figures that are new can't be measured here: {fault}")
    return config
