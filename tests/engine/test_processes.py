"""Runs side by side in processes of their own: the same numbers as one after the other, whoever dies meanwhile."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, get_args

import psutil
import pytest
import torch
import yaml
from conftest import Silent
from optuna.trial import TrialState

import study.engine.drive
import study.engine.driver
import study.engine.worker
from study.config import StudyConfig, check_config
from study.engine.drive import drive
from study.engine.driver import Driver, StudyOutcome
from study.engine.executor import InProcess
from study.engine.fork_server import Pipe, load_ahead, start_process
from study.engine.processes import Processes
from study.engine.worker import (
    EVENTS,
    Event,
    Outcome,
    Restarted,
    Sample,
    Suspended,
    Task,
    ThreadsChosen,
    Worker,
    put_together,
    taken_apart,
)
from study.runs.run import Run, State
from study.runs.storage import fingerprint_of, load_study, open_study
from study.search.proposal import propose
from study.settings import ChoiceSettings
from study.tracking.sync import Projection
from wake2vec import (
    CorpusError,
    Progress,
    RunConfig,
    Wake2VecError,
    WorkFolder,
    fingerprint_inputs,
    read_result,
    use_threads,
)

Numbers = dict[str, Any]
BESIDE = {
    "name": "beside",
    "workers": 2,
    "trials": 6,
    "startup_trials": 3,
    "seeds": 2,
    "finalists": 1,
    "anchors": {"short": {"train.steps": 4}, "library default": {"init.name": "library_default"}},
    "bounds": ["validation.loss <= baseline"],
    "stopping": {"grace_steps": 3},
}


@pytest.fixture(scope="module")
def beside(tree: dict[str, Any]) -> StudyConfig:
    return check_config({**tree, "study": {**tree["study"], **BESIDE}})


@pytest.fixture(scope="module")
def undisturbed(beside: StudyConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyOutcome]:
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, drive(beside, folder, Silent())


def facts(folder: Path) -> list[Any]:
    """All that a study knows of its trials, and every number of every run."""
    trials = load_study(folder, "beside").get_trials(deepcopy=False)
    told = [(trial.number, trial.state, trial.params, trial.values, trial.user_attrs) for trial in trials]
    results = sorted(folder.glob("trials/*/result.json"))
    return [told, [(path.parent.name, read_result(WorkFolder(path.parent)).numbers) for path in results]]


def a_worker() -> BaseProcess:
    return next(child for child in multiprocessing.active_children() if child.name != "mlflow")


def records(folder: Path) -> dict[Path, int]:
    return {path: path.read_text().count("\n") for path in folder.glob("trials/*/progress.jsonl")}


def test_a_run_in_a_process_of_its_own_has_the_numbers_that_it_has_in_this_one(
    tree: dict[str, Any], undisturbed: tuple[Path, StudyOutcome], tmp_path: Path
) -> None:
    """A short anchor ends before the baseline: its bound is measured from the baseline all the same."""
    folder, outcome = undisturbed
    alone = check_config({**tree, "study": {**tree["study"], **BESIDE, "workers": 1}})
    one_by_one = drive(alone, tmp_path, Silent())
    assert [trial.violations for trial in outcome.trials[:2]] == [trial.violations for trial in one_by_one.trials[:2]]
    assert outcome.trials[1].violations != (0.0,)
    ours, theirs = dict(facts(folder)[1]), dict(facts(tmp_path)[1])
    shared = ours.keys() & theirs.keys()
    assert len(shared) >= 4  # baseline, anchor, reference, the baseline's repeat
    assert all(ours[digest] == theirs[digest] for digest in shared)
    assert {trial.state for trial in load_study(folder, "beside").trials} <= {TrialState.COMPLETE, TrialState.PRUNED}


def test_what_a_trial_is_proposed_from_does_not_hang_on_when_those_beside_it_end(
    beside: StudyConfig, undisturbed: tuple[Path, StudyOutcome]
) -> None:
    record = undisturbed[1].record
    last = record.trained[-1]
    number = last.number + 1
    before = [trial for trial in record.trials if trial is not last]
    running = replace(record, trials=[*before, Run(State.RUNNING, last.number, last.params)])
    assert propose(record, number) == propose(running, number)
    # Controls: what it runs beside is pending, and what ended before is seen.
    elsewhere = {**last.params, "init.noise_scale": 0.06, "train.lr": 9e-3}
    other = replace(record, trials=[*before, Run(State.RUNNING, last.number, elsewhere)])
    assert propose(other, number) != propose(record, number)
    worse = [replace(trial, values=(9.0, *trial.values[1:])) if trial.values else trial for trial in running.trials]
    assert propose(replace(record, trials=worse), number) != propose(record, number)


@pytest.mark.parametrize(("workers", "threads"), [(2, 2), (8, 1)])
def test_a_proposal_is_made_with_the_cores_of_the_worker_that_waits_for_it(
    tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, threads: int
) -> None:
    """With more threads than cores are free it takes a multiple of its time."""

    class AskedError(Exception):
        """The driver has come to a proposal."""

    def asked(*of: object) -> None:
        raise AskedError(torch.get_num_threads())

    monkeypatch.setattr(study.engine.worker, "AVAILABLE_THREADS", 4)
    monkeypatch.setattr(study.engine.driver, "propose", asked)
    config, before = check_config({**tree, "study": {**tree["study"], "workers": workers}}), torch.get_num_threads()
    try:
        with pytest.raises(AskedError) as told:
            drive(config, tmp_path, Silent())
    finally:
        use_threads(before)
    assert told.value.args == (threads,)


def test_the_text_is_cut_into_tokens_before_a_worker_begins(
    beside: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would do it again."""

    class BegunError(Exception):
        """Workers would begin."""

    def begun(*of: object) -> None:
        raise BegunError(*(path.suffix for path in (tmp_path / "cache").iterdir()))

    monkeypatch.setattr(study.engine.drive, "run_on", begun)
    with pytest.raises(BegunError) as told:
        drive(beside, tmp_path, Silent())
    assert told.value.args == (".safetensors",)


