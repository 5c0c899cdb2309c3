"""What befalls the world in mid-study: said in one line, nothing lost, nothing doubled, and MLflow ends no trial.

Each kind strikes in the second step of a study's second trial. Then what the line advises is done, the same command is
given again, and the folder must hold what that of an undisturbed study holds.
"""

import contextlib
import errno
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import psutil
import pytest
import yaml
from conftest import Silent
from typer.testing import CliRunner, Result

import study.runs.database
import study.runs.sqlite
import study.tracking.sync
from bench.faults.rights import as_any_user
from study.cli.main import app
from study.cli.progress import Bars
from study.config import StudyConfig, check_config
from study.engine.drive import drive
from study.runs.faults import Exit
from study.runs.reader import read_record
from study.runs.run import Run
from study.tracking import relocate, tracking_uri
from wake2vec import Progress, WorkFolder

# MLflow's own, when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
HOLDER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute(sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""


class World:
    """A results folder, and what befalls it."""

    def __init__(self, folder: Path, undo: contextlib.ExitStack) -> None:
        self.folder = folder
        self.optuna, self.mlflow = folder / "optuna.db", folder / "mlflow.db"
        self.undo = undo
        """What is to be done before the command is given again."""

    def hold(self, path: Path, how: str) -> None:
        """Another program has a lock, and sleeps."""
        words = [sys.executable, "-c", HOLDER, str(path), how]
        holder = self.undo.enter_context(
            subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        self.undo.callback(holder.kill)
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGSTOP)

    def set_mode(self, path: Path, mode: int) -> None:
        before = path.stat().st_mode
        self.undo.callback(lambda: path.chmod(before))
        path.chmod(mode)

    def move(self, path: Path) -> None:
        """Away; it is put back."""
        away = path.with_name(f"{path.name}-away")
        path.rename(away)
        self.undo.callback(lambda: (shutil.rmtree(path, ignore_errors=True), away.rename(path)))

    def let_nothing_grow(self) -> None:
        """As on a disk that is full: the smallest file that a study makes larger doesn't get larger."""
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.undo.callback(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, limits[1]))

    def let_the_disk_fail(self) -> None:
        """Nothing reaches it."""

        def fail(descriptor: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        patch = pytest.MonkeyPatch()
        self.undo.callback(patch.undo)
        patch.setattr(os, "fsync", fail)

    def open_trial(self) -> Path:
        (path,) = (path for path in (self.folder / "trials").iterdir() if not (path / "result.json").exists())
        return path

    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(tracking_uri(self.folder))

    def run_of(self, name: str) -> str:
        with sqlite3.connect(self.mlflow) as database:
            return str(database.execute("SELECT run_uuid FROM runs WHERE name LIKE ?", (name,)).fetchone()[0])


def overwrite(path: Path, data: bytes, at: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def cut(path: Path, share: float) -> None:
    os.truncate(path, int(path.stat().st_size * share))


def damage_pages(path: Path) -> None:
    """All but the first."""
    size = path.stat().st_size
    overwrite(path, b"\xa5" * (size - 4096), 4096)


def restore_older(world: World) -> None:
    """Somebody copies yesterday's backup over the file."""
    world.optuna.write_bytes((world.folder / "yesterday").read_bytes())


def replace_by_older(world: World) -> None:
    shutil.copy(world.folder / "yesterday", world.folder / "copy")
    (world.folder / "copy").replace(world.optuna)


def age(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")


def aside(path: str) -> Callable[[World], object]:
    return lambda world: (world.folder / path).rename(world.folder / "aside")


@dataclass(frozen=True)
class Kind:
    strike: Callable[[World], object]
    exit: Exit | None
    """None: the study goes on to its end."""
    says: str
    """In the one line."""
    remedy: Callable[[World], object] = field(default=lambda world: None)
    """What is done by hand before the same command."""
    is_alone: bool = True
    """False: it is much like another, and tried with FAULTS=all alone."""


STUDY_DATABASE = {
    "locked": Kind(lambda w: w.hold(w.optuna, "BEGIN EXCLUSIVE"), Exit.IN_USE, "is in use by another program"),
    "written by another": Kind(
        lambda w: w.hold(w.optuna, "BEGIN IMMEDIATE"), Exit.IN_USE, "is in use by another", is_alone=False
    ),
    "deleted": Kind(lambda w: w.optuna.unlink(), Exit.GONE, "was deleted, moved or replaced"),
    "moved away": Kind(lambda w: w.move(w.optuna), Exit.GONE, "put it back"),
    "an older copy over it": Kind(restore_older, Exit.GONE, "lacks what this process wrote"),
    "replaced by an older": Kind(replace_by_older, Exit.GONE, "lacks what this process wrote"),
    "overwritten": Kind(
        lambda w: w.optuna.write_bytes(b"mine" * 9999), Exit.DAMAGED, "move it aside", aside("optuna.db")
    ),
    "its head damaged": Kind(
        lambda w: overwrite(w.optuna, b"\xa5" * 50), Exit.DAMAGED, "move it aside", aside("optuna.db"), is_alone=False
    ),
    "its pages damaged": Kind(lambda w: damage_pages(w.optuna), Exit.DAMAGED, "move it aside", aside("optuna.db")),
    "cut in half": Kind(
        lambda w: cut(w.optuna, 0.5), Exit.DAMAGED, "move it aside", aside("optuna.db"), is_alone=False
    ),
    "emptied": Kind(lambda w: cut(w.optuna, 0), Exit.GONE, "was emptied"),
    "not to be written": Kind(lambda w: w.set_mode(w.optuna, 0o400), Exit.NOT_PERMITTED, "can be read and written"),
    "not to be read": Kind(
        lambda w: w.set_mode(w.optuna, 0), Exit.NOT_PERMITTED, "can be read and written", is_alone=False
    ),
    "a folder": Kind(
        lambda w: (w.move(w.optuna), w.optuna.mkdir()), Exit.NOT_PERMITTED, "can be read and written", is_alone=False
    ),
}
FOLDER = {
    "deleted": Kind(lambda w: shutil.rmtree(w.folder), Exit.GONE, "the results folder must stay where it is"),
    "moved away": Kind(lambda w: w.move(w.folder), Exit.GONE, "put it back"),
    "another in its place": Kind(lambda w: (w.move(w.folder), w.folder.mkdir()), Exit.GONE, "put it back"),
    "not to be written": Kind(lambda w: w.set_mode(w.folder, 0o500), Exit.NOT_PERMITTED, "can be read and written"),
    "its trials not to be written": Kind(
        lambda w: w.set_mode(w.open_trial(), 0o500), Exit.NOT_PERMITTED, "chmod", is_alone=False
    ),
    "a full disk": Kind(lambda w: w.let_nothing_grow(), Exit.DISK, "free some space"),
    "a disk that fails": Kind(lambda w: w.let_the_disk_fail(), Exit.DISK, "make it reachable"),
    "the open trial deleted": Kind(lambda w: shutil.rmtree(w.open_trial()), Exit.GONE, "it is trained again"),
    "the open trial moved away": Kind(lambda w: w.move(w.open_trial()), Exit.GONE, "put it back", is_alone=False),
    "its cache deleted": Kind(lambda w: shutil.rmtree(w.folder / "cache"), None, "", is_alone=False),
    "the lock deleted": Kind(lambda w: (w.folder / ".small.lock").unlink(), None, ""),
    "the driver's note deleted": Kind(lambda w: (w.folder / ".small.driver").unlink(), None, "", is_alone=False),
    "taken over": Kind(
        lambda w: (w.folder / ".small.driver").write_text("process 1\nelsewhere\n"), Exit.IN_USE, "was taken over"
    ),
}
MLFLOW = {
    "locked": Kind(lambda w: w.hold(w.mlflow, "BEGIN EXCLUSIVE"), None, "mlflow.db is in use by another program"),
    "written by another": Kind(
        lambda w: w.hold(w.mlflow, "BEGIN IMMEDIATE"), None, "mlflow.db is in use", is_alone=False
    ),
    "deleted": Kind(lambda w: w.mlflow.unlink(), None, ""),
    "moved away": Kind(lambda w: w.move(w.mlflow), None, "", is_alone=False),
    "overwritten": Kind(lambda w: w.mlflow.write_bytes(b"mine" * 9999), None, "was damaged, and lies aside"),
    "its pages damaged": Kind(lambda w: damage_pages(w.mlflow), None, "was damaged, and lies aside"),
    "cut in half": Kind(lambda w: cut(w.mlflow, 0.5), None, "was damaged, and lies aside", is_alone=False),
    "emptied": Kind(lambda w: cut(w.mlflow, 0), None, "", is_alone=False),
    "not to be written": Kind(lambda w: w.set_mode(w.mlflow, 0o400), None, "mlflow.db must be a file that can be"),
    "not to be read": Kind(
        lambda w: w.set_mode(w.mlflow, 0), None, "mlflow.db must be a file that can be", is_alone=False
    ),
    "older": Kind(lambda w: age(w.mlflow), None, "", lambda w: w.mlflow.unlink(), is_alone=False),
    "a folder": Kind(lambda w: (w.move(w.mlflow), w.mlflow.mkdir()), None, "mlflow.db must be", is_alone=False),
    "its files deleted": Kind(lambda w: shutil.rmtree(w.folder / "artifacts"), None, "", is_alone=False),
    "its files not to be written": Kind(
        lambda w: w.set_mode(w.folder / "artifacts" / "small", 0o500), None, "MLflow isn't told for now"
    ),
    "the run deleted": Kind(lambda w: w.client().delete_run(w.run_of("trial 1")), None, ""),
    "the study's run deleted": Kind(lambda w: w.client().delete_run(w.run_of("study small")), None, "", is_alone=False),
    "the experiment deleted": Kind(lambda w: w.client().delete_experiment("1"), None, ""),
}
KINDS = {
    (what, name): kind
    for what, kinds in (("optuna.db", STUDY_DATABASE), ("folder", FOLDER), ("mlflow.db", MLFLOW))
    for name, kind in kinds.items()
    if kind.is_alone or os.environ.get("FAULTS") == "all"
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks aren't waited for, and pictures aren't drawn, of which other tests speak."""
    monkeypatch.setattr(study.runs.database, "WAIT_S", 0.1)
    monkeypatch.setattr(study.runs.sqlite, "PATIENCE_S", 0.1)
    monkeypatch.setattr(study.tracking.sync, "draw_study", lambda record: [])
    monkeypatch.setattr(study.tracking.sync, "embedding_figure", lambda side: None)
    monkeypatch.setattr(study.tracking.sync, "save_png", lambda figure, path: path.write_bytes(b""))


@pytest.fixture(scope="module")
def small(tree: dict[str, Any]) -> dict[str, Any]:
    space = {**tree["study"]["space"], "train.steps": {"low": 2, "high": 3}}
    baseline = {**tree["study"]["baseline"], "train.steps": 2}
    tree = {**tree, "train": {**tree["train"], "evaluate_every_steps": 2}, "sample": {**tree["sample"], "count": 0}}
    return {**tree, "study": {**tree["study"], "trials": 2, "space": space, "baseline": baseline}}


@pytest.fixture(scope="module")
def profile(small: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("profile") / "small.yaml"
    path.write_text(yaml.safe_dump(small))
    return str(path)


@pytest.fixture(scope="module")
def begun(small: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with one trial."""
    folder = tmp_path_factory.mktemp("begun") / "mlruns"
    drive(check_config({**small, "study": {**small["study"], "trials": 1}}), folder, Silent())
    shutil.copy(folder / "optuna.db", folder / "yesterday")
    return folder


@pytest.fixture(scope="module")
def undisturbed(small: dict[str, Any], begun: Path, tmp_path_factory: pytest.TempPathFactory) -> "Held":
    folder = copied(begun, tmp_path_factory.mktemp("undisturbed") / "mlruns")
    drive(check_config(small), folder, Silent())
    return held(folder, check_config(small))


Held = tuple[list[tuple[object, ...]], list[tuple[object, ...]], list[tuple[object, ...]]]


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    relocate(to / "mlflow.db", folder.resolve(), to.resolve())
    return to


def held(folder: Path, config: StudyConfig) -> Held:
    """All that must not depend on what befell the study: trials, MLflow's runs, and their figures."""
    trials = []
    for trial in read_record(config, folder).trials:
        work = WorkFolder(folder / "trials" / trial.digest)
        records = [(record.step, record.numbers) for record in work.progress()]
        rows = {name: rows.tobytes() for name, rows in work.read_arrays("rows").items()}
        trials.append((trial.number, trial.state, trial.params, trial.values, records, rows))
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
        names = "SELECT name, status FROM runs WHERE lifecycle_stage = 'active' ORDER BY name"
        # Of the study's own figures the latest: one that is made anew doesn't know what was chosen before.
        figures = (
            "SELECT name, key, step, round(value, 9) FROM {} JOIN runs USING (run_uuid) "
            "WHERE lifecycle_stage = 'active' AND name {} 'study small' AND key NOT LIKE 'system%' ORDER BY 1, 2, 3, 4"
        )
        found = [
            database.execute(figures.format(*which)).fetchall()
            for which in (("metrics", "!="), ("latest_metrics", "="))
        ]
        return trials, database.execute(names).fetchall(), [row for rows in found for row in rows]


def without_space(text: str) -> str:
    return "".join(text.split())


def run(profile: str, folder: Path, monkeypatch: pytest.MonkeyPatch, strike: Callable[[], object] | None) -> Result:
    """The command, with a fault in the second step of the trial that it trains."""
    left = [] if strike is None else [strike]

    def progressed(bars: Bars, name: str, record: Progress) -> None:
        if left and record.step == 1:
            left.pop()()

    with monkeypatch.context() as patch, as_any_user():
        patch.setattr(Bars, "progressed", progressed)
        shown = CliRunner().invoke(app, ["run", profile, "--folder", str(folder)])
    assert not left, "it never came so far"
    return shown


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_a_fault_in_mid_study_is_one_line_and_nothing_is_lost_or_doubled(
    kind: tuple[str, str],
    profile: str,
    small: dict[str, Any],
    begun: Path,
    undisturbed: Held,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, what = copied(begun, tmp_path / "mlruns"), KINDS[kind]
    with contextlib.ExitStack() as undo:
        world = World(folder, undo)
        struck = run(profile, folder, monkeypatch, lambda: what.strike(world))
        said = struck.stderr if what.exit else struck.stdout
        assert struck.exit_code == (what.exit or 0), f"{struck.output} {struck.exception!r}"
        assert without_space(what.says) in without_space(said), said  # a long path is broken anywhere
        assert struck.stderr.count("\n") == (1 if what.exit else 0), struck.stderr
    what.remedy(world)
    drive(check_config(small), folder, Silent())
    assert held(folder, check_config(small)) == undisturbed


def test_the_comparison_can_fail(
    profile: str, small: dict[str, Any], begun: Path, undisturbed: Held, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = check_config(small), copied(begun, tmp_path / "mlruns")
    assert held(folder, config) != undisturbed, "a trial is missing"
    assert run(profile, folder, monkeypatch, None).exit_code == 0
    assert held(folder, config) == undisturbed
    client = mlflow.MlflowClient(tracking_uri(folder))
    double = client.create_run("1", run_name="trial 1")
    assert held(folder, config) != undisturbed, "a run stands there twice"
    client.delete_run(double.info.run_id)
    assert held(folder, config) == undisturbed
    with sqlite3.connect(folder / "mlflow.db") as database:
        database.execute("UPDATE runs SET status = 'RUNNING' WHERE name = 'trial 1'")
    assert held(folder, config) != undisturbed, "a run is left running"


def process_of_mlflow() -> psutil.Process:
    (child,) = (child for child in multiprocessing.active_children() if child.name == "mlflow")
    return psutil.Process(child.pid)


class Struck(Silent):
    """A fault at the second step of a trial, and another, or what undoes it, when the last trial has ended."""

    def __init__(self, strike: Callable[[], object], at_the_end: Callable[[], object]) -> None:
        super().__init__(self._look)
        self._left, self._at_the_end = [strike], at_the_end
        self.said = ""

    def _look(self, record: Progress) -> None:
        if self._left and record.step == 1:
            self._left.pop()()

    def mlflow_lacks(self, what: str) -> None:
        self.said += f"{what}\n"

    def run_ended(self, run: Run) -> None:
        super().run_ended(run)
        if len(self.ended) == BESIDE["trials"] - 1:
            self._at_the_end()


BESIDE: dict[str, Any] = {"workers": 2, "trials": 4, "sampler": "random"}
KILLED = "its process ended with code -9"
SIDE_BY_SIDE: dict[str, tuple[Callable[[World], object], Callable[[], object], str]] = {
    "locked": (MLFLOW["locked"].strike, lambda: None, "mlflow.db is in use by another program"),
    "overwritten": (MLFLOW["overwritten"].strike, lambda: None, "was damaged, and lies aside"),
    "deleted": (MLFLOW["deleted"].strike, lambda: None, ""),
    "its process killed": (lambda world: process_of_mlflow().kill(), lambda: None, KILLED),
    "its process killed at the end": (lambda world: None, lambda: process_of_mlflow().kill(), KILLED),
    "its process stopped": (lambda world: process_of_mlflow().suspend(), lambda: process_of_mlflow().resume(), ""),
}
"""What befalls MLflow amid the study, what happens when the last trial has ended, and what is said."""


@pytest.fixture(scope="module")
def beside(small: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyConfig, Path, Held]:
    """A study with two workers, whose MLflow is told by a process of its own: after one trial, and undisturbed."""
    folder, begun = tmp_path_factory.mktemp("beside"), tmp_path_factory.mktemp("beside") / "mlruns"
    one, config = (
        check_config({**small, "study": {**small["study"], **BESIDE, **more}}) for more in ({"trials": 1}, {})
    )
    drive(one, folder, Silent())
    copied(folder, begun)
    drive(config, folder, Silent())
    return config, begun, held(folder, config)


@pytest.mark.parametrize("kind", SIDE_BY_SIDE)
def test_with_several_workers_no_fault_of_mlflow_or_of_who_tells_it_ends_a_trial(
    kind: str, beside: tuple[StudyConfig, Path, Held], tmp_path: Path
) -> None:
    """Who is stopped goes on only when all trials have ended: so none has waited for it."""
    (config, begun, expected), (strike, at_the_end, says) = beside, SIDE_BY_SIDE[kind]
    folder = copied(begun, tmp_path / "mlruns")
    with contextlib.ExitStack() as undo:
        world = World(folder, undo)
        watcher = Struck(lambda: strike(world), at_the_end)
        drive(config, folder, watcher)
    if kind == "its process killed at the end":
        assert held(folder, config) == expected, "another has brought all that it left"
    assert says in watcher.said and bool(says) == bool(watcher.said), watcher.said
    assert len(watcher.ended) == BESIDE["trials"] - 1
    alone = config.model_copy(update={"study": config.study.model_copy(update={"workers": 1})})
    drive(alone, folder, Silent())
    assert held(folder, config) == expected
    assert not [child for child in multiprocessing.active_children() if child.name == "mlflow"]


DYING = """
import json, multiprocessing, os, signal, sys
from pathlib import Path
from study.config import check_config
from study.engine.drive import drive
from study.engine.executor import Watcher

class Dying(Watcher):
    def run_started(self, run, run_config, ended):
        (self.teller,) = (child for child in multiprocessing.active_children() if child.name == "mlflow")
        os.kill(self.teller.pid, signal.SIGSTOP)

    def run_ended(self, run):
        Path(sys.argv[3]).write_text(str(self.teller.pid), "utf-8")
        os.kill(os.getpid(), signal.SIGKILL)

drive(check_config(json.loads(sys.argv[1])), Path(sys.argv[2]), Dying())
"""


def test_who_told_mlflow_of_a_dead_driver_and_wakes_when_the_study_has_ended_changes_nothing(
    small: dict[str, Any], beside: tuple[StudyConfig, Path, Held], tmp_path: Path
) -> None:
    """It has runs to open that have ended since: opened, they would stand there as running."""
    config, begun, expected = beside
    folder = copied(begun, tmp_path / "mlruns")
    given, told = json.dumps({**small, "study": {**small["study"], **BESIDE}}), tmp_path / "told"
    assert subprocess.run([sys.executable, "-c", DYING, given, str(folder), str(told)]).returncode == -signal.SIGKILL
    teller = psutil.Process(int(told.read_text("utf-8")))
    assert teller.status() == psutil.STATUS_STOPPED
    drive(config, folder, Silent())
    teller.resume()
    psutil.wait_procs([teller], timeout=60)
    assert not teller.is_running()
    assert held(folder, config) == expected
