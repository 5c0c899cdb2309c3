"""A results folder as a driver works in it, without a driver: quick enough to meet each of its moments."""

import contextlib
import hashlib
import itertools
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from study.mirror.mirror import Mirror


class Training:
    """A results folder at work: `act` does the next thing that a driver does to its files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name, table in (("optuna.db", "trials"), ("mlflow.db", "runs")):
            with self._database(name) as database:
                database.execute(f"CREATE TABLE {table} (digest TEXT, state TEXT)")
        self._actions = self._work()

    def act(self, times: int = 1) -> None:
        for _ in range(times):
            next(self._actions)

    def act_until(self, done: Callable[[], bool]) -> None:
        while not done():
            self.act()

    def finished(self) -> set[str]:
        return complete(self.folder)

    @contextlib.contextmanager
    def _database(self, name: str) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self.folder / name)) as database, database:
            database.execute("PRAGMA synchronous = OFF")
            yield database

    def _work(self) -> Iterator[None]:
        for number in itertools.count():
            digest = f"{number:016x}"
            work = self.folder / "trials" / digest
            (work / "checkpoints").mkdir(parents=True)
            with self._database("optuna.db") as database:
                database.execute("INSERT INTO trials VALUES (?, 'RUNNING')", (digest,))
            for step in range(10, 40, 10):
                with (work / "progress.jsonl").open("a") as progress:
                    progress.write(json.dumps({"step": step, "numbers": {}, "time_s": 0}) + "\n")
                yield
                write_checkpoint(work / "checkpoints", step)
                yield
            write(work / "rows.safetensors", digest.encode() * 100)
            yield
            write(work / "result.json", json.dumps({"digest": digest}).encode())
            yield
            gone = (work / "checkpoints").rename(work / ".checkpoints.gone")
            yield
            shutil.rmtree(gone)
            write(work / "embedding.png", b"png")
            write(self.folder / "artifacts" / "small" / digest / "sample.txt", b"sample")
            write(self.folder / "studies" / "small" / "front.png", f"front of {number}".encode())
            with self._database("mlflow.db") as database:
                database.execute("INSERT INTO runs VALUES (?, 'FINISHED')", (digest,))
            yield
            with self._database("optuna.db") as database:
                database.execute("UPDATE trials SET state = 'COMPLETE' WHERE digest = ?", (digest,))
            yield


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    beside.write_bytes(content)
    beside.rename(path)


def write_checkpoint(folder: Path, step: int) -> Path:
    """As training does: whole when it appears, the last two are kept."""
    beside = folder / f".step-{step:08d}.part"
    beside.mkdir(parents=True)
    files = {"state.safetensors": f"state {step}".encode() * 50, "state.json": json.dumps({"step": step}).encode()}
    for name, content in files.items():
        (beside / name).write_bytes(content)
    (beside / "manifest.json").write_text(json.dumps({n: hashlib.sha256(c).hexdigest() for n, c in files.items()}))
    whole = beside.rename(folder / f"step-{step:08d}")
    for old in sorted(folder.glob("step-*"))[:-2]:
        shutil.rmtree(old.rename(old.with_name(f".{old.name}.gone")))
    return whole


def complete(folder: Path) -> set[str]:
    """Digests of the trials that the study database calls complete."""
    with contextlib.closing(sqlite3.connect(folder / "optuna.db")) as database:
        return {digest for (digest,) in database.execute("SELECT digest FROM trials WHERE state = 'COMPLETE'")}


def faults_of(folder: Path) -> list[str]:
    """All in a restored results folder that would keep a driver from going on, or let it lose something."""
    faults = []
    for name in ("optuna.db", "mlflow.db"):
        with contextlib.closing(sqlite3.connect(folder / name)) as database:
            faults += [f"{name}: {row}" for (row,) in database.execute("PRAGMA integrity_check") if row != "ok"]
    for digest in complete(folder):
        work = folder / "trials" / digest
        if not (work / "result.json").exists() or not (folder / "artifacts" / "small" / digest).exists():
            faults.append(f"the database is ahead of trial {digest}")
    for work in (folder / "trials").iterdir():
        rows = work / "rows.safetensors"
        if (work / "result.json").exists() and not (rows.exists() and rows.read_bytes() == work.name.encode() * 100):
            faults.append(f"trial {work.name} has a result and not its rows")
        steps = [json.loads(line)["step"] for line in lines(work / "progress.jsonl")]
        for checkpoint in (work / "checkpoints").glob("*"):
            hashes = json.loads((checkpoint / "manifest.json").read_text())
            whole = {name: hashlib.sha256((checkpoint / name).read_bytes()).hexdigest() for name in hashes}
            if whole != hashes or max(steps) < json.loads((checkpoint / "state.json").read_text())["step"]:
                faults.append(f"{checkpoint} isn't whole, or its record ends before it")
    return faults + [f"left over: {path}" for path in folder.rglob(".*") if path.name != ".mirror.lock"]


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def hashes(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def plain_mirror(training: Training, target: Path) -> Mirror:
    return Mirror(training.folder, target, pytest.fail)
