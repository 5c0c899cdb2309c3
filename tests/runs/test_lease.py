"""Two drivers: the second one is kept out, and where it takes over, the first one ends before it changes anything."""

import os
import signal
import time
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from optuna.trial import TrialState

from bench.faults.studies import code_of, fork
from study.config import StudyConfig
from study.runs.faults import Exit, GoneError, InUseError
from study.runs.lease import driver_of, only_driver
from study.runs.storage import load_study, open_study
from study.tracking import fenced
from study.tracking.database import open_client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mlruns").mkdir()
    return tmp_path / "mlruns"


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


def drive(folder: Path, config: StudyConfig, is_open: Path, go_on: Path) -> None:
    """Ask for a trial, wait, and tell its end."""
    with only_driver(folder, "small") as lease:
        study = open_study(folder, config, {"a": 1}, lease)
        trial = study.ask()
        is_open.touch()
        wait_for(go_on)
        study.tell(trial.number, state=TrialState.FAIL)


@pytest.mark.parametrize("is_asleep", [False, True])
@pytest.mark.parametrize("is_lock_there", [True, False])
def test_a_second_driver_is_kept_out_by_a_living_one(
    is_asleep: bool, is_lock_there: bool, folder: Path, study_config: StudyConfig, tmp_path: Path
) -> None:
    first = fork(lambda: drive(folder, study_config, tmp_path / "open", tmp_path / "go on"), folder)
    wait_for(tmp_path / "open")
    if is_asleep:
        os.kill(first, signal.SIGSTOP)
        os.waitpid(first, os.WUNTRACED)
    if not is_lock_there:
        (folder / ".small.lock").unlink()
    with pytest.raises(InUseError) as refused, only_driver(folder, "small"):
        pass
    said = str(refused.value)
    assert said.startswith(f"the study small is being driven by process {first}")
    assert (f"`kill -CONT {first}` wakes it" in said) == is_asleep
    assert ("whose lock was deleted" in said) != is_lock_there
    (tmp_path / "go on").touch()
    os.kill(first, signal.SIGCONT)  # as it said
    assert code_of(first) == 0
    with only_driver(folder, "small"):
        assert driver_of(folder, "small") == f"process {os.getpid()}"
    assert driver_of(folder, "small") is None


@pytest.mark.parametrize("has_ended", [False, True])
def test_one_that_slept_while_another_took_over_ends_and_has_told_nothing(
    has_ended: bool, folder: Path, study_config: StudyConfig, tmp_path: Path
) -> None:
    """As on another machine, which sees no process of the first one's, and has no lock of it."""
    first = fork(lambda: drive(folder, study_config, tmp_path / "open", tmp_path / "go on"), folder)
    wait_for(tmp_path / "open")
    os.kill(first, signal.SIGSTOP)
    (folder / ".small.lock").unlink()
    (folder / ".small.driver").unlink()
    (tmp_path / "go on").touch()
    with only_driver(folder, "small") as lease:
        study = open_study(folder, study_config, {"a": 1}, lease)
        if not has_ended:
            os.kill(first, signal.SIGCONT)
            assert code_of(first) == Exit.IN_USE
            assert [trial.state for trial in study.get_trials()][:1] == [TrialState.RUNNING]
        study.tell(0, state=TrialState.PRUNED)
    if has_ended:
        os.kill(first, signal.SIGCONT)
        assert code_of(first) == Exit.IN_USE
    assert driver_of(folder, "small") is None
    assert load_study(folder, "small").trials[0].state is TrialState.PRUNED


def test_a_note_that_was_deleted_is_written_again_and_a_folder_that_is_another_is_none(folder: Path) -> None:
    with only_driver(folder, "small") as lease:
        (folder / ".small.driver").unlink()
        lease.check()
        assert driver_of(folder, "small") == f"process {os.getpid()}"
        folder.rename(folder.with_name("away"))
        with pytest.raises(GoneError, match="put it back"):
            lease.check()
        folder.mkdir()
        with pytest.raises(GoneError, match="put it back"):
            lease.check()


def test_who_was_taken_over_from_writes_nothing_into_mlflow(folder: Path) -> None:
    client = open_client(folder)
    experiment = client.create_experiment("mine")

    def runs() -> int:
        return len(client.search_runs([experiment]))

    def is_taken_over() -> None:
        raise InUseError("another process drives the study")

    with fenced(folder, is_taken_over), pytest.raises(MlflowException, match="drives the study"):
        client.create_run(experiment)
    assert runs() == 0
    with fenced(folder.parent, is_taken_over):  # the control: another folder's fence
        client.create_run(experiment)
    client.create_run(experiment)
    assert runs() == 2
