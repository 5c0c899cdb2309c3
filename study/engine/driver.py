"""The driver: it asks Optuna for trials, runs them, and tells their results. Nobody else writes to the study database.

A trial is a pure function of its configuration, and its work folder is the truth: Optuna and MLflow are told what
stands there. So a driver that died is followed by one that runs the open trials again under their numbers.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import optuna
from optuna.trial import TrialState, create_trial

from study.engine.executor import Executor, Watcher
from study.engine.shared_faults import Faults
from study.engine.stop import Stop
from study.engine.worker import (
    Abandoned,
    Event,
    Failed,
    Outcome,
    Restarted,
    Sample,
    Suspended,
    Task,
    ThreadsChosen,
)
from study.runs.choose import Choice
from study.runs.faults import ConnectionLostError, StorageFault, UnreachableError
from study.runs.judge import why_enough
from study.runs.lease import OneDriver
from study.runs.objectives import objective_values, violations
from study.runs.reader import StudyReader
from study.runs.record import StudyRecord
from study.runs.run import Role, Run, State, config_of, note_fault
from study.runs.storage import ENDED, INPUTS, ended_digests, tell_end, trial_id
from study.runs.study_database import Lease
from study.search.proposal import distributions, propose, suggest
from study.search.stopping import Stopper
from study.tracking.archive import Archive
from study.tracking.sync import Projection
from study.tracking.telling import Teller, Telling
from wake2vec import (
    ConfigError,
    RunConfig,
    RunResult,
    TrialFailedError,
    TrialStopped,
    Wake2VecError,
    WorkFolder,
    find_digest,
    fingerprint_inputs,
    read_result,
)

Result = RunResult | Abandoned | Failed
"""How a run ended; `Suspended` is none of it."""
SECONDS_BETWEEN_LOOKS = 0.5
"""At what other drivers do, and at a server that doesn't answer."""
SUSPENDED = "another driver has the study database for itself for long: is one suspended? Wake it, or kill it"


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


@dataclass(frozen=True)
class OpenRun:
    """A run that is worked off somewhere."""

    run: Run
    is_told: bool
    """Whether Optuna hears of its end: it knows nothing of references and repeats, and has heard of a damaged trial."""


