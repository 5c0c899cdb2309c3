"""Faults of the world, at a folder in which a study is driven: each is done, lasts a while, and is undone.

The gentle ones must not end a driver. The harsh ones may; what they end is begun again by the same call.
"""

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mlflow import MlflowClient
from mlflow.entities import ViewType

from bench.faults.studies import Counts, fork
from bench.faults.world import mounted
from study.config import StudyConfig
from study.engine.doctor import look_through, mend
from study.runs.database import connect, opened
from study.tracking import tracking_uri
from wake2vec import ConfigError, WorkFolder

ROOM_B = 2_000_000_000
"""Of the disk."""
HARDLY_B = 200_000
"""What is left at the most on a disk that is nearly full."""
PAGE_B = 4096
EDIT_S = 30.0
"""So long somebody tries to change something in MLflow."""


class NotNow(Exception):  # noqa: N818 (no fault)
    """The fault can't be made at the moment: what it would befall isn't there."""


class Drivers(Protocol):
    """Who drives the study, and goes on doing so."""

    driver: int | None

    def second(self) -> None:
        """Another driver, beside the one that is there."""

    def wait(self, seconds: float) -> None: ...


@dataclass
class Scene:
    """A results folder, and what is to be undone there, when."""

    config: StudyConfig
    folder: Path
    aside: Path
    """Another folder, on another disk: for copies."""
    random: random.Random
    counts: Counts
    drivers: Drivers
    undo: list[tuple[float, Callable[[], object]]] = field(default_factory=list)
    damaged: dict[Path, int] = field(default_factory=dict)
    """Results whose files were damaged, and when each had been written."""
    named: int = 0
    """Of these, those that the doctor named."""
    has_disk: bool = False
    """Whether the folder is a disk that can be made smaller."""

    @property
    def mlflow(self) -> Path:
        return self._there("mlflow.db")

    @property
    def optuna(self) -> Path:
        return self._there("optuna.db")

    def of_study(self, ending: str) -> Path:
        return self._there(f".{self.config.study.name}.{ending}")

    def _there(self, name: str) -> Path:
        path = self.folder / name
        if not path.exists():
            raise NotNow(f"there is no {name}")
        return path

    def later(self, seconds: float, undo: Callable[[], object]) -> None:
        self.undo.append((time.monotonic() + seconds, undo))

    def a_while(self, most: float = 8.0) -> float:
        return self.random.uniform(most / 8, most)

    def look(self) -> None:
        """Undo what has lasted long enough."""
        due = [entry for entry in self.undo if entry[0] <= time.monotonic()]
        self.undo = [entry for entry in self.undo if entry not in due]
        for _, undo in due:
            undo()

    def calm(self) -> None:
        """Undo all, the last first."""
        while self.undo:
            self.undo.pop()[1]()

    def keep_copies(self) -> None:
        """Of both databases as they are now, as a backup takes them."""
        for name in ("mlflow.db", "optuna.db"):
            with contextlib.suppress(ConfigError, sqlite3.Error), opened(self.folder / name) as database:
                with contextlib.closing(sqlite3.connect(self.aside / f"{name}.part")) as copy:
                    database.backup(copy)
                (self.aside / f"{name}.part").replace(self.aside / name)


Fault = Callable[[Scene], object]


def _driver(scene: Scene) -> int:
    if scene.drivers.driver is None:
        raise NotNow("nobody drives")
    return scene.drivers.driver


def _signal(scene: Scene, pid: int, what: signal.Signals) -> None:
    """To the driver, if it is there still: its number is nobody else's before it is waited for."""
    if scene.drivers.driver == pid:
        os.kill(pid, what)


def suspend(scene: Scene) -> None:
    pid = _driver(scene)
    os.kill(pid, signal.SIGSTOP)
    scene.later(scene.a_while(), lambda: _signal(scene, pid, signal.SIGCONT))


def kill(scene: Scene) -> None:
    os.kill(_driver(scene), signal.SIGKILL)


def kill_twice(scene: Scene) -> None:
    """The driver, and the next one while it begins."""
    kill(scene)

    def again() -> None:
        if scene.drivers.driver is not None:
            kill(scene)

    scene.later(scene.a_while(4), again)


def _hold(scene: Scene, path: Path, how: str, seconds: float) -> None:
    """Another program takes a lock and sleeps; then it is killed."""

    def holder() -> None:
        with contextlib.closing(connect(path, 5)) as database:
            database.isolation_level = None
            database.execute(how)
            os.kill(os.getpid(), signal.SIGSTOP)

    other = fork(holder, scene.folder)

    def end() -> None:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)

    scene.later(seconds, end)


def _lock(which: str, how: str, most_s: float) -> Fault:
    return lambda scene: _hold(scene, getattr(scene, which), how, scene.a_while(most_s))


def second_driver(scene: Scene) -> None:
    _driver(scene)
    scene.drivers.second()


def second_without(*endings: str) -> Fault:
    """A second driver; the lock, or the note that tells of the first one, is gone."""

    def strike(scene: Scene) -> None:
        _driver(scene)
        for ending in endings:
            scene.of_study(ending).unlink()
        scene.drivers.second()

    return strike


