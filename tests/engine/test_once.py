"""Steps that belong together are done once: killed before any commit to its database, a study comes out the same.

The study has anchors, a warm start, bounds, and trials that finish, are stopped and fail; what came of their training
stands in work folders already, so that each of its many deaths costs no training.
"""

import os
import shutil
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import optuna
import pytest
from conftest import Silent
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from study.config import StudyConfig, check_config
from study.engine.driver import Driver, StudyOutcome
from study.engine.executor import Scheduler
from study.engine.worker import Abandoned, Failed, Outcome, Task
from study.runs.reader import read_record
from study.runs.storage import at_once, fingerprint_of, load_study, open_study
from study.search.warm_start import import_trials
from study.tracking.sync import Projection
from study.tracking.telling import Telling
from wake2vec import RunResult, TrainingDivergedError, WorkFolder, fingerprint_inputs, read_result

KILLED = 9
STRIDE = 5
"""Every fifth commit is died before: `python -m bench.faults world` has others, and those of MLflow."""
Held = tuple[dict[str, Any], list[tuple[object, ...]]]


class Replayed:
    """An executor whose runs have been trained: the second trial is stopped, the third diverges."""

    def __init__(self, results: list[RunResult]) -> None:
        self._results = results

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def work(self, scheduler: Scheduler) -> None:
        while (task := scheduler.next_task()) is not None:
            scheduler.ended(task, self._outcome(task))

    def _outcome(self, task: Task) -> Outcome:
        number = int(task.name.split()[1])
        if number == 1:
            return Abandoned(3, "lags behind")
        if number == 2:
            return Failed(TrainingDivergedError("the loss must be finite: it is nan"))
        return self._results[number % len(self._results)]


