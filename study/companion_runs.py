"""Running the companions: which of them have no result yet, and one of them from its beginning to MLflow."""

from collections.abc import Callable

from study.companions import Companion, fault_of, note_fault
from study.objectives import objective_values
from study.projection import Projection
from study.record import CompanionRun, StudyRecord
from wake2vec import Progress, TrialFailedError, WorkFolder, run


def missing_companions(record: StudyRecord) -> list[CompanionRun]:
    """Those that have neither result nor fault."""
    return [
        (companion, work)
        for companion, work in record.companions
        if not work.result_path.exists() and fault_of(work) is None
    ]


def run_companion(
    companion: Companion,
    work: WorkFolder,
    projection: Projection,
    observe: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> tuple[float, ...] | str:
    """Run it, or go on with it, and give its objective values.

    One that fails gives its reason, leaves it in its work folder and isn't tried again.

    Raises:
        TrialStopped: `stop` said so.
    """
    run_id = projection.open_companion(companion)
    digest = work.path.name
    try:
        result = run(companion.run, work.path.parent, observe, stop, projection.folder / "cache")
        values = objective_values(result, projection.config)
    except TrialFailedError as fault:
        note_fault(work, str(fault))
        projection.companion_failed(digest, run_id, str(fault))
        return str(fault)
    projection.companion(companion, digest, values, run_id)
    return values
