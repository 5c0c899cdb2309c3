"""The driver: it asks Optuna for trials, runs them, and tells their results. Only it writes to the study database.

A trial is a pure function of its configuration, and its work folder is the truth: Optuna and MLflow are told what
stands there. So a driver that died is followed by one that runs the open trials again under their numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import optuna
from optuna.trial import TrialState

from study.choose import Choice
from study.companions import config_of, note_fault
from study.config import StudyConfig
from study.database import check_database
from study.executor import Executor, InProcess
from study.measures import measure_runs
from study.objectives import objective_values, violations
from study.processes import Processes
from study.projection import Projection
from study.record import StudyRecord, record_of
from study.runs import Run, State
from study.search.proposal import propose
from study.search.space import suggest
from study.search.stopping import Stopper
from study.search.warm_start import import_trials
from study.shared_faults import Faults, check_figures
from study.stop import Stop
from study.storage import (
    fingerprint_of,
    only_driver,
    open_study,
    trials_of,
)
from study.tracking import LiveLog
from study.watcher import Watcher
from study.worker import Abandoned, Event, Failed, Outcome, Sample, Suspended, Task, ThreadsChosen
from wake2vec import (
    ConfigError,
    Progress,
    RunConfig,
    RunResult,
    TrialFailedError,
    TrialStopped,
    Wake2VecError,
    WorkFolder,
    find_digest,
    fingerprint_inputs,
    prepare,
    read_result,
)


@dataclass(frozen=True)
class StudyOutcome:
    """A study after a driver has done its work."""

    record: StudyRecord
    added: int
    """Trials that this driver ran."""

    @property
    def trials(self) -> list[Run]:
        return self.record.finished

    @property
    def failed(self) -> int:
        return len(self.record.failed)

    @property
    def choice(self) -> Choice:
        return self.record.choice


def drive(
    config: StudyConfig, folder: Path, watcher: Watcher, stop: Callable[[], bool] = lambda: False
) -> StudyOutcome:
    """Run trials until the study has as many as its configuration asks for; all its files lie in `folder`.

    `stop` is asked after each step and each trial. Where it gives True the open trial is left with a checkpoint, for
    the next driver to go on with.

    Raises:
        TrialStopped: `stop` said so, before the study was done.
        Wake2VecError: an input, the configuration or the study database can't be used, or an objective or bound is
            undefined (no study was made then); every trial would fail; or no trial had a result.
    """
    inputs = fingerprint_inputs(config.run)
    for name in ("optuna.db", "mlflow.db"):
        check_database(folder / name, to_write=True)
    material = prepare(config.run, folder / "cache")
    check_figures(config, folder)
    watcher.study_started(material.audit)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with only_driver(folder, config.study.name):
        fingerprint = fingerprint_of(config, inputs)
        study = open_study(folder, config, fingerprint)
        measure_runs(config, folder, watcher.remeasuring)
        import_trials(study, folder, config, fingerprint)
        workers = config.study.workers
        executor = InProcess(folder) if workers == 1 else Processes(folder, workers)
        with executor:  # its processes start while MLflow's database is opened
            return Driver(config, folder, study, inputs, watcher, stop).run(executor)


@dataclass(frozen=True)
class OpenRun:
    """A trial or a companion that is worked off somewhere."""

    log: LiveLog
    ended: Callable[[Sequence[Progress], RunResult | Abandoned | Failed], None]
    """What to do with its outcome; it is given what MLflow has taken of its records."""


class Driver:
    """One pass over a study; `drive` makes it, with the lock held. It is the executor's `Scheduler`."""

    def __init__(
        self,
        config: StudyConfig,
        folder: Path,
        study: optuna.Study,
        inputs: dict[str, str],
        watcher: Watcher,
        stop: Callable[[], bool],
    ) -> None:
        self._config = config
        self._folder = folder
        self._study = study
        self._inputs = inputs
        self._watcher = watcher
        self._stop = stop
        self._projection = Projection(config, folder, inputs)
        self._tracker = self._projection.tracker
        self._faults = Faults(config)
        self._interrupted = [trial.number for trial in trials_of(study) if trial.state is State.RUNNING]
        self._open: dict[str, OpenRun] = {}
        self._held: list[Callable[[], None]] = []
        """What is to be done with outcomes; those before the baseline's wait for it, as bounds are measured from it."""
        self._unshown: list[Callable[[], None]] = []
        self._is_left = False
        """Whether a run was left with a checkpoint: the time is over."""
        self._added = 0
        self._ran_companions = False

    def run(self, executor: Executor) -> StudyOutcome:
        executor.work(self)
        record = self._record()
        if not record.finished:
            raise Wake2VecError(
                f"no trial of the study {self._config.study.name} has a result: all failed; see their reasons in MLflow"
            )
        self._projection.missing(record)
        if self._added or self._ran_companions or not self._tracker.is_study_finished():
            self._projection.study(record)
        return StudyOutcome(record, self._added)

    @property
    def deadline(self) -> float | None:
        return self._stop.deadline if isinstance(self._stop, Stop) else None

    def stop(self) -> bool:
        return self._stop() or self._is_left

    def next_task(self) -> Task | None:
        if self.stop():
            if self._open:
                return None
            raise TrialStopped
        record = self._record()
        if self._interrupted:
            return self._begin_trial(self._reopen(self._interrupted.pop(0)), record)
        if self._may_begin(record):
            return self._begin_trial(self._ask(record), record)
        due = [companion for companion in self._due(record) if companion.label not in self._open]
        return self._begin_companion(due[0], record) if due else None

    def told(self, task: Task, event: Event) -> None:
        if isinstance(event, ThreadsChosen):
            self._watcher.threads_chosen(event.threads, event.seconds)
        elif isinstance(event, Sample):
            self._open[task.name].log(event.record)
        else:
            self._watcher.progressed(task.name, event)
            self._open[task.name].log(event)

    def ended(self, task: Task, outcome: Outcome) -> None:
        run = self._open.pop(task.name)
        if isinstance(outcome, Suspended):
            run.log.flush()
            self._is_left = True
            return
        is_baseline = task.name == _name(0)
        self._held.insert(0 if is_baseline else len(self._held), partial(run.ended, run.log.sent, outcome))
        if is_baseline or _name(0) not in self._open:
            while self._held:
                self._held.pop(0)()

    def catch_up(self) -> None:
        """Tell MLflow what became of the runs that ended, and draw their pictures."""
        while self._unshown:
            self._unshown.pop(0)()

    def _may_begin(self, record: StudyRecord) -> bool:
        """Whether there is another trial to run, and those have ended that it must see."""
        study = self._config.study
        if record.ended + len(record.running) >= study.trials:
            return False
        if study.patience is not None and record.finished and record.trials_without_gain >= study.patience:
            return False
        if _waiting(record.trials):
            return True
        last_seen = study.last_seen_by(len(record.trials))
        return all(trial.number > last_seen for trial in record.running)

    def _ask(self, record: StudyRecord) -> optuna.Trial:
        """The next trial, with all its parameters in the study database before it begins."""
        if not _waiting(record.trials):
            self._study.enqueue_trial(propose(record, len(record.trials)))
        return self._study.ask()

    def _due(self, record: StudyRecord) -> list[Run]:
        """The companions that can be run, and have neither result nor fault.

        References and the baseline's repeats fill the time when no trial may begin. They also decide, by the noise
        that they show, who is a finalist: so the finalists' repeats come last, when all trials have ended.
        """
        if not record.finished or (record.running and not record.finished[0].is_baseline):
            return []
        first = _waiting([*record.all_references, *record.repeats_of(record.baseline)])
        return first if first or record.running else _waiting(record.companions)

    def _begin_trial(self, trial: optuna.Trial, record: StudyRecord) -> Task:
        """`record` is of before it was asked for."""
        params = suggest(trial, self._config)
        run_config = self._config.run_config(params)
        self._check_inputs(run_config)
        inputs, anchor = fingerprint_inputs(run_config), trial.user_attrs.get("anchor", "")
        digest = find_digest(run_config, inputs, self._folder / "trials")
        run = Run(State.RUNNING, trial.number, params, digest=digest, name=anchor)
        run_id = self._projection.open_trial(run, inputs)
        self._watcher.run_started(run, run_config, record.ended)
        self._open[run.label] = OpenRun(LiveLog(self._tracker, run_id), partial(self._trial_ended, trial, run, run_id))
        return Task(run.label, run_config, digest, self._stopper(run, run_config, record))

    def _trial_ended(
        self,
        trial: optuna.Trial,
        run: Run,
        run_id: str,
        sent: Sequence[Progress],
        outcome: RunResult | Abandoned | Failed,
    ) -> None:
        self._added += 1
        if isinstance(outcome, Abandoned):
            stopped = replace(run, state=State.STOPPED, reason=outcome.reason, step=outcome.step)
            self._end_early(stopped, trial, run_id, sent)
            return
        try:
            if isinstance(outcome, Failed):
                raise outcome.fault
            values = objective_values(outcome, self._config)
            broken = violations(outcome, self._baseline(outcome, run), self._config)
        except TrialFailedError as fault:
            self._faults.check_cause(fault)
            self._fail(replace(run, state=State.FAILED, reason=str(fault)), trial, run_id, sent)
            self._faults.check_repeat(fault, bool(self._record().finished))
            return
        trial.set_user_attr("digest", run.digest)
        trial.set_user_attr("violations", broken)
        for bound, violation in zip(self._config.study.bounds, broken, strict=True):
            if str(bound) not in trial.constraints:  # a driver that died may have told it
                trial.set_constraint(str(bound), violation)
        finished = replace(run, state=State.FINISHED, values=values, violations=broken)
        self._study.tell(trial.number, values)
        self._watcher.run_ended(finished)
        self._unshown.append(partial(self._projection.finished, finished, run_id, sent))

    def _stopper(self, run: Run, run_config: RunConfig, record: StudyRecord) -> Stopper | None:
        """What ends the trial where it isn't worth its steps; baseline and anchors always are."""
        if self._config.study.stopping is None or run.is_baseline or run.name:
            return None
        peers = [(record.steps(peer), record.progress(peer.digest)) for peer in record.seen_by(run.number).trained]
        return Stopper(self._config, run_config.train.steps, peers)

    def _baseline(self, result: RunResult, run: Run) -> RunResult | None:
        """The baseline's result, which bounds may be measured from, where `result` is the run's; None: it failed."""
        if run.is_baseline:
            return result
        finished = self._record().finished
        if not finished or not finished[0].is_baseline:
            return None
        return read_result(self._work(finished[0].digest))

    def _begin_companion(self, run: Run, record: StudyRecord) -> Task:
        run_config = config_of(run, self._config)
        self._watcher.run_started(run, run_config, record.ended)
        run_id = self._projection.open_companion(run)
        self._open[run.label] = OpenRun(LiveLog(self._tracker, run_id), partial(self._companion_ended, run, run_id))
        self._ran_companions = True
        return Task(run.label, run_config, run.digest)

    def _companion_ended(
        self, run: Run, run_id: str, sent: Sequence[Progress], outcome: RunResult | Abandoned | Failed
    ) -> None:
        """One that failed leaves its reason in its work folder and isn't tried again."""
        try:
            if isinstance(outcome, Failed):
                raise outcome.fault
            assert not isinstance(outcome, Abandoned)  # it has no stopper
            ended = replace(run, state=State.FINISHED, values=objective_values(outcome, self._config))
        except TrialFailedError as fault:
            note_fault(self._work(run.digest), str(fault))
            ended = replace(run, state=State.FAILED, reason=str(fault))
            self._projection.failed(ended, run_id, sent)
        else:
            self._unshown.append(partial(self._projection.companion, ended, run_id, sent))
        self._watcher.run_ended(ended)

    def _record(self) -> StudyRecord:
        return record_of(self._study, self._config, self._folder)

    def _work(self, digest: str) -> WorkFolder:
        return WorkFolder(self._folder / "trials" / digest)

    def _check_inputs(self, run_config: RunConfig) -> None:
        """Raises ConfigError: a file was changed since the study was opened."""
        now = fingerprint_inputs(run_config)
        changed = [key for key in now if key not in self._config.study.space and now[key] != self._inputs[key]]
        if changed:
            raise ConfigError(
                f"the inputs of a study must not change: {', '.join(changed)} has another content now; "
                "put the old file back, or give study.name=<another name>"
            )

    def _end_early(self, stopped: Run, trial: optuna.Trial, run_id: str, sent: Sequence[Progress]) -> None:
        trial.set_user_attr("digest", stopped.digest)
        trial.set_user_attr("stopped", stopped.reason)
        trial.set_user_attr("stopped_at", stopped.step)
        self._projection.stopped(stopped, run_id, sent)
        self._study.tell(trial.number, state=TrialState.PRUNED)
        self._watcher.run_ended(stopped)

    def _fail(self, failed: Run, trial: optuna.Trial, run_id: str, sent: Sequence[Progress]) -> None:
        trial.set_user_attr("fault", failed.reason)
        self._projection.failed(failed, run_id, sent)
        self._study.tell(trial.number, state=TrialState.FAIL)
        self._watcher.run_ended(failed)

    def _reopen(self, number: int) -> optuna.Trial:
        """The open trial of that number, whose parameters stand in the study database."""
        frozen = next(trial for trial in self._study.get_trials(deepcopy=False) if trial.number == number)
        return optuna.Trial(self._study, frozen._trial_id)


def _waiting(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.state is State.WAITING]


def _name(number: int) -> str:
    """Of a trial, as a task."""
    return f"trial {number}"
