"""The figures that are shown first of a run: its objectives, and what stands beside one. NaN: undefined."""

from study.format import row_of, with_beside
from study.noise import Interval, interval, paired_difference
from study.record import StudyRecord
from study.runs import Run
from study.settings import Objective
from wake2vec import Numbers, cautions, read_result

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
    return cautions(addresses, numbers_of(record, record.choice.trial.digest))


def numbers_of(record: StudyRecord, digest: str) -> Numbers:
    """All figures of a run; none where its result is gone."""
    work = record.work_folder(digest)
    return read_result(work).numbers if work.result_path.exists() else {}


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
