"""The record of a study: all that tables, report, MLflow's notes and export read of it. It is read, never written."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

from study.config import StudyConfig
from study.noise import Interval, interval, paired_difference
from study.runs.archived import arrays_of, has_rows_elsewhere
from study.runs.choose import Choice, choose, without_result
from study.runs.cost import Cost, Evaluations, cost_of, evaluations_of
from study.runs.objectives import bar_excesses, objective_values, violations
from study.runs.run import Run, State, as_it_stands, references, repeats
from study.runs.storage import INPUTS
from study.runs.trials import Growth, baseline_of, front_numbers, growth_of
from study.settings import Value
from wake2vec import (
    DamagedError,
    Numbers,
    Progress,
    RunResult,
    WorkFolder,
    array_fault,
    read_result,
    result_arrays,
)

logger = logging.getLogger(__name__)


@dataclass
class Kept:
    """What was read of trials that ended, and computed from it, by whoever reads a study again and again."""

    evaluations: dict[str, Evaluations] = field(default_factory=dict)
    """By digest."""
    numbers: dict[str, Numbers] = field(default_factory=dict)
    """By digest."""
    start: dict[str, Numbers] = field(default_factory=dict)
    """By digest."""
    growth: Growth | None = None


@dataclass(frozen=True)
class Checked:
    """What came of looking through a trial's arrays."""

    is_whole: bool | None
    """None: no hash tells."""
    words: str


