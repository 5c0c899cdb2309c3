"""Tables of a study's trials: all of them, and the few that `study run` ends with."""

from collections.abc import Sequence

from rich.table import Table

from study.compare import pair_of
from study.format import duration, objective_label, short_label
from study.format import shown as show
from study.noise import Interval, interval
from study.record import StudyRecord
from study.runs import Role, Run
from study.show.values import shown_cautions, shown_figures, shown_intervals
from study.terminal.columns import NAME, Column, fitted
from study.terminal.differences import legend, plus_minus
from study.terminal.lookup import row_if_known, state_of, step_of
from study.terminal.pair_tables import objective_tables
from study.terminal.spent import spent

KNOB_DIGITS = 3
ABSENT = "–"


def trials_tables(record: StudyRecord, runs: Sequence[Run]) -> list[Table]:
    """State, objectives, knobs and cost of trials, in the order given; * marks the front."""
    outcome = [
        Column("state", [state_of(run, record) for run in runs], "left"),
        *_value_columns(record, runs),
    ]
    recipe = _knob_columns(record, runs)
    if "train.steps" not in record.config.study.space or any(not run.values for run in runs):
        recipe.append(Column("steps done", [f"{step_of(run, record):,}" for run in runs]))
    times = [duration(record.cost(run.digest).seconds) if run.digest else ABSENT for run in runs]
    recipe.append(Column("time", times))
    return fitted(f"Trials of study {record.config.study.name}", _number_column(record, runs), outcome, recipe)


def reference_tables(record: StudyRecord) -> list[Table]:
    """The anchors outside the space; none where there are none."""
    runs = record.references
    if not runs:
        return []
    anchors = record.config.study.anchors
    changes = [
        ", ".join(f"{address} {show(value, KNOB_DIGITS)}" for address, value in anchors[run.name].items())
        for run in runs
    ]
    names = Column("", [run.name for run in runs], "left", NAME)
    return fitted(
        "References, outside the space", names, _value_columns(record, runs), [Column("changes", changes, "left")]
    )


def repeat_tables(record: StudyRecord) -> list[Table]:
    """Means over seeds with their 95 % intervals; none where nothing was repeated."""
    own = {trial.number: trial for trial in (record.baseline, *record.finalists)}
    counts = {number: len(record.repeated_values(trial)) for number, trial in own.items()}
    trials = [trial for number, trial in sorted(own.items()) if counts[number] > 1]
    if not trials:
        return []
    columns = [
        Column("seeds", [str(counts[trial.number]) for trial in trials]),
        *_interval_columns(record, [shown_intervals(record, trial) for trial in trials]),
    ]
    title = "Repeats: means over seeds"
    return fitted(title, Column("trial", [str(trial.number) for trial in trials]), columns)


def front_tables(record: StudyRecord) -> list[Table]:
    """The baseline, the front in order of the first objective, and the references; means where there are repeats."""
    shown = [*front_runs(record), *record.references]
    outcome = [
        Column("", ["reference" if run.role is Role.REFERENCE else state_of(run, record) for run in shown], "left"),
        *_interval_columns(record, [_intervals(record, run) for run in shown]),
    ]
    title = f"Study {record.config.study.name}: baseline and front of {len(record.finished)} trials"
    return fitted(title, _number_column(record, shown), outcome, _knob_columns(record, shown))


def comparison_tables(record: StudyRecord) -> list[Table]:
    """The chosen trial against the baseline, objective by objective."""
    chosen = record.choice.trial.number
    pair = pair_of(record, record.baseline, record.choice.trial)
    return objective_tables(record, pair, f"Trial {chosen} against the baseline")


def closing_lines(record: StudyRecord) -> list[str]:
    """What the closing tables don't say: the noise floor, trials without a result, the cost."""
    lines = (
        []
        if record.choice.trial.is_baseline
        else [legend(record.differences(record.choice.trial), record.config.study.seeds)]
    )
    lines += shown_cautions(record)
    for trials, what in ((record.stopped, "stopped early"), (record.failed, "failed")):
        if trials:
            lines.append(f"{len(trials)} {what}: `study list` says why.")
    cost = spent(record)
    lines.append(f"Spent: {cost.steps:,} steps, {duration(cost.seconds)} of training and evaluation on {cost.device}.")
    return lines


def front_runs(record: StudyRecord) -> list[Run]:
    """The baseline, then the front in order of the first objective."""
    sign = record.config.study.objectives[0].sign
    shown = [run for run in record.begun if run.number in {record.baseline.number, *record.front}]
    return sorted(
        shown,
        key=lambda run: (run.number != record.baseline.number, sign * run.values[0]),
    )


def _number_column(record: StudyRecord, runs: Sequence[Run]) -> Column:
    width = max((len(str(run.number)) for run in runs if run.role is Role.TRIAL), default=1)

    def cell(run: Run) -> str:
        if run.role is Role.REFERENCE:
            return run.name
        mark = "*" if run.is_finished_trial and run.number in record.front else " "
        return f"{mark}{run.number:>{width}}"

    return Column("trial", list(map(cell, runs)), widest=NAME)


def _knob_columns(record: StudyRecord, runs: Sequence[Run]) -> list[Column]:
    return [
        Column(
            short_label(address),
            [show(run.params[address], KNOB_DIGITS) if address in run.params else ABSENT for run in runs],
        )
        for address in record.config.study.space
    ]


def _value_columns(record: StudyRecord, runs: Sequence[Run]) -> list[Column]:
    rows = [row_if_known(record, run) for run in runs]
    return [
        Column(objective_label(figure), [show(row[place]) if row else ABSENT for row in rows])
        for place, figure in enumerate(shown_figures(record))
    ]


def _interval_columns(record: StudyRecord, rows: Sequence[list[Interval]]) -> list[Column]:
    return [
        Column(objective_label(figure), ["\n".join(filter(None, plus_minus(row[place]))) for row in rows])
        for place, figure in enumerate(shown_figures(record))
    ]


def _intervals(record: StudyRecord, run: Run) -> list[Interval]:
    if run.is_finished_trial:
        return shown_intervals(record, run)
    return [interval([value]) for value in row_if_known(record, run) or ()]
