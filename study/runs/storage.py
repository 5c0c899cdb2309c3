"""A study in its database: one configuration, and what Optuna knows of its trials."""

import contextlib
import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from study.config import StudyConfig
from study.runs.lease import OneDriver
from study.runs.run import Run, State
from study.runs.study_database import Lease, study_database
from study.settings import Choices, Range
from wake2vec import DECIDED_KNOBS, ConfigError, content_hash

ALWAYS = ("seed", "sampler", "startup_trials", "space", "objectives", "baseline")
WHERE_GIVEN = ("anchors", "bounds", "stopping", "warm_start", "aimed_trials")
SHAPE = ("space", "objectives", "baseline")
INPUTS = ("model.path", "corpus.path", "vocabulary.lexicon")


def open_study(
    folder: Path, config: StudyConfig, fingerprint: dict[str, Any], lease: Lease | None = None
) -> optuna.Study:
    """Create the study, its baseline waiting as trial 0, or load it if its configuration is the same.

    With `lease` nothing is written that its holder has lost.

    Raises:
        ConfigError: the study was made with another configuration; the message says what differs.
        StorageFault: the database can't be used.
    """
    with (lease or OneDriver(folder)).opening() as storage:
        return _open(storage, config, fingerprint)


def _open(storage: RDBStorage, config: StudyConfig, fingerprint: dict[str, Any]) -> optuna.Study:
    directions = [objective.direction for objective in config.study.objectives]
    study = optuna.create_study(
        study_name=config.study.name,
        storage=storage,
        directions=directions,
        sampler=optuna.samplers.RandomSampler(),  # never asked: `study.search.proposal` gives every parameter
        load_if_exists=True,
    )
    if "fingerprint" not in study.user_attrs:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([objective.name for objective in config.study.objectives])
        study.set_user_attr("fingerprint", json.dumps(fingerprint, sort_keys=True))
    written = json.loads(study.user_attrs["fingerprint"])
    check_fingerprint(config.study.name, written, fingerprint)
    if written != fingerprint:  # an older version's: readers learn from it whether the base has a head of its own
        study.set_user_attr("fingerprint", json.dumps(fingerprint, sort_keys=True))
    _enqueue(study, config)
    return study


def _enqueue(study: optuna.Study, config: StudyConfig) -> None:
    """The baseline and the anchors in the space, each once, wherever among them a driver died."""
    trials = study.get_trials(deepcopy=False)
    if not trials:
        study.enqueue_trial(config.study.baseline)
    known = {trial.user_attrs.get("anchor") for trial in trials}
    for name, values in config.study.anchors.items():
        if name not in known and config.lies_in_space(values):
            study.enqueue_trial({**config.study.baseline, **values}, user_attrs={"anchor": name})


def states_of(study: optuna.Study) -> dict[int, TrialState]:
    """The state of each trial, by its number: one short query, where Optuna reads whole trials (5.0)."""
    storage = study._storage._backend  # type: ignore[attr-defined]
    asked = sqlalchemy.text("SELECT number, state FROM trials WHERE study_id = :study_id")
    with storage.engine.connect() as connection:
        return {number: TrialState[state] for number, state in connection.execute(asked, {"study_id": study._study_id})}


def trial_id(study: optuna.Study, number: int) -> int:
    """By which Optuna's storage knows a trial; it has no public name for it (5.0)."""
    return study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)


def load_study(folder: Path, name: str) -> optuna.Study:
    """For reading. Raises ConfigError: there is no such study, or StorageFault: it can't be read."""
    database = study_database(folder)
    if name in database.names():
        return optuna.load_study(study_name=name, storage=database.storage())
    raise ConfigError(f"no study {name} in {database.where}: run `make study` first")


def fingerprint_of(config: StudyConfig, inputs: dict[str, str]) -> dict[str, Any]:
    """All that makes trials comparable and repeatable, as addresses and values.

    How many trials there are, with how many seeds, and which is chosen aren't part of it.

    `inputs` has the hashes of base model, corpus and lexicon, which stand for their paths.
    """
    knobs = config.run.identity(inputs)
    varied = config.study.space
    study = config.study.model_dump(include=set(ALWAYS))
    study |= config.study.model_dump(include=set(WHERE_GIVEN), exclude_defaults=True)
    fixed = {address: value for address, value in knobs.items() if address not in varied}
    comparable: dict[str, Any] = json.loads(json.dumps({**fixed, **{f"study.{key}": study[key] for key in study}}))
    return comparable


