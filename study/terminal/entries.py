"""The entries of a study: all that was run or tried under its name, each known by a number or a name."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from study.companions import references
from study.names import row_of
from study.record import StudyRecord
from study.settings import Value
from study.shown import Row, numbers_of
from study.trials import FailedTrial, FinishedTrial, OpenTrial, StoppedTrial, beats_baseline
from wake2vec import ConfigError, flatten

Kind = Literal["finished", "stopped", "failed", "open", "reference"]
Trial = FinishedTrial | StoppedTrial | FailedTrial | OpenTrial
KINDS: dict[type, Kind] = {
    FinishedTrial: "finished",
    StoppedTrial: "stopped",
    FailedTrial: "failed",
    OpenTrial: "open",
}


@dataclass(frozen=True)
class Entry:
    """A trial, in whatever state, or a reference."""

    kind: Kind
    number: int | None
    """None for a reference."""
    name: str
    """Of an anchor; empty for the others."""
    params: dict[str, Value]
    """Its knobs; those of the space, and for a reference those that it changes."""
    digest: str | None
    values: tuple[float, ...] | None
    """One for each objective; None without a result."""
    reason: str = ""
    """Why it was stopped, or how it failed."""
    source: str = ""
    """Study and trial that it was taken from."""

    @property
    def label(self) -> str:
        return self.name if self.number is None else f"trial {self.number}"

    @property
    def title(self) -> str:
        """The label as a sentence begins."""
        return f"{self.label[0].upper()}{self.label[1:]}"


def entries_of(record: StudyRecord) -> list[Entry]:
    """Trials in order of their numbers."""
    trials: list[Trial] = [*record.finished, *record.stopped, *record.failed, *record.open]
    return [_entry(trial, record) for trial in sorted(trials, key=lambda trial: trial.number)]


def reference_entries(record: StudyRecord) -> list[Entry]:
    """The references that have a result."""
    if not record.finished:
        return []
    runs = {companion.name: companion.run for companion in references(record.config)}
    entries = []
    for one in record.references:
        knobs = flatten(runs[one.name].model_dump())
        addresses = dict.fromkeys([*record.config.study.space, *record.config.study.anchors[one.name]])
        params = {address: knobs[address] for address in addresses}
        entries.append(Entry("reference", None, one.name, params, one.digest, one.values))
    return entries


def entry_named(record: StudyRecord, named: str) -> Entry:
    """The entry of a number, of an anchor's name, or that is the `baseline` or the `chosen` one.

    Raises:
        ConfigError: there is none.
    """
    trials, others = entries_of(record), reference_entries(record)
    number = {"baseline": "0"}.get(named, named)
    if named == "chosen":
        number = str(record.choice.trial.number)
    for entry in [*trials, *others]:
        if number in (str(entry.number), entry.name):
            return entry
    names = ", ".join(entry.name for entry in others)
    raise ConfigError(
        f"the study {record.config.study.name} has no trial {named}: give one of {_ranges(trials)}, "
        f"`baseline` or `chosen`{f', or a reference: {names}' if names else ''}"
    )


def sorted_entries(record: StudyRecord, entries: Sequence[Entry], by: str) -> list[Entry]:
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

    def value(entry: Entry) -> Value | None:
        if name in objectives:
            return None if entry.values is None else objectives[name] * entry.values[list(objectives).index(name)]
        if name == "time":
            return record.cost(entry.digest).seconds if entry.digest else None
        return entry.number if name == "trial" else entry.params.get(name)

    return sorted(entries, key=lambda entry: _sort_key(value(entry)))


def state_of(entry: Entry, record: StudyRecord) -> str:
    """In a word or two: `chosen`, `baseline`, `beats it`, `breaks bound`, `stopped at 40`, `failed`, `open`."""
    if entry.kind == "stopped":
        return f"stopped at {step_of(entry, record)}"
    if entry.kind != "finished":
        return entry.kind
    trial = finished_of(entry, record)
    chosen = trial.number == record.choice.trial.number
    if trial.is_baseline:
        return "baseline, chosen" if chosen else "baseline"
    if chosen:
        return "chosen"
    if not trial.is_feasible:
        return "breaks bound"
    return "beats it" if beats_baseline(trial, record.baseline, record.config) else ""


def finished_of(entry: Entry, record: StudyRecord) -> FinishedTrial:
    """The finished trial that the entry is of."""
    return next(trial for trial in record.finished if trial.number == entry.number)


def entry_row(record: StudyRecord, entry: Entry) -> Row | None:
    """A value for each of `shown_figures`; None without a result."""
    if entry.values is None or entry.digest is None:
        return None
    return row_of(record.config.study.objectives, entry.values, numbers_of(record, entry.digest))


def step_of(entry: Entry, record: StudyRecord) -> int:
    """Updates done: where it was stopped, or the last that is recorded."""
    for trial in record.stopped:
        if trial.number == entry.number:
            return trial.step
    return record.cost(entry.digest).steps if entry.digest else 0


def _entry(trial: Trial, record: StudyRecord) -> Entry:
    kind, params = (
        KINDS[type(trial)],
        {key: trial.params[key] for key in record.config.study.space if key in trial.params},
    )
    if isinstance(trial, FinishedTrial):
        return Entry(kind, trial.number, trial.name, params, trial.digest, trial.values, source=trial.source)
    if isinstance(trial, StoppedTrial):
        return Entry(kind, trial.number, "", params, trial.digest, None, trial.reason)
    reason = trial.reason if isinstance(trial, FailedTrial) else ""
    return Entry(kind, trial.number, "", params, record.digest_of(params), None, reason)


def _sort_key(value: Value | None) -> tuple[bool, float, str]:
    if value is None or isinstance(value, str):
        return value is None, 0.0, value or ""
    return False, float(value), ""


def _ranges(entries: Sequence[Entry]) -> str:
    """`0-4, 6`."""
    runs: list[list[int]] = []
    for number in (entry.number for entry in entries if entry.number is not None):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs) or "none yet"
