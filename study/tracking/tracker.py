"""One experiment a study; in it one run for the study itself, and below it, flat, one for each trial.

Everything here may be done again: a run is found by its id, which the results folder keeps, or by its tags; a figure
with the same step and time makes no second row, and a tag is written only where it changed. What people deleted in
MLflow's pages is restored, what they changed of a run's state is put right: MLflow shows what the study holds.
"""

import contextlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LifecycleStage,
    Metric,
    Param,
    RunStatus,
    RunTag,
    ViewType,
)
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from study.config import StudyConfig
from study.format import plain
from study.runs.addresses import addresses_of
from study.runs.run import Role, Run, State
from study.runs.storage import study_run
from study.settings import Range, Value
from study.tracking.database import is_local, open_client
from study.tracking.index import STATE, STATUS, Index, Known
from study.tracking.views import LOG10, MARK, MOST_COMPARED, Links, links_into, objective_key, trials_view
from wake2vec import UNREADABLE, ConfigError, Progress, RunConfig, flatten, private_folder, write_json

ROWS_A_BATCH = 1000  # MLflow's limit for one request, tags included
INPUTS = {"corpus.path": "corpus", "vocabulary.lexicon": "lexicon", "model.path": "base model"}
STUDY = "study"
"""The label of the study's own run."""
DOUBLES = 10
"""Runs that are looked at where one is expected."""


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
        self._server = addresses_of(folder).tracking
        self._client = open_client(folder)
        self._kept = Ids(self._folder, config.study.name)
        if self._server is not None and (known := study_run(folder, config.study.name)) is not None:
            self._kept.keep({STUDY: known})
        self._ids: dict[str, str] = {}
        """Of the runs below the study's own that are known, by their labels."""
        self._tags: dict[str, dict[str, str]] = {}
        """Of these, by their ids."""
        self._broken: set[str] = set()
        """The ids of those that somebody deleted, or changed so that they aren't what they were."""
        self._experiment = self._open_experiment()
        self.parent = self._open_parent()
        """Id of the study's own run."""
        self._index = None if self._server is None else Index(self._client, self._experiment, self.parent)
        self._is_begun = False
        for key, value in trials_view(config, self.parent).items():
            if self._client.get_experiment(self._experiment).tags.get(key) != value:
                self._client.set_experiment_tag(self._experiment, key, value)

    def open(
        self,
        run: Run,
        run_config: RunConfig,
        inputs: Mapping[str, str],
        began_s: float | None = None,
        anew: bool = False,
    ) -> str:
        """The id of the run here, made if there is none; it and the study's own are marked as running.

        `inputs` are hashes of corpus, lexicon and base model, under their addresses; `began_s` is when it began, in
        seconds since 1970; None: now. With `anew` it is made in any case, and one that is there is deleted as the UI
        does it.
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
            return self._open_child(run, tags, {STATE: State.RUNNING, **knobs}, began_s, anew)
        more = {
            STATE: State.RUNNING,
            "wake2vec.baseline": str(run.is_baseline).lower(),
            MARK: "baseline" if run.is_baseline else "",
            "wake2vec.front": "false",
            "wake2vec.chosen": "false",
            **({"wake2vec.anchor": run.name} if run.name else {}),
            **({"wake2vec.source": run.source} if run.source else {}),
            **{key: value for key, value in knobs.items() if key not in run.params},
        }
        run_id = self._open_child(run, {**tags, "wake2vec.trial": str(run.number)}, more, began_s, anew)
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
        told = {**ended.tags, STATE: ended.state}
        tags = [RunTag(key, plain(value)) for key, value in told.items()]
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
        self._broken.discard(run_id)
        self._keep_index(label for label, own in self._ids.items() if own == run_id)

    def points(self, run_id: str, address: str) -> set[tuple[int, int]]:
        """Of a figure of a run, all that MLflow has: steps, and times in milliseconds since 1970."""
        return {(at.step, at.timestamp) for at in self._client.get_metric_history(run_id, address)}

    def ended_runs(self, labels: Iterable[str]) -> dict[str, dict[str, str]]:
        """Tags of those of the trials and companions, `trial 3`, `library default`, that are complete here: all, or
        those that change."""
        self._read_index()
        whole = {label: run_id for label, run_id in self._runs(labels).items() if run_id not in self._broken}
        tags = {label: self._tags[run_id] for label, run_id in whole.items()}
        running = State.RUNNING
        return {label: own for label, own in tags.items() if own.get(STATE, running) != running}

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
            tags=[RunTag(key, plain(value)) for key, value in wanted.items()],
        )
        self._client.set_experiment_tag(self._experiment, "mlflow.note.content", plain(experiment_note))
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
        self._keep_index(labels)

    def links(self, first_page: str = "/") -> Links:
        """Links into the UI whose first page has this address; without one, for the UI's own notes."""
        return links_into(first_page, self._experiment, self.parent, self._compared())

    def _compared(self) -> list[str]:
        """Run ids of all finished trials, or of baseline, choice, runners-up and front where they are too many."""
        first = self._config.study.objectives[0]
        by = [f"metrics.`{objective_key(first)}` {'ASC' if first.direction == 'minimize' else 'DESC'}"]
        finished = (
            f"tags.`mlflow.parentRunId` = '{self.parent}' and tags.`wake2vec.role` = 'trial' "
            "and tags.`wake2vec.state` = 'finished'"
        )
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
            children = f"tags.`mlflow.parentRunId` = '{self.parent}'"
            found: dict[str, list[MlflowRun]] = {}
            for run in self._search(children, [], 50_000, ViewType.ALL):
                if label := self._kept.label(run.info.run_id) or _label(run):  # a run of somebody else has none
                    found.setdefault(label, []).append(run)
            for label in wanted:
                if label not in found and (known := self._by_id(label)) is not None:  # its tags were deleted
                    found[label] = [known]
            for label, runs in found.items():
                self._learn(label, self._one_of(runs))
            self._kept.keep(self._ids)
            self._keep_index(found)
        return {label: self._ids[label] for label in wanted if label in self._ids}

    def _read_index(self) -> None:
        """What a server keeps of the runs, and what has changed since; others may have told it."""
        if self._index is None or (changed := self._index.changed()) is None:
            return
        labels = {}
        for known in self._index.read():
            self._ids[known.label], self._tags[known.run_id] = known.run_id, dict(known.tags)
            self._broken.discard(known.run_id)
            labels[known.run_id] = known.label
        for run in changed:
            if (label := labels.get(run.info.run_id)) is not None:
                self._learn(label, run)

    def _keep_index(self, labels: Iterable[str]) -> None:
        if self._index is not None:
            known = ((label, self._ids[label]) for label in labels if label in self._ids)
            self._index.write(
                Known.of(label, run_id, self._tags[run_id]) for label, run_id in known if run_id not in self._broken
            )

    def _learn(self, label: str, run: MlflowRun) -> None:
        run_id = str(run.info.run_id)
        self._ids[label], self._tags[run_id] = run_id, dict(run.data.tags)
        self._broken.discard(run_id)
        if not _is_whole(run, label, self.parent):
            self._broken.add(run_id)

    def _one_of(self, runs: Sequence[MlflowRun]) -> MlflowRun:
        """The run that a label stands for: others, which were restored, are deleted as the UI does it."""
        best, *others = sorted(
            runs,
            key=lambda run: (
                self._kept.label(run.info.run_id) is None,
                _is_deleted(run),
                run.info.start_time,
                run.info.run_id,
            ),
        )
        for other in others:
            if not _is_deleted(other):
                self._client.delete_run(other.info.run_id)
        return best

    def _by_id(self, label: str) -> MlflowRun | None:
        """The run that this study's results folder knows under the label, whatever became of its tags."""
        run_id = self._kept.ids.get(label)
        if run_id is None:
            return None
        try:
            return self._client.get_run(run_id)
        except MlflowException as fault:
            if fault.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                raise
            return None  # another database stands there, or it was deleted for good

    def _find(self, label: str, condition: str) -> MlflowRun | None:
        """The run of the label, restored if it was deleted."""
        tagged = self._search(condition, [], DOUBLES, ViewType.ALL)
        found = {run.info.run_id: run for run in tagged if self._kept.label(run.info.run_id) in (None, label)}
        if (known := self._by_id(label)) is not None:
            found[known.info.run_id] = known
        if not found:
            return None
        return self._restored(self._one_of(list(found.values())))

    def _restored(self, run: MlflowRun | None) -> MlflowRun | None:
        if run is not None and _is_deleted(run):
            self._client.restore_run(run.info.run_id)
        return run

    def _search(self, condition: str, order: list[str], most: int, view: int = ViewType.ACTIVE_ONLY) -> list[MlflowRun]:
        return list(self._client.search_runs([self._experiment], condition, view, max_results=most, order_by=order))

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
        if experiment is None and (parent := self._by_id(STUDY)) is not None:  # somebody gave it another name
            experiment = self._client.get_experiment(parent.info.experiment_id)
        if experiment is None:
            if self._server is not None:
                return self._client.create_experiment(name)
            location = self._folder / "artifacts" / name
            private_folder(location)  # MLflow would make it for all to read
            return self._client.create_experiment(name, artifact_location=location.as_uri())
        if self._server is not None and is_local(experiment.artifact_location):
            raise ConfigError(
                f"MLflow's server must keep artifacts for its clients: those of its experiment {name} would lie in "
                f"{experiment.artifact_location} of each machine; give study.name=<another>"
            )
        if experiment.lifecycle_stage != LifecycleStage.ACTIVE:
            self._client.restore_experiment(experiment.experiment_id)
        if experiment.name != name:
            self._client.rename_experiment(experiment.experiment_id, name)
        return str(experiment.experiment_id)

    def _open_parent(self) -> str:
        tags, name = {"wake2vec.role": "study"}, f"study {self._config.study.name}"
        if self._server is None:
            found = self._find(STUDY, "tags.`wake2vec.role` = 'study'")
        else:  # where another team's study may have the name
            found = self._restored(self._by_id(STUDY))
        if found is None:
            found = self._client.create_run(self._experiment, None, tags, name)
        self._put_back(found, tags, {}, name)
        self._kept.keep({STUDY: found.info.run_id})
        return str(found.info.run_id)

    def _open_child(
        self, run: Run, tags: Mapping[str, str], more: Mapping[str, Value], began_s: float | None, anew: bool
    ) -> str:
        """`tags` say which it is."""
        others = {key: plain(str(value)) for key, value in more.items()}
        old = self._find(run.label, " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items()))
        found = None if anew else old
        if found is None:
            began_ms = None if began_s is None else round(began_s * 1000)
            found = self._client.create_run(self._experiment, began_ms, {**tags, **others}, _title(run))
        elif found.info.status != RunStatus.to_string(RunStatus.RUNNING):
            self._client.update_run(found.info.run_id, status=RunStatus.to_string(RunStatus.RUNNING))
        run_id = str(found.info.run_id)
        self._ids[run.label] = run_id
        self._tags[run_id] = self._put_back(found, tags, others, _title(run))
        self._broken.add(run_id)
        self._kept.keep({run.label: run_id})  # from now on it is the one
        if old is not None and old.info.run_id != run_id:
            if self._index is not None:
                self._index.drop(run.label)
            self._client.delete_run(old.info.run_id)
        return run_id

    def _put_back(
        self, run: MlflowRun, tags: Mapping[str, str], others: Mapping[str, str], name: str
    ) -> dict[str, str]:
        """The run's tags, once those by which it is found are right and those that somebody deleted are there again.

        So is its name.
        """
        if run.info.run_name != name:
            self._client.update_run(run.info.run_id, name=name)
        held = run.data.tags
        lacking = {key: value for key, value in tags.items() if held.get(key) != value}
        lacking |= {key: value for key, value in others.items() if key not in held}
        if lacking:
            self._client.log_batch(run.info.run_id, tags=[RunTag(key, value) for key, value in lacking.items()])
        return {**held, **lacking}


class Ids:
    """Which run of MLflow stands for what, by label: tags can be deleted in MLflow's pages, an id can't be changed."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / f".{name}.mlflow"
        self.ids: dict[str, str] = {}
        with contextlib.suppress(*UNREADABLE):  # tags tell too
            held = json.loads(self._path.read_text(encoding="utf-8"))
            self.ids = {str(label): str(run_id) for label, run_id in held.items()} if isinstance(held, dict) else {}
        self._labels = {run_id: label for label, run_id in self.ids.items()}

    def label(self, run_id: str) -> str | None:
        """What the run stands for; None: it isn't known here."""
        return self._labels.get(run_id)

    def keep(self, ids: Mapping[str, str]) -> None:
        """Under their labels."""
        if not ids.items() <= self.ids.items():
            self.ids |= ids
            self._labels = {run_id: label for label, run_id in self.ids.items()}
            write_json(self._path, self.ids)


@dataclass
class RunLog:
    """A run as MLflow has it while it is written."""

    run_id: str
    sent: list[Progress] = field(default_factory=list)
    """The records that MLflow has taken."""


def _is_deleted(run: MlflowRun) -> bool:
    return bool(run.info.lifecycle_stage != LifecycleStage.ACTIVE)


def _label(run: MlflowRun) -> str:
    """`trial 3`, or a companion's name; empty where the tag is gone."""
    tags = run.data.tags
    number = tags.get("wake2vec.trial")
    return str(tags.get("wake2vec.companion") or ("" if number is None else f"trial {number}"))


def _is_whole(run: MlflowRun, label: str, parent: str) -> bool:
    """Whether it is there as it was left: with its name and the tags by which it is found, in the state they tell."""
    tags = run.data.tags
    has_tags = tags.get("mlflow.parentRunId") == parent and "wake2vec.role" in tags and _label(run) == label
    states = {str(state): RunStatus.to_string(status) for state, status in STATUS.items()}
    has_state = states.get(tags.get(STATE, "")) == run.info.status
    return has_tags and has_state and not _is_deleted(run) and _is_named(run, label)


def _rows(records: Iterable[Progress]) -> list[Metric]:
    return [
        Metric(address, value, round(record.time_s * 1000), record.step)
        for record in records
        for address, value in record.numbers.items()
        if value is not None and math.isfinite(value)
    ]


REFERENCE = "reference: "


def _is_named(run: MlflowRun, label: str) -> bool:
    """Whether its name is one that `_title` gives."""
    name = str(run.info.run_name)
    return name in (label, REFERENCE + label) or name.startswith(f"{label}: ")


def _title(run: Run) -> str:
    """`trial 0: Phase 1 baseline`, `trial 2: noise 1.0`, `trial 7`; `reference: library default`."""
    if run.role is not Role.TRIAL:
        return run.label if run.role is Role.REPEAT else REFERENCE + run.label
    name = "Phase 1 baseline" if run.is_baseline else run.name or (run.source and f"from {run.source}")
    return f"{run.label}: {name}" if name else run.label
