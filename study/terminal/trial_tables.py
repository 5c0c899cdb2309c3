"""Tables of a study's trials: all of them, and the few that `study run` ends with."""

from collections.abc import Sequence

from rich.table import Table

from study.names import objective_label, short_label
from study.noise import Interval, interval
from study.record import StudyRecord
from study.shown import shown_cautions, shown_figures, shown_intervals
from study.table import duration, show
from study.terminal.columns import NAME, Column, fitted
from study.terminal.differences import legend, plus_minus
from study.terminal.entries import Entry, entries_of, entry_row, finished_of, reference_entries, state_of, step_of
from study.terminal.pair import pair_of
from study.terminal.pair_tables import objective_tables
from study.terminal.spent import spent

KNOB_DIGITS = 3
ABSENT = "–"


def trials_tables(record: StudyRecord, entries: Sequence[Entry]) -> list[Table]:
    """State, objectives, knobs and cost of trials, in the order given; * marks the front."""
    outcome = [
        Column("state", [state_of(entry, record) for entry in entries], "left"),
        *_value_columns(record, entries),
    ]
    recipe = _knob_columns(record, entries)
    if "train.steps" not in record.config.study.space or any(entry.values is None for entry in entries):
        recipe.append(Column("steps done", [f"{step_of(entry, record):,}" for entry in entries]))
    times = [duration(record.cost(entry.digest).seconds) if entry.digest else ABSENT for entry in entries]
    recipe.append(Column("time", times))
    return fitted(f"Trials of study {record.config.study.name}", _number_column(record, entries), outcome, recipe)


def reference_tables(record: StudyRecord) -> list[Table]:
    """The anchors outside the space; none where there are none."""
    entries = reference_entries(record)
    if not entries:
        return []
    anchors = record.config.study.anchors
    changes = [
        ", ".join(f"{address} {show(value, KNOB_DIGITS)}" for address, value in anchors[entry.name].items())
        for entry in entries
    ]
    names = Column("", [entry.name for entry in entries], "left", NAME)
    return fitted(
        "References, outside the space", names, _value_columns(record, entries), [Column("changes", changes, "left")]
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
    shown = [*front_entries(record), *reference_entries(record)]
    outcome = [
        Column("", ["reference" if entry.number is None else state_of(entry, record) for entry in shown], "left"),
        *_interval_columns(record, [_intervals(record, entry) for entry in shown]),
    ]
    title = f"Study {record.config.study.name}: baseline and front of {len(record.finished)} trials"
    return fitted(title, _number_column(record, shown), outcome, _knob_columns(record, shown))


def comparison_tables(record: StudyRecord) -> list[Table]:
    """The chosen trial against the baseline, objective by objective."""
    chosen = record.choice.trial.number
    trials = {entry.number: entry for entry in entries_of(record)}
    pair = pair_of(record, trials[record.baseline.number], trials[chosen])
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


def front_entries(record: StudyRecord) -> list[Entry]:
    """The baseline, then the front in order of the first objective."""
    sign = record.config.study.objectives[0].sign
    shown = [entry for entry in entries_of(record) if entry.number in {record.baseline.number, *record.front}]
    return sorted(
        shown,
        key=lambda entry: (entry.number != record.baseline.number, sign * finished_of(entry, record).values[0]),
    )


def _number_column(record: StudyRecord, entries: Sequence[Entry]) -> Column:
    width = max((len(str(entry.number)) for entry in entries if entry.number is not None), default=1)

    def cell(entry: Entry) -> str:
        if entry.number is None:
            return entry.name
        mark = "*" if entry.kind == "finished" and entry.number in record.front else " "
        return f"{mark}{entry.number:>{width}}"

    return Column("trial", list(map(cell, entries)), widest=NAME)


def _knob_columns(record: StudyRecord, entries: Sequence[Entry]) -> list[Column]:
    return [
        Column(
            short_label(address),
            [show(entry.params[address], KNOB_DIGITS) if address in entry.params else ABSENT for entry in entries],
        )
        for address in record.config.study.space
    ]


def _value_columns(record: StudyRecord, entries: Sequence[Entry]) -> list[Column]:
    rows = [entry_row(record, entry) for entry in entries]
    return [
        Column(objective_label(figure), [show(row[place]) if row else ABSENT for row in rows])
        for place, figure in enumerate(shown_figures(record))
    ]


def _interval_columns(record: StudyRecord, rows: Sequence[list[Interval]]) -> list[Column]:
    return [
        Column(objective_label(figure), ["\n".join(filter(None, plus_minus(row[place]))) for row in rows])
        for place, figure in enumerate(shown_figures(record))
    ]


def _intervals(record: StudyRecord, entry: Entry) -> list[Interval]:
    if entry.kind == "finished":
        return shown_intervals(record, finished_of(entry, record))
    return [interval([value]) for value in entry_row(record, entry) or ()]
