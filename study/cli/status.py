"""Where a study stands: how far it is, what it has cost and reached. It is read, never written."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from study.format import UNDEFINED, duration, goal_of, shown, shown_name
from study.runs.addresses import addresses_of
from study.runs.compare import shown_figures, shown_values
from study.runs.cost import Cost
from study.runs.judge import is_done
from study.runs.record import StudyRecord
from study.runs.run import Run, State
from study.runs.storage import load_study
from study.runs.study_database import study_database
from study.show.table import Column, Table, facts


@dataclass(frozen=True)
class Best:
    """The best value of an objective, and what had been spent when its trial was done."""

    value: float
    trial: int
    steps: int
    seconds: float


def spent(record: StudyRecord) -> Cost:
    """Of a study so far, repeats, references, stopped, failed and open trials among it.

    What another study has paid for isn't; two trials that are one are counted once.
    """
    own = dict.fromkeys(run.digest for run in record.begun if run.digest and not run.source)
    costs = [record.cost(digest) for digest in [*own, *(companion.digest for companion in record.companions)]]
    return Cost(sum(cost.steps for cost in costs), sum(cost.seconds for cost in costs))


def device_of(record: StudyRecord) -> str:
    """Where the baseline was computed; `this device` where that isn't known."""
    return record.result(record.baseline.digest).computed.device if record.finished else "this device"


def cost_in_words(cost: Cost, record: StudyRecord, what: str = "") -> str:
    """`72 steps, 3.06 s on CPU, 1 thread`."""
    return f"{cost.steps:,} steps, {duration(cost.seconds)}{what} on {device_of(record)}"


def bests(record: StudyRecord) -> list[Best | None]:
    """Of each of `shown_figures`, among the finished trials that keep all bounds; of all where none does.

    None: the figure is undefined in all.
    """
    steps, seconds, figures = 0, 0.0, shown_figures(record)
    found: list[Best | None] = [None] * len(figures)
    is_any_feasible = any(trial.is_feasible for trial in record.finished)
    for run in record.begun:
        if run.digest and not run.source:
            cost = record.cost(run.digest)
            steps, seconds = steps + cost.steps, seconds + cost.seconds
        if run.state is not State.FINISHED or (is_any_feasible and not run.is_feasible):
            continue
        for place, (figure, value) in enumerate(zip(figures, shown_values(record, run), strict=True)):
            best = found[place]
            if not math.isnan(value) and (best is None or figure.sign * value < figure.sign * best.value):
                found[place] = Best(value, run.number, steps, seconds)
    return found


def steps_asked(run: Run, record: StudyRecord) -> int | None:
    """That it has when it is done; None where its driver died before that was known."""
    return record.steps(run) if {*record.config.study.space} <= {*run.params} else None


def last_seen_s(run: Run, record: StudyRecord) -> float | None:
    """When its progress was last recorded, in seconds since 1970."""
    progress = record.progress(run.digest) if run.digest else []
    return progress[-1].time_s if progress else None


def stage(record: StudyRecord, driver: str | None) -> str:
    if driver is not None:
        return "running"
    return "done" if is_done(record) else "not running, not done"


def status_table(record: StudyRecord, driver: str | None) -> Table:
    """The status in lines of a name and a text."""
    return facts("", list(_facts(record, driver, time.time())))


def _facts(record: StudyRecord, driver: str | None, now: float) -> Iterator[tuple[str, str]]:
    study = record.config.study
    imported = sum(bool(trial.source) for trial in record.finished)
    counts = {"finished": len(record.finished) - imported}
    counts |= {"stopped early": len(record.stopped), "failed": len(record.failed), "damaged": len(record.damaged)}
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    yield "trials", f"{record.ended} of {study.trials} ended{f': {kinds}' if kinds else ''}"
    if imported:
        yield "", f"and {imported} of earlier studies"
    for run in record.running:
        steps, seen_s = steps_asked(run, record), last_seen_s(run, record)
        seen = "" if seen_s is None else f", last seen {_ago(now - seen_s)}"
        of = "an unknown number" if steps is None else f"{steps:,}"
        done = record.cost(run.digest).steps if run.digest else 0
        if seen_s is None and addresses_of(record.folder).is_shared:
            yield "open", f"{run.label}: of {of} steps, its curves are in MLflow"
        else:
            yield "open", f"{run.label}: step {done:,} of {of}{seen}"
    if record.companions:
        states = [companion.state for companion in record.companions]
        done, failed = states.count(State.FINISHED), states.count(State.FAILED)
        runs = f"{done} of {len(states)} runs done, of references and other seeds"
        yield "repeats", f"{runs}, {failed} failed" if failed else runs
    is_shared = addresses_of(record.folder).is_shared
    yield "driver", driver or ("none is running" if is_shared else "none is running on this machine")
    yield "spent", cost_in_words(spent(record), record)
    if not record.finished:
        yield "choice", "no trial has a result yet"
        return
    patience = "" if study.patience is None else f"; the study ends at {study.patience}"
    count = record.trials_without_gain
    gain = f"{count} trial{'' if count == 1 else 's'} without gain{patience}"
    yield "hypervolume", f"{record.hypervolumes[-1]:.3g} (0: none beats the baseline in all objectives), {gain}"
    yield "choice", record.choice.reason


def bests_table(record: StudyRecord) -> Table:
    """The best of each objective, and what had been spent by then; the study has a result."""
    figures, found = shown_figures(record), bests(record)
    columns = [
        Column("goal", [*map(goal_of, figures)], "left"),
        Column("baseline", [*map(shown, shown_values(record, record.baseline))]),
        Column("best", [shown(best.value) if best else UNDEFINED for best in found]),
        Column("trial", [str(best.trial) if best else UNDEFINED for best in found]),
        Column("steps", [f"{best.steps:,}" if best else UNDEFINED for best in found]),
        Column("time", [duration(best.seconds) if best else UNDEFINED for best in found]),
    ]
    title = "Best so far, and what was spent until then"
    return Table(title, Column("", [*map(shown_name, figures)], "left"), [columns])


def line_of(folder: Path, name: str) -> dict[str, Any]:
    """A study in a line, as JSON has it: who drives it, how many trials, when one last came to its end."""
    trials = load_study(folder, name).get_trials(deepcopy=False)
    states = [trial.state for trial in trials]
    ends = [trial.datetime_complete.timestamp() for trial in trials if trial.datetime_complete is not None]
    return {
        "study": name,
        "driver": study_database(folder).driver_of(name),
        "finished": states.count(TrialState.COMPLETE),
        "stopped": states.count(TrialState.PRUNED),
        "failed": states.count(TrialState.FAIL),
        "open": states.count(TrialState.RUNNING),
        "last_end_s": max(ends, default=None),
    }


def lines_table(lines: list[dict[str, Any]], folder: Path) -> Table:
    ends = [line["last_end_s"] for line in lines]
    columns = [
        *(Column(head, [str(line[head]) for line in lines]) for head in ("finished", "stopped", "failed", "open")),
        Column("last end", ["" if end_s is None else _ago(time.time() - end_s) for end_s in ends]),
        Column("driver", [line["driver"] or "none" for line in lines], "left"),
    ]
    return Table(f"Studies in {folder}", Column("study", [line["study"] for line in lines], "left"), [columns])


def _ago(seconds: float) -> str:
    """`12 s ago`, `3 days ago`."""
    days = seconds / 86400
    return f"{days:.0f} days ago" if days >= 2 else f"{duration(max(round(seconds), 0))} ago"
