"""One trial, or two, in tables: `study show` and `study compare`."""

from collections.abc import Sequence

from rich.table import Table

from study.names import figure_name, shown_name
from study.noise import interval
from study.record import StudyRecord
from study.runs import Role, Run
from study.shown import shown_figures, shown_intervals
from study.table import show
from study.terminal.columns import HARD_SPACE, Column, fitted
from study.terminal.differences import judged, plus_minus, signed
from study.terminal.figures import relative_differences, shown
from study.terminal.lookup import row_if_known
from study.terminal.pair import Pair
from wake2vec import READ_FIRST, Numbers, null_of

FIGURES = 12
ABSENT = "–"


def knob_tables(record: StudyRecord, title: str, runs: Sequence[Run], addresses: Sequence[str]) -> list[Table]:
    """Knobs of the runs side by side; none where there are no addresses."""
    if not addresses:
        return []
    columns = [
        Column(
            head_of(run, record),
            [show(run.params[address]) if address in run.params else ABSENT for address in addresses],
        )
        for run in runs
    ]
    return fitted(title, Column("", list(addresses), "left"), columns)


def head_of(run: Run, record: StudyRecord) -> str:
    """Of a column: short, and on one line."""
    is_baseline = record.finished and run.number == record.baseline.number
    return "baseline" if is_baseline else run.label.replace(" ", " " if run.role is Role.REFERENCE else HARD_SPACE)


def objective_tables(record: StudyRecord, pair: Pair, title: str) -> list[Table]:
    """Means over the seeds that both have, and the paired differences: the second less the first."""
    at = "" if pair.step is None else f", both at step {pair.step}"
    names = Column("", list(map(shown_name, shown_figures(record))), "left")
    on_one_line = fitted(f"{title}{at}", names, _objective_columns(record, pair, " "))
    if len(on_one_line) == 1:
        return on_one_line
    return fitted(f"{title}{at}", names, _objective_columns(record, pair, "\n"))


def _objective_columns(record: StudyRecord, pair: Pair, between: str) -> list[Column]:
    """`between` parts a mean from its interval."""
    judgements = zip(shown_figures(record), pair.differences, strict=True)
    return [
        *(
            Column(head_of(run, record), [between.join(filter(None, plus_minus(mean))) for mean in means])
            for run, means in zip((pair.before, pair.after), pair.means, strict=True)
        ),
        Column("difference", [signed(difference).replace(" ", between) for difference in pair.differences]),
        Column("", [judged(figure, difference) for figure, difference in judgements], "left"),
    ]


def bound_tables(record: StudyRecord, run: Run) -> list[Table]:
    """Which bounds a finished trial keeps; none where there are none, or it isn't known."""
    bounds = record.config.study.bounds
    violations = run.violations if run.is_finished_trial else ()
    if not bounds or len(violations) != len(bounds):
        return []
    kept = [f"{'kept' if by <= 0 else 'broken'}, by {show(abs(by))}" for by in violations]
    return fitted("Bounds", Column("", list(map(str, bounds)), "left"), [Column("", kept, "left")])


def own_objective_tables(record: StudyRecord, run: Run) -> list[Table]:
    """The objectives of a run with a result; means where it was repeated."""
    intervals = (
        shown_intervals(record, run)
        if run.is_finished_trial
        else [interval([value]) for value in row_if_known(record, run) or ()]
    )
    names = list(map(shown_name, shown_figures(record)))
    cells = [" ".join(plus_minus(one)).strip() for one in intervals]
    return fitted("Objectives", Column("", names, "left"), [Column(head_of(run, record), cells)])


def issue_tables(record: StudyRecord, runs: Sequence[Run], numbers: Sequence[Numbers]) -> list[Table]:
    """The figures of the known issues, with what they read where there is no issue."""
    columns = [
        Column(head_of(run, record), [shown(own.get(address)) for address in READ_FIRST])
        for run, own in zip(runs, numbers, strict=True)
    ]
    nulls = [null_of(address, numbers[-1]) for address in READ_FIRST]
    columns.append(Column("null", ["" if null is None else show(null) for null in nulls]))
    return fitted("The issues' figures", Column("", list(map(figure_name, READ_FIRST)), "left"), columns)


def figure_tables(record: StudyRecord, pair: Pair) -> list[Table]:
    """The figures that differ most for their size; the objectives are told elsewhere."""
    told = {objective.result for objective in record.config.study.objectives}
    most = [each for each in relative_differences(*pair.numbers) if each[0] not in told and each[1]][:FIGURES]
    columns = [
        Column(head_of(run, record), [shown(numbers[address]) for address, _ in most])
        for run, numbers in zip((pair.before, pair.after), pair.numbers, strict=True)
    ]
    columns.append(Column("change", [f"{relative:+.0%}" for _, relative in most]))
    return fitted(
        "Figures that differ most, as shares of the larger value",
        Column("", [address for address, _ in most], "left"),
        columns,
    )