def overwrite(path: Path, data: bytes, at: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def damage_pages(path: Path) -> None:
    """All but the first."""
    overwrite(path, b"\xa5" * max(path.stat().st_size - PAGE_B, 1), PAGE_B)


def _older(scene: Scene, name: str, in_place: bool) -> None:
    """A copy that was taken before, written over the file or put in its place."""
    copy, path = scene.aside / name, scene.folder / name
    if not copy.exists() or not path.exists():
        raise NotNow("there is no copy yet")
    if in_place:
        path.write_bytes(copy.read_bytes())
    else:
        shutil.copy(copy, scene.folder / "older")
        (scene.folder / "older").replace(path)


def _put_away(scene: Scene, name: str) -> None:
    """A file is moved away, and put back, unless another is there by then."""
    path = scene.folder / name
    if not path.exists():
        raise NotNow(f"there is no {name}")
    away = scene.aside / f"{name}.away"
    shutil.move(path, away)

    def back() -> None:
        if path.exists():
            away.unlink()
        else:
            shutil.move(away, path)

    scene.later(scene.a_while(), back)


def _forbid(find: Callable[[Scene], Path], mode: int) -> Fault:
    """Driven by somebody for whom permissions hold."""

    def strike(scene: Scene) -> None:
        path = find(scene)
        before = path.stat().st_mode

        def allow() -> None:
            with contextlib.suppress(FileNotFoundError):
                path.chmod(before)

        path.chmod(mode)
        scene.later(scene.a_while(), allow)

    return strike


def _artifacts(scene: Scene) -> Path:
    path = scene.folder / "artifacts" / scene.config.study.name
    if not path.exists():
        raise NotNow("MLflow has no files")
    return path


def without_cache(scene: Scene) -> None:
    shutil.rmtree(scene.folder / "cache", ignore_errors=True)


def full_disk(scene: Scene) -> None:
    if not scene.has_disk:
        raise NotNow("no disk can be mounted here")
    at = os.statvfs(scene.folder)
    used = (at.f_blocks - at.f_bfree) * at.f_frsize
    if not mounted(scene.folder, used + scene.random.randrange(HARDLY_B), "remount"):
        raise NotNow("more was written meanwhile")
    scene.later(scene.a_while(), lambda: mounted(scene.folder, ROOM_B, "remount"))


def without_open_trial(scene: Scene) -> None:
    open_ = [path for path in (scene.folder / "trials").iterdir() if not (path / "result.json").exists()]
    if not open_:
        raise NotNow("no trial is open")
    shutil.rmtree(open_[0], ignore_errors=True)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _damage(name: str, spoil: Callable[[Path], object]) -> Fault:
    """A file of a trial that ended; a kill comes with it. The doctor must name it, and moves it aside."""

    def strike(scene: Scene) -> None:
        pid = _driver(scene)
        ended = [path.parent for path in scene.folder.glob("trials/*/result.json") if path not in scene.damaged]
        if len(ended) < 2:
            raise NotNow("hardly a trial has ended")
        work = WorkFolder(scene.random.choice(sorted(ended)))
        os.kill(pid, signal.SIGKILL)
        scene.damaged[work.result_path] = work.result_path.stat().st_mtime_ns
        scene.counts.seen.pop(str(work.result_path), None)
        spoil(work.path / name)
        health = look_through(scene.folder, scene.config)
        scene.named += any(finding.path == work.path / name for finding in health.findings)
        mend(health)

    return strike


Change = Callable[[MlflowClient, str, str], object]


def _edit(change: Change, which: str = "trial", back: Change | None = None) -> Fault:
    """Somebody changes a run in MLflow's pages, a trial's or the study's, and may take it back later.

    `change` is given the run's id and the experiment's.
    """

    def strike(scene: Scene) -> None:
        with contextlib.closing(connect(scene.mlflow, 1)) as database:
            try:
                found = database.execute(
                    "SELECT run_uuid, experiment_id FROM runs WHERE name LIKE ? ORDER BY start_time", (f"{which} %",)
                ).fetchall()
            except sqlite3.Error as fault:
                raise NotNow(str(fault)) from None
        if not found:
            raise NotNow("MLflow has no runs")
        run, experiment = scene.random.choice(found)
        if not _changed(scene, lambda client: change(client, run, str(experiment))):
            raise NotNow("MLflow doesn't take it")
        if back is not None:
            scene.later(scene.a_while(20), lambda: _changed(scene, lambda client: back(client, run, str(experiment))))

    return strike


def _changed(scene: Scene, change: Callable[[MlflowClient], object]) -> bool:
    """Done by MLflow's client in a process of its own; it may be refused."""

    def work() -> None:
        with contextlib.redirect_stderr(None):
            try:
                change(MlflowClient(tracking_uri(scene.folder), tracking_uri(scene.folder)))
            except Exception:  # noqa: BLE001 - whatever MLflow says
                os._exit(1)

    other, end = fork(work, scene.folder), time.monotonic() + EDIT_S
    while time.monotonic() < end:
        ended, status = os.waitpid(other, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.05)
    os.kill(other, signal.SIGKILL)
    os.waitpid(other, 0)
    return False


def _restore_all(client: MlflowClient, run: str, experiment: str) -> None:
    for deleted in client.search_runs([experiment], run_view_type=ViewType.DELETED_ONLY):
        client.restore_run(deleted.info.run_id)


EDITS: dict[str, Fault] = {
    "a trial's run deleted in MLflow": _edit(lambda client, run, _: client.delete_run(run)),
    "a trial's run deleted in MLflow, then restored": _edit(
        lambda client, run, _: client.delete_run(run), back=lambda client, run, _: client.restore_run(run)
    ),
    "all deleted runs restored in MLflow": _edit(_restore_all),
    "a run renamed in MLflow": _edit(lambda client, run, _: client.update_run(run, name="mine")),
    "a run set running in MLflow": _edit(lambda client, run, _: client.update_run(run, status="RUNNING")),
    "a run set failed in MLflow": _edit(lambda client, run, _: client.update_run(run, status="FAILED")),
    "a run's number deleted in MLflow": _edit(lambda client, run, _: client.delete_tag(run, "wake2vec.trial")),
    "the study's run deleted in MLflow": _edit(lambda client, run, _: client.delete_run(run), "study"),
    "the experiment deleted in MLflow": _edit(lambda client, _, experiment: client.delete_experiment(experiment)),
    "the experiment renamed in MLflow": _edit(
        lambda client, _, experiment: client.rename_experiment(experiment, "mine")
    ),
}
GENTLE: dict[str, Fault] = {
    "mlflow.db locked": _lock("mlflow", "BEGIN EXCLUSIVE", 15),
    "mlflow.db written by another": _lock("mlflow", "BEGIN IMMEDIATE", 15),
    "mlflow.db deleted": lambda scene: scene.mlflow.unlink(),
    "mlflow.db moved away": lambda scene: _put_away(scene, "mlflow.db"),
    "mlflow.db cut": lambda scene: os.truncate(scene.mlflow, scene.mlflow.stat().st_size // 2),
    "mlflow.db emptied": lambda scene: os.truncate(scene.mlflow, 0),
    "mlflow.db overwritten": lambda scene: scene.mlflow.write_bytes(b"mine" * 9999),
    "mlflow.db's pages damaged": lambda scene: damage_pages(scene.mlflow),
    "mlflow.db replaced by an older copy": lambda scene: _older(scene, "mlflow.db", in_place=False),
    "an older copy written over mlflow.db": lambda scene: _older(scene, "mlflow.db", in_place=True),
    "mlflow.db not to be written": _forbid(lambda scene: scene.mlflow, 0o400),
    "MLflow's files not to be written": _forbid(_artifacts, 0o500),
    "optuna.db locked for less than the driver's patience": _lock("optuna", "BEGIN EXCLUSIVE", 2),
    "the driver suspended": suspend,
    "the cache deleted": without_cache,
    "the driver's note deleted": lambda scene: scene.of_study("driver").unlink(),
    "a second driver": second_driver,
    **EDITS,
}
HARSH: dict[str, Fault] = {
    "kill -9": kill,
    "kill -9, and again at its start": kill_twice,
    "optuna.db locked beyond the driver's patience": lambda scene: _hold(
        scene, scene.optuna, "BEGIN EXCLUSIVE", scene.random.uniform(10, 40)
    ),
    "optuna.db deleted": lambda scene: scene.optuna.unlink(),
    "optuna.db moved away": lambda scene: _put_away(scene, "optuna.db"),
    "optuna.db emptied": lambda scene: os.truncate(scene.optuna, 0),
    "optuna.db's pages damaged": lambda scene: damage_pages(scene.optuna),
    "optuna.db replaced by an older copy": lambda scene: _older(scene, "optuna.db", in_place=False),
    "an older copy written over optuna.db": lambda scene: _older(scene, "optuna.db", in_place=True),
    "optuna.db not to be written": _forbid(lambda scene: scene.optuna, 0o400),
    "the folder not to be written": _forbid(lambda scene: scene.folder, 0o500),
    "a full disk": full_disk,
    "the open trial deleted": without_open_trial,
    "a second driver, the lock deleted": second_without("lock"),
    "a second driver, lock and note deleted": second_without("lock", "driver"),
    "result.json damaged": _damage("result.json", _flip),
    "rows damaged": _damage("rows.safetensors", _flip),
    "the record of progress emptied": _damage("progress.jsonl", lambda path: os.truncate(path, 0)),
}


class Deck:
    """Each fault once in random order, then all again."""

    def __init__(self, faults: dict[str, Fault], random_: random.Random) -> None:
        self._faults, self._random = faults, random_
        self._left: list[str] = []
        self.made: Counter[str] = Counter()

    def strike(self, scene: Scene) -> str:
        """Make the next fault that can be made now; gives its name."""
        for _ in range(len(self._faults)):
            if not self._left:
                self._left = self._random.sample([*self._faults], len(self._faults))
            name = self._left.pop()
            with contextlib.suppress(NotNow, FileNotFoundError):
                self._faults[name](scene)
                self.made[name] += 1
                return name
        return ""
