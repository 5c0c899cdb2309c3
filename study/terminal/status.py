"""Where a study stands: how far it is, what it has cost, what it has reached. It is read, never written."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import TrialState
from rich.table import Table

from study.format import UNDEFINED, Beside, duration, goal_of, shown_name
from study.format import shown as show
from study.record import StudyRecord
from study.runs import Run, State
from study.settings import Objective
from study.show.values import shown_figures, shown_values
from study.storage import driver_of, load_study, study_names
from study.terminal.columns import Column, fitted
from study.terminal.spent import Best, Spent, bests, spent


@dataclass(frozen=True)
class Open:
    """A trial that isn't ended."""

    number: int
    step: int
    """The last that is recorded."""
    steps: int | None
    """That it has when it is done; None where its driver died before that was known."""
    last_record_s: float | None
    """When it was last seen, in seconds since 1970."""


@dataclass(frozen=True)
class Reached:
    """An objective: where the study began, and the best that it has."""

    objective: str
    goal: str
    baseline: float
    best: Best | None
    """None: it is undefined in all trials."""


@dataclass(frozen=True)
class Status:
    """A study as it stands."""

    study: str
    folder: str
    driver: str | None
    """Who drives it now, on this machine."""
    is_done: bool
    asked: int
    ended: int
    finished: int
    stopped: int
    failed: int
    imported: int
    """Trials of earlier studies, among the finished ones and not among the ended ones."""
    open: list[Open]
    companions: int
    """References, and repeats with other seeds, as far as it is known which."""
    companions_done: int
    companions_failed: int
    spent: Spent
    hypervolume: float | None
    trials_without_gain: int | None
    patience: int | None
    chosen: int | None
    reason: str | None
    objectives: list[Reached]
    beside: list[Reached]
    """Figures that are shown beside an objective."""


@dataclass(frozen=True)
class Line:
    """A study in a line."""

    study: str
    driver: str | None
    finished: int
    stopped: int
    failed: int
    open: int
    last_end_s: float | None
    """When a trial last came to its end, in seconds since 1970."""


def status_of(record: StudyRecord) -> Status:
    study, has_result = record.config.study, bool(record.finished)
    companions = [companion.state for companion in record.companions]
    done, failed = companions.count(State.FINISHED), companions.count(State.FAILED)
    without_gain = record.trials_without_gain if has_result else None
    is_out_of_patience = study.patience is not None and without_gain is not None and without_gain >= study.patience
    reached = _reached(record) if has_result else []
    is_enough = record.ended >= study.trials or is_out_of_patience
    return Status(
        study=study.name,
        folder=str(record.folder),
        driver=driver_of(record.folder, study.name),
        is_done=is_enough and not record.running and done + failed == len(companions),
        asked=study.trials,
        ended=record.ended,
        finished=len(record.finished),
        stopped=len(record.stopped),
        failed=len(record.failed),
        imported=sum(bool(trial.source) for trial in record.finished),
        open=[_open(trial, record) for trial in record.running],
        companions=len(companions),
        companions_done=done,
        companions_failed=failed,
        spent=spent(record),
        hypervolume=record.hypervolumes[-1] if has_result else None,
        trials_without_gain=without_gain,
        patience=study.patience,
        chosen=record.choice.trial.number if has_result else None,
        reason=record.choice.reason if has_result else None,
        objectives=[one for figure, one in reached if not isinstance(figure, Beside)],
        beside=[one for figure, one in reached if isinstance(figure, Beside)],
    )


def _reached(record: StudyRecord) -> list[tuple[Objective, Reached]]:
    """Of each of `shown_figures`."""
    rows = zip(shown_figures(record), shown_values(record, record.baseline), bests(record), strict=True)
    return [(figure, Reached(figure.name, goal_of(figure), before, best)) for figure, before, best in rows]


def lines_of(folder: Path) -> list[Line]:
    """Each study in the results folder, by name."""
    return [_line(folder, name) for name in study_names(folder)]


