"""How a study is read: what Optuna holds of its trials, what their work folders hold, and what is damaged there."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from study.config import StudyConfig
from study.runs.objectives import bar_excesses
from study.runs.record import Kept, StudyRecord, stored_result
from study.runs.run import Run, State
from study.runs.storage import INPUTS, check_shape, input_hashes, load_study, run_of, states_of, trial_id
from wake2vec import (
    PROGRESS,
    DamagedError,
    RunResult,
    WorkFolder,
    find_digest,
    is_end,
    read_log,
)

logger = logging.getLogger(__name__)


def read_record(config: StudyConfig, folder: Path) -> StudyRecord:
    """The record of the study of that name in the results folder.

    Raises:
        ConfigError: there is no such study, or it varies or compares something else than this configuration.
    """
    study = load_study(folder, config.study.name)
    check_shape(study, config)
    record = record_of(study, config, folder)
    for run in (*record.damaged, *(companion for companion in record.companions if companion.state is State.DAMAGED)):
        logger.warning("%s is left out: %s", run.label, run.reason)
    return record


def record_of(study: optuna.Study, config: StudyConfig, folder: Path) -> StudyRecord:
    """Of one reading of the study database."""
    return StudyReader(study, config, folder).record()


class StudyReader:
    """Reads a study again and again, as its driver does: a trial that ended never changes, and is read once."""

    def __init__(self, study: optuna.Study, config: StudyConfig, folder: Path) -> None:
        self._study, self._config, self._folder = study, config, folder
        self._inputs = input_hashes(study)
        self._told: dict[int, FrozenTrial] = {}
        self._runs: dict[int, tuple[FrozenTrial, Run]] = {}
        self._baseline: RunResult | None = None
        self._results: dict[str, RunResult] = {}
        """Of this look, by digest."""
        self._kept = Kept()

    def trials(self) -> list[FrozenTrial]:
        """The study database's, in the order of their numbers; nobody may change them.

        A trial is read again when its state is another: its knobs are whole before it begins, and its end is told in
        one transaction. Optuna itself reads all that haven't ended at each look.
        """
        if not self._told:
            self._told = {trial.number: trial for trial in self._study.get_trials(deepcopy=False)}
        else:
            for number, state in states_of(self._study).items():
                known = self._told.get(number)
                if known is None or known.state is not state or not self._is_whole(known):
                    self._told[number] = self._study._storage.get_trial(trial_id(self._study, number))
        return [trial for _, trial in sorted(self._told.items())]

    def begun(self, number: int, trial: FrozenTrial) -> None:
        """A trial that this process has just added under that number: it is known without being read."""
        trial.number = number
        self._told[number] = trial

    def _is_whole(self, trial: FrozenTrial) -> bool:
        """An enqueued trial gets its knobs one by one, when it runs already."""
        return trial.state is not TrialState.RUNNING or self._config.study.space.keys() <= trial.params.keys()

    def record(self, told: Sequence[FrozenTrial] | None = None) -> StudyRecord:
        """Of one reading of the study database, `told` or one of now: no trial is in two states."""
        trials = [self._run(frozen) for frozen in (self.trials() if told is None else told)]
        return StudyRecord(self._config, self._folder, self._judged(trials), self._inputs, self._kept)

    def _run(self, frozen: FrozenTrial) -> Run:
        """With its knobs in the space's order, and its digest where they and the inputs' hashes are known."""
        read, known = self._runs.get(frozen.number, (None, None))
        if known is not None and read is frozen:
            return known
        trial, space, inputs = run_of(frozen), self._config.study.space, self._inputs
        params = {address: trial.params[address] for address in space if address in trial.params}
        is_known = {*space, *INPUTS} <= {*params, *inputs} and not any(address in params for address in INPUTS)
        digest = trial.digest
        is_gone = trial.state is State.FINISHED and not WorkFolder(self._folder / "trials" / digest).has_ended
        if is_known and (not digest or is_gone):
            digest = find_digest(self._config.run_config(params), inputs, self._folder / "trials")
        trial = self._looked_at(replace(trial, params=params, digest=digest))
        if trial.state is not State.DAMAGED:  # that one is run again
            self._runs[frozen.number] = frozen, trial
        return trial

    def _looked_at(self, trial: Run) -> Run:
        """As it is, or damaged: what a trial left must be there."""
        work = WorkFolder(self._folder / "trials" / trial.digest)
        try:
            if trial.state is State.FINISHED:
                result = self._results[trial.digest] = stored_result(work)
                self._kept.numbers[trial.digest], self._kept.start[trial.digest] = result.numbers, result.start
                last = work.last_record()
                if last is None or not is_end(last, result):
                    path = work.path / PROGRESS
                    logger.warning("%s: %s ends before the training did; `make doctor` says more", trial.label, path)
            if trial.state in (State.FINISHED, State.STOPPED) and work.first_record() is None:
                _check_any_record(work)
        except DamagedError as fault:
            return trial.as_damaged(fault)
        return trial

    def _judged(self, trials: list[Run]) -> list[Run]:
        """The trials with how far they keep the bars, which are read from results: a choice may change at any time."""
        finished = [trial for trial in trials if trial.state is State.FINISHED]
        results, self._results = self._results, {}
        if not self._config.study.choice.bars or not finished:
            return trials
        if self._baseline is None and finished[0].is_baseline:
            self._baseline = results[finished[0].digest]
        return [self._with_bars(trial, results) if trial.state is State.FINISHED else trial for trial in trials]

    def _with_bars(self, trial: Run, results: Mapping[str, RunResult]) -> Run:
        if trial.bars:
            return trial
        judged = replace(trial, bars=bar_excesses(results[trial.digest], self._baseline, self._config))
        self._runs[trial.number] = self._runs[trial.number][0], judged
        return judged


def _check_any_record(work: WorkFolder) -> None:
    """Raises DamagedError: there is no record of progress, or none of it can be read."""
    log = read_log(work.path / PROGRESS)
    if not log.records:
        why = log.faults[0] if log.faults else "it holds no record"
        raise DamagedError(f"{work.path / PROGRESS} is damaged: {why}; `make study` trains the run again")
