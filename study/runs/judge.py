"""The one judge: what became of a run, whether it beats the baseline, what is noise, when a study is done.

Terminal, report, MLflow and the model card word these the same way, since all of them ask here.
"""

import math
from dataclasses import dataclass

from study.noise import Interval
from study.runs.record import StudyRecord
from study.runs.run import Role, Run, State
from study.settings import Objective

BETTER, WORSE, EQUAL, NOISE = "better", "worse", "equal", "within the noise"


def verdict(objective: Objective, difference: Interval) -> str:
    """What a difference says of the second of two runs: `better`, `worse`, `equal`, or `within the noise`.

    It is within the noise where its 95 % interval over seeds holds 0; one seed shows no noise. Empty: undefined.
    """
    if math.isnan(difference.mean):
        return ""
    if difference.low == difference.high == 0 or (difference.count == 1 and difference.mean == 0):
        return EQUAL
    if difference.count > 1 and difference.holds(0.0):
        return NOISE
    return BETTER if objective.sign * difference.mean < 0 else WORSE


def verdicts(record: StudyRecord, trial: Run) -> list[str]:
    """Of a trial with a result against the baseline, one for each objective."""
    differences = record.differences(trial)
    return [verdict(own, less) for own, less in zip(record.config.study.objectives, differences, strict=True)]


BEATS = "worse than the baseline in no objective, better in one; by more than the noise where both have several seeds"
"""What it means that a trial beats the baseline."""


@dataclass(frozen=True)
class Standing:
    """All that is to be said of a run, whatever shows it."""

    run: Run
    is_baseline: bool = False
    """It stands as the baseline: trial 0, or the first with a result where that one failed."""
    is_chosen: bool = False
    runner_up: int | None = None
    """Its place among the runners-up, from 1."""
    is_on_front: bool = False
    beats_baseline: bool = False
    broken: tuple[str, ...] = ()
    """The bounds that it breaks."""

    @property
    def word(self) -> str:
        """For a narrow column: `baseline, chosen`, `breaks bound`, `beats it`, `stopped at 40`, `open`, or nothing."""
        run = self.run
        if run.state is State.STOPPED:
            return f"stopped at {run.step}"
        if run.state is not State.FINISHED:
            return kind_of(run)
        if run.role is not Role.TRIAL:
            return str(run.role)
        if self.is_baseline or self.is_chosen:
            return ", ".join(self._told({"baseline": self.is_baseline, "chosen": self.is_chosen}))
        return "breaks bound" if self.broken else "beats it" if self.beats_baseline else ""

    @property
    def words(self) -> list[str]:
        """All of it: `chosen`, `on the front`, `beats the baseline`; never empty."""
        run = self.run
        ended_early = run.state is not State.FINISHED or run.role is not Role.TRIAL
        told = [
            *([self.word] if ended_early else []),
            *self._told(
                {
                    "baseline": self.is_baseline,
                    "chosen": self.is_chosen,
                    f"runner-up {self.runner_up}": self.runner_up is not None,
                    "on the front": self.is_on_front,
                    "beats the baseline": self.beats_baseline,
                    f"breaks {' and '.join(self.broken)}": bool(self.broken),
                    f"anchor {run.name}": bool(run.name) and run.role is Role.TRIAL,
                    f"from {run.source}": bool(run.source),
                }
            ),
        ]
        return told or ["not on the front"]

    @staticmethod
    def _told(of: dict[str, bool]) -> list[str]:
        return [word for word, holds in of.items() if holds]


def standing(run: Run, record: StudyRecord) -> Standing:
    """Of any run of the study; only a trial with a result is compared with others."""
    if not run.is_finished_trial:
        return Standing(run)
    choice, baseline = record.choice, record.baseline.number
    runners_up = [other.number for other in choice.runners_up]
    bounds = zip(record.config.study.bounds, run.violations, strict=False)
    return Standing(
        run,
        is_baseline=run.number == baseline,
        is_chosen=run.number == choice.trial.number,
        runner_up=runners_up.index(run.number) + 1 if run.number in runners_up else None,
        is_on_front=run.number in record.front,
        beats_baseline=beats_baseline(run, record),
        broken=tuple(str(bound) for bound, by in bounds if by > 0),
    )


def beats_baseline(trial: Run, record: StudyRecord) -> bool:
    """Whether a trial with a result is `BEATS`."""
    found = verdicts(record, trial)
    return trial.number != record.baseline.number and WORSE not in found and BETTER in found


def kind_of(run: Run) -> str:
    """`finished`, `stopped`, `failed`, `damaged`, `open`, `reference`."""
    if run.role is Role.REFERENCE:
        return str(run.role)
    return "open" if run.state is State.RUNNING else str(run.state)


def front_runs(record: StudyRecord) -> list[Run]:
    """The baseline, the chosen trial, its runners-up, then the rest of the front in order of the first objective.

    None before the first result.
    """
    if not record.finished:
        return []
    first = record.config.study.objectives[0]
    front = [trial for trial in record.finished if trial.number in record.front]
    rest = sorted(front, key=lambda trial: first.sign * trial.values[0])
    listed = [record.baseline, record.choice.trial, *record.choice.runners_up, *rest]
    return list({trial.number: trial for trial in listed}.values())


def why_enough(record: StudyRecord) -> str:
    """Why no trial is to be added: the study has its number, or went on in vain; empty: some are."""
    study = record.config.study
    if record.ended >= study.trials:
        return f"the study has its {study.trials} trials"
    if study.patience is not None and record.finished and record.trials_without_gain >= study.patience:
        return f"the last {study.patience} of {record.ended} trials brought no gain"
    return ""


def is_done(record: StudyRecord) -> bool:
    """Whether all trials, references and repeats have ended, and can be read."""
    waits = any(companion.state in (State.WAITING, State.DAMAGED) for companion in record.companions)
    return bool(why_enough(record)) and not record.running and not record.damaged and not waits
