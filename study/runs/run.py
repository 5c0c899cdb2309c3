"""A run: the one noun for what a study trains; and the runs beside its trials, which follow from its configuration.

References lie outside the search space, repeats are trials with other seeds. Optuna knows nothing of them, so they
mislead no sampler. They need no bookkeeping either: a companion's configuration follows from the study's, its work
folder is named by its digest, and what became of it stands there.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from study.config import StudyConfig
from study.runs.objectives import objective_values, violations
from study.settings import Value
from wake2vec import (
    UNREADABLE,
    DamagedError,
    RunConfig,
    TrialFailedError,
    WorkFolder,
    find_digest,
    flatten,
    read_result,
    write_json,
)

NO_NUMBER = -1
"""Of a run that is no trial, nor repeats one."""


class Role(StrEnum):
    """What a run is for."""

    TRIAL = "trial"
    """Proposed by the sampler, or an anchor in the space: the sampler sees it, the choice may take it."""
    REFERENCE = "reference"
    """An anchor outside the space, to compare with."""
    REPEAT = "repeat"
    """A trial again, with another seed."""


class State(StrEnum):
    """How far a run came."""

    WAITING = "waiting"
    """It stands in the study and hasn't begun: the baseline, an anchor; or it is no trial and has no end yet."""
    RUNNING = "running"
    """A driver began it and hasn't ended it: it runs, or goes on with the next driver."""
    FINISHED = "finished"
    """It has a result."""
    STOPPED = "stopped"
    """It was ended early, as one that would not have been chosen."""
    FAILED = "failed"
    """It could not be run to its end."""
    DAMAGED = "damaged"
    """It came to an end, and what it left can't be read any more: it is run again when its study is."""


@dataclass(frozen=True)
class Run:
    """A trial, a reference or a repeat."""

    state: State
    number: int
    """Of the trial, or of the one that it repeats; `NO_NUMBER`: it is a reference."""
    params: dict[str, Value]
    """Its knobs: those of the space, as far as its driver came; of a reference those that it changes, too."""
    values: tuple[float, ...] = ()
    """One for each objective, in the profile's order; empty without a result."""
    digest: str = ""
    """Of its work folder; empty where it isn't known."""
    violations: tuple[float, ...] = ()
    """By how much each bound is broken, in the profile's order; 0 or less: it is kept."""
    name: str = ""
    """Of the anchor, where it is one: `noise 1.0`."""
    source: str = ""
    """Study and trial that it was taken from by a warm start; it isn't counted as a trial of this study."""
    bars: tuple[float, ...] = ()
    """By how much each bar of the choice is broken, as a share of its limit; 0 or less: it is kept."""
    reason: str = ""
    """Why it was stopped, how it failed, or what is damaged."""
    step: int = 0
    """Updates done when it was stopped."""
    seed: int | None = None
    """Of a repeat; None: that of the study."""
    unseen: tuple[int, ...] | None = None
    """Trials before it that were open when it was proposed; None: the study's rule says which it may see."""

    @property
    def role(self) -> Role:
        if self.seed is not None:
            return Role.REPEAT
        return Role.REFERENCE if self.number == NO_NUMBER else Role.TRIAL

    @property
    def key(self) -> str:
        """What a page knows a trial or a reference by: `7`, `reference <name>`."""
        return f"reference {self.name}" if self.role is Role.REFERENCE else str(self.number)

    @property
    def label(self) -> str:
        """`trial 7`; `trial 7, seed 43`; `library default`, a reference's name."""
        if self.role is Role.REFERENCE:
            return self.name
        return f"trial {self.number}" if self.seed is None else f"trial {self.number}, seed {self.seed}"

    @property
    def title(self) -> str:
        """The label as a sentence begins."""
        return f"{self.label[0].upper()}{self.label[1:]}"

    @property
    def is_finished_trial(self) -> bool:
        return self.state is State.FINISHED and self.role is Role.TRIAL

    @property
    def is_baseline(self) -> bool:
        return self.number == 0 and self.role is Role.TRIAL

    @property
    def is_feasible(self) -> bool:
        """Whether it keeps all bounds."""
        return all(violation <= 0 for violation in self.violations)

    @property
    def keeps_bars(self) -> bool:
        return all(excess <= 0 for excess in self.bars)

    def as_damaged(self, fault: DamagedError) -> "Run":
        """As its files can't be read any more: none of its figures holds."""
        return replace(self, state=State.DAMAGED, values=(), violations=(), bars=(), reason=str(fault))


def references(config: StudyConfig) -> list[Run]:
    """The anchors that lie outside the space: the baseline with what they change."""
    runs = []
    for name, values in config.study.anchors.items():
        if not config.lies_in_space(values):
            knobs = flatten(config.run_config({**config.study.baseline, **values}).model_dump())
            params = {address: knobs[address] for address in (*config.study.space, *values)}
            runs.append(Run(State.WAITING, NO_NUMBER, params, name=name))
    return runs


def repeats(trial: Run, config: StudyConfig) -> list[Run]:
    """The trial with each other seed of the study, in order."""
    own = config.run_config(trial.params).seed
    return [
        Run(State.WAITING, trial.number, trial.params, seed=seed) for seed in range(own + 1, own + config.study.seeds)
    ]


def config_of(run: Run, config: StudyConfig) -> RunConfig:
    """What is trained for the run.

    Of a repeat nobody reads the curve or the samples: it is evaluated at its beginning and its end, unless the best
    evaluation is kept, and it writes no texts unless an objective or bound is counted in them.
    """
    own = config.run_config(run.params)
    if run.role is not Role.REPEAT:
        return own
    every = own.train.evaluate_every_steps if own.train.keep == "best" else own.train.steps
    train = own.train.model_copy(update={"evaluate_every_steps": every})
    judged = [objective.result for objective in config.study.objectives]
    judged += [bound.result for bound in (*config.study.bounds, *config.study.choice.bars)]
    reads_samples = any(address.startswith("sample.") for address in judged)
    sample = own.sample if reads_samples else own.sample.model_copy(update={"count": 0})
    return own.model_copy(update={"seed": run.seed, "train": train, "sample": sample})


def as_it_stands(run: Run, config: StudyConfig, folder: Path, inputs: Mapping[str, str]) -> Run:
    """The companion with its digest, its values and what became of it, as its work folder has it.

    One whose result leaves an objective or a bounded figure undefined has failed.
    `inputs` are the hashes of its inputs.
    """
    digest = find_digest(config_of(run, config), dict(inputs), folder / "trials")
    work = WorkFolder(folder / "trials" / digest)
    try:
        if work.result_path.exists():
            result = read_result(work)
            violations(result, None, config)
            return replace(run, state=State.FINISHED, digest=digest, values=objective_values(result, config))
        if work.fault_path.exists():
            return replace(run, state=State.FAILED, digest=digest, reason=_noted_fault(work))
    except TrialFailedError as fault:
        return replace(run, state=State.FAILED, digest=digest, reason=str(fault))
    except DamagedError as fault:
        return replace(run, state=State.DAMAGED, digest=digest, reason=str(fault))
    return replace(run, digest=digest)


def _noted_fault(work: WorkFolder) -> str:
    """Raises DamagedError: the note can't be read."""
    try:
        return str(json.loads(work.fault_path.read_text(encoding="utf-8"))["fault"])
    except UNREADABLE as fault:
        raise DamagedError(f"{work.fault_path} is damaged: {fault}; `make study` runs it again") from None


def note_fault(work: WorkFolder, fault: str) -> None:
    """Write down why the companion failed: it isn't tried again."""
    write_json(work.fault_path, {"fault": fault})
