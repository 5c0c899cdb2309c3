"""Runs on Ray: the numbers of one process, whoever is lost meanwhile; what was proposed can be proposed again."""

import contextlib
import importlib
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest
import yaml
from conftest import Silent
from tools import need

import study.engine.ray_address
from bench.workers import forgetful, replayed
from study.config import StudyConfig, check_config
from study.engine.drive import RAY_REMEDY, drive, executor_for, run_on
from study.engine.driver import StudyOutcome
from study.engine.executor import InProcess
from study.engine.ray_address import check_address
from study.engine.worker import Abandoned, Task
from study.runs.run import Run, State
from study.runs.storage import fingerprint_of, load_study, open_study
from study.tracking.sync import Projection
from wake2vec import ConfigError, RunConfig, TrialStopped, Wake2VecError, WorkFolder, fingerprint_inputs, read_result

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

    cluster._connect("local", SLOTS, gpus=2)
    yield cluster
    ray.shutdown()


def config_of(tree: dict[str, Any], gpus: float | None = 0, **changes: Any) -> StudyConfig:
    machine = tree.get("machine", {}) | {"gpus": gpus}
    return check_config({**tree, "machine": machine, "study": {**tree["study"], **BESIDE, **changes}})


@pytest.fixture(scope="module")
def alone(tree: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyOutcome]:
    """The study in this process."""
    folder = tmp_path_factory.mktemp("alone")
    return folder, drive(config_of(tree), folder, Silent())


def facts(folder: Path) -> dict[Any, Any]:
    """All that a study knows of its trials, and every number and row of every run: one dict, so that a failure names
    what differs."""
    trials = load_study(folder, "cluster").get_trials(deepcopy=False)
    told = {trial.number: (trial.state, trial.params, trial.values, trial.user_attrs) for trial in trials}
    works = [WorkFolder(path.parent) for path in sorted(folder.glob("trials/*/result.json"))]
    numbers = {(work.path.name, at): value for work in works for at, value in read_result(work).numbers.items()}
    rows = {(work.path.name, at): of.tobytes() for work in works for at, of in work.read_arrays("rows").items()}
    return {**told, **numbers, **rows}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def short_folder() -> str:
    """Of Ray, whose sockets' paths must not be long."""
    return tempfile.mkdtemp(prefix="ray-", dir="/tmp")


def drive_on(executor: Any, config: StudyConfig, folder: Path, watcher: Silent, stop: Any = lambda: False) -> Any:
    inputs = fingerprint_inputs(config.run)
    study = open_study(folder, config, fingerprint_of(config, inputs))
    return run_on(executor, study, Projection(config, folder, inputs), watcher, stop)


def warm(cluster: Any) -> None:
    """Have as many workers as there are slots: one takes longer to begin than such a run takes."""

    def load() -> None:
        importlib.import_module("study.engine.worker")
        time.sleep(2)  # so that no other serves two

    begin = cluster.ray.remote(num_cpus=1)(load)
    cluster.ray.get([begin.remote() for _ in range(SLOTS)])


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