def test_an_aimed_trial_waits_for_all_before_it(beside: StudyConfig) -> None:
    aiming = beside.study.model_copy(
        update={"aimed_trials": 2, "choice": ChoiceSettings.model_validate({"bars": ["validation.loss <= baseline"]})}
    )
    assert [aiming.last_seen_by(number) for number in range(6)] == [-2, -1, 0, 1, 3, 4]
    assert [beside.study.last_seen_by(number) for number in range(6)] == [-2, -1, 0, 1, 2, 3]


def test_whoever_is_killed_the_study_is_the_one_that_was_left_in_peace(
    beside: StudyConfig, undisturbed: tuple[Path, StudyOutcome], tmp_path: Path
) -> None:
    folder = tmp_path / "mlruns"
    profile = tmp_path / "beside.yaml"
    profile.write_text(yaml.safe_dump({"study": beside.study.model_dump(), **beside.run.model_dump()}))
    command = [sys.executable, "-m", "study", "run", str(profile), "--folder", str(folder)]

    def begun() -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )

    def started() -> tuple[subprocess.Popen[str], list[psutil.Process]]:
        """A driver, and its two workers and who tells MLflow, when there are new records of both."""
        driver = begun()
        before = records(folder)
        while driver.poll() is None and sum(count > before.get(path, 0) for path, count in records(folder).items()) < 2:
            time.sleep(0.02)
        assert driver.poll() is None, driver.communicate()[0]
        return driver, [worker for server in psutil.Process(driver.pid).children() for worker in server.children()]

    driver, workers = started()
    assert len(workers) == 3
    driver.kill()
    driver.communicate()
    assert psutil.wait_procs(workers, timeout=60)[1] == [], "workers must end with their driver"

    def interrupted(driver: subprocess.Popen[str]) -> None:
        os.killpg(driver.pid, signal.SIGINT)  # all of its processes, as a terminal does
        printed, _ = driver.communicate()
        assert driver.returncode == 130, printed
        assert "Stopped: you asked for it" in printed
        assert "Traceback" not in printed
        assert "leaked" not in printed

    driver, workers = started()
    interrupted(driver)
    assert not any(worker.is_running() for worker in workers)

    driver = begun()
    while "vocabulary" not in driver.stdout.readline():  # type: ignore[union-attr]
        pass
    interrupted(driver)  # while its workers are made

    with pytest.raises(Wake2VecError, match=r"one ended in .* with code -9"):
        drive(beside, folder, Silent(lambda record: a_worker().kill()))
    assert multiprocessing.active_children() == []

    alone = beside.model_copy(update={"study": beside.study.model_copy(update={"workers": 1})})
    outcome = drive(alone, Path(shutil.copytree(folder, tmp_path / "less memory")), Silent())
    assert len(outcome.record.trials) == beside.study.trials and not outcome.record.running
    drive(beside, folder, Silent())
    assert facts(folder) == facts(undisturbed[0])


