"""The driver: it asks Optuna for trials, runs them, and tells their results. Only it writes to the study database.

A trial is a pure function of its configuration, and its work folder is the truth: Optuna and MLflow are told what
stands there. So a driver that died is followed by one that runs the open trials again under their numbers.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import optuna
from optuna.trial import TrialState

from study.canvas import save_png
from study.choose import Choice, nearest_to_ideal
from study.config import StudyConfig
from study.embedding_plot import embedding_figure
from study.space import sampler_for, suggest
from study.storage import (
    check_database,
    fingerprint_of,
    finished_trials,
    interrupted_numbers,
    only_driver,
    open_study,
)
from study.study_plots import FrontPoint, curves_figure, front_figure
from study.table import shown_name, study_note
from study.tracking import LiveLog, Tracker
from study.trials import FinishedTrial, front_numbers
from wake2vec import (
    Audit,
    ConfigError,
    Progress,
    RunConfig,
    RunResult,
    TrainingDivergedError,
    TrialFailedError,
    TrialStopped,
    Wake2VecError,
    WorkFolder,
    check_names,
    fingerprint_inputs,
    prepare,
    read_result,
    run,
    write_json,
)


class Watcher(Protocol):
    """Who looks on while a study runs; who inherits this need only write what it looks at."""

    def study_started(self, audit: Audit) -> None:
        return

    def trial_started(self, number: int, run_config: RunConfig, ended: int) -> None:
        return

    def progressed(self, record: Progress) -> None:
        return

    def trial_ended(self, number: int, outcome: FinishedTrial | str) -> None:
        """`outcome` is the reason where the trial failed."""
        return


@dataclass(frozen=True)
class StudyOutcome:
    """A study's trials after a driver has done its work."""

    trials: list[FinishedTrial]
    failed: int
    added: int
    """Trials that this driver ran."""
    choice: Choice


