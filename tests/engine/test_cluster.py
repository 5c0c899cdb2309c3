"""Runs on Ray: the numbers of one process, whoever is lost meanwhile; what was proposed can be proposed again."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest
from conftest import Silent
from tools import need

from study.config import StudyConfig, check_config
from study.engine.driver import RAY_REMEDY, Driver, StudyOutcome, drive, executor_for
from study.engine.executor import InProcess
from study.runs.record import StudyRecord
from study.runs.run import Run, State
from study.runs.storage import fingerprint_of, load_study, open_study
from study.search.proposal import propose
from study.search.stopping import Stopper
from study.tracking.sync import Projection
from wake2vec import ConfigError, TrialStopped, Wake2VecError, WorkFolder, fingerprint_inputs, read_result

BESIDE = {
    "name": "cluster",
    "trials": 6,
    "startup_trials": 2,
    "bounds": ["validation.loss <= baseline"],
    "stopping": {"grace_steps": 3, "keep_share": None, "stuck_nats": 0.1, "diverged_nats": None},
}
SLOTS = 3
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """One Ray for all tests here: its start takes longer than a study."""
    need("ray")
    os.environ |= {"RAY_raylet_start_wait_time_s": "180", "RAY_agent_register_timeout_ms": "180000"}
    import ray

    from study.engine import cluster

    cluster._connect("local", SLOTS)
    yield cluster
    ray.shutdown()


def config_of(tree: dict[str, Any], **changes: Any) -> StudyConfig:
    return check_config({**tree, "study": {**tree["study"], **BESIDE, **changes}})


@pytest.fixture(scope="module")
def alone(tree: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyOutcome]:
    """The study in this process."""
    folder = tmp_path_factory.mktemp("alone")
    return folder, drive(config_of(tree), folder, Silent())


def facts(folder: Path) -> list[Any]:
    """All that a study knows of its trials, and every number and row of every run."""
    trials = load_study(folder, "cluster").get_trials(deepcopy=False)
    told = [(trial.number, trial.state, trial.params, trial.values, trial.user_attrs) for trial in trials]
    works = [WorkFolder(path.parent) for path in sorted(folder.glob("trials/*/result.json"))]
    rows = [{name: rows.tobytes() for name, rows in work.read_arrays("rows").items()} for work in works]
    return [told, [(work.path.name, read_result(work).numbers) for work in works], rows]


def drive_on(executor: Any, config: StudyConfig, folder: Path, watcher: Silent, stop: Any = lambda: False) -> Any:
    inputs = fingerprint_inputs(config.run)
    study = open_study(folder, config, fingerprint_of(config, inputs))
    with executor:
        return Driver(study, Projection(config, folder, inputs), watcher, stop).run(executor)


def is_worker(words: list[str] | None) -> bool:
    """As Ray names a worker that is in `serve`; other programs of the machine serve too."""
    return bool(words) and "".join(words or []).startswith("ray::serve")


class Disturbing(Silent):
    """Kills the worker of the first run but the baseline's at its second record, before the driver hears of it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.killed: str | None = None
        self.moved: list[tuple[str, bool]] = []

    def run_started(self, run: Run, run_config: Any, ended: int) -> None:
        super().run_started(run, run_config, ended)
        if self.killed is None and not run.is_baseline:
            self.killed = run.label
            Thread(target=self._kill, args=(self.folder / "trials" / run.digest,), daemon=True).start()

    def _kill(self, work: Path) -> None:
        progress = work / "progress.jsonl"
        while not progress.exists() or progress.read_bytes().count(b"\n") < 2:
            time.sleep(0.002)
        for one in psutil.process_iter(["cmdline"]):
            if is_worker(one.info["cmdline"]):
                one.send_signal(signal.SIGKILL)

    def restarted(self, name: str, from_checkpoint: bool) -> None:
        self.moved.append((name, from_checkpoint))


def test_one_slot_gives_the_study_that_one_process_gives(
    cluster: Any, tree: dict[str, Any], alone: tuple[Path, StudyOutcome], tmp_path: Path
) -> None:
    config = config_of(tree)
    outcome = drive(config, tmp_path, Silent(), address="local")
    assert facts(tmp_path) == facts(alone[0])
    assert outcome.choice.trial == alone[1].choice.trial
    assert any(trial.state is State.STOPPED for trial in outcome.record.trials)  # verdicts, too
    other = config_of(tree, seed=8)
    drive(other, tmp_path / "other", Silent(), address="local")
    assert facts(tmp_path / "other") != facts(alone[0])  # the control


def test_without_a_shared_folder_the_files_come_with_the_outcome(
    cluster: Any, tree: dict[str, Any], alone: tuple[Path, StudyOutcome], tmp_path: Path
) -> None:
    config = config_of(tree)
    executor = cluster.Cluster(tmp_path, 1, config.run, "local")
    executor._token = tmp_path / "elsewhere"  # no worker finds it beside the results
    drive_on(executor, config, tmp_path, Silent())
    assert facts(tmp_path) == facts(alone[0])
    assert not list(tmp_path.glob("trials/*/*.lock"))


def replayed(record: StudyRecord, config: StudyConfig) -> int:
    """How many proposals and verdicts are those that the study database leads to."""
    equal = 0
    for trial in record.trials[1:]:
        equal += propose(record, trial.number) == trial.params
        steps = record.steps(trial)
        peers = [(record.steps(peer), record.evaluations(peer)) for peer in record.seen_by(trial.number).trained]
        stopper = Stopper(config, steps, peers)
        verdicts = [stopper.verdict(one) for one in WorkFolder(record.folder / "trials" / trial.digest).progress()]
        equal += next((verdict for verdict in verdicts if verdict), "") == trial.reason
    return equal