@pytest.fixture(autouse=True)
def _without_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told by steps that have tests of their own."""
    monkeypatch.setattr(Telling, "_try", lambda telling, work: True)


@pytest.fixture(scope="module")
def once(tree: dict[str, Any]) -> StudyConfig:
    study = {
        **tree["study"],
        "name": "once",
        "trials": 5,
        "sampler": "random",
        "anchors": {"noise 1.0": {"init.noise_scale": 1.0}, "noise 2.0": {"init.noise_scale": 2.0}},
        "bounds": ["geometry.norm_ratio <= baseline + 10"],
        "warm_start": ["small"],
    }
    return check_config({**tree, "study": study})


@pytest.fixture(scope="module")
def results(done: tuple[Path, StudyOutcome]) -> list[RunResult]:
    return [read_result(WorkFolder(done[0] / "trials" / trial.digest)) for trial in done[1].trials]


@pytest.fixture
def folders(done: tuple[Path, StudyOutcome], tmp_path: Path) -> Iterator[Path]:
    """Results folders that hold the study `small` and nothing more."""

    def made() -> Iterator[Path]:
        count = 0
        while True:
            folder = tmp_path / str(count)
            folder.mkdir()
            shutil.copy(done[0] / "optuna.db", folder)
            (folder / "trials").symlink_to(done[0] / "trials")
            count += 1
            yield folder

    return made()


def drive(folder: Path, config: StudyConfig, results: list[RunResult]) -> None:
    inputs = fingerprint_inputs(config.run)
    fingerprint = fingerprint_of(config, inputs)
    study = open_study(folder, config, fingerprint)
    import_trials(study, folder, config, fingerprint)
    Driver(study, Projection(config, folder, inputs), Silent()).run(Replayed(results))


def held(folder: Path) -> Held:
    """All that Optuna knows of the study, but moments."""
    study = load_study(folder, "once")
    trials = study.get_trials(deepcopy=False)
    return study.user_attrs, [
        (trial.number, trial.state, trial.params, trial.values, trial.user_attrs, trial.system_attrs, trial.constraints)
        for trial in trials
    ]


def killed_before_commit(count: int, work: Callable[[], object]) -> bool:
    """Whether a process that does the work came so far as to die before that commit of a change, 0 being the first."""
    child = os.fork()
    if child == 0:
        try:
            die_before_commit(count)
            work()
        except BaseException:  # noqa: BLE001 - the child must never go on as a second pytest
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, KILLED)
    return code == KILLED


def die_before_commit(count: int) -> None:
    left, changed = [count], set[Connection]()

    def note(connection: Connection, cursor: object, statement: str, *_: object) -> None:
        if not statement.lstrip().upper().startswith(("SELECT", "PRAGMA")):
            changed.add(connection)

    def die(connection: Connection) -> None:
        if connection in changed:
            changed.discard(connection)
            left[0] -= 1
            if left[0] < 0:
                os._exit(KILLED)

    event.listen(Engine, "before_cursor_execute", note)
    event.listen(Engine, "commit", die)


def test_killed_before_any_commit_the_study_is_the_undisturbed_one(
    once: StudyConfig, results: list[RunResult], folders: Iterator[Path]
) -> None:
    undisturbed = next(folders)
    drive(undisturbed, once, results)
    expected = held(undisturbed)
    assert [trial[1].name for trial in expected[1]].count("COMPLETE") == 3 + len(results)
    kills = 0
    for count in range(0, 10_000, STRIDE):
        folder = next(folders)
        if not killed_before_commit(count, lambda folder=folder: drive(folder, once, results)):  # type: ignore[misc]
            break
        drive(folder, once, results)
        assert held(folder) == expected, f"killed before commit {count}"
        kills += 1
    assert kills > 5


def test_what_a_driver_left_of_a_trial_before_it_told_its_end_is_not_another_ends(
    once: StudyConfig, results: list[RunResult], folders: Iterator[Path]
) -> None:
    """It failed for want of memory, and its driver died; the next one had more of it."""
    folder = next(folders)
    study = open_study(folder, once, fingerprint_of(once, fingerprint_inputs(once.run)))
    study.ask().set_user_attr("fault", "no memory")
    drive(folder, once, results)
    assert read_record(once, folder).trials[0].reason == ""


def test_what_is_told_at_once_is_there_whole_or_not_at_all(once: StudyConfig, folders: Iterator[Path]) -> None:
    folder = next(folders)
    study = open_study(folder, once, fingerprint_of(once, fingerprint_inputs(once.run)))
    trial, commits = study.ask(), list[Connection]()
    note = commits.append

    def tell() -> None:
        trial.set_user_attr("fault", "no memory")
        trial.set_constraint("bound", 1.0)
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)

    with pytest.raises(KeyError), at_once(study):
        tell()
        raise KeyError
    (left, *_) = load_study(folder, "once").get_trials(deepcopy=False)
    assert (left.state.name, left.user_attrs, left.constraints) == ("RUNNING", {}, {})
    event.listen(Engine, "commit", note)
    try:
        with at_once(study):
            tell()
    finally:
        event.remove(Engine, "commit", note)
    (ended, *_) = load_study(folder, "once").get_trials(deepcopy=False)
    assert (ended.state.name, ended.user_attrs, ended.constraints) == ("FAIL", {"fault": "no memory"}, {"bound": 1.0})
    assert len(commits) == 1
    study.ask().set_user_attr("anchor", "after it each is its own")
    assert load_study(folder, "once").trials[1].user_attrs["anchor"].startswith("after")


@pytest.mark.parametrize("fault", ["an anchor lost", "a warm start doubled"])
def test_the_comparison_can_fail(
    fault: str, once: StudyConfig, results: list[RunResult], folders: Iterator[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it was before: all anchors or none, and no look at what was imported."""
    undisturbed, folder = next(folders), next(folders)
    drive(undisturbed, once, results)
    fingerprint = fingerprint_of(once, fingerprint_inputs(once.run))
    study = open_study(folder, once, fingerprint)
    if fault == "an anchor lost":
        study.tell(study.ask().number, state=optuna.trial.TrialState.FAIL)
    else:
        import_trials(study, folder, once, fingerprint)
        study.add_trial(study.get_trials(deepcopy=False)[-1])
    drive(folder, once, results)
    assert held(folder) != held(undisturbed)
