"""The tables of a study: each is made here once, and shown by the terminal, the report and MLflow's note."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from study.format import (
    UNDEFINED,
    duration,
    figure_name,
    goal_of,
    objective_label,
    over_seeds,
    short_label,
    shown,
    shown_name,
    signed,
)
from study.noise import Interval
from study.runs.compare import Pair, relative_differences, shown_figures, shown_intervals, shown_values
from study.runs.cost import Cost
from study.runs.judge import front_runs, standing, verdict
from study.runs.record import StudyRecord
from study.runs.run import Role, Run, State
from study.settings import Choices, Range
from study.show.table import HARD_SPACE, NAME, WIDTH, Column, Table, facts, table_of
from wake2vec import ALL_METRICS, READ_FIRST, Numbers, null_of

if TYPE_CHECKING:
    from study.search.importance import Importances  # scikit-learn comes with it, half a second

KNOB_DIGITS = 3
MOST_DIFFERENCES = 12


def runs_table(record: StudyRecord, runs: Sequence[Run]) -> Table:
    """State, objectives, knobs and cost of each run, in the order given; * marks the front."""
    outcome = [
        Column("state", [standing(run, record).word for run in runs], "left", only="terminal"),
        *_value_columns(record, [[*map(shown, shown_values(record, run))] for run in runs]),
    ]
    recipe = _knob_columns(record, runs)
    costs = [record.cost(run.digest) if run.digest else None for run in runs]
    if "train.steps" not in record.config.study.space or any(not run.values for run in runs):
        recipe.append(Column("steps done", [f"{step_of(run, record):,}" for run in runs]))
    recipe.append(Column("time", [UNDEFINED if cost is None else duration(cost.seconds) for cost in costs]))
    told = [": ".join(filter(None, (", ".join(standing(run, record).words), run.reason))) for run in runs]
    recipe.append(Column("", told, "left", only="page"))
    title = f"Trials of study {record.config.study.name}"
    return Table(title, _lead(record, runs), [outcome, recipe], [key_of(run) for run in runs])


def front_table(record: StudyRecord) -> Table:
    """The baseline, the chosen trial, its runners-up, the rest of the front, the references; means where repeated."""
    runs = [*front_runs(record), *record.references]
    outcome = [
        Column("", [standing(run, record).word for run in runs], "left", only="terminal"),
        *_value_columns(record, [[*map(over_seeds, shown_intervals(record, run))] for run in runs]),
    ]
    recipe = _knob_columns(record, runs)
    recipe.append(Column("", [", ".join(standing(run, record).words) for run in runs], "left", only="page"))
    title = f"Study {record.config.study.name}: baseline and front of {len(record.finished)} trials"
    return Table(title, _lead(record, runs), [outcome, recipe], [key_of(run) for run in runs])


def references_table(record: StudyRecord) -> Table:
    """The anchors outside the space, what they change of the baseline, and why one failed."""
    runs = [run for run in record.all_references if run.state is not State.WAITING]
    anchors = record.config.study.anchors
    changes = [
        ", ".join(f"{address} {shown(value, KNOB_DIGITS)}" for address, value in anchors[run.name].items())
        + (f"; failed: {run.reason}" if run.reason else "")
        for run in runs
    ]
    names = Column("", [run.name for run in runs], "left", NAME, "reference")
    values = _value_columns(record, [[*map(shown, shown_values(record, run))] for run in runs])
    changed = Column("changes", changes, "left", name="what it changes of the baseline")
    return Table("References, outside the space", names, [values, [changed]], [key_of(run) for run in runs])


def repeats_table(record: StudyRecord) -> Table:
    """Of baseline and finalists that were run with several seeds: means with their 95 % intervals."""
    own = {trial.number: trial for trial in (record.baseline, *record.finalists)}
    trials = [trial for _, trial in sorted(own.items()) if len(record.repeated_values(trial)) > 1]
    columns = [
        Column("seeds", [str(len(record.repeated_values(trial))) for trial in trials]),
        *_value_columns(record, [[*map(over_seeds, shown_intervals(record, trial))] for trial in trials]),
    ]
    numbers = Column("trial", [str(trial.number) for trial in trials])
    return Table("Repeats: means over seeds", numbers, [columns], [key_of(trial) for trial in trials])


def comparison_table(record: StudyRecord, pair: Pair) -> Table:
    """Means over the seeds that both have, and the paired differences: the second less the first."""
    figures = shown_figures(record)
    numbers = pair.numbers[1]
    judged = zip(figures, pair.differences, strict=True)
    columns = [
        *(
            Column(head_of(run, record), [*map(over_seeds, means)])
            for run, means in zip((pair.before, pair.after), pair.means, strict=True)
        ),
        Column("difference", [*map(signed, pair.differences)]),
        Column("", [verdict(figure, less) for figure, less in judged], "left"),
        Column(
            "what it is, and its goal",
            [_aim(figure.result, goal_of(figure), numbers) for figure in figures],
            "left",
            only="page",
        ),
    ]
    at = "" if pair.step is None else f", both at step {pair.step}"
    before = head_of(pair.before, record, "the ").replace(HARD_SPACE, " ")
    title = f"{pair.after.title} against {before}{at}"
    return Table(title, Column("", [*map(shown_name, figures)], "left", name="objective"), [columns])


def legend(differences: Sequence[Interval], seeds: int) -> str:
    """What the intervals of a comparison are, or why it has none; `seeds` are those that the study asks for."""
    count = min(difference.count for difference in differences)
    if count > 1:
        return f"± is half the 95 % interval over {count} seeds. Differences are paired by seed."
    if seeds > 1:
        return "One seed: no interval. The baseline and the finalists alone are run with more."
    return "One seed: no interval, a small difference may be noise. study.seeds=3 gives some."


def knobs_table(record: StudyRecord, title: str, runs: Sequence[Run], addresses: Sequence[str]) -> Table:
    """Knobs of the runs side by side."""
    columns = [Column(head_of(run, record), [shown(run.params.get(address)) for address in addresses]) for run in runs]
    return Table(title, Column("", addresses, "left", name="knob"), [columns])


def objectives_table(record: StudyRecord, run: Run) -> Table:
    """The objectives of one run with a result; means where it was repeated."""
    cells = [*map(over_seeds, shown_intervals(record, run))]
    names = [*map(shown_name, shown_figures(record))] if cells else []
    return Table("Objectives", Column("", names, "left"), [[Column(head_of(run, record), cells)]])


def issues_table(record: StudyRecord, runs: Sequence[Run], numbers: Sequence[Numbers]) -> Table:
    """The figures of the known issues, with what they read where there is no issue."""
    columns = [
        Column(head_of(run, record), [shown(own.get(address)) for address in READ_FIRST])
        for run, own in zip(runs, numbers, strict=True)
    ]
    nulls = [null_of(address, numbers[-1]) for address in READ_FIRST]
    columns.append(Column("null", ["" if null is None else shown(null) for null in nulls]))
    return Table("The issues' figures", Column("", [*map(figure_name, READ_FIRST)], "left"), [columns])


def differences_table(record: StudyRecord, pair: Pair) -> Table:
    """The figures that differ most for their size; the objectives are told elsewhere."""
    told = {objective.result for objective in record.config.study.objectives}
    most = [each for each in relative_differences(*pair.numbers) if each[0] not in told and each[1]][:MOST_DIFFERENCES]
    columns = [
        Column(head_of(run, record), [shown(numbers[address]) for address, _ in most])
        for run, numbers in zip((pair.before, pair.after), pair.numbers, strict=True)
    ]
    columns.append(Column("change", [f"{relative:+.0%}" for _, relative in most]))
    title = "Figures that differ most, as shares of the larger value"
    return Table(title, Column("", [address for address, _ in most], "left"), [columns])


def run_bounds_table(record: StudyRecord, run: Run) -> Table:
    """Which bounds a trial with a result keeps, and by how much."""
    pairs = [*zip(record.config.study.bounds, run.violations, strict=False)] if run.is_finished_trial else []
    kept = [f"{'kept' if by <= 0 else 'broken'}, by {shown(abs(by))}" for _, by in pairs]
    return Table("Bounds", Column("", [str(bound) for bound, _ in pairs], "left"), [[Column("", kept, "left")]])


def bounds_table(record: StudyRecord) -> Table:
    """Who keeps each bound, and who breaks it by how much."""
    rows = []
    for place, bound in enumerate(record.config.study.bounds):
        judged = [(trial.number, trial.violations[place]) for trial in record.finished if trial.violations]
        broken = [f"{number} (by {by:.3g})" for number, by in judged if by > 0]
        rows.append([str(bound), f"{len(judged) - len(broken)} of {len(judged)}", ", ".join(broken) or "none"])
    return table_of(["bound", "trials that keep it", "trials that break it"], rows)


def reasons_table(what: str, runs: Sequence[Run]) -> Table:
    """Why each run was stopped early, or how it failed."""
    reasons = [f"at step {run.step}: {run.reason}" if run.state is State.STOPPED else run.reason for run in runs]
    keys = [key_of(run) for run in runs]
    return Table(what, Column("trial", keys), [[Column("why", reasons, "left", WIDTH)]], keys)


def importance_table(found: "Importances", record: StudyRecord) -> Table:
    columns = [
        Column(
            objective_label(objective),
            [UNDEFINED if shares is None else f"{shares.get(knob, 0.0):.2f}" for knob in record.config.study.space],
            name=shown_name(objective),
        )
        for objective, shares in zip(record.config.study.objectives, found.shares, strict=True)
    ]
    return Table("", Column("knob", list(record.config.study.space), "left"), [columns])


def space_table(record: StudyRecord) -> Table:
    """What varies, between what, and the baseline's value."""
    rows = []
    for address, space in record.config.study.space.items():
        between = f"{space.low:g} to {space.high:g}" if isinstance(space, Range) else ""
        if isinstance(space, Choices):
            between = ", ".join(map(shown, space.choices))
        scale = "log" if isinstance(space, Range) and space.log else "linear" if isinstance(space, Range) else "choice"
        rows.append([address, between, scale, shown(record.config.study.baseline[address])])
    return table_of(["knob", "values", "scale", "baseline"], rows)