@dataclass(frozen=True)
class StudyRecord:
    """A study as it stands on disk."""

    config: StudyConfig
    folder: Path
    trials: list[Run]
    """In order of their numbers."""
    inputs: dict[str, str] = field(default_factory=dict)
    """Hashes of base model, corpus and lexicon, but one that varies."""
    kept: Kept = field(default_factory=Kept, compare=False, repr=False)

    def unseen_by(self, number: int) -> set[int]:
        """Numbers of the trials before it whose ends trial `number` may not know: as it keeps, else by the rule.

        By the rule of a repeatable study those are all that may run beside it, whether they have ended or not: that
        would hang on the machine's mood, and so a study that is run again is the same.
        """
        for trial in self.trials:
            if trial.number == number and not trial.source and trial.unseen is not None:
                return set(trial.unseen)
        running = {trial.number for trial in self.running if trial.number < number}
        if self.config.study.order == "free":
            return running
        beside = set(range(max(self.config.study.last_seen_by(number) + 1, 0), number))
        return beside if number < len(self.trials) else beside | running  # another driver's, before a new one

    def seen_by(self, number: int) -> "StudyRecord":
        """What trial `number` may know."""
        unseen = self.unseen_by(number)
        seen = [
            trial for trial in self.trials if trial.source or (trial.number < number and trial.number not in unseen)
        ]
        return replace(self, trials=seen)

    def beside(self, number: int) -> list[dict[str, Value]]:
        """The parameters of the trials that may run beside trial `number`, as far as they are known."""
        own = [trial for trial in self.trials if not trial.source]
        known = {trial.number: trial.params for trial in own if trial.params.keys() == self.config.study.space.keys()}
        return [known[other] for other in sorted(self.unseen_by(number)) if other in known]

    def _in(self, *states: State) -> list[Run]:
        return [trial for trial in self.trials if trial.state in states]

    @cached_property
    def finished(self) -> list[Run]:
        return self._in(State.FINISHED)

    @cached_property
    def stopped(self) -> list[Run]:
        return self._in(State.STOPPED)

    @cached_property
    def failed(self) -> list[Run]:
        return self._in(State.FAILED)

    @cached_property
    def damaged(self) -> list[Run]:
        return self._in(State.DAMAGED)

    @cached_property
    def running(self) -> list[Run]:
        return self._in(State.RUNNING)

    @property
    def begun(self) -> list[Run]:
        """All but those that wait."""
        return [trial for trial in self.trials if trial.state is not State.WAITING]

    @property
    def trained(self) -> list[Run]:
        """The trials that have a record of progress from beginning to end."""
        return self._in(State.FINISHED, State.STOPPED)

    def steps(self, trial: Run) -> int:
        """That its configuration asks for; a stopped trial did fewer."""
        return int(trial.params.get("train.steps", self.config.run.train.steps))

    def numbers(self, trial: Run) -> Numbers:
        """Of a finished trial; read once. Raises DamagedError: its result is gone."""
        if trial.digest not in self.kept.numbers:
            result = self.result(trial.digest)
            self.kept.numbers[trial.digest], self.kept.start[trial.digest] = result.numbers, result.start
        return self.kept.numbers[trial.digest]

    def start(self, trial: Run) -> Numbers:
        """Of a finished trial at its step 0; read once. Raises DamagedError: its result is gone."""
        self.numbers(trial)
        return self.kept.start[trial.digest]

    def evaluations(self, trial: Run) -> Evaluations:
        """Of a trial that ended: what it left in its work folder never changes, and is read once."""
        if trial.digest not in self.kept.evaluations:
            self.kept.evaluations[trial.digest] = evaluations_of(self.progress(trial.digest))
        return self.kept.evaluations[trial.digest]

    @property
    def ended(self) -> int:
        """How many trials of its own came to an end, in whatever way."""
        ended = self._in(State.FINISHED, State.STOPPED, State.FAILED, State.DAMAGED)
        return sum(not trial.source for trial in ended)

    @property
    def baseline(self) -> Run:
        """Raises ConfigError: no trial has a result yet."""
        if not self.finished:
            raise without_result(self.config)
        return baseline_of(self.finished)

    @cached_property
    def front(self) -> set[int]:
        """Numbers of the trials on the front, whether they keep the bounds or not."""
        return front_numbers(self.finished, self.config)

    @cached_property
    def nominated(self) -> Choice:
        """The choice by the trials' own values: it and its runners-up are the finalists.

        Raises:
            ConfigError: no trial has a result yet.
        """
        return choose(self.finished, self.config, deviations=self.deviations)

    @cached_property
    def deviations(self) -> list[float] | None:
        """The baseline's standard deviation over seeds, of each objective; None where it has one seed."""
        columns = list(zip(*self.repeated_values(self.baseline), strict=True))
        return [stdev(column) for column in columns] if len(columns[0]) > 1 else None

    @cached_property
    def finalists(self) -> list[Run]:
        """The trials that are run with all seeds, best first."""
        return [self.nominated.trial, *self.nominated.runners_up][: self.config.study.finalists]

    @cached_property
    def choice(self) -> Choice:
        """By the means over seeds of the finalists, once each has been run with all seeds.

        Raises:
            ConfigError: no trial has a result yet.
        """
        complete = all(len(self.repeated_values(trial)) == self.config.study.seeds for trial in self.finalists)
        if self.config.study.seeds == 1 or not complete:
            return self.nominated
        means = [self._mean_over_seeds(trial) for trial in self.finalists]
        choice = choose(self.finished, self.config, means, self.deviations)
        own = {trial.number: trial for trial in self.finished}
        return replace(
            choice,
            trial=own[choice.trial.number],
            runners_up=tuple(own[trial.number] for trial in choice.runners_up),
        )

    def repeated_values(self, trial: Run) -> list[tuple[float, ...]]:
        """The objective values of the trial with each seed that has a result, its own first."""
        return list(self.values_by_seed(trial).values())

    def values_by_seed(self, trial: Run) -> dict[int, tuple[float, ...]]:
        """The same, under their seeds."""
        repeated = {seed: objective_values(result, self.config) for seed, result in self.repeat_results(trial).items()}
        return {self.config.run_config(trial.params).seed: trial.values, **repeated}

    def mean_violations(self, trial: Run) -> tuple[float, ...]:
        """By how much the trial breaks each bound in the mean of its seeds; 0 or less: it keeps it.

        A bound on the baseline is judged seed by seed, with those that the baseline was run with too.
        """
        by_seed = [violations(ours, theirs, self.config) for ours, theirs in self._pairs(trial)]
        return tuple(map(fmean, zip(*by_seed, strict=True)))

    def mean_bars(self, trial: Run) -> tuple[float, ...]:
        """By how much the trial breaks each bar of the choice in the mean of its seeds, in the same way."""
        by_seed = [bar_excesses(ours, theirs, self.config) for ours, theirs in self._pairs(trial)]
        return tuple(map(fmean, zip(*by_seed, strict=True)))

    def _pairs(self, trial: Run) -> list[tuple[RunResult, RunResult]]:
        """The trial's and the baseline's results with each seed that both have."""
        before, after = self.repeat_results(self.baseline), self.repeat_results(trial)
        pairs = [(after[seed], before[seed]) for seed in after if seed in before]
        return [*pairs, (self.result(trial.digest), self.result(self.baseline.digest))]

    def _mean_over_seeds(self, trial: Run) -> Run:
        values = tuple(over_seeds.mean for over_seeds in self.intervals(trial))
        return replace(trial, values=values, violations=self.mean_violations(trial), bars=self.mean_bars(trial))

    def repeat_results(self, trial: Run) -> dict[int, RunResult]:
        """The results of the trial with the other seeds, under them, where every objective is defined."""
        if trial.digest not in self._known_repeats:
            self._known_repeats[trial.digest] = {
                repeat.seed: self.result(repeat.digest)
                for repeat in self.repeats_of(trial)
                if repeat.state is State.FINISHED and repeat.seed is not None
            }
        return self._known_repeats[trial.digest]

    @cached_property
    def _known_repeats(self) -> dict[str, dict[int, RunResult]]:
        return {}

    def intervals(self, trial: Run) -> list[Interval]:
        """Of each objective over the seeds."""
        return [interval(column) for column in zip(*self.repeated_values(trial), strict=True)]

    def differences(self, trial: Run) -> list[Interval]:
        """Of each objective, trial less baseline, seed by seed."""
        return self.paired(self.baseline, trial)

    def paired(self, before: Run, after: Run) -> list[Interval]:
        """Of each objective, the second trial less the first, seed by seed."""
        ours, theirs = self.shared_values(before, after)
        return [
            paired_difference(a, b) for a, b in zip(zip(*ours, strict=True), zip(*theirs, strict=True), strict=True)
        ]

    def shared_values(self, one: Run, other: Run) -> tuple[list[tuple[float, ...]], list[tuple[float, ...]]]:
        """The values of two trials with the seeds that both have, in one order; their own where they share no seed."""
        ours, theirs = self.values_by_seed(one), self.values_by_seed(other)
        seeds = [seed for seed in ours if seed in theirs]
        if not seeds:
            return [one.values], [other.values]
        return [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]

    @property
    def references(self) -> list[Run]:
        """The anchors outside the space that have a result."""
        return [reference for reference in self.all_references if reference.state is State.FINISHED]

    @cached_property
    def all_references(self) -> list[Run]:
        """The anchors outside the space, run or not; none before the first result."""
        return self._as_they_stand(references(self.config), self.baseline) if self.finished else []

    @cached_property
    def companions(self) -> list[Run]:
        """The references, and the repeats of the baseline and the finalists, run or not; none without a result."""
        again = {trial.number: trial for trial in (self.baseline, *self.finalists)} if self.finished else {}
        return [*self.all_references, *(repeat for trial in again.values() for repeat in self.repeats_of(trial))]

    def repeats_of(self, trial: Run) -> list[Run]:
        """The trial with each other seed of the study, run or not."""
        return self._as_they_stand(repeats(trial, self.config), trial)

    def _as_they_stand(self, companions: Sequence[Run], beside: Run) -> list[Run]:
        """Their inputs are the study's, or the trial's own where one of them varies."""
        if not companions:
            return []
        inputs = self.inputs
        if not inputs.keys() >= set(INPUTS) and (work := self.work_folder(beside.digest)).result_path.exists():
            inputs = read_result(work).fingerprints
        return [as_it_stands(companion, self.config, self.folder, inputs) for companion in companions]

    @cached_property
    def hypervolumes(self) -> list[float]:
        """After each trial with a result, in order of their numbers."""
        self.kept.growth = growth_of(self.finished, self.baseline, self.config, self.kept.growth)
        return list(self.kept.growth.volumes)

    @property
    def trials_without_gain(self) -> int:
        """How many of the study's trials ended since the last that raised the hypervolume, the baseline if none did."""
        grown = zip(self.finished, [0.0, *self.hypervolumes], self.hypervolumes, strict=False)
        last = max((trial.number for trial, before, after in grown if after > before), default=0)
        ended = self._in(State.FINISHED, State.STOPPED, State.FAILED)
        return sum(trial.number > last for trial in ended if not trial.source)

    def result(self, digest: str) -> RunResult:
        """Raises DamagedError: the work folder holds none, or none that can be read."""
        return stored_result(self.work_folder(digest))

    def arrays(self, trial: Run, name: str) -> dict[str, np.ndarray]:
        """Of a finished trial, `rows` or `geometry`. Raises DamagedError: they aren't what was written."""
        return result_arrays(self.work_folder(trial.digest), self.result(trial.digest), name)

    def checked(self, trial: Run) -> Checked:
        """Whether the arrays of a finished trial are those that its result was written with."""
        work, result = self.work_folder(trial.digest), self.result(trial.digest)
        is_elsewhere = has_rows_elsewhere(work.path)
        files = {file: array_fault(work, result, file) for file in arrays_of(work.path)}
        damaged = [f"{work.path / file} {fault}" for file, fault in files.items() if fault]
        if damaged:
            return Checked(False, f"damaged: {'; '.join(damaged)}")
        if any(file not in result.hashes for file in files):
            return Checked(None, "not verified: its version named no hashes of its arrays")
        if is_elsewhere:
            return Checked(True, "its geometry is as it was written, by its SHA-256; its rows lie in the archive")
        return Checked(True, "arrays are as they were written, by their SHA-256")

    def without(self, trial: Run, fault: DamagedError) -> "StudyRecord":
        """The study with this trial as damaged: none of it is chosen, compared or drawn."""
        trials = [own.as_damaged(fault) if own.number == trial.number else own for own in self.trials]
        return replace(self, trials=trials, kept=replace(self.kept, growth=None))

    def progress(self, digest: str) -> list[Progress]:
        whose = next((trial.label for trial in self.trials if trial.digest == digest), "")
        return self.work_folder(digest).progress(whose=whose)

    def cost(self, digest: str) -> Cost:
        if digest not in self._costs:
            self._costs[digest] = cost_of(self.progress(digest))
        return self._costs[digest]

    @cached_property
    def _costs(self) -> dict[str, Cost]:
        return {}

    def work_folder(self, digest: str) -> WorkFolder:
        return WorkFolder(self.folder / "trials" / digest)


def stored_result(work: WorkFolder) -> RunResult:
    """Raises DamagedError: the work folder holds none, or none that can be read."""
    if not work.result_path.exists():
        raise DamagedError(f"{work.result_path} is gone; `make study` trains the run again")
    return read_result(work)
