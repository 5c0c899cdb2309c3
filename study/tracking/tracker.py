"""One experiment a study; in it one run for the study itself, and below it, flat, one for each trial.

Everything here may be done again: a run is found by its tags, a figure with the same step and time makes no second row,
and a tag is written only where it changed.
"""

import contextlib
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LifecycleStage,
    Metric,
    Param,
    RunStatus,
    RunTag,
)
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from study.config import StudyConfig
from study.runs.run import Role, Run, State
from study.settings import Range, Value
from study.tracking.database import make_tracking, tracking_uri
from study.tracking.views import LOG10, MARK, MOST_COMPARED, Links, links_into, objective_key, trials_view
from wake2vec import ConfigError, Progress, RunConfig, flatten

SECONDS_BETWEEN_BATCHES = 15.0
"""A batch takes 40 ms, however few figures it has: a commit that waits for the disk."""
ROWS_A_BATCH = 1000  # MLflow's limit for one request, tags included
INPUTS = {"corpus.path": "corpus", "vocabulary.lexicon": "lexicon", "model.path": "base model"}
STATUS = {
    State.FINISHED: RunStatus.FINISHED,
    State.STOPPED: RunStatus.KILLED,
    State.FAILED: RunStatus.FAILED,
}
"""MLflow has no state for a trial that was ended early but KILLED."""


@dataclass(frozen=True)
class Ended:
    """What MLflow is told when a run ends."""

    state: State
    records: Sequence[Progress]
    """Those that it hasn't taken yet, and the figures without a curve."""
    tags: Mapping[str, str]
    artifacts: Sequence[Path] = ()
    at_s: float | None = None
    """Seconds since 1970; None: now."""