def drive(
    config: StudyConfig, folder: Path, watcher: Watcher, stop: Callable[[], bool] = lambda: False
) -> StudyOutcome:
    """Run trials until the study has as many as its configuration asks for; all its files lie in `folder`.

    `stop` is asked after each step and each trial. Where it gives True the open trial is left with a checkpoint, for
    the next driver to go on with.

    Raises:
        TrialStopped: `stop` said so, before the study was done.
        Wake2VecError: an input, the configuration or the study database can't be used (nothing was made then), or
            no trial had a result.
    """
    check_names(config.run)
    inputs = fingerprint_inputs(config.run)
    check_database(folder / "optuna.db")
    check_database(folder / "mlflow.db")
    material = prepare(config.run, folder / "cache")
    watcher.study_started(material.audit)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with only_driver(folder, config.study.name):
        study = open_study(folder, config, fingerprint_of(config, inputs))
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
        self._tracker = Tracker(folder, config)
        self._trials_folder = folder / "trials"

    def run(self) -> StudyOutcome:
        added = 0
        for number in interrupted_numbers(self._study):
            self._check_stop()
            self._run_trial(self._reopen(number))
            added += 1
        while len(self._ended()) < self._config.study.trials:
            self._check_stop()
            self._study.sampler = sampler_for(len(self._study.get_trials(deepcopy=False)), self._config)
            self._run_trial(self._study.ask())
            added += 1
        trials = finished_trials(self._study)
        if not trials:
            raise Wake2VecError(
                f"no trial of the study {self._config.study.name} has a result: all failed; see their reasons in MLflow"
            )
        self._project_missing(trials)
        choice = nearest_to_ideal(trials, self._config)
        if added or not self._tracker.is_study_finished():
            self._describe(trials, choice)
        return StudyOutcome(trials, len(self._ended()) - len(trials), added, choice)

    def _run_trial(self, trial: optuna.Trial) -> None:
        params = suggest(trial, self._config)
        run_config = self._config.run_config(params)
        self._check_inputs(run_config)
        run_id = self._tracker.open_trial(trial.number, run_config, params)
        self._watcher.trial_started(trial.number, run_config, len(self._ended()))
        live_log = LiveLog(self._tracker, run_id)

        def observe(record: Progress) -> None:
            self._watcher.progressed(record)
            live_log(record)

        try:
            result = run(run_config, self._trials_folder, observe, self._stop, self._folder / "cache")
            values = objective_values(result, self._config)
        except TrialStopped:
            live_log.flush()
            raise
        except TrialFailedError as fault:
            self._fail(trial, run_id, str(fault))
            return
        trial.set_user_attr("digest", result.digest)
        finished = FinishedTrial(trial.number, params, values, result.digest)
        live_log.flush()
        self._project(finished, run_id, live_log.sent)
        self._study.tell(trial.number, values)
        self._watcher.trial_ended(trial.number, finished)

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

    def _fail(self, trial: optuna.Trial, run_id: str, reason: str) -> None:
        trial.set_user_attr("fault", reason)
        self._tracker.fail_trial(run_id, reason)
        self._study.tell(trial.number, state=TrialState.FAIL)
        self._watcher.trial_ended(trial.number, reason)

    def _reopen(self, number: int) -> optuna.Trial:
        """The open trial of that number with its parameters: those not yet stored are drawn again alike."""
        self._study.sampler = sampler_for(number, self._config)
        frozen = next(trial for trial in self._study.get_trials(deepcopy=False) if trial.number == number)
        return optuna.Trial(self._study, frozen._trial_id)

    def _ended(self) -> list[optuna.trial.FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))

    def _project(self, trial: FinishedTrial, run_id: str, sent: Sequence[Progress] = ()) -> None:
        """Bring MLflow to what the work folder holds, of which `sent` is there already; may be done again."""
        work = WorkFolder(self._trials_folder / trial.digest)
        result = read_result(work)
        save_png(
            embedding_figure(
                work.read_arrays("geometry"),
                result.numbers,
                f"{self._config.study.name}: trial {trial.number}",
            ),
            work.path / "embedding.png",
        )
        write_json(work.path / "audit.json", result.audit.model_dump())
        work.write_text("sample.txt", "\n\n---\n\n".join(result.samples) + "\n")
        names = ("result.json", "audit.json", "embedding.png", "sample.txt")
        progress = work.progress()
        if list(sent) != progress:
            self._tracker.log_progress(run_id, progress)
        objectives = dict(zip((o.name for o in self._config.study.objectives), trial.values, strict=True))
        on_curves = {address for record in progress for address in record.numbers}
        final = {address: value for address, value in result.numbers.items() if address not in on_curves}
        last = Progress(progress[-1].step, final, progress[-1].time_s)
        self._tracker.close_trial(run_id, last, trial.params, objectives, [work.path / name for name in names])

    def _project_missing(self, trials: list[FinishedTrial]) -> None:
        known = self._tracker.finished_trials()
        for trial in trials:
            if trial.number not in known:
                run_config = self._config.run_config(trial.params)
                self._project(trial, self._tracker.open_trial(trial.number, run_config, trial.params))

    def _describe(self, trials: list[FinishedTrial], choice: Choice) -> None:
        """Pictures, note and tags of the study as a whole."""
        front = front_numbers(trials, self._config)
        objectives = self._config.study.objectives
        points = [
            FrontPoint(
                trial.number,
                trial.values,
                trial.number in front,
                trial.is_baseline,
                trial.number == choice.trial.number,
            )
            for trial in trials
        ]
        name = self._config.study.name
        names = list(map(shown_name, objectives))
        directions = [objective.direction for objective in objectives]
        pictures = self._folder / "studies" / name
        pictures.mkdir(parents=True, exist_ok=True)
        save_png(
            front_figure(points, names, f"{name}: front of {len(trials)} trials", directions),
            pictures / "front.png",
        )
        curves = {
            trial.number: [
                (record.step, loss)
                for record in WorkFolder(self._trials_folder / trial.digest).progress()
                if (loss := record.numbers.get("validation.loss")) is not None
            ]
            for trial in trials
        }
        save_png(curves_figure(curves, 0, choice.trial.number, "validation.loss"), pictures / "curves.png")
        self._tracker.mark_trials(front, choice.trial.number)
        tags = {
            "wake2vec.front": ", ".join(map(str, sorted(front))),
            "wake2vec.chosen": str(choice.trial.number),
        }
        note = study_note(trials, choice, self._config)
        self._tracker.describe_study(note, tags, [pictures / "front.png", pictures / "curves.png"])


def objective_values(result: RunResult, config: StudyConfig) -> tuple[float, ...]:
    """Raises TrainingDivergedError: an objective is undefined for this trial."""
    values = []
    for objective in config.study.objectives:
        figure = result.numbers[objective.result]
        if figure is None or not math.isfinite(figure):
            raise TrainingDivergedError(f"the objective {objective.result} is undefined for this trial: {figure}")
        values.append(objective.value(figure))
    return tuple(values)
