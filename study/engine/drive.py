"""`drive`: a study is opened, and runs until it is done; where its database is lost, it is opened anew.

Everything is checked before anything is made. How a pass over the study goes is `Driver`'s business.
"""

import contextlib
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path

import optuna

from study.config import StudyConfig
from study.engine.driver import SUSPENDED, Driver, StudyOutcome
from study.engine.executor import Executor, InProcess, Watcher
from study.engine.fork_server import load_ahead
from study.engine.measures import measure_runs
from study.engine.mlflow_process import MlflowProcess
from study.engine.processes import Processes
from study.engine.ray_address import LOCAL, check_address
from study.engine.shared_faults import check_figures
from study.engine.worker import share_of_cores
from study.runs.addresses import addresses_of
from study.runs.database import make_private
from study.runs.faults import ConnectionLostError, InUseError, UnreachableError, fault_of
from study.runs.lease import OneDriver
from study.runs.storage import RUN, fingerprint_of, open_study, study_names
from study.runs.study_database import Lease, study_database
from study.search.warm_start import check_warm_start, import_trials
from study.tracking import fenced
from study.tracking.archive import Archive, bring_results
from study.tracking.database import check_tracking
from study.tracking.sync import Projection
from wake2vec import ConfigError, TrialStopped, check_device, fingerprint_inputs, keep_encoded, prepare, use_threads

RAY_REMEDY = "make .venv/cluster"
SECONDS_BETWEEN_TRIES = 2
LONGEST_OUTAGE_S = 1800.0
"""Of the study database: then the driver ends, and the same command goes on."""


def drive(
    config: StudyConfig,
    folder: Path,
    watcher: Watcher,
    stop: Callable[[], bool] = lambda: False,
    address: str | None = None,
) -> StudyOutcome:
    """Run trials until the study has as many as its configuration asks for; all its files lie in `folder`.

    `stop` is asked after each step and each trial. Where it gives True the open trial is left with a checkpoint, for
    the next driver to go on with. With `address` runs are worked off by Ray there; `local` is one of the study's own.

    Raises:
        TrialStopped: `stop` said so, before the study was done.
        Wake2VecError: an input, the configuration or the study database can't be used, or an objective or bound is
            undefined (no study was made then); every trial would fail; or no trial had a result.
        StorageFault: the study database, the disk or the folder fails, or another driver has taken over: results
            stand in their work folders, and the same call goes on. Of MLflow's database none is raised.
    """
    inputs = fingerprint_inputs(config.run)
    while True:
        try:
            return _drive(config, folder, watcher, stop, address, inputs)
        except Exception as fault:
            lost = fault_of(fault)
            if not isinstance(lost, ConnectionLostError):
                raise
        _wait_for_database(folder, watcher, stop, lost)  # what was held may be another's by now: it begins anew


def _wait_for_database(folder: Path, watcher: Watcher, stop: Callable[[], bool], fault: ConnectionLostError) -> None:
    """Raises UnreachableError: it isn't there again in `LONGEST_OUTAGE_S`; TrialStopped: `stop` said so before."""
    watcher.waiting(f"the study database was lost, the study goes on when it is there again: {fault.why}")
    until = time.monotonic() + LONGEST_OUTAGE_S
    while True:
        try:
            return study_database(folder).check()
        except (UnreachableError, ConnectionLostError):
            if time.monotonic() > until:
                raise
        for _ in range(SECONDS_BETWEEN_TRIES * 10):
            if stop():
                raise TrialStopped
            time.sleep(0.1)


def _drive(
    config: StudyConfig,
    folder: Path,
    watcher: Watcher,
    stop: Callable[[], bool],
    address: str | None,
    inputs: dict[str, str],
) -> StudyOutcome:
    """Until the study is done, or its database is lost."""
    executor = executor_for(config, folder, address)
    database = study_database(folder)
    database.check()
    if addresses_of(folder).tracking is not None:
        check_tracking(folder)
    if address in (None, LOCAL):  # a cluster's machines have the device, the driver's needn't
        check_device(config.run.machine.device)
    material = prepare(config.run, folder / "cache", keep=False)
    check_figures(config, folder)
    watcher.study_started(material.audit)
    make_private(folder)
    with database.hold(config.study.name) as lease, fenced(folder, lease.check):
        fingerprint = fingerprint_of(config, inputs)
        if config.study.warm_start and config.study.name not in study_names(folder):
            for earlier in config.study.warm_start if lease.is_shared else ():
                bring_results(folder, earlier)
            if not lease.is_shared:
                measure_runs(config, folder, watcher.remeasuring)  # what is imported may lack an objective of today
            check_warm_start(folder, config, fingerprint)
        study = open_study(folder, config, fingerprint, lease)
        projection = Projection(config, folder, inputs)
        if not lease.is_shared:  # of a shared study, what others have must stay what it is
            measure_runs(config, folder, watcher.remeasuring)
        with lease.alone(stop) as is_alone:
            if not is_alone:
                raise TrialStopped if stop() else InUseError(SUSPENDED)
            archive = _archive_of(study, projection) if addresses_of(folder).tracking is not None else None
            put = (lambda digest: None) if archive is None else archive.put
            import_trials(study, folder, config, fingerprint, put)
        if address in (None, LOCAL):
            use_threads(share_of_cores(config.study.workers))  # who waits for a proposal leaves so many cores to it
        keep_encoded(material, folder / "cache")  # workers needn't cut the text again
        return run_on(executor, study, projection, watcher, stop, lease, archive)


def _archive_of(study: optuna.Study, projection: Projection) -> Archive | None:
    """Of a shared study; of any that MLflow's server knows its database is told by which run."""
    run_id = projection.tracker.parent
    if study.user_attrs.get(RUN) != run_id:
        study.set_user_attr(RUN, run_id)
    return Archive(projection.folder, run_id) if addresses_of(projection.folder).is_shared else None


def run_on(
    executor: Executor,
    study: optuna.Study,
    projection: Projection,
    watcher: Watcher,
    stop: Callable[[], bool] = lambda: False,
    lease: Lease | None = None,
    archive: Archive | None = None,
) -> StudyOutcome:
    """One pass over a study, whose lock is held.

    MLflow is told by a process of its own with several runs at once, and where it is a server: nobody waits for it.
    """
    lease = lease or OneDriver(projection.folder)
    with contextlib.ExitStack() as stack:
        mlflow = None
        trains = not isinstance(executor, InProcess)
        if trains or addresses_of(projection.folder).tracking is not None:
            load_ahead(trains)
            mlflow = stack.enter_context(MlflowProcess(projection, watcher.mlflow_lacks, lease.fence()))
        if archive is not None and projection.config.run.machine.archive_checkpoints:
            stack.enter_context(
                archive.sending_checkpoints(projection.config.run.machine.checkpoint_every_s, watcher.waiting)
            )
        stack.enter_context(executor)  # last, so that open runs are left with a checkpoint before MLflow is waited for
        return Driver(study, projection, watcher, stop, lease, mlflow, archive).run(executor)


def executor_for(config: StudyConfig, folder: Path, address: str | None) -> Executor:
    """Raises ConfigError: the address can't be used, or Ray isn't installed."""
    workers = config.study.workers
    if address is None:
        return InProcess(folder) if workers == 1 else Processes(folder, workers)
    if importlib.util.find_spec("ray") is None:
        raise ConfigError(f"--address needs Ray, which isn't installed: run `{RAY_REMEDY}`, or leave --address out")
    check_address(address)
    from study.engine.cluster import Cluster

    return Cluster(folder, workers, config.run, address, share_of_cores(workers) if address == LOCAL else 1)