class Tracker:
    """The study's experiment in the MLflow database under `folder`; made when first used."""

    def __init__(self, folder: Path, config: StudyConfig) -> None:
        self._folder = folder.resolve()
        self._config = config
        make_tracking(folder)
        self._client = MlflowClient(tracking_uri(folder))
        self._experiment = self._open_experiment()
        self.parent = self._open_parent()
        """Id of the study's own run."""
        self._is_begun = False
        self._ids: dict[str, str] = {}
        """Of the runs below it that are known, by their labels."""
        self._tags: dict[str, dict[str, str]] = {}
        """Of these, by their ids."""
        for key, value in trials_view(config, self.parent).items():
            if self._client.get_experiment(self._experiment).tags.get(key) != value:
                self._client.set_experiment_tag(self._experiment, key, value)

    def open(self, run: Run, run_config: RunConfig, inputs: Mapping[str, str], began_s: float | None = None) -> str:
        """The id of the run here, made if there is none; it and the study's own are marked as running.

        `inputs` are hashes of corpus, lexicon and base model, under their addresses; `began_s` is when it began, in
        seconds since 1970; None: now.
        """
        knobs = flatten(run_config.model_dump())
        if not self._is_begun:
            self._client.update_run(self.parent, status=RunStatus.to_string(RunStatus.RUNNING))
            self._log_inputs(self.parent, knobs, inputs)
            self._is_begun = True
        tags = {"mlflow.parentRunId": self.parent, "wake2vec.role": str(run.role)}
        if run.role is not Role.TRIAL:
            tags |= {"wake2vec.companion": run.label}
            tags |= {"wake2vec.repeats": str(run.number)} if run.role is Role.REPEAT else {}
            return self._open_child(run, tags, {"wake2vec.state": State.RUNNING, **knobs}, began_s)
        more = {
            "wake2vec.state": State.RUNNING,
            "wake2vec.baseline": str(run.is_baseline).lower(),
            MARK: "baseline" if run.is_baseline else "",
            "wake2vec.front": "false",
            "wake2vec.chosen": "false",
            **({"wake2vec.anchor": run.name} if run.name else {}),
            **({"wake2vec.source": run.source} if run.source else {}),
            **{key: value for key, value in knobs.items() if key not in run.params},
        }
        run_id = self._open_child(run, {**tags, "wake2vec.trial": str(run.number)}, more, began_s)
        params = {**run.params, **self._logs(run.params)}
        self._client.log_batch(run_id, params=[Param(key, str(value)) for key, value in params.items()])
        self._log_inputs(run_id, knobs, inputs)
        return run_id

    def log_progress(self, run_id: str, records: Iterable[Progress]) -> None:
        """Log each figure of the records with its step and the time when it was measured."""
        rows = _rows(records)
        for start in range(0, len(rows), ROWS_A_BATCH):
            self._client.log_batch(run_id, metrics=rows[start : start + ROWS_A_BATCH])

    def close(self, run_id: str, ended: Ended) -> None:
        """Log what is left of a trial or companion, and mark its run as ended."""
        told = {**ended.tags, "wake2vec.state": ended.state}
        tags = [RunTag(key, value) for key, value in told.items()]
        rows = _rows(ended.records)
        # In their order: pages list figures as they came, and one that compares runs begins with the first, the loss.
        rest = max(len(rows) - (ROWS_A_BATCH - len(tags)), 0)
        for start in range(0, rest, ROWS_A_BATCH):
            self._client.log_batch(run_id, metrics=rows[start : min(start + ROWS_A_BATCH, rest)])
        for path in ended.artifacts:
            self._client.log_artifact(run_id, str(path))
        self._client.log_batch(run_id, metrics=rows[rest:], tags=tags)
        at_ms = None if ended.at_s is None else round(ended.at_s * 1000)
        self._client.set_terminated(run_id, RunStatus.to_string(STATUS[ended.state]), at_ms)
        self._tags.setdefault(run_id, {}).update(told)

    def ended_runs(self, labels: Iterable[str]) -> dict[str, dict[str, str]]:
        """The tags of those of the trials and companions, `trial 3`, `library default`, that are complete here."""
        tags = {label: self._tags[run_id] for label, run_id in self._runs(labels).items()}
        running = State.RUNNING
        return {label: own for label, own in tags.items() if own.get("wake2vec.state", running) != running}

    def is_study_finished(self) -> bool:
        """Whether the study's run is marked as finished: a driver that died leaves it running."""
        status: str = self._client.get_run(self.parent).info.status
        return status == RunStatus.to_string(RunStatus.FINISHED)

    def describe_study(
        self, note: str, experiment_note: str, tags: Mapping[str, str], artifacts: Sequence[Path]
    ) -> None:
        """Put a note in Markdown, tags and files on the study's run, and its space as parameters; another note on the
        experiment."""
        wanted = {**tags, "mlflow.note.content": note}
        known = self._client.get_run(self.parent).data.params  # can't be changed
        space = {key: str(values) for key, values in self._config.study.space.items() if key not in known}
        self._client.log_batch(
            self.parent,
            params=[Param(key, values) for key, values in space.items()],
            tags=[RunTag(key, value) for key, value in wanted.items()],
        )
        self._client.set_experiment_tag(self._experiment, "mlflow.note.content", experiment_note)
        for path in artifacts:
            self._client.log_artifact(self.parent, str(path))
        self._client.set_terminated(self.parent, RunStatus.to_string(RunStatus.FINISHED))

    def study_figure(self, name: str) -> dict[int, tuple[float, float]]:
        """What the study's run holds of a figure: under each step the latest value, and its time in seconds."""
        held = self._client.get_metric_history(self.parent, name)
        return {at.step: (at.value, at.timestamp / 1000) for at in sorted(held, key=lambda at: at.timestamp)}

    def mark_trials(self, tags: Mapping[int, Mapping[str, str]]) -> None:
        """Tag trials by their numbers; nothing is written for one that has these tags already."""
        labels = {f"trial {number}": wanted for number, wanted in tags.items()}
        for label, run_id in self._runs(labels).items():
            changed = {key: value for key, value in labels[label].items() if self._tags[run_id].get(key) != value}
            if changed:
                self._client.log_batch(run_id, tags=[RunTag(key, value) for key, value in changed.items()])
                self._tags[run_id].update(changed)

    def links(self, first_page: str = "/") -> Links:
        """Links into the UI whose first page has this address; without one, for the UI's own notes."""
        return links_into(first_page, self._experiment, self.parent, self._compared())

    def _compared(self) -> list[str]:
        """Run ids of all finished trials, or of baseline, choice, runners-up and front where they are too many."""
        first = self._config.study.objectives[0]
        by = [f"metrics.`{objective_key(first)}` {'ASC' if first.direction == 'minimize' else 'DESC'}"]
        finished = "tags.`wake2vec.role` = 'trial' and tags.`wake2vec.state` = 'finished'"
        found = self._search(finished, by, MOST_COMPARED + 1)
        if len(found) > MOST_COMPARED:
            marks = ("baseline", "chosen", "runner_up", "front")
            of_mark = (
                self._search(f"{finished} and tags.`wake2vec.{mark}` = 'true'", by, MOST_COMPARED) for mark in marks
            )
            found = [run for runs in of_mark for run in runs]
        return list(dict.fromkeys(run.info.run_id for run in found))[:MOST_COMPARED]

    def _runs(self, labels: Iterable[str]) -> dict[str, str]:
        """The ids of the runs below the study's that are here, by `trial 3` or a companion's name.

        MLflow is asked only where one isn't known yet: it reads all figures of all runs for it.
        """
        wanted = list(labels)
        if not self._ids.keys() >= set(wanted):
            for run in self._search(f"tags.`mlflow.parentRunId` = '{self.parent}'", [], 50_000):
                label = run.data.tags.get("wake2vec.companion") or f"trial {run.data.tags['wake2vec.trial']}"
                self._ids[label], self._tags[run.info.run_id] = run.info.run_id, dict(run.data.tags)
        return {label: self._ids[label] for label in wanted if label in self._ids}

    def _search(self, condition: str, order: list[str], most: int) -> list[MlflowRun]:
        return list(self._client.search_runs([self._experiment], condition, max_results=most, order_by=order))

    def _logs(self, params: Mapping[str, Value]) -> dict[str, str]:
        """The log10 of each parameter of a log range."""
        spaces = self._config.study.space
        return {
            LOG10 + key: f"{math.log10(float(value)):.4f}"
            for key, value in params.items()
            if isinstance(space := spaces[key], Range) and space.log
        }

    def _log_inputs(self, run_id: str, knobs: Mapping[str, Value], inputs: Mapping[str, str]) -> None:
        sets = [
            DatasetInput(
                Dataset(Path(str(knobs[key])).name, digest, "local", json.dumps({"uri": str(knobs[key])})),
                [InputTag(MLFLOW_DATASET_CONTEXT, INPUTS[key])],
            )
            for key, digest in inputs.items()
            if key in INPUTS
        ]
        self._client.log_inputs(run_id, sets)

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

    def _open_parent(self) -> str:
        found = self._search("tags.`wake2vec.role` = 'study'", [], 1)
        if found:
            return str(found[0].info.run_id)
        name = f"study {self._config.study.name}"
        return str(self._client.create_run(self._experiment, None, {"wake2vec.role": "study"}, name).info.run_id)

    def _open_child(self, run: Run, tags: Mapping[str, str], more: Mapping[str, Value], began_s: float | None) -> str:
        """`tags` say which it is."""
        condition = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        found = next(iter(self._search(condition, [], 1)), None)
        if found is None:
            every = {**tags, **{key: str(value) for key, value in more.items()}}
            began_ms = None if began_s is None else round(began_s * 1000)
            found = self._client.create_run(self._experiment, began_ms, every, _title(run))
        elif found.info.status != RunStatus.to_string(RunStatus.RUNNING):
            self._client.update_run(found.info.run_id, status=RunStatus.to_string(RunStatus.RUNNING))
        run_id = str(found.info.run_id)
        self._ids[run.label], self._tags[run_id] = run_id, dict(found.data.tags)
        return run_id


