"""The study database: Optuna on SQLite under `mlruns/`, one driver at a time, one configuration a study."""

import contextlib
import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import optuna
import psutil
from optuna.trial import FrozenTrial, TrialState

from study.config import StudyConfig
from study.runs.database import database_url, make_database, opened
from study.runs.run import Run, State
from study.settings import Choices, Range
from wake2vec import DECIDED_KNOBS, ConfigError, content_hash

ALWAYS = ("seed", "sampler", "startup_trials", "space", "objectives", "baseline")
WHERE_GIVEN = ("anchors", "bounds", "stopping", "warm_start", "aimed_trials")
SHAPE = ("space", "objectives", "baseline")
INPUTS = ("model.path", "corpus.path", "vocabulary.lexicon")


@contextlib.contextmanager
def only_driver(folder: Path, name: str) -> Iterator[None]:
    """Hold the study's lock, which the system frees when the process ends, however it ends.

    Raises:
        ConfigError: another process holds it; the message names it.
    """
    lock = filelock.FileLock(folder / f".{name}.lock")
    owner = folder / f".{name}.driver"
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        who = owner.read_text() if owner.exists() else "another process"
        raise ConfigError(f"the study {name} is being driven by {who}: wait for it, or stop it") from None
    try:
        owner.write_text(f"process {os.getpid()}")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def driver_of(folder: Path, name: str) -> str | None:
    """Who drives the study now, such as `process 4711`; None: nobody on this machine.

    The lock isn't touched, so that a driver which starts at this moment gets it: it is the note beside the lock that is
    read. A driver that was killed leaves its note; then no process of that number lives, or one that is younger.
    """
    note = folder / f".{name}.driver"
    try:
        owner, written_s = note.read_text(), note.stat().st_mtime
        process = psutil.Process(int(owner.rpartition(" ")[2]))
        lives = process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= written_s + 1
    except (OSError, ValueError, psutil.NoSuchProcess):
        return None
    return owner if lives else None


def open_study(folder: Path, config: StudyConfig, fingerprint: dict[str, Any]) -> optuna.Study:
    """Create the study, its baseline waiting as trial 0, or load it if its configuration is the same.

    Raises:
        ConfigError: the study was made with another configuration; the message says what differs.
    """
    make_database(folder / "optuna.db", "version_info", _make)
    directions = [objective.direction for objective in config.study.objectives]
    study = optuna.create_study(
        study_name=config.study.name,
        storage=storage_url(folder),
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
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(config.study.baseline)
        for name, values in config.study.anchors.items():
            if config.lies_in_space(values):
                study.enqueue_trial({**config.study.baseline, **values}, user_attrs={"anchor": name})
    return study


def _make(url: str) -> None:
    optuna.storages.RDBStorage(url).engine.dispose()


def load_study(folder: Path, name: str) -> optuna.Study:
    """Raises ConfigError: there is no such study."""
    if name in study_names(folder):
        return optuna.load_study(study_name=name, storage=storage_url(folder))
    raise ConfigError(f"no study {name} in {folder}: run `make study` first")


def storage_url(folder: Path) -> str:
    return database_url(folder / "optuna.db")


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

    An anchor outside the space is a run beside the trials, which no sampler sees: one may come later.
    """
    compared = fingerprint | {key: content_hash(fingerprint[key]) for key in INPUTS if key in fingerprint}
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


STATES = {
    TrialState.WAITING: State.WAITING,
    TrialState.RUNNING: State.RUNNING,
    TrialState.COMPLETE: State.FINISHED,
    TrialState.PRUNED: State.STOPPED,
    TrialState.FAIL: State.FAILED,
}


def run_of(trial: FrozenTrial) -> Run:
    """As Optuna has it: the knobs in any order, bars unread."""
    return Run(
        STATES[trial.state],
        trial.number,
        trial.params,
        tuple(trial.values or ()),
        trial.user_attrs.get("digest", ""),
        tuple(trial.user_attrs.get("violations", ())),
        trial.user_attrs.get("anchor", ""),
        trial.user_attrs.get("from", ""),
        reason=trial.user_attrs.get("stopped") or trial.user_attrs.get("fault", ""),
        step=trial.user_attrs.get("stopped_at", 0),
    )


def input_hashes(study: optuna.Study) -> dict[str, str]:
    """Of base model, corpus and lexicon, under the addresses of their paths, and what these decide; one that varies is
    left out."""
    fingerprint = json.loads(study.user_attrs.get("fingerprint", "{}"))
    return {address: fingerprint[address] for address in (*INPUTS, *DECIDED_KNOBS) if address in fingerprint}


def study_names(folder: Path) -> list[str]:
    """The studies in a results folder, by name; none where there is no database.

    Optuna isn't asked: it would make the tables of a database that a driver is just making, and one of the two would
    die of it.
    """
    path = folder / "optuna.db"
    if not path.exists():
        return []
    with opened(path) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'studies'").fetchone():
            return []  # a driver is just making it
        return sorted(name for (name,) in database.execute("SELECT study_name FROM studies"))
