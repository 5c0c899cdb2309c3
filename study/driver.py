"""The driver: it asks Optuna for trials, runs them, and tells their results. Only it writes to the study database.

A trial is a pure function of its configuration, and its work folder is the truth: Optuna and MLflow are told what
stands there. So a driver that died is followed by one that runs the open trials again under their numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
from optuna.trial import TrialState

from study.choose import Choice
from study.companion_runs import missing_companions, run_companion
from study.config import StudyConfig
from study.database import check_database
from study.objectives import objective_values, violations
from study.projection import Projection
from study.record import StudyRecord, record_of
from study.search.proposal import propose
from study.search.space import suggest
from study.search.stopping import Stopper
from study.search.warm_start import import_trials
from study.shared_faults import Faults, check_figures
from study.storage import (
    fingerprint_of,
    interrupted_numbers,
    only_driver,
    open_study,
)
from study.system import SystemSampler
from study.tracking import LiveLog, Trial
from study.trials import FailedTrial, FinishedTrial, StoppedTrial
from study.watcher import Watcher
from wake2vec import (
    ConfigError,
    Progress,
    RunConfig,
    RunResult,
    TrialAbandoned,
    TrialFailedError,
    TrialStopped,
    Wake2VecError,
    WorkFolder,
    fingerprint_inputs,
    measure_threads,
    prepare,
    quickest,
    read_result,
    run,
)


@dataclass(frozen=True)
class StudyOutcome:
    """A study after a driver has done its work."""

    record: StudyRecord
    added: int
    """Trials that this driver ran."""

    @property
    def trials(self) -> list[FinishedTrial]:
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
        import_trials(study, folder, config, fingerprint)
        return Driver(config, folder, study, inputs, watcher, stop).run()


class Driver:
    """One pass over a study; `drive` makes it, with the lock held."""

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
        self._trials_folder = folder / "trials"
        self._faults = Faults(config)

    def run(self) -> StudyOutcome:
        added = 0
        for number in interrupted_numbers(self._study):
            self._check_stop()
            self._run_trial(self._reopen(number))
            added += 1
        while not self._is_done():
            self._check_stop()
            self._run_trial(self._next())
            added += 1
        record = self._record()
        if not record.finished:
            raise Wake2VecError(
                f"no trial of the study {self._config.study.name} has a result: all failed; see their reasons in MLflow"
            )
        self._projection.missing(record)
        ran = self._run_companions()
        record = self._record()
        if added or ran or not self._tracker.is_study_finished():
            self._projection.study(record)
        return StudyOutcome(record, added)

    def _next(self) -> optuna.Trial:
        """The next trial, with all its parameters in the study database before it begins."""
        trials = self._study.get_trials(deepcopy=False)
        if not any(trial.state is TrialState.WAITING for trial in trials):
            self._study.enqueue_trial(propose(self._record(), len(trials)))
        return self._study.ask()

    def _is_done(self) -> bool:
        record = self._record()
        if record.ended >= self._config.study.trials:
            return True
        patience = self._config.study.patience
        return patience is not None and record.finished != [] and record.trials_without_gain >= patience

    def _run_trial(self, trial: optuna.Trial) -> None:
        params = suggest(trial, self._config)
        run_config = self._with_threads(self._config.run_config(params))
        self._check_inputs(run_config)
        inputs, anchor = fingerprint_inputs(run_config), trial.user_attrs.get("anchor", "")
        digest = run_config.digest(inputs)
        run_id = self._projection.open_trial(Trial(trial.number, run_config, params, inputs, anchor), digest)
        self._watcher.trial_started(trial.number, run_config, self._record().ended)
        live_log = LiveLog(self._tracker, run_id)
        sampler = SystemSampler(WorkFolder(self._trials_folder / digest))
        judge = self._judge(trial, run_config, digest)

        def observe(record: Progress) -> None:
            self._watcher.progressed(record)
            live_log(record)
            for sample in sampler(record):
                live_log(sample)
            judge(record)

        try:
            result = run(run_config, self._trials_folder, observe, self._stop, self._folder / "cache")
            values = objective_values(result, self._config)
            broken = violations(result, self._baseline(result, trial.number), self._config)
        except TrialStopped:
            live_log.flush()
            raise
        except TrialAbandoned as verdict:
            stopped = StoppedTrial(trial.number, params, digest, verdict.step, verdict.reason)
            self._end_early(stopped, trial, run_id, live_log.sent)
            return
        except TrialFailedError as fault:
            self._faults.check_cause(fault)
            self._fail(trial, FailedTrial(trial.number, params, str(fault)), digest, run_id, live_log.sent)
            self._faults.check_repeat(fault, bool(self._record().finished))
            return
        finally:
            sampler.close()
        trial.set_user_attr("digest", digest)
        trial.set_user_attr("violations", broken)
        for bound, violation in zip(self._config.study.bounds, broken, strict=True):
            if str(bound) not in trial.constraints:  # a driver that died may have told it
                trial.set_constraint(str(bound), violation)
        finished = FinishedTrial(trial.number, params, values, digest, broken, trial.user_attrs.get("anchor", ""))
        self._projection.finished(finished, run_id, live_log.sent)
        self._study.tell(trial.number, values)
        self._watcher.trial_ended(trial.number, finished)

    def _judge(self, trial: optuna.Trial, run_config: RunConfig, digest: str) -> Callable[[Progress], None]:
        """What raises TrialAbandoned where the trial isn't worth its steps; baseline and anchors always are."""
        if self._config.study.stopping is None or trial.number == 0 or "anchor" in trial.user_attrs:
            return lambda record: None
        record = self._record()
        peers = [(record.steps(trial), record.progress(trial.digest)) for trial in record.trained]
        stopper = Stopper(self._config, run_config.train.steps, peers)
        stopper.begin(record.progress(digest))

        def judge(progress: Progress) -> None:
            reason = stopper.verdict(progress)
            if reason is not None:
                raise TrialAbandoned(progress.step, reason)

        return judge

    def _baseline(self, result: RunResult, number: int) -> RunResult | None:
        """The baseline's result, which bounds may be measured from; None where it failed."""
        if number == 0:
            return result
        finished = self._record().finished
        if not finished or not finished[0].is_baseline:
            return None
        return read_result(WorkFolder(self._trials_folder / finished[0].digest))

    def _run_companions(self) -> bool:
        """Gives whether there were any.

        They are asked for one by one: the baseline's repeats, which come first, may decide who is a finalist.
        """
        ran = False
        while missing := missing_companions(self._record()):
            companion, work = missing[0]
            self._check_stop()
            self._watcher.companion_started(companion.name, companion.run)
            own = replace(companion, run=self._with_threads(companion.run))
            outcome = run_companion(own, work, self._projection, self._watcher.progressed, self._stop)
            self._watcher.companion_ended(outcome)
            ran = True
        return ran

    def _with_threads(self, run_config: RunConfig) -> RunConfig:
        """With as many threads as are quickest now, unless the user set them: what else the machine does may change."""
        if run_config.machine.threads is not None:
            return run_config
        material = prepare(run_config, self._folder / "cache")
        seconds = measure_threads(material, run_config.corpus.block_tokens)
        threads = quickest(seconds)
        if threads is None:
            return run_config
        self._watcher.threads_chosen(threads, seconds)
        machine = run_config.machine.model_copy(update={"threads": threads})
        return run_config.model_copy(update={"machine": machine})

    def _record(self) -> StudyRecord:
        return record_of(self._study, self._config, self._folder)

    def _check_stop(self) -> None:
        if self._stop():
            raise TrialStopped

    def _check_inputs(self, run_config: RunConfig) -> None:
        """Raises ConfigError: a file was changed since the study was opened."""
        now = fingerprint_inputs(run_config)
        changed = [key for key in now if key not in self._config.study.space and now[key] != self._inputs[key]]
        if changed:
            raise ConfigError(
                f"the inputs of a study must not change: {', '.join(changed)} has another content now; "
                "put the old file back, or give study.name=<another name>"
            )

    def _end_early(self, stopped: StoppedTrial, trial: optuna.Trial, run_id: str, sent: Sequence[Progress]) -> None:
        trial.set_user_attr("digest", stopped.digest)
        trial.set_user_attr("stopped", stopped.reason)
        trial.set_user_attr("stopped_at", stopped.step)
        self._projection.stopped(stopped, run_id, sent)
        self._study.tell(trial.number, state=TrialState.PRUNED)
        self._watcher.trial_ended(trial.number, stopped)

    def _fail(
        self, trial: optuna.Trial, failed: FailedTrial, digest: str, run_id: str, sent: Sequence[Progress]
    ) -> None:
        trial.set_user_attr("fault", failed.reason)
        self._projection.failed(failed, digest, run_id, sent)
        self._study.tell(trial.number, state=TrialState.FAIL)
        self._watcher.trial_ended(trial.number, failed.reason)

    def _reopen(self, number: int) -> optuna.Trial:
        """The open trial of that number, whose parameters stand in the study database."""
        frozen = next(trial for trial in self._study.get_trials(deepcopy=False) if trial.number == number)
        return optuna.Trial(self._study, frozen._trial_id)