class LiveLog:
    """Sends a running trial's records to MLflow now and then; what is left is sent when the trial closes."""

    def __init__(self, tracker: Tracker, run_id: str) -> None:
        self._tracker = tracker
        self.run_id = run_id
        self._waiting: list[Progress] = []
        self._sent_at = time.monotonic()
        self.sent: list[Progress] = []
        """What MLflow has taken."""

    def __call__(self, record: Progress) -> None:
        self._waiting.append(record)
        if time.monotonic() - self._sent_at >= SECONDS_BETWEEN_BATCHES:
            self.flush()

    def flush(self) -> None:
        """Send what waits; what fails is left to the trial's end."""
        with contextlib.suppress(MlflowException):
            self._tracker.log_progress(self.run_id, self._waiting)
            self.sent += self._waiting
        self._waiting = []
        self._sent_at = time.monotonic()


def _rows(records: Iterable[Progress]) -> list[Metric]:
    return [
        Metric(address, value, round(record.time_s * 1000), record.step)
        for record in records
        for address, value in record.numbers.items()
        if value is not None and math.isfinite(value)
    ]


def _title(run: Run) -> str:
    """`trial 0: Phase 1 baseline`, `trial 2: noise 1.0`, `trial 7`; `reference: library default`."""
    if run.role is not Role.TRIAL:
        return run.label if run.role is Role.REPEAT else f"reference: {run.label}"
    name = "Phase 1 baseline" if run.is_baseline else run.name or (run.source and f"from {run.source}")
    return f"{run.label}: {name}" if name else run.label