def facts_table(status: Status) -> Table:
    """The status in lines of a name and a text."""
    table = Table(box=None, show_header=False, width=80, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(width=11, style="dim")
    table.add_column(ratio=1)
    for name, text in _facts(status, time.time()):
        table.add_row(name, text)
    return table


def reached_tables(record: StudyRecord, status: Status) -> list[Table]:
    """The best of each objective, and what had been spent by then; none before the first result."""
    if not status.objectives:
        return []
    figures, reached = zip(*_reached(record), strict=True)
    names = list(map(shown_name, figures))
    columns = [
        Column("goal", [one.goal for one in reached], "left"),
        Column("baseline", [show(one.baseline) for one in reached]),
        *(
            Column(head, [told(one.best) if one.best else UNDEFINED for one in reached])
            for head, told in {
                "best": lambda best: show(best.value),
                "trial": lambda best: str(best.trial),
                "steps": lambda best: f"{best.steps:,}",
                "time": lambda best: duration(best.seconds),
            }.items()
        ),
    ]
    return fitted("Best so far, and what was spent until then", Column("", names, "left"), columns)


def lines_tables(lines: list[Line], folder: Path) -> list[Table]:
    now = time.time()
    columns = [
        *(
            Column(name, [str(getattr(line, name)) for line in lines])
            for name in ("finished", "stopped", "failed", "open")
        ),
        Column("last end", ["" if line.last_end_s is None else ago(now - line.last_end_s) for line in lines]),
        Column("driver", [line.driver or "none" for line in lines], "left"),
    ]
    return fitted(f"Studies in {folder}", Column("study", [line.study for line in lines], "left"), columns)


def ago(seconds: float) -> str:
    """`12 s ago`, `3 days ago`."""
    days = seconds / 86400
    return f"{days:.0f} days ago" if days >= 2 else f"{duration(max(round(seconds), 0))} ago"


def _facts(status: Status, now: float) -> Iterator[tuple[str, str]]:
    what = {"finished": status.finished - status.imported, "stopped early": status.stopped, "failed": status.failed}
    kinds = ", ".join(f"{count} {kind}" for kind, count in what.items() if count)
    yield "trials", f"{status.ended} of {status.asked} ended{f': {kinds}' if kinds else ''}"
    if status.imported:
        yield "", f"and {status.imported} of earlier studies"
    for trial in status.open:
        seen = "" if trial.last_record_s is None else f", last seen {ago(now - trial.last_record_s)}"
        steps = "an unknown number" if trial.steps is None else f"{trial.steps:,}"
        yield "open", f"trial {trial.number}: step {trial.step:,} of {steps}{seen}"
    if status.companions:
        failed = f", {status.companions_failed} failed" if status.companions_failed else ""
        runs = f"{status.companions_done} of {status.companions} runs done"
        yield "repeats", f"{runs}, of references and other seeds{failed}"
    yield "driver", status.driver or "none is running on this machine"
    yield "spent", f"{status.spent.steps:,} steps, {duration(status.spent.seconds)} on {status.spent.device}"
    if status.hypervolume is not None:
        patience = "" if status.patience is None else f"; the study ends at {status.patience}"
        gain = f"{status.trials_without_gain} trial{'' if status.trials_without_gain == 1 else 's'} without gain"
        yield (
            "hypervolume",
            f"{status.hypervolume:.3g} (0: none beats the baseline in all objectives), {gain}{patience}",
        )
    yield "choice", status.reason or "no trial has a result yet"


def _open(trial: Run, record: StudyRecord) -> Open:
    progress = record.progress(trial.digest) if trial.digest else []
    is_known = {*record.config.study.space} <= {*trial.params}
    return Open(
        trial.number,
        max((one.step for one in progress), default=0),
        record.config.run_config(trial.params).train.steps if is_known else None,
        progress[-1].time_s if progress else None,
    )


def _line(folder: Path, name: str) -> Line:
    trials = load_study(folder, name).get_trials(deepcopy=False)
    states = [trial.state for trial in trials]
    ends = [trial.datetime_complete.timestamp() for trial in trials if trial.datetime_complete is not None]
    return Line(
        study=name,
        driver=driver_of(folder, name),
        finished=states.count(TrialState.COMPLETE),
        stopped=states.count(TrialState.PRUNED),
        failed=states.count(TrialState.FAIL),
        open=states.count(TrialState.RUNNING),
        last_end_s=max(ends, default=None),
    )
