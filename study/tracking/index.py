"""What is known of a study's runs on an MLflow server, kept there: else each driver would ask for all of them.

MLflow has no way to ask for a run without its figures: 10 ms a run. The index stands in tags of the study's own run,
one for each run below it, which MLflow's pages don't show. Beside it a few searches find the runs that somebody
changed since; they give those alone.
"""

from collections.abc import Iterable, Mapping
from typing import Self

from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun
from mlflow.entities import RunStatus, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, ErrorCode
from pydantic import BaseModel, ValidationError

from study.runs.run import State
from study.tracking.views import MARK

TAG = "mlflow.wake2vec."
"""Before the label of a run; pages hide tags that begin with `mlflow.`."""
TAGS_A_BATCH = 100  # MLflow's limit
STATE = "wake2vec.state"
REMEASURED = "wake2vec.remeasured"
"""A tag: when a newer version last measured figures of the run that MLflow has, in seconds since 1970."""
CHANGING = (STATE, REMEASURED, MARK, "wake2vec.front", "wake2vec.chosen", "wake2vec.runner_up")
"""Tags of a run that change after it has begun."""
STATUS = {
    State.FINISHED: RunStatus.FINISHED,
    State.STOPPED: RunStatus.KILLED,
    State.FAILED: RunStatus.FAILED,
}
"""MLflow has no state for a trial that was ended early but KILLED."""
LACKS = [
    f"tags.`{STATE}` IS NULL",
    "tags.`wake2vec.role` IS NULL",
    "tags.`mlflow.parentRunId` IS NULL",
    "tags.`wake2vec.trial` IS NULL and tags.`wake2vec.companion` IS NULL",
]
"""Of a run that lost a tag by which it is found."""
MOST = 50_000


class Known(BaseModel):
    """A run that is whole there."""

    label: str
    run_id: str
    tags: dict[str, str]
    """Those of `CHANGING` that it has."""

    @classmethod
    def of(cls, label: str, run_id: str, tags: Mapping[str, str]) -> Self:
        return cls(label=label, run_id=run_id, tags={key: tags[key] for key in CHANGING if key in tags})


class Index:
    """Of the runs below `parent`, the study's own run, in an experiment of an MLflow server."""

    def __init__(self, client: MlflowClient, experiment: str, parent: str) -> None:
        self._client, self._experiment, self._parent = client, experiment, parent
        self._held: dict[str, str] = {}
        """The tags that it consists of."""

    def read(self) -> list[Known]:
        tags = self._client.get_run(self._parent).data.tags
        self._held = {key: value for key, value in tags.items() if key.startswith(TAG)}
        known = []
        for value in self._held.values():
            try:
                known.append(Known.model_validate_json(value))
            except ValidationError:  # somebody changed it: then all runs are asked for
                continue
        return known

    def changed(self) -> list[MlflowRun] | None:
        """All runs of the experiment that may not be as they were left, others among them; None: the server can't say.

        A run whose name or number was changed isn't among them: no search finds it.
        """
        states = [
            f"tags.`{STATE}` = '{state}' and attributes.status != '{RunStatus.to_string(status)}'"
            for state, status in STATUS.items()
        ]
        conditions = [
            *states,
            f"tags.`{STATE}` = '{State.RUNNING}'",
            f"tags.`mlflow.parentRunId` != '{self._parent}'",
            *LACKS,
        ]
        try:
            active = [run for condition in conditions for run in self._search(condition, ViewType.ACTIVE_ONLY)]
        except MlflowException as fault:
            if fault.error_code == ErrorCode.Name(INVALID_PARAMETER_VALUE):
                return None  # an older server, which doesn't know `IS NULL`
            raise
        return [*active, *self._search("", ViewType.DELETED_ONLY)]

    def write(self, runs: Iterable[Known]) -> None:
        """What differs from what stands there."""
        wanted = {_key(run.label): run.model_dump_json() for run in runs}
        tags = [RunTag(key, value) for key, value in wanted.items() if self._held.get(key) != value]
        for start in range(0, len(tags), TAGS_A_BATCH):
            self._client.log_batch(self._parent, tags=tags[start : start + TAGS_A_BATCH])
        self._held |= wanted

    def drop(self, label: str) -> None:
        """The run is another from now on."""
        if self._held.pop(_key(label), None) is not None:
            self._client.delete_tag(self._parent, _key(label))

    def _search(self, condition: str, view: int) -> list[MlflowRun]:
        return list(self._client.search_runs([self._experiment], condition, view, max_results=MOST))


def _key(label: str) -> str:
    return TAG + label.replace(",", "")  # which a tag's name can't have