def check_fingerprint(name: str, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Raises ConfigError: with each address at which the two differ."""
    old, new = _comparable(old), _comparable(new)
    differences = [
        f"{address}: {old.get(address)} -> {new.get(address)}"
        for address in sorted(old.keys() | new.keys())
        if old.get(address) != new.get(address)
    ]
    if differences:
        raise ConfigError(
            f"the study {name} was made with another configuration ({'; '.join(differences)}): "
            "its trials don't compare; give study.name=<another name>, or the old values"
        )


def _comparable(fingerprint: dict[str, Any]) -> dict[str, Any]:
    """What two must have in common: of the inputs' hashes what older versions wrote too, of the anchors the trials.

    An anchor outside the space is a run beside the trials, which no sampler sees: one may come later. `auto` is `gp`
    until there are more trials than that bears.
    """
    compared = fingerprint | {key: content_hash(fingerprint[key]) for key in INPUTS if key in fingerprint}
    if compared.get("study.sampler") == "gp":
        compared["study.sampler"] = "auto"
    spaces = {
        key: Range.model_validate(space) if "low" in space else Choices.model_validate(space)
        for key, space in compared.get("study.space", {}).items()
    }
    trials = {
        name: values
        for name, values in compared.pop("study.anchors", {}).items()
        if all(key in spaces and spaces[key].holds(value) for key, value in values.items())
    }
    return compared | ({"study.anchors": trials} if trials else {})


def check_shape(study: optuna.Study, config: StudyConfig) -> None:
    """Raises ConfigError: the study's trials have other knobs or objectives than this configuration names."""
    old = json.loads(study.user_attrs.get("fingerprint", "{}"))
    new = {f"study.{key}": value for key, value in config.study.model_dump(include=set(SHAPE)).items()}
    kept = {key: old[key] for key in new if key in old}
    check_fingerprint(config.study.name, kept, json.loads(json.dumps({key: new[key] for key in kept})))


RUN = "mlflow_run"
"""A study's attribute: the id of its run on MLflow's server, which names it among others of its name."""
ENDED = "ended "
"""A study's attributes begin so, of the digests of runs beside its trials that came to an end and are archived."""


def study_run(folder: Path, name: str) -> str | None:
    """The id of the study's own run on MLflow's server; None: it has none yet."""
    if name not in study_names(folder):
        return None
    found = load_study(folder, name).user_attrs.get(RUN)
    return None if found is None else str(found)


def ended_digests(study: optuna.Study, trials: Sequence[FrozenTrial]) -> list[str]:
    """Of all runs whose files the archive of a shared study has; `trials` are the study's."""
    told = [
        trial.user_attrs["digest"] for trial in trials if trial.state.is_finished() and "digest" in trial.user_attrs
    ]
    beside = [key.removeprefix(ENDED) for key in study.user_attrs if key.startswith(ENDED)]
    return list(dict.fromkeys([*told, *beside]))


STATES = {
    TrialState.WAITING: State.WAITING,
    TrialState.RUNNING: State.RUNNING,
    TrialState.COMPLETE: State.FINISHED,
    TrialState.PRUNED: State.STOPPED,
    TrialState.FAIL: State.FAILED,
}
TOLD = {own: its for its, own in STATES.items()}
REASONS = {State.STOPPED: "stopped", State.FAILED: "fault"}


def tell_end(study: optuna.Study, run: Run, config: StudyConfig) -> None:
    """Tell how a trial ended: all that is known of it, and its state, in one transaction.

    Optuna's `tell` and `set_constraint` read the whole trial before they write, and after it: half of what they take.

    Raises:
        KeyError: the database lacks the trial.
    """
    attributes: dict[str, Any] = {"fault": run.reason} if run.state is State.FAILED else {"digest": run.digest}
    if run.state is State.STOPPED:
        attributes |= {"stopped": run.reason, "stopped_at": run.step}
    constrained = create_trial(state=TrialState.RUNNING)  # it knows under which names constraints are kept
    if run.state is State.FINISHED:
        attributes["violations"] = run.violations
        for bound, violation in zip(config.study.bounds, run.violations, strict=True):
            constrained.set_constraint(str(bound), violation)
    storage, trial = study._storage, trial_id(study, run.number)
    with at_once(study):
        for key, value in attributes.items():
            storage.set_trial_user_attr(trial, key, value)
        for key, value in constrained.system_attrs.items():
            storage.set_trial_system_attr(trial, key, value)
        storage.set_trial_state_values(trial, TOLD[run.state], run.values or None)


@contextlib.contextmanager
def at_once(study: optuna.Study) -> Iterator[None]:
    """What is told of the study amid it is one transaction: a driver that dies leaves all of it or nothing.

    Optuna commits each attribute. Here its sessions join a transaction from outside, which they may roll back but not
    commit, as SQLAlchemy documents it. Optuna keeps the storage by no public name (5.0).
    """
    storage = study._storage._backend  # type: ignore[attr-defined]
    try:
        with storage.engine.begin() as connection:
            if storage.engine.dialect.name == "sqlite":  # whose driver begins with the first write alone
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            storage.scoped_session.remove()
            storage.scoped_session.configure(bind=connection, join_transaction_mode="rollback_only")
            yield
    finally:
        storage.scoped_session.remove()
        storage.scoped_session.configure(bind=storage.engine, join_transaction_mode="conditional_savepoint")


def run_of(trial: FrozenTrial) -> Run:
    """As Optuna has it: the knobs in any order, bars unread.

    A driver that died before it told a trial's end may have left what it knew of it; another may have found another.
    """
    state = STATES[trial.state]
    return Run(
        state,
        trial.number,
        trial.params,
        tuple(trial.values or ()),
        trial.user_attrs.get("digest", ""),
        tuple(trial.user_attrs.get("violations", ())),
        trial.user_attrs.get("anchor", ""),
        trial.user_attrs.get("from", ""),
        reason=trial.user_attrs.get(REASONS[state], "") if state in REASONS else "",
        step=trial.user_attrs.get("stopped_at", 0) if state is State.STOPPED else 0,
        unseen=tuple(unseen) if (unseen := trial.user_attrs.get("unseen")) is not None else None,
    )


def input_hashes(study: optuna.Study) -> dict[str, str]:
    """Of base model, corpus and lexicon, under the addresses of their paths, and what these decide; one that varies is
    left out."""
    fingerprint = json.loads(study.user_attrs.get("fingerprint", "{}"))
    return {address: fingerprint[address] for address in (*INPUTS, *DECIDED_KNOBS) if address in fingerprint}


def study_names(folder: Path) -> list[str]:
    """The studies that the results folder belongs to, by name; none where there is no database."""
    return study_database(folder).names()
