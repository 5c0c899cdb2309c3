"""The report's tables, as text: what HTML and Markdown both show."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from study.cost import Cost
from study.names import shown_name
from study.noise import Interval
from study.record import StudyRecord
from study.report.figures import front_rows
from study.report.runs import ShownRun, in_order, minutes
from study.runs import Role, Run, State
from study.search.importance import Importances
from study.settings import Choices, Objective, Range
from study.shown import numbers_of, shown_differences, shown_figures, shown_intervals, shown_values
from study.table import UNDEFINED, goal_of, show
from study.trials import beats_baseline
from wake2vec import METRICS, Numbers, null_of


@dataclass(frozen=True)
class Table:
    header: list[str]
    rows: list[list[str]]
    keys: list[str] = field(default_factory=list)
    """Of the run that each row is about; empty where rows are about none."""


def comparison(record: StudyRecord) -> Table:
    """The chosen trial against the baseline, objective by objective, with intervals over seeds."""
    chosen = record.choice.trial
    numbers = numbers_of(record, chosen.digest)
    columns = [shown_intervals(record, trial) for trial in (record.baseline, chosen)]
    columns.append(shown_differences(record, record.baseline, chosen))
    rows = [
        [shown_name(o), ranged(before), ranged(after), ranged(less, signed="+"), verdict(o, less), _aim(o, numbers)]
        for o, before, after, less in zip(shown_figures(record), *columns, strict=True)
    ]
    baseline = f"baseline, trial {record.baseline.number}"
    return Table(["objective", baseline, f"trial {chosen.number}", "difference", "", "what it is, and its goal"], rows)


def recipe(record: StudyRecord) -> Table:
    """What the chosen trial changes of the baseline's knobs."""
    chosen = record.choice.trial
    rows = [[address, show(record.baseline.params[address]), show(value)] for address, value in chosen.params.items()]
    return Table(["knob", "baseline", f"trial {chosen.number}"], rows)


def verdict(objective: Objective, less: Interval) -> str:
    """What a difference, trial less baseline, says of the trial; empty where a figure is undefined."""
    if math.isnan(less.mean):
        return ""
    if less.mean == 0:
        return "equal"
    if less.count > 1 and less.holds(0.0):
        return "within the noise"
    return "better" if objective.sign * less.mean < 0 else "worse"


def _aim(objective: Objective, numbers: Numbers) -> str:
    """`Phase 1's isotropy, new rows: maximize; null 0.997`."""
    null = null_of(objective.result, numbers)
    return (
        f"{METRICS[objective.result].meaning}: {goal_of(objective)}{'' if null is None else f'; null {show(null, 3)}'}"
    )


def ranged(own: Interval, signed: str = "") -> str:
    """`4.312 (4.29 to 4.33)`; the mean alone where there is no interval, a dash where it is undefined."""
    if math.isnan(own.mean):
        return UNDEFINED
    mean = f"{own.mean:{signed}.4g}"
    return f"{mean} ({own.low:{signed}.4g} to {own.high:{signed}.4g})" if math.isfinite(own.low) else mean


def front_table(record: StudyRecord) -> Table:
    """The baseline, the chosen trial, its runners-up, the rest of the front; with intervals where there are any."""
    config, trials = record.config, front_rows(record)
    rows = []
    for trial in trials:
        values = map(ranged, shown_intervals(record, trial))
        rows.append([str(trial.number), *values, *map(show, trial.params.values()), standing(trial, record)])
    header = ["trial", *map(shown_name, shown_figures(record)), *config.study.space, ""]
    return Table(header, rows, [str(trial.number) for trial in trials])


def standing(trial: Run, record: StudyRecord) -> str:
    """`chosen, beats the baseline`: all that is to be said of a trial with a result."""
    runners_up = [other.number for other in record.choice.runners_up]
    broken = [str(bound) for bound, by in zip(record.config.study.bounds, trial.violations, strict=False) if by > 0]
    words = [
        "baseline" if trial.is_baseline else "",
        "chosen" if trial.number == record.choice.trial.number else "",
        f"runner-up {runners_up.index(trial.number) + 1}" if trial.number in runners_up else "",
        "on the front" if trial.number in record.front else "",
        "beats the baseline in all" if _beats_baseline(trial, record) else "",
        f"breaks {' and '.join(broken)}" if broken else "",
        f"anchor {trial.name}" if trial.name else "",
        f"from {trial.source}" if trial.source else "",
    ]
    return ", ".join(filter(None, words))


def _beats_baseline(trial: Run, record: StudyRecord) -> bool:
    """By more than the noise in each objective, where the two were run with several seeds."""
    less = record.differences(trial)
    if trial.number == record.baseline.number or less[0].count == 1:
        return beats_baseline(trial, record.baseline, record.config)
    return all(verdict(o, own) == "better" for o, own in zip(record.config.study.objectives, less, strict=True))


