"""Running the companions: which of them have no result yet, and one of them from its beginning to MLflow."""

from collections.abc import Callable, Mapping

from study.companions import FAULT, Companion, references, repeats
from study.projection import Projection
from study.record import StudyRecord, objective_values
from wake2vec import Progress, TrialFailedError, run, write_json


def missing_companions(record: StudyRecord, inputs: Mapping[str, str]) -> list[Companion]:
    """The references, and the repeats of the baseline and the finalists, that have neither result nor fault.

    `inputs` are the fingerprints of the study's inputs.
    """
    config = record.config
    companions = references(config)
    if config.study.seeds > 1:
        again = {trial.number: trial for trial in (record.baseline, *record.finalists)}
        companions += [companion for trial in again.values() for companion in repeats(trial, config)]
    folders = [(companion, record.work_folder(companion.digest(inputs))) for companion in companions]
    return [
        companion for companion, work in folders if not work.result_path.exists() and not (work.path / FAULT).exists()
    ]


def run_companion(
    companion: Companion,
    inputs: Mapping[str, str],
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
    digest = companion.digest(inputs)
    try:
        result = run(companion.run, projection.folder / "trials", observe, stop, projection.folder / "cache")
        values = objective_values(result, projection.config)
    except TrialFailedError as fault:
        write_json(projection.folder / "trials" / digest / FAULT, {"fault": str(fault)})
        projection.companion_failed(digest, run_id, str(fault))
        return str(fault)
    projection.companion(companion, digest, values, run_id)
    return values
