"""MLflow: a projection of the work folders, which are the truth. The only file that knows MLflow.

One experiment a study; in it one parent run for the study and one child for each trial. Everything here may be done
again: a run is found by its tags, and a figure with the same step and time makes no second row.
"""

import contextlib
import logging
import math
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Metric, Param, Run, RunStatus, RunTag, ViewType
from mlflow.exceptions import MlflowException

from study.config import StudyConfig
from study.settings import Range, Value
from wake2vec import ConfigError, Numbers, Progress, RunConfig, flatten

ROWS_A_BATCH = 1000  # MLflow's limit for one request
SECONDS_BETWEEN_BATCHES = 5.0
OBJECTIVE = "objective/"
LOCATIONS = (  # of MLflow 3.17's tables, the columns that hold absolute addresses of artifacts
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("workspaces", "default_artifact_root"),
    ("trace_tags", "value"),
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Links:
    """Addresses that open the MLflow UI on the trials; its landing page shows none of them."""

    sorted_list: str
    charts: str
    comparison: str


class Tracker:
    """The study's experiment in the MLflow database under `folder`; made when first used."""

    def __init__(self, folder: Path, config: StudyConfig) -> None:
        self._folder = folder.resolve()
        self._config = config
        self._client = MlflowClient(tracking_uri(folder))
        self._experiment = self._open_experiment()
        self._parent = self._open_run({"wake2vec.role": "study"}, f"study {config.study.name}", {})

    def open_trial(self, number: int, run: RunConfig, params: Mapping[str, Value]) -> str:
        """The id of the trial's run, made if there is none; it and the study's run are marked as running."""
        fixed = {address: value for address, value in flatten(run.model_dump()).items() if address not in params}
        tags = {
            "mlflow.parentRunId": self._parent,
            "wake2vec.role": "trial",
            "wake2vec.trial": str(number),
            "wake2vec.baseline": str(number == 0).lower(),
        }
        name = "trial 0: Phase 1 baseline" if number == 0 else f"trial {number}"
        run_id = self._open_run(tags, name, fixed)
        for running in (self._parent, run_id):
            self._client.update_run(running, status=RunStatus.to_string(RunStatus.RUNNING))
        self._client.log_batch(run_id, params=[Param(address, str(value)) for address, value in params.items()])
        return run_id

    def log_progress(self, run_id: str, records: Iterable[Progress]) -> None:
        """Log each figure of the records with its step and the time when it was measured."""
        rows = [
            Metric(address, value, round(record.time_s * 1000), record.step)
            for record in records
            for address, value in record.numbers.items()
            if value is not None and math.isfinite(value)
        ]
        for start in range(0, len(rows), ROWS_A_BATCH):
            self._client.log_batch(run_id, metrics=rows[start : start + ROWS_A_BATCH])

    def close_trial(
        self,
        run_id: str,
        at: Progress,
        params: Mapping[str, Value],
        objectives: Mapping[str, float],
        artifacts: Sequence[Path],
    ) -> None:
        """Log the files and the figures that have no curve, which `at` holds, and mark the run as finished."""
        values: Numbers = {OBJECTIVE + name: value for name, value in objectives.items()}
        self.log_progress(run_id, [Progress(at.step, at.numbers | values | self._logs(params), at.time_s)])
        for path in artifacts:
            self._client.log_artifact(run_id, str(path))
        self._client.set_terminated(run_id, RunStatus.to_string(RunStatus.FINISHED))

    def open_companion(self, name: str, run: RunConfig, repeats: int | None) -> str:
        """The id of the run of a reference, or of a repeat of that trial; made if there is none."""
        tags = {
            "mlflow.parentRunId": self._parent,
            "wake2vec.role": "reference" if repeats is None else "repeat",
            "wake2vec.companion": name,
            **({} if repeats is None else {"wake2vec.repeats": str(repeats)}),
        }
        return self._open_run(tags, name, flatten(run.model_dump()))

    def end_early(self, run_id: str, reason: str, step: int) -> None:
        """Mark a trial as stopped: MLflow has no state for it but KILLED."""
        self._client.set_tag(run_id, "wake2vec.stopped", reason)
        self._client.set_tag(run_id, "wake2vec.stopped_at", str(step))
        self._client.set_terminated(run_id, RunStatus.to_string(RunStatus.KILLED))

    def fail_trial(self, run_id: str, reason: str) -> None:
        self._client.set_tag(run_id, "wake2vec.fault", reason)
        self._client.set_terminated(run_id, RunStatus.to_string(RunStatus.FAILED))

    def finished_trials(self) -> set[int]:
        """Numbers of the trials whose runs are complete here."""
        runs = self._client.search_runs([self._experiment], "attributes.status = 'FINISHED'", max_results=50_000)
        return {int(run.data.tags["wake2vec.trial"]) for run in runs if "wake2vec.trial" in run.data.tags}

    def is_study_finished(self) -> bool:
        """Whether the study's run is marked as finished: a driver that died leaves it running."""
        status: str = self._client.get_run(self._parent).info.status
        return status == RunStatus.to_string(RunStatus.FINISHED)

    def describe_study(self, note: str, tags: Mapping[str, str], artifacts: Sequence[Path]) -> None:
        """Put a note in Markdown, tags and files on the parent run; the note on the experiment too."""
        for key, value in {**tags, "mlflow.note.content": note}.items():
            self._client.set_tag(self._parent, key, value)
        self._client.set_experiment_tag(self._experiment, "mlflow.note.content", note)
        for path in artifacts:
            self._client.log_artifact(self._parent, str(path))
        self._client.set_terminated(self._parent, RunStatus.to_string(RunStatus.FINISHED))

    def mark_trials(self, front: set[int], chosen: int) -> None:
        """Tag which trials lie on the front, and which is the chosen one."""
        for run in self._client.search_runs([self._experiment], max_results=50_000):
            if (number := run.data.tags.get("wake2vec.trial")) is not None:
                self._client.set_tag(run.info.run_id, "wake2vec.front", str(int(number) in front).lower())
                self._client.set_tag(run.info.run_id, "wake2vec.chosen", str(int(number) == chosen).lower())

    def links(self, server: str) -> Links:
        """Links into the UI of the server at this address, such as `http://127.0.0.1:5000`."""
        first = self._config.study.objectives[0]
        trials = self._client.search_runs(
            [self._experiment], "tags.`wake2vec.role` = 'trial'", order_by=["attributes.start_time ASC"]
        )
        runs = ",".join(f'"{run.info.run_id}"' for run in trials if run.info.status == "FINISHED")
        search = quote(f"tags.`mlflow.parentRunId` = '{self._parent}'", safe="")
        order = quote(f"metrics.`{OBJECTIVE}{first.name}`", safe="")
        ascending = str(first.direction == "minimize").lower()
        listed = (
            f"{server}/#/experiments/{self._experiment}/runs?workflowType=machine_learning"
            f"&searchFilter={search}&orderByKey={order}&orderByAsc={ascending}"
        )
        experiments = quote(f'["{self._experiment}"]', safe="")
        return Links(
            sorted_list=listed,
            charts=f"{listed}&compareRunsMode=CHART",
            comparison=f"{server}/#/compare-runs?runs={quote(f'[{runs}]', safe='')}&experiments={experiments}",
        )

    def _logs(self, params: Mapping[str, Value]) -> Numbers:
        """The log10 of each parameter of a log range, as figures: the UI's axes are linear."""
        spaces = self._config.study.space
        return {
            f"log10/{address}": math.log10(float(value))
            for address, value in params.items()
            if isinstance(space := spaces[address], Range) and space.log
        }

    def _open_experiment(self) -> str:
        name = self._config.study.name
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            location = (self._folder / "artifacts" / name).as_uri()
            return self._client.create_experiment(name, artifact_location=location)
        if experiment.lifecycle_stage != LifecycleStage.ACTIVE:
            raise ConfigError(
                f"the MLflow experiment {name} was deleted: restore it in the UI, or give study.name=<another name>"
            )
        return str(experiment.experiment_id)

    def _open_run(self, tags: Mapping[str, str], name: str, more_tags: Mapping[str, Value]) -> str:
        run = self._find_run(tags)
        if run is not None:
            return str(run.info.run_id)
        created = self._client.create_run(self._experiment, run_name=name, tags=dict(tags))
        self._client.log_batch(created.info.run_id, tags=[RunTag(key, str(value)) for key, value in more_tags.items()])
        return str(created.info.run_id)

    def _find_run(self, tags: Mapping[str, str]) -> Run | None:
        condition = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        found = self._client.search_runs([self._experiment], condition, ViewType.ACTIVE_ONLY, max_results=1)
        return found[0] if found else None


class LiveLog:
    """Sends a running trial's records to MLflow every few seconds; what fails is sent again when the trial closes."""

    def __init__(self, tracker: Tracker, run_id: str) -> None:
        self._tracker = tracker
        self._run_id = run_id
        self._waiting: list[Progress] = []
        self._sent_at = time.monotonic()
        self.sent: list[Progress] = []
        """What MLflow has taken."""

    def __call__(self, record: Progress) -> None:
        self._waiting.append(record)
        if time.monotonic() - self._sent_at >= SECONDS_BETWEEN_BATCHES:
            self.flush()

    def flush(self) -> None:
        """Send what waits."""
        with contextlib.suppress(MlflowException):
            self._tracker.log_progress(self._run_id, self._waiting)
            self.sent += self._waiting
        self._waiting = []
        self._sent_at = time.monotonic()


def tracking_uri(folder: Path) -> str:
    return f"sqlite:///{folder.resolve() / 'mlflow.db'}"


def relocate(database: Path, old: Path, new: Path) -> None:
    """Make the artifact locations below the folder `old` lie below `new`, in a database that nobody uses meanwhile.

    Raises:
        sqlite3.Error: it isn't a database that can be written.
    """
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        for table, column in LOCATIONS:
            if not connection.execute("SELECT 1 FROM pragma_table_info(?) WHERE name = ?", (table, column)).fetchone():
                continue  # the copy was taken while MLflow was still making its tables
            for before, after in ((old.as_uri(), new.as_uri()), (str(old), str(new))):
                connection.execute(
                    f"UPDATE {table} SET {column} = :after || substr({column}, length(:before) + 1) "  # noqa: S608
                    f"WHERE {column} = :before OR substr({column}, 1, length(:before) + 1) = :before || '/'",
                    {"before": before, "after": after},
                )