class Driver:
    """One pass over a study; `study.engine.drive` makes it. It is the executor's `Scheduler`."""

    def __init__(
        self,
        study: optuna.Study,
        projection: Projection,
        watcher: Watcher,
        stop: Callable[[], bool] = lambda: False,
        lease: Lease | None = None,
        mlflow: Teller | None = None,
        archive: Archive | None = None,
    ) -> None:
        self._study = study
        self._lease = lease or OneDriver(projection.folder)
        self._archive = archive
        self._watcher = watcher
        self._stop = stop
        self._config, self._folder, self._inputs = projection.config, projection.folder, projection.inputs
        self._reader = StudyReader(study, self._config, self._folder)
        self._mlflow = mlflow or Telling(projection, self._reader.record, watcher.mlflow_lacks, self._lease.fence())
        self._faults = Faults(self._config)
        self._damaged = [trial for trial in self._record().damaged if self._is_run_again(trial)]
        self._open: dict[str, OpenRun] = {}
        self._held: list[tuple[OpenRun, Result]] = []
        """How runs ended; what comes before the baseline's end waits for it, as bounds are measured from it.

        So does what the archive of a shared study can't take for now.
        """
        self._first: RunResult | None = None
        """The baseline's result, read once."""
        self._is_baseline_over = False
        """Whether it is known to have ended."""
        self._is_left = False
        """Whether a run was left with a checkpoint: the time is over."""
        self._ended: list[Run] = []
        self._sampler = "gp"
        """What proposed last."""
        self._told: set[str] = set()
        """Reasons to wait."""

    def run(self, executor: Executor) -> StudyOutcome:
        executor.work(self)
        record = self._record()
        if self._archive is not None:
            with contextlib.suppress(StorageFault):  # the next driver does it
                self._archive.checkpoints.sweep(ended_digests(self._study, self._reader.trials()))
        if not record.finished:
            raise Wake2VecError(
                f"no trial of the study {self._config.study.name} has a result: all failed; see their reasons in MLflow"
            )
        self._mlflow.bring(record, has_news=bool(self._ended))
        return StudyOutcome(record, sum(run.role is Role.TRIAL for run in self._ended))

    @property
    def deadline(self) -> float | None:
        return self._stop.deadline if isinstance(self._stop, Stop) else None

    def stop(self) -> bool:
        return self._stop() or self._is_left or self._lease.is_lost

    def next_task(self) -> Task | None:
        while True:
            waiting = ""
            if not self.stop():
                self._mlflow.catch_up()
                try:
                    self._end_held()  # before others must wait for this one
                    with self._lease.alone(self.stop) as is_alone:
                        task, is_elsewhere = self._next(self._record()) if is_alone else (None, False)
                except UnreachableError as fault:
                    task, waiting = None, str(fault)
                else:
                    elsewhere = "other drivers have what is left to do: waiting for them"
                    waiting = SUSPENDED if not is_alone else elsewhere if is_elsewhere else ""
                if task is not None:
                    self._bring_checkpoint(task)
                    return task
            if self._open:
                return None
            if self._lease.is_lost:
                raise ConnectionLostError
            if self.stop():
                raise TrialStopped
            if not waiting:
                return None
            self._wait(waiting)

    def _bring_checkpoint(self, task: Task) -> None:
        """What another driver left of the run, if the archive has it; where it can't be had, the run begins without."""
        if self._archive is None:
            return
        try:
            self._archive.checkpoints.bring(task.digest)
        except StorageFault as fault:
            self._wait(str(fault))

    def _next(self, record: StudyRecord) -> tuple[Task | None, bool]:
        """What this driver is to do next, claimed; None: nothing. And whether others have what it would do."""
        is_elsewhere = bool(self._held)
        while self._damaged:
            trial = self._damaged.pop(0)
            if self._lease.claim(trial.label):
                return self._begin_again(trial, record), False
        for trial in self._not_own(record.running):
            if self._lease.claim(trial.label):
                if any(still.number == trial.number for still in self._reader.record().running):
                    return self._begin(self._reopened(trial.number), record, is_told=True), False
                self._lease.free(trial.label)  # its driver has told its end since
            is_elsewhere = True
        if self._may_begin(record):
            proposed = self._ask(record)
            self._lease.claim(proposed.label)
            # That may take half a minute. Where the time is over by now the next driver begins the trial.
            if not self.stop():
                return self._begin(proposed, record, is_told=True), False
            self._lease.free(proposed.label)
            return None, False
        for companion in self._not_own(self._due(record)):
            if self._lease.claim(companion.label):
                told = ended_digests(self._study, self._reader.trials()) if self._lease.is_shared else []
                if companion.digest not in told:
                    return self._begin(companion, record, is_told=False), False
                self._lease.free(companion.label)
            is_elsewhere = True
        return None, is_elsewhere

    def _not_own(self, runs: Sequence[Run]) -> list[Run]:
        """Those that aren't open here, and don't wait here for the baseline's end."""
        own = {*self._open, *(held.run.label for held, _ in self._held)}
        return [run for run in runs if run.label not in own]

    def _record(self) -> StudyRecord:
        """The study as it stands, with the results of other drivers. Raises UnreachableError: they can't be had."""
        told = self._reader.trials()
        if self._archive is not None:  # for seconds: what ends meanwhile isn't here, and would look damaged
            self._archive.bring(ended_digests(self._study, told))
        return self._reader.record(told)

    def _wait(self, why: str) -> None:
        if why not in self._told:
            self._told.add(why)
            self._watcher.waiting(why)
        time.sleep(SECONDS_BETWEEN_LOOKS)

    def told(self, task: Task, event: Event) -> None:
        self._lease.check()
        if isinstance(event, ThreadsChosen):
            self._watcher.threads_chosen(event.threads, event.seconds)
        elif isinstance(event, Restarted):
            self._mlflow.restarted(task.name)
            self._watcher.restarted(task.name, event.from_checkpoint)
        elif isinstance(event, Sample):
            self._mlflow.progressed(task.name, event.record)
        else:
            self._watcher.progressed(task.name, event)
            self._mlflow.progressed(task.name, event)

    def ended(self, task: Task, outcome: Outcome) -> None:
        ended = self._open.pop(task.name)
        if isinstance(outcome, Suspended):
            self._mlflow.suspended(task.name)
            self._is_left = True
            return
        self._held.insert(0 if ended.run.is_baseline else len(self._held), (ended, outcome))
        with contextlib.suppress(UnreachableError):  # then it is told before anything else is done
            self._end_held()

    def _end_held(self) -> None:
        """A baseline that was left with a checkpoint is waited for too: the next driver tells what is held then."""
        if not self._held:
            return
        if not self._held[0][0].run.is_baseline and not self._is_baseline_over:
            self._is_baseline_over = not any(trial.is_baseline for trial in self._record().running)
            if not self._is_baseline_over:
                return
        while self._held:
            self._end(*self._held[0])
            del self._held[0]

    def _may_begin(self, record: StudyRecord) -> bool:
        """Whether there is another trial to run, and those have ended that it must see."""
        study = self._config.study
        if any(not open_.is_told and open_.run.role is Role.TRIAL for open_ in self._open.values()):
            return False  # a sampler must see it
        if record.ended + len(record.running) >= study.trials or why_enough(record):
            return False
        if _waiting(record.trials):
            return True
        number = len(record.trials)
        if study.order == "free" and not study.is_aimed(number):
            return True
        last_seen = study.last_seen_by(number)
        # An aimed trial waits for other drivers' too, any other for this one's alone: they come and go.
        own = [trial for trial in record.running if study.is_aimed(number) or not self._is_of_another(trial)]
        return all(trial.number > last_seen for trial in own)

    def _is_of_another(self, trial: Run) -> bool:
        return self._lease.is_shared and trial.label not in self._open

    def _ask(self, record: StudyRecord) -> Run:
        """The next trial, with all its parameters in the study database, in one transaction, before it begins."""
        if _waiting(record.trials):
            return self._with_knobs(self._study.ask())
        number = len(record.trials)
        is_free = self._config.study.order == "free" or self._lease.is_shared
        kept = {"unseen": sorted(record.unseen_by(number))} if is_free else {}
        proposal = propose(record, number)
        if self._config.study.sampler == "auto" and proposal.sampler != self._sampler:
            self._sampler = proposal.sampler
            self._watcher.sampler_changed(proposal.sampler, record.ended)
        proposed = create_trial(
            state=TrialState.RUNNING,
            params=proposal.params,
            distributions=distributions(self._config),
            user_attrs=kept,
        )
        self._study.add_trial(proposed)
        self._reader.begun(number, proposed)
        return Run(State.WAITING, number, proposal.params)

    def _due(self, record: StudyRecord) -> list[Run]:
        """The companions that can be run, and have neither result nor fault that can be read.

        References and the baseline's repeats fill the time when no trial may begin. They also decide, by the noise
        that they show, who is a finalist: so the finalists' repeats come last, when all trials have ended.
        """
        if not record.finished or (record.running and not record.finished[0].is_baseline):
            return []
        first = self._waiting([*record.all_references, *record.repeats_of(record.baseline)])
        return first if first or record.running else self._waiting(record.companions)

    def _waiting(self, companions: Sequence[Run]) -> list[Run]:
        """Those that have no end, or one that is damaged, unless this driver has run them in vain."""
        ended = [run.label for run in self._ended]
        return [
            run
            for run in companions
            if run.state is State.WAITING or (run.state is State.DAMAGED and run.label not in ended)
        ]

    def _is_run_again(self, trial: Run) -> bool:
        """Whether a damaged trial is made as a run of this study is; one of an earlier study needn't be."""
        if trial.params.keys() != self._config.study.space.keys():
            return False
        run_config = config_of(trial, self._config)
        return trial.digest == find_digest(run_config, self._checked_inputs(run_config), self._folder / "trials")

    def _begin_again(self, trial: Run, record: StudyRecord) -> Task:
        """A trial that Optuna knows to have ended, and whose files can't be read any more: in the same work folder."""
        self._watcher.remeasuring(f"{trial.label} is run again: {trial.reason}")
        if self._archive is not None:
            self._archive.forget(trial.digest)
        task = self._begin(trial, record, is_told=False)
        return task if trial.step else replace(task, stopper=None)  # one that had a result isn't stopped

    def _begin(self, waiting: Run, record: StudyRecord, is_told: bool) -> Task:
        """`record` is of before the run was asked for."""
        run_config = config_of(waiting, self._config)
        inputs = self._checked_inputs(run_config)
        run = replace(
            waiting, state=State.RUNNING, reason="", digest=find_digest(run_config, inputs, self._folder / "trials")
        )
        self._mlflow.begin(run, inputs)
        self._watcher.run_started(run, run_config, record.ended)
        self._open[run.label] = OpenRun(run, is_told)
        return Task(run.label, run_config, run.digest, self._stopper(run, run_config, record))

    def _stopper(self, run: Run, run_config: RunConfig, record: StudyRecord) -> Stopper | None:
        """What ends a trial where it isn't worth its steps; baseline and anchors always are, and what is no trial."""
        if self._config.study.stopping is None or run.role is not Role.TRIAL or run.is_baseline or run.name:
            return None
        peers = [(record.steps(peer), record.evaluations(peer)) for peer in record.seen_by(run.number).trained]
        return Stopper(self._config, run_config.train.steps, peers)

    def _end(self, ended: OpenRun, outcome: Result) -> None:
        """Tell the study database, the watcher and MLflow.

        Raises Wake2VecError: trials fail for a reason that isn't their own.
        """
        run, fault = self._judged(ended.run, outcome)
        if fault is not None and ended.is_told:
            self._faults.check_cause(fault)
        if fault is not None and run.role is not Role.TRIAL:
            note_fault(self._work(run.digest), run.reason)
        self._keep(run)
        if ended.is_told:
            tell_end(self._study, run, self._config)
        self._lease.free(run.label)
        self._ended.append(run)
        self._watcher.run_ended(run)
        self._mlflow.ended(run)
        if fault is not None and ended.is_told:
            self._faults.check_repeat(fault, bool(self._reader.record().finished))

    def _keep(self, run: Run) -> None:
        """In the archive of a shared study, before its database knows that the run has ended."""
        if self._archive is None:
            return
        if run.role is not Role.TRIAL or run.state is not State.FAILED:
            self._archive.put(run.digest)
        self._archive.checkpoints.drop(run.digest)
        if run.role is not Role.TRIAL:
            self._study.set_user_attr(ENDED + run.digest, run.label)

    def _judged(self, run: Run, outcome: Result) -> tuple[Run, TrialFailedError | None]:
        """What became of the run, and what made it fail."""
        if isinstance(outcome, Abandoned):
            return replace(run, state=State.STOPPED, reason=outcome.reason, step=outcome.step), None
        try:
            if isinstance(outcome, Failed):
                raise outcome.fault
            values = objective_values(outcome, self._config)
            broken = violations(outcome, self._baseline(outcome, run), self._config)
        except TrialFailedError as fault:
            return replace(run, state=State.FAILED, reason=str(fault)), fault
        return replace(run, state=State.FINISHED, values=values, violations=broken), None

    def _baseline(self, result: RunResult, run: Run) -> RunResult | None:
        """The baseline's result, which bounds may be measured from, where `result` is the run's; None: it failed."""
        if run.is_baseline:
            return result
        if self._first is None:
            finished = self._reader.record().finished
            if finished and finished[0].is_baseline:
                self._first = read_result(self._work(finished[0].digest))
        return self._first

    def _work(self, digest: str) -> WorkFolder:
        return WorkFolder(self._folder / "trials" / digest)

    def _checked_inputs(self, run_config: RunConfig) -> dict[str, str]:
        """Hashes of the run's inputs. Raises ConfigError: a file was changed since the study was opened."""
        now = fingerprint_inputs(run_config)
        changed = [key for key in INPUTS if key not in self._config.study.space and now[key] != self._inputs[key]]
        if changed:
            raise ConfigError(
                f"the inputs of a study must not change: {', '.join(changed)} has another content now; "
                "put the old file back, or give study.name=<another name>"
            )
        return now

    def _reopened(self, number: int) -> Run:
        """The open trial of that number.

        Optuna's `ask` gives waiting trials alone. Its documented constructor takes a running one.
        """
        return self._with_knobs(optuna.Trial(self._study, trial_id(self._study, number)))

    def _with_knobs(self, trial: optuna.Trial) -> Run:
        """The trial with all its knobs: those that the study database lacks of them are written to it."""
        return Run(State.WAITING, trial.number, suggest(trial, self._config), name=trial.user_attrs.get("anchor", ""))


def _waiting(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.state is State.WAITING]
