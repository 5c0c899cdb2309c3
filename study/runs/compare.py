"""Two runs of a study side by side, and the figures that are shown first of each; at their ends or at a common step."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from study.format import row_of, with_beside
from study.noise import Interval, interval, paired_difference
from study.runs.judge import kind_of
from study.runs.record import StudyRecord
from study.runs.run import Run
from study.settings import Objective, Value
from wake2vec import ALL_METRICS, ConfigError, DamagedError, Numbers, Progress, cautions, flatten

Row = tuple[float, ...]
"""A value for each of `shown_figures`; empty without a result."""


def shown_figures(record: StudyRecord) -> list[Objective]:
    return with_beside(record.config.study.objectives)


def shown_values(record: StudyRecord, run: Run) -> Row:
    """With its own seed."""
    return row_of(record.config.study.objectives, run.values, numbers_of(record, run.digest)) if run.values else ()


def shown_intervals(record: StudyRecord, run: Run) -> list[Interval]:
    """Of each figure over the seeds that the run has a result with; empty without one."""
    if not run.is_finished_trial:
        return [interval([value]) for value in shown_values(record, run)]
    return [interval(column) for column in zip(*_by_seed(record, run).values(), strict=True)]


def shown_differences(record: StudyRecord, before: Run, after: Run) -> list[Interval]:
    """Of each figure, the second run less the first, seed by seed."""
    ours, theirs = shown_by_shared_seed(record, before, after)
    return [paired_difference(a, b) for a, b in zip(zip(*ours, strict=True), zip(*theirs, strict=True), strict=True)]


def shown_by_shared_seed(record: StudyRecord, one: Run, other: Run) -> tuple[list[Row], list[Row]]:
    """The rows of two runs with the seeds that both have, in one order; their own where they share no seed."""
    if one.is_finished_trial and other.is_finished_trial:
        ours, theirs = _by_seed(record, one), _by_seed(record, other)
        if seeds := [seed for seed in ours if seed in theirs]:
            return [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]
    return [shown_values(record, one)], [shown_values(record, other)]


def shown_cautions(record: StudyRecord) -> list[str]:
    """What is to be known of those figures that mislead; nulls are those of the chosen trial."""
    addresses = [figure.result for figure in shown_figures(record)]
    return [*cautions(addresses, numbers_of(record, record.choice.trial.digest)), *_of_unlike_machines(record)]


def _of_unlike_machines(record: StudyRecord) -> list[str]:
    """Where trials were computed on other devices or in other precisions: a sentence that says which were."""
    kinds: dict[str, list[int]] = {}
    for trial in record.finished:
        computed = record.result(trial.digest).computed
        kinds.setdefault(f"{computed.device} in {computed.precision}", []).append(trial.number)
    if len(kinds) < 2:
        return []
    usual = max(kinds, key=lambda kind: len(kinds[kind]))
    others = [
        f"{'trial' if len(numbers) == 1 else 'trials'} {', '.join(map(str, numbers))} on {kind}"
        for kind, numbers in kinds.items()
        if kind != usual
    ]
    return [f"Trials were computed on {usual}, but {'; '.join(others)}: they differ by its rounding too."]


def numbers_of(record: StudyRecord, digest: str) -> Numbers:
    """All figures of a run; none where its result is gone or damaged."""
    if digest not in record.kept.numbers:
        try:
            record.kept.numbers[digest] = record.result(digest).numbers
        except DamagedError:
            return {}
    return record.kept.numbers[digest]


def _by_seed(record: StudyRecord, trial: Run) -> dict[int, Row]:
    repeats = {seed: result.numbers for seed, result in record.repeat_results(trial).items()}
    return {
        seed: row_of(
            record.config.study.objectives,
            values,
            repeats[seed] if seed in repeats else numbers_of(record, trial.digest),
        )
        for seed, values in record.values_by_seed(trial).items()
    }


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
    for address, metric in ALL_METRICS.items():
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