def test_what_ends_while_the_baseline_is_left_waits_for_it(
    beside: StudyConfig, undisturbed: tuple[Path, StudyOutcome], tmp_path: Path
) -> None:
    """Its bound is measured from the baseline: told without it, it would be kept by all."""
    inputs = fingerprint_inputs(beside.run)
    study = open_study(tmp_path, beside, fingerprint_of(beside, inputs))
    driver = Driver(study, Projection(beside, tmp_path, inputs), Silent())
    baseline, short = driver.next_task(), driver.next_task()
    assert baseline is not None and short is not None
    driver.ended(baseline, Suspended())
    driver.ended(short, Worker(tmp_path, 1).run(short, lambda event: driver.told(short, event), lambda: False))
    assert [trial.state for trial in load_study(tmp_path, "beside").trials[:2]] == [TrialState.RUNNING] * 2
    drive(beside, tmp_path, Silent())
    assert facts(tmp_path) == facts(undisturbed[0])


class OneTask:
    """A scheduler with one task, which remembers how often it was asked and what came of it."""

    def __init__(self, task: Task, deadline: float | None = None) -> None:
        self.deadline = deadline
        self._tasks = [task]
        self.asked = 0
        self.outcomes: list[Outcome] = []

    def next_task(self) -> Task | None:
        self.asked += 1
        return self._tasks.pop() if self._tasks else None

    def told(self, task: Task, event: object) -> None:
        return

    def ended(self, task: Task, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def stop(self) -> bool:
        return False


def test_a_fault_in_a_worker_is_raised_where_the_driver_is(vary: Callable[..., RunConfig], tmp_path: Path) -> None:
    nowhere = Task("trial 0", vary(corpus={"path": str(tmp_path / "nowhere.txt")}), "0" * 16)
    unfit = Task("trial 0", vary(train={"lr": 1e30}), "1" * 16)
    said, failed = [], []
    for executor in (InProcess(tmp_path / "here"), Processes(tmp_path / "there", 2)):
        with executor, pytest.raises(CorpusError) as fault:
            executor.work(OneTask(nowhere))
        said.append(str(fault.value))
    for executor in (InProcess(tmp_path / "here"), Processes(tmp_path / "there", 2)):
        scheduler = OneTask(unfit)
        with executor:
            executor.work(scheduler)
        failed += [repr(outcome) for outcome in scheduler.outcomes]
    assert said[0] == said[1]
    assert len(failed) == 2
    assert failed[0] == failed[1]
    assert "losses and gradients must be finite" in failed[0]


def test_a_worker_leaves_a_checkpoint_when_the_time_is_over(vary: Callable[..., RunConfig], tmp_path: Path) -> None:
    endless = vary(train={"steps": 10**6, "evaluate_every_steps": 10**6})
    scheduler = OneTask(Task("trial 0", endless, "2" * 16), time.monotonic() + 5)
    with Processes(tmp_path, 2) as executor:
        executor.work(scheduler)
    assert scheduler.outcomes == [Suspended()]
    assert list(tmp_path.glob("trials/*/checkpoints/step-*"))
    assert scheduler.asked == 4, "once for each idle worker at the start, and when a run has ended"


def test_a_process_has_the_environment_of_its_start_not_of_the_fork_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    load_ahead()
    monkeypatch.setenv("WAKE2VEC_SET_SINCE", "here")
    process, pipe = start_process(_tell_environment)
    assert pipe.poll(60) and pipe.recv() == "here"
    process.join()


def _tell_environment(pipe: Pipe) -> None:
    pipe.send(os.environ.get("WAKE2VEC_SET_SINCE"))


def test_what_a_worker_tells_is_the_same_when_it_was_taken_apart() -> None:
    record = Progress(3, {"training.loss": 4.5, "validation.loss": None}, 1.5)
    told: list[Event] = [record, Sample(record), ThreadsChosen(2, {1: 0.5, 2: 0.25}), Restarted(from_checkpoint=True)]
    assert {type(event) for event in told} == set(EVENTS.values()) == set(get_args(Event))
    assert [put_together(taken_apart(event)) for event in told] == told
    assert all(type(part) in (list, dict, int, float, str, bool) for event in told for part in taken_apart(event))
    assert put_together(taken_apart(Sample(record))) != record  # the control
