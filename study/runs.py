"""A run: the one noun for what a study trains, whatever its part in the study and however far it came."""

from dataclasses import dataclass
from enum import StrEnum

from study.settings import Value

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
    """Why it was stopped, or how it failed."""
    step: int = 0
    """Updates done when it was stopped."""
    seed: int | None = None
    """Of a repeat; None: that of the study."""

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