def all_runs(record: StudyRecord, runs: Sequence[ShownRun]) -> Table:
    """Every trial by its number, then the references: objectives, cost, and what became of it."""
    config, figures = record.config, shown_figures(record)
    known = {str(trial.number): trial for trial in record.finished}
    rows, keys = [], []
    for run in in_order(list(runs)):
        params = [show(run.params[address]) if run.params else "" for address in config.study.space]
        values = list(map(show, run.shown)) if run.shown else [""] * len(figures)
        what = (
            standing(known[run.key], record) if run.key in known else f"stopped {run.note}" if run.note else "reference"
        )
        name = run.key if run.key.isdigit() else run.title
        rows.append([name, *values, *params, f"{run.cost.steps:,}", minutes(run.cost.seconds), what])
        keys.append(run.key)
    for failed in record.failed:
        params = [show(failed.params.get(address, "")) for address in config.study.space]
        blank = [""] * len(figures)
        rows.append([str(failed.number), *blank, *params, "", "", f"failed: {failed.reason}"])
        keys.append(str(failed.number))
    header = ["trial", *map(shown_name, figures), *config.study.space, "steps", "time", ""]
    return Table(header, rows, keys)


def references_table(record: StudyRecord) -> Table:
    """The anchors outside the space, and what they change of the baseline."""
    rows, figures = [], shown_figures(record)
    for reference in record.all_references:
        changes = record.config.study.anchors[reference.name]
        told = ", ".join(f"{address}={show(value)}" for address, value in changes.items())
        told += f"; failed: {reference.reason}" if reference.reason else ""
        values = list(map(show, shown_values(record, reference))) if reference.values else ["no result"] * len(figures)
        rows.append([reference.name, *values, told])
    header = ["reference", *map(shown_name, figures), "what it changes of the baseline"]
    return Table(header, rows, [f"reference {row[0]}" for row in rows])


def stopped_table(record: StudyRecord) -> Table:
    """The trials that were ended early: at which step, and why."""
    rows = [[str(trial.number), str(trial.step), trial.reason] for trial in record.stopped]
    return Table(["trial", "steps", "why"], rows, [row[0] for row in rows])


def failed_table(record: StudyRecord) -> Table:
    rows = [[str(trial.number), trial.reason] for trial in record.failed]
    return Table(["trial", "why"], rows)


def digests_table(record: StudyRecord) -> Table:
    """Of the trials that matter most, and of the references."""
    rows = [[f"trial {trial.number}", trial.digest] for trial in front_rows(record)]
    rows += [[f"reference {reference.name}", reference.digest] for reference in record.references]
    return Table(["run", "digest"], rows)


def bounds_table(record: StudyRecord) -> Table:
    """Who keeps each bound, and who breaks it by how much."""
    rows = []
    for place, bound in enumerate(record.config.study.bounds):
        judged = [(trial.number, trial.violations[place]) for trial in record.finished if trial.violations]
        broken = [f"{number} (by {by:.3g})" for number, by in judged if by > 0]
        rows.append([str(bound), f"{len(judged) - len(broken)} of {len(judged)}", ", ".join(broken) or "none"])
    return Table(["bound", "trials that keep it", "trials that break it"], rows)


def importance_table(found: Importances, record: StudyRecord) -> Table:
    rows = [
        [address, *("–" if shares is None else f"{shares.get(address, 0.0):.2f}" for shares in found.shares)]
        for address in record.config.study.space
    ]
    return Table(["knob", *map(shown_name, record.config.study.objectives)], rows)


def space_table(record: StudyRecord) -> Table:
    """What varies, between what, and the baseline's value."""
    rows = []
    for address, space in record.config.study.space.items():
        between = f"{space.low:g} to {space.high:g}" if isinstance(space, Range) else ""
        if isinstance(space, Choices):
            between = ", ".join(map(show, space.choices))
        scale = "log" if isinstance(space, Range) and space.log else "linear" if isinstance(space, Range) else "choice"
        rows.append([address, between, scale, show(record.config.study.baseline[address])])
    return Table(["knob", "values", "scale", "baseline"], rows)


def cost_table(record: StudyRecord, runs: Sequence[ShownRun]) -> Table:
    """What the study took, by kind of run."""
    imported = {str(trial.number) for trial in record.finished if trial.source}
    own = [run for run in runs if run.key not in imported]
    groups = {
        "trials with a result": [run.cost for run in own if run.kind not in {"stopped", "reference"}],
        "trials stopped early": [run.cost for run in own if run.kind == "stopped"],
        "references": [run.cost for run in own if run.kind == "reference"],
        "repeats with other seeds": _repeat_costs(record),
    }
    groups["all"] = [cost for costs in groups.values() for cost in costs]
    rows = [
        [name, str(len(costs)), f"{sum(cost.steps for cost in costs):,}", minutes(sum(cost.seconds for cost in costs))]
        for name, costs in groups.items()
        if costs
    ]
    return Table(["", "runs", "steps", "training and evaluation"], rows)


def _repeat_costs(record: StudyRecord) -> list[Cost]:
    repeats = [companion for companion in record.companions if companion.role is Role.REPEAT]
    return [record.cost(repeat.digest) for repeat in repeats if repeat.state is State.FINISHED]