def cost_table(record: StudyRecord) -> Table:
    """What the study took, by kind of run; what a warm start took was paid by another study."""
    own = [trial for trial in record.trials if not trial.source]
    repeats = [run for run in record.companions if run.role is Role.REPEAT]
    groups: dict[str, list[Cost]] = {
        "trials with a result": _costs(record, own, State.FINISHED),
        "trials stopped early": _costs(record, own, State.STOPPED),
        "references": _costs(record, record.all_references, State.FINISHED),
        "repeats with other seeds": _costs(record, repeats, State.FINISHED),
    }
    groups["all"] = [cost for costs in groups.values() for cost in costs]
    rows = [
        [name, str(len(costs)), f"{sum(cost.steps for cost in costs):,}", duration(sum(cost.seconds for cost in costs))]
        for name, costs in groups.items()
        if costs
    ]
    return table_of(["", "runs", "steps", "training and evaluation"], rows)


def digests_table(record: StudyRecord) -> Table:
    """Of the trials that matter most, and of the references."""
    runs = [*front_runs(record), *record.references]
    return facts("", [(run.label, run.digest) for run in runs], ("run", "digest"))


def head_of(run: Run, record: StudyRecord, article: str = "") -> str:
    """Of a column: short, and on one line."""
    if record.finished and run.is_finished_trial and run.number == record.baseline.number:
        return f"{article}baseline"
    return run.label.replace(" ", " " if run.role is Role.REFERENCE else HARD_SPACE)


