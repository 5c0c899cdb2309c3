"""The runs of a study as commands name and sort them, and the state of each in a word or two."""

from collections.abc import Sequence

from study.format import row_of
from study.record import StudyRecord
from study.runs import Role, Run, State
from study.settings import Value
from study.show.values import Row, numbers_of
from study.trials import beats_baseline
from wake2vec import ConfigError


def run_named(record: StudyRecord, named: str) -> Run:
    """The run of a number, of an anchor's name, or that is the `baseline` or the `chosen` one.

    Raises:
        ConfigError: there is none.
    """
    number = {"baseline": "0"}.get(named, named)
    if named == "chosen":
        number = str(record.choice.trial.number)
    for run in [*record.begun, *record.references]:
        if number in (run.name, run.label.removeprefix("trial ")):
            return run
    names = ", ".join(reference.name for reference in record.references)
    raise ConfigError(
        f"the study {record.config.study.name} has no trial {named}: give one of {_ranges(record.begun)}, "
        f"`baseline` or `chosen`{f', or a reference: {names}' if names else ''}"
    )


def sorted_runs(record: StudyRecord, runs: Sequence[Run], by: str) -> list[Run]:
    """Best first by an objective, smallest first by a knob, `time` or `trial`; those without the value last.

    `by` is an address or a part of one that no other has; `norm gap` is taken as `norm_gap`.

    Raises:
        ConfigError: nothing has that name, or several have.
    """
    objectives = {objective.result: objective.sign for objective in record.config.study.objectives}
    known = [*objectives, *record.config.study.space, "time", "trial"]
    part = by.replace(" ", "_")
    found = [name for name in known if name == part] or [name for name in known if part in name]
    if len(found) != 1:
        raise ConfigError(f"--sort takes a part of one of {', '.join(known)}: {by!r} is part of {len(found)}")
    name = found[0]

    def value(run: Run) -> Value | None:
        if name in objectives:
            return objectives[name] * run.values[list(objectives).index(name)] if run.values else None
        if name == "time":
            return record.cost(run.digest).seconds if run.digest else None
        return run.number if name == "trial" else run.params.get(name)

    return sorted(runs, key=lambda run: _sort_key(value(run)))


def kind_of(run: Run) -> str:
    """`finished`, `stopped`, `failed`, `open`, `reference`."""
    if run.role is Role.REFERENCE:
        return str(run.role)
    return "open" if run.state is State.RUNNING else str(run.state)


def state_of(run: Run, record: StudyRecord) -> str:
    """In a word or two: `chosen`, `baseline`, `beats it`, `breaks bound`, `stopped at 40`, `failed`, `open`."""
    if run.state is State.STOPPED:
        return f"stopped at {run.step}"
    if not run.is_finished_trial:
        return kind_of(run)
    chosen = run.number == record.choice.trial.number
    if run.is_baseline:
        return "baseline, chosen" if chosen else "baseline"
    if chosen:
        return "chosen"
    if not run.is_feasible:
        return "breaks bound"
    return "beats it" if beats_baseline(run, record.baseline, record.config) else ""


def row_if_known(record: StudyRecord, run: Run) -> Row | None:
    """A value for each of `shown_figures`; None without a result."""
    if not run.values:
        return None
    return row_of(record.config.study.objectives, run.values, numbers_of(record, run.digest))


def step_of(run: Run, record: StudyRecord) -> int:
    """Updates done: where it was stopped, or the last that is recorded."""
    if run.state is State.STOPPED:
        return run.step
    return record.cost(run.digest).steps if run.digest else 0


def _sort_key(value: Value | None) -> tuple[bool, float, str]:
    if value is None or isinstance(value, str):
        return value is None, 0.0, value or ""
    return False, float(value), ""


def _ranges(trials: Sequence[Run]) -> str:
    """`0-4, 6`."""
    spans: list[list[int]] = []
    for number in (trial.number for trial in trials):
        if spans and spans[-1][-1] == number - 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    return ", ".join(f"{span[0]}-{span[-1]}" if len(span) > 1 else str(span[0]) for span in spans) or "none yet"
