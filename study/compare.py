"""Two runs of a study side by side: knobs, objectives and figures, at their ends or at the last step of both."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from study.format import row_of
from study.judge import kind_of
from study.noise import Interval, interval, paired_difference
from study.record import StudyRecord
from study.runs import Run
from study.settings import Value
from study.show.values import shown_by_shared_seed
from wake2vec import METRICS, ConfigError, Numbers, Progress, flatten

LEAST_UNIT = 0.01
"""Figures are told apart relative to their size, but not to less than this: shares and cosines near 0 are noise."""


@dataclass(frozen=True)
class Pair:
    """What two runs have in common, and what they don't."""

    before: Run
    after: Run
    step: int | None
    """Where the figures were read: the last evaluation that both have; None: each at its own end."""
    differences: list[Interval]
    """Of each of `shown_figures`, `after` less `before`, over the seeds that both have."""
    means: tuple[list[Interval], list[Interval]]
    """Of each, over those seeds."""
    numbers: tuple[Numbers, Numbers]

    @property
    def knobs(self) -> dict[str, tuple[Value | None, Value | None]]:
        """Those that differ; None where a run doesn't say."""
        addresses = dict.fromkeys([*self.before.params, *self.after.params])
        both = {address: (self.before.params.get(address), self.after.params.get(address)) for address in addresses}
        return {address: values for address, values in both.items() if values[0] != values[1]}


def pair_of(record: StudyRecord, before: Run, after: Run) -> Pair:
    """Raises ConfigError: one of them failed, or has no evaluation yet, or they were evaluated at no step in common."""
    before, after = _completed(record, before, after), _completed(record, after, before)
    if before.values and after.values:
        return _at_their_ends(record, before, after)
    ours, theirs = evaluations(record, before), evaluations(record, after)
    for run, own in ((before, ours), (after, theirs)):
        if not own:
            raise ConfigError(f"{run.label} has no figures to compare: it is {kind_of(run)}; give another trial")
    common = [step for step in ours if step in theirs]
    if not common:
        raise ConfigError(f"{before.label} and {after.label} were evaluated at no step in common: give other trials")
    step = common[-1]
    values = [_values(record, own[step]) for own in (ours, theirs)]
    differences = [paired_difference([a], [b]) for a, b in zip(*values, strict=True)]
    means = tuple([interval([value]) for value in own] for own in values)
    return Pair(before, after, step, differences, (means[0], means[1]), (ours[step].numbers, theirs[step].numbers))


def evaluations(record: StudyRecord, run: Run) -> dict[int, Progress]:
    """The records of a run that define every objective, under their steps, in their order."""
    progress = record.progress(run.digest) if run.digest else []
    wanted = [objective.result for objective in record.config.study.objectives]
    return {one.step: one for one in progress if all(one.numbers.get(address) is not None for address in wanted)}


def relative_differences(before: Numbers, after: Numbers) -> list[tuple[str, float]]:
    """Each figure that both define, and its difference in units of the larger of the two; largest first.

    From -2 to 2; the unit is at least `LEAST_UNIT`.
    """
    found = []
    for address, metric in METRICS.items():
        a, b = before.get(address), after.get(address)
        if a is None or b is None or not metric.compares:
            continue
        found.append((address, (b - a) / max(abs(a), abs(b), LEAST_UNIT)))
    return sorted(found, key=lambda pair: -abs(pair[1]))


def _at_their_ends(record: StudyRecord, before: Run, after: Run) -> Pair:
    ours, theirs = shown_by_shared_seed(record, before, after)
    columns = list(zip(zip(*ours, strict=True), zip(*theirs, strict=True), strict=True))
    return Pair(
        before,
        after,
        None,
        [paired_difference(a, b) for a, b in columns],
        ([interval(a) for a, _ in columns], [interval(b) for _, b in columns]),
        (record.result(before.digest).numbers, record.result(after.digest).numbers),
    )


def _completed(record: StudyRecord, run: Run, other: Run) -> Run:
    """The run with the knobs that the other changes and it doesn't: those of the profile."""
    knobs = flatten(record.config.run.model_dump())
    missing = {address: knobs[address] for address in other.params if address not in run.params}
    return run if not missing or not run.params else replace(run, params={**run.params, **missing})


def _values(record: StudyRecord, moment: Progress) -> Sequence[float]:
    objectives = record.config.study.objectives
    values = [objective.value(moment.numbers[objective.result] or 0.0) for objective in objectives]
    return row_of(objectives, values, moment.numbers)