def key_of(run: Run) -> str:
    """By which charts and rows of one run find each other: `7`, `reference <name>`."""
    return f"reference {run.name}" if run.role is Role.REFERENCE else str(run.number)


def step_of(run: Run, record: StudyRecord) -> int:
    """Updates done: where it was stopped, or the last that is recorded."""
    if run.state is State.STOPPED:
        return run.step
    return record.cost(run.digest).steps if run.digest else 0


def _costs(record: StudyRecord, runs: Sequence[Run], state: State) -> list[Cost]:
    return [record.cost(run.digest) for run in runs if run.state is state]


def _aim(address: str, goal: str, numbers: Numbers) -> str:
    """`Phase 1's isotropy, new rows: maximize; null 0.997`."""
    null = null_of(address, numbers)
    return f"{ALL_METRICS[address].meaning}: {goal}{'' if null is None else f'; null {shown(null, 3)}'}"


def _lead(record: StudyRecord, runs: Sequence[Run]) -> Column:
    width = max((len(str(run.number)) for run in runs if run.role is Role.TRIAL), default=1)

    def cell(run: Run) -> str:
        if run.role is Role.REFERENCE:
            return run.name
        mark = "*" if run.is_finished_trial and run.number in record.front else " "
        return f"{mark}{run.number:>{width}}"

    names = [run.name if run.role is Role.REFERENCE else str(run.number) for run in runs]
    return Column("trial", [*map(cell, runs)], widest=NAME, on_page=names)


def _knob_columns(record: StudyRecord, runs: Sequence[Run]) -> list[Column]:
    return [
        Column(short_label(knob), [shown(run.params.get(knob), KNOB_DIGITS) for run in runs], name=knob)
        for knob in record.config.study.space
    ]


def _value_columns(record: StudyRecord, rows: Sequence[Sequence[str]]) -> list[Column]:
    """A column a figure; a dash in the row of a run without a result."""
    return [
        Column(objective_label(figure), [row[place] if row else UNDEFINED for row in rows], name=shown_name(figure))
        for place, figure in enumerate(shown_figures(record))
    ]