def test_what_several_workers_were_given_can_be_proposed_again(
    cluster: Any, tree: dict[str, Any], tmp_path: Path
) -> None:
    config = config_of(tree, workers=SLOTS, order="free", trials=8)
    record = drive(config, tmp_path, Silent(), address="local").record
    assert replayed(record, config) == 2 * (len(record.trials) - 1)
    assert any(trial.unseen for trial in record.trials)
    seen_all = [Run(**{**vars(trial), "unseen": ()}) for trial in record.trials]
    forgotten = StudyRecord(config, tmp_path, seen_all, record.inputs)
    assert replayed(forgotten, config) < 2 * (len(record.trials) - 1)  # the control


def test_a_run_whose_worker_is_lost_goes_on_from_its_checkpoint(
    cluster: Any, tree: dict[str, Any], alone: tuple[Path, StudyOutcome], tmp_path: Path
) -> None:
    tree = {**tree, "machine": {**tree.get("machine", {}), "checkpoint_every_s": 0}}
    config, watcher = config_of(tree), Disturbing(tmp_path)
    drive_on(executor_for(config, tmp_path, "local"), config, tmp_path, watcher)
    assert watcher.killed is not None and watcher.moved == [(watcher.killed, True)]
    assert facts(tmp_path) == facts(alone[0])


def test_after_a_run_that_lost_its_worker_too_often_the_same_command_continues(
    cluster: Any,
    tree: dict[str, Any],
    alone: tuple[Path, StudyOutcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With as few workers as there can be, and by another name of the address."""
    tree = {**tree, "machine": {**tree.get("machine", {}), "checkpoint_every_s": 0}}
    config, watcher = config_of(tree), Disturbing(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(cluster, "RETRIES", 0)
        with pytest.raises(Wake2VecError, match=r"lost it 1 times .*; the same command continues, with fewer workers"):
            drive_on(executor_for(config, tmp_path, "local"), config, tmp_path, watcher)
    assert watcher.killed is not None
    drive(config, tmp_path, Silent(), address="auto")
    assert facts(tmp_path) == facts(alone[0])


def test_where_no_cluster_answers_another_is_given(
    cluster: Any, tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(**options: object) -> None:
        raise ConnectionError("nobody answers")  # Ray itself asks for minutes

    config = config_of(tree, trials=1)
    with monkeypatch.context() as patch:
        patch.setattr("ray.is_initialized", lambda: False)
        patch.setattr("ray.init", nobody)
        with pytest.raises(ConfigError, match=r"that runs: 10\.0\.0\.1:1: nobody answers; start it, or give another"):
            drive(config, tmp_path, Silent(), address="10.0.0.1:1")
    assert drive(config, tmp_path, Silent(), address="auto").added == 1


def test_without_ray_a_study_runs_here_and_what_brings_ray_is_named(
    tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=f"isn't installed: run `{RAY_REMEDY}`, or leave --address out"):
        drive(config_of(tree), tmp_path, Silent(), address="local")
    assert isinstance(executor_for(config_of(tree), tmp_path, None), InProcess)
    target = RAY_REMEDY.removeprefix("make ")
    asked = re.search(rf"^{re.escape(target)}:.*\n\t@.*scripts/setup\.py (\w+)$", (ROOT / "Makefile").read_text(), re.M)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert asked is not None and any(line.startswith("ray") for line in extras[asked[1]])


def test_a_stop_reaches_all_workers_and_the_same_call_goes_on(
    cluster: Any, tree: dict[str, Any], tmp_path: Path
) -> None:
    tree = {**tree, "machine": {**tree.get("machine", {}), "checkpoint_every_s": 3600}}
    tree |= {"train": {**tree["train"], "evaluate_every_steps": 150}}
    long = {  # no run may be over before the driver has heard of all
        "space": {**tree["study"]["space"], "train.steps": {"low": 250, "high": 300}},
        "baseline": {**tree["study"]["baseline"], "train.steps": 300},
    }
    config = config_of(tree, trials=4, workers=SLOTS, order="free", sampler="random", stopping=None, bounds=[], **long)
    begun: set[str] = set()

    class Counting(Silent):
        def progressed(self, name: str, record: Any) -> None:
            begun.add(name)

    with pytest.raises(TrialStopped):
        drive(config, tmp_path, Counting(), lambda: len(begun) >= SLOTS, address="local")
    open_ = [
        work.parent for work in tmp_path.glob("trials/*/progress.jsonl") if not (work.parent / "result.json").exists()
    ]
    assert len(open_) == SLOTS and all(list(work.glob("checkpoints/*")) for work in open_)
    record = drive(config, tmp_path, Silent(), address="local").record
    whole = drive(config, tmp_path / "whole", Silent(), address="local").record
    assert [trial.values for trial in record.trials] == [trial.values for trial in whole.trials]


@pytest.mark.needs("ray")
def test_what_cant_be_used_is_refused_before_anything_is_made(
    tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tree)
    with pytest.raises(ConfigError, match=r"must run on a machine of the cluster: ray://a:1 .* --address auto"):
        drive(config, tmp_path / "a", Silent(), address="ray://a:1")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(ConfigError, match="a cluster must ask for a token: RAY_AUTH_MODE is disabled"):
        drive(config, tmp_path / "a", Silent(), address="10.0.0.1:6379")
    assert not (tmp_path / "a").exists()
    monkeypatch.delenv("RAY_AUTH_MODE")
    assert executor_for(config, tmp_path / "a", "10.0.0.1:6379") is not None


def test_nothing_imports_ray_but_who_asks_for_it() -> None:
    modules = "study.cli.main, study.engine.driver, study.engine.processes, study.report.page"
    code = f"import sys, {modules}; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