def test_what_several_workers_were_given_can_be_proposed_again(
    cluster: Any, tree: dict[str, Any], tmp_path: Path
) -> None:
    config = config_of(tree, workers=SLOTS, order="free", trials=8)
    record = drive(config, tmp_path, Silent(), address="local").record
    others = len(record.trials) - 1
    assert replayed(record) == (others, others)
    assert any(trial.unseen for trial in record.trials)
    assert sum(replayed(forgetful(record))) < 2 * others  # the control


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
    """With as few workers as there can be."""
    tree = {**tree, "machine": {**tree.get("machine", {}), "checkpoint_every_s": 0}}
    config, watcher = config_of(tree), Disturbing(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(cluster, "RETRIES", 0)
        with pytest.raises(Wake2VecError, match=r"lost it 1 times .*; the same command continues, with fewer workers"):
            drive_on(executor_for(config, tmp_path, "local"), config, tmp_path, watcher)
    assert watcher.killed is not None
    drive(config, tmp_path, Silent(), address="local")
    assert facts(tmp_path) == facts(alone[0])


def test_all_of_a_local_ray_listens_on_the_loopback_address_alone(cluster: Any) -> None:
    """It takes work from whoever has its token; so nobody else is to reach it."""
    names, places = set[str](), set[str]()
    for one in (*psutil.Process().children(recursive=True), psutil.Process()):
        with contextlib.suppress(psutil.NoSuchProcess):  # a worker that has nothing to do may end now
            if one.name().startswith(("ray", "gcs")) or one.pid == os.getpid():
                names.add(one.name())
                listening = (at for at in one.net_connections() if at.status == psutil.CONN_LISTEN)
                places |= {at.laddr.ip.removeprefix("::ffff:") for at in listening}
    assert {"raylet", "gcs_server"} <= names
    assert places == {"127.0.0.1"}


def seen(task: Task, folder: Path, threads: int, line: Any, stop: Any) -> Any:
    """In place of training: what a run has of the machine."""
    time.sleep(0.5)
    return Abandoned(os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES", ""))


class Tasks:
    """Four, for whom an executor works."""

    deadline = None

    def __init__(self, config: RunConfig) -> None:
        self._left = [Task(name, config, name) for name in "dcba"]
        self.outcomes: list[Any] = []

    def next_task(self) -> Task | None:
        return self._left.pop() if self._left else None

    def ended(self, task: Task, outcome: Any) -> None:
        self.outcomes.append(outcome)

    def told(self, task: Task, event: object) -> None: ...

    def stop(self) -> bool:
        return False


@pytest.mark.parametrize(("gpus", "shared"), [(None, False), (0.5, True)])
def test_each_run_has_its_gpu_and_the_next_one_a_process_of_its_own(
    gpus: float | None, shared: bool, cluster: Any, tree: dict[str, Any], tmp_path: Path
) -> None:
    from ray import cloudpickle

    config = config_of(tree, gpus)

    def work() -> list[Any]:
        tasks = Tasks(config.run)
        with cluster.Cluster(tmp_path, 2, config.run, "local", work=seen) as executor:
            executor.work(tasks)
        return tasks.outcomes

    with pytest.raises(Wake2VecError, match=r"must have this version of the project: .*; install it on all machines"):
        work()
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the worker has it now
    try:
        ended = work()
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert len({one.step for one in ended}) == 4  # processes: torch keeps the GPU that it has seen first
    assert {one.reason for one in ended} == ({"0"} if shared else {"0", "1"})


@pytest.fixture
def ray_command(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Starts a cluster on this machine, and gives its address; it goes with the test."""
    need("ray")
    home, tool = tmp_path / "home", str(Path(sys.executable).with_name("ray"))
    home.mkdir()
    port = str(free_port())
    outer = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    environment = {**outer, "HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": short_folder()}

    def start(*before: str) -> str:
        if before:
            subprocess.run([tool, *before], env=environment, check=True, capture_output=True)
        words = ["start", "--head", f"--port={port}", "--include-dashboard=false", "--num-cpus=1"]
        subprocess.run([tool, *words], env=environment, check=True, capture_output=True)
        return f"127.0.0.1:{port}"

    yield start
    for one in psutil.process_iter(["environ"]):
        if (one.info["environ"] or {}).get("RAY_TMPDIR") == environment["RAY_TMPDIR"]:
            one.kill()
    shutil.rmtree(environment["RAY_TMPDIR"], ignore_errors=True)


def test_a_cluster_that_asks_for_no_token_is_refused(ray_command: Callable[..., str]) -> None:
    """As Ray starts where there is no token: it says so and goes on."""
    with pytest.raises(ConfigError, match=r"a cluster must ask for a token: the one at .* `ray get-auth-token"):
        check_address(ray_command())


def test_with_the_token_that_is_advised_it_is_taken(
    ray_command: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = ray_command("get-auth-token", "--generate")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "home" / ".ray" / "auth_token"))
    check_address(address)


def test_a_study_runs_on_a_cluster_that_was_started_as_the_page_says(
    ray_command: Callable[..., str], tree: dict[str, Any], tmp_path: Path
) -> None:
    profile = tmp_path / "own.yaml"
    profile.write_text(yaml.safe_dump({**tree, "study": {**tree["study"], **BESIDE, "trials": 1}}))
    address = ray_command("get-auth-token", "--generate")
    command = [sys.executable, "-m", "study", "run", str(profile), "--folder", str(tmp_path / "results")]
    alien = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    own = {**alien, "RAY_AUTH_TOKEN_PATH": str(tmp_path / "home" / ".ray" / "auth_token")}
    other, none = {**alien, "RAY_AUTH_TOKEN": "0" * 64}, {**alien, "HOME": str(tmp_path)}
    for environment, code in ((other, 2), (none, 2), (own, 0)):
        told = subprocess.run(
            [*command, "--address", address], env=environment, capture_output=True, text=True, check=False
        )
        assert told.returncode == code, told.stdout + told.stderr
        if code:
            assert told.stderr.count("\n") == 1 and "; copy ~/.ray/auth_token from a machine" in told.stderr
        assert (tmp_path / "results" / "optuna.db").exists() == (code == 0)


def test_after_the_end_of_ray_the_same_command_continues(
    cluster: Any,
    tree: dict[str, Any],
    alone: tuple[Path, StudyOutcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone(*of: object, **how: object) -> None:
        raise cluster.RayError("gone")  # Ray itself asks for minutes

    with monkeypatch.context() as patch:
        patch.setattr("ray.wait", gone)
        with pytest.raises(Wake2VecError, match=r"Ray must live as long as its study: gone; start it again"):
            drive(config_of(tree), tmp_path, Silent(), address="local")
    drive(config_of(tree), tmp_path, Silent(), address="local")
    assert facts(tmp_path) == facts(alone[0])


def test_where_no_cluster_answers_nothing_is_made_and_another_address_is_taken(
    cluster: Any, tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tree, trials=1)
    monkeypatch.setattr(study.engine.ray_address, "SECONDS_TO_ANSWER", 5.0)
    with pytest.raises(ConfigError, match=r"that runs: 127\.0\.0\.1:1: no answer in 5 s; start it, or give another"):
        drive(config, tmp_path / "a", Silent(), address="127.0.0.1:1")
    assert not (tmp_path / "a").exists()
    assert drive(config, tmp_path / "a", Silent(), address="local").added == 1


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
    tree |= {"train": {**tree["train"], "evaluate_every_steps": 250}}
    long = {
        "space": {**tree["study"]["space"], "train.steps": {"low": 450, "high": 500}},
        "baseline": {**tree["study"]["baseline"], "train.steps": 500},
    }
    config = config_of(
        tree, trials=SLOTS + 1, workers=SLOTS, order="free", sampler="random", stopping=None, bounds=[], **long
    )

    class Counting(Silent):
        """Knows which runs are open and have told of a step: a worker may need longer to begin than a run to end."""

        def __init__(self) -> None:
            super().__init__()
            self.open: set[str] = set()

        def progressed(self, name: str, record: Any) -> None:
            self.open.add(name)

        def run_ended(self, run: Run) -> None:
            self.open.discard(run.label)

    watcher = Counting()
    warm(cluster)
    with pytest.raises(TrialStopped):
        drive(config, tmp_path, watcher, lambda: len(watcher.open) >= SLOTS, address="local")
    works = [work.parent for work in tmp_path.glob("trials/*/progress.jsonl")]
    open_ = [work for work in works if not (work / "result.json").exists()]
    assert len(open_) > 1 and all(list(work.glob("checkpoints/*")) for work in open_)
    record = drive(config, tmp_path, Silent(), address="local").record
    whole = drive(config, tmp_path / "whole", Silent(), address="local").record
    assert [trial.values for trial in record.trials] == [trial.values for trial in whole.trials]


@pytest.mark.needs("ray")
@pytest.mark.parametrize("address", ["ray://a:1", "", "http://a:1", "a", "a:1 b", "--head"])
def test_what_is_no_address_is_refused_before_anything_is_made(
    address: str, cluster: Any, tree: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"--address must be `local`, `auto` or host:port: .*; give `auto` on a mach"):
        drive(config_of(tree), tmp_path / "a", Silent(), address=address)
    assert not (tmp_path / "a").exists()


def test_a_ray_without_tokens_is_refused_and_taken_when_that_is_unset(
    cluster: Any, tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        with pytest.raises(ConfigError, match="Ray must ask for a token: RAY_AUTH_MODE is disabled"):
            executor_for(config_of(tree), tmp_path / "a", "local")
    assert executor_for(config_of(tree), tmp_path / "a", "local")
    assert not (tmp_path / "a").exists()


def test_nothing_imports_ray_but_who_asks_for_it() -> None:
    modules = "study.cli.main, study.engine.drive, study.engine.processes, study.report.page"
    code = f"import sys, {modules}; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
