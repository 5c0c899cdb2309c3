"""Whatever moment the machine goes, what stands on the drive, and what was brought back, is a study that goes on."""

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from training_folder import Training, complete, faults_of, hashes, plain_mirror, write_checkpoint

import study.mirror.copies
from study.mirror.copies import Copier, take_snapshots
from study.mirror.mirror import check_mirror, restore

pytestmark = pytest.mark.usefixtures("no_fsync")


class KilledError(BaseException):
    """The machine is gone."""


class Operations:
    """Counts what is done to files; at operation `at` it fails once, or the machine is gone; lets training go on."""

    def __init__(self, patched: pytest.MonkeyPatch, at: int, fault: Exception | KilledError, act: Callable[[], None]):
        self.count = 0
        self._pace = 2 + at % 11  # operations for each thing that training does: it outruns a copy, or is outrun
        self._at, self._fault, self._act = at, fault, act
        self._busy = False
        for name in ("replace", "mkdir", "unlink", "rmdir", "utime", "fsync"):
            patched.setattr(os, name, self._counted(getattr(os, name)))
        patched.setattr(shutil, "rmtree", self._rmtree)
        patched.setattr(study.mirror.copies, "pour", self._pour)

    def _step(self) -> None:
        if self._busy:
            return
        self.count += 1
        if self.count == self._at or (self.count > self._at and isinstance(self._fault, KilledError)):
            raise self._fault
        if self.count % self._pace == 0:
            self._busy = True  # what training does isn't counted
            self._act()
            self._busy = False

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self._step()
            return function(*arguments, **options)

        return counted

    def _pour(self, content: BinaryIO, file: BinaryIO) -> str:
        data = content.read()
        file.write(data[: len(data) // 2])
        file.flush()
        self._step()
        file.write(data[len(data) // 2 :])
        return hashlib.sha256(data).hexdigest()

    def _rmtree(self, path: Path, ignore_errors: bool = False) -> None:
        for child in sorted(Path(path).rglob("*"), reverse=True):
            child.rmdir() if child.is_dir() else child.unlink()
        if Path(path).exists():
            Path(path).rmdir()


MOMENTS = 12  # of a trial


def faults_at_every_operation(tmp_path: Path, fault: Exception | KilledError, first: int = 1) -> list[str]:
    """One pass for each operation in it, which fails there while training goes on: the first faults of a restore."""
    whole = 0
    for at in itertools.count(first):
        here = tmp_path / str(at)
        here.mkdir()
        training = Training(here / "mlruns")
        training.act_until(lambda: len(training.finished()) == 1)  # noqa: B023
        training.act(4)
        mirror = plain_mirror(training, here / "mirror")
        mirror.sync()
        stood = {path.parents[1].name: path.name for path in (here / "mirror").glob("trials/*/checkpoints/*")}
        training.act(at % MOMENTS)  # so that the pass meets a trial at each of its moments
        with pytest.MonkeyPatch.context() as patched:
            operations = Operations(patched, at, fault, training.act)
            with contextlib.suppress(OSError, KilledError):
                mirror.sync()
        assert restore(here / "restored", here / "mirror")
        if found := faults_of(here / "restored"):
            return [f"at operation {at}: {wrong}" for wrong in found]
        assert complete(here / "restored") >= {f"{0:016x}"}
        for digest, step in stood.items():
            work = here / "restored" / "trials" / digest
            assert (work / "result.json").exists() or max(path.name for path in work.glob("checkpoints/*")) >= step
        plain_mirror(training, here / "mirror").sync()
        shutil.rmtree(here / "restored")
        assert restore(here / "restored", here / "mirror")
        if found := faults_of(here / "restored"):
            return [f"after operation {at}: {wrong}" for wrong in found]
        whole = whole + 1 if operations.count < at else 0
        if whole == MOMENTS:
            return []
        shutil.rmtree(here)
    raise AssertionError


@pytest.mark.parametrize("fault", [KilledError(), OSError(28, "No space left on device")], ids=["killed", "fails"])
def test_at_every_operation_a_fault_leaves_a_study_that_goes_on(tmp_path: Path, fault: Exception | KilledError) -> None:
    assert faults_at_every_operation(tmp_path, fault) == []


def test_databases_taken_after_the_work_folders_would_be_ahead_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_order = Copier.copy_all

    def reversed_order(self: Copier) -> None:
        in_order(self)
        take_snapshots(self.source, self.source / ".mirror")

    monkeypatch.setattr(Copier, "copy_all", reversed_order)
    found = faults_at_every_operation(tmp_path, KilledError(), first=10**6)  # no fault is needed
    assert any("the database is ahead of trial" in fault for fault in found)


def test_a_restore_that_is_killed_at_any_operation_is_done_again(
    training: Training, drive_folder: Path, tmp_path: Path
) -> None:
    plain_mirror(training, drive_folder).sync()
    for at in itertools.count(1):
        empty = tmp_path / str(at)
        with pytest.MonkeyPatch.context() as patched:
            operations = Operations(patched, at, KilledError(), lambda: None)
            with contextlib.suppress(KilledError):
                restore(empty, drive_folder)
        check_mirror(empty, drive_folder)
        restore(empty, drive_folder)
        assert complete(empty) == training.finished()
        plain = {name: content for name, content in hashes(empty).items() if not name.endswith((".db", "mirror.json"))}
        assert plain.items() <= hashes(training.folder).items()
        assert faults_of(empty) in ([], [f"left over: {empty / '.mirror'}"])
        if operations.count < at:
            return
        shutil.rmtree(empty)


@pytest.mark.needs("proc")
def test_every_file_is_synced_before_it_is_renamed_and_the_ledger_comes_last(
    training: Training, drive_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, Path]] = []
    replace = os.replace

    def note_fsync(descriptor: int) -> None:
        done.append(("fsync", Path(f"/proc/self/fd/{descriptor}").readlink()))

    def note_replace(beside: Path, target: Path) -> None:
        done.append(("rename", Path(target)))
        replace(beside, target)

    plain_mirror(training, drive_folder).sync()
    training.act_until(lambda: len(training.finished()) == 3)
    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    plain_mirror(training, drive_folder).sync()
    renamed = [path for what, path in done if what == "rename" and path.is_relative_to(drive_folder)]
    files = [path for path in renamed if path.suffix and not path.name.startswith(".")]
    for path in files:
        at = done.index(("rename", path))
        assert done[at - 1] == ("fsync", path.with_name(f".{path.name}.part"))
        assert done[at + 1] == ("fsync", path.parent)
    last = ["mlflow-00000002.db", "optuna-00000002.db", "mirror.json"]
    assert [path.name for path in files][-3:] == last
    names = [path.name for path in files if path.parent == drive_folder / "trials" / f"{2:016x}"]
    assert "rows.safetensors" in names and names[-1] == "result.json"


def test_a_checkpoint_that_goes_while_it_is_copied_gives_way_to_the_next(
    training: Training, drive_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = training.folder / "trials" / f"{2:016x}" / "checkpoints"
    pour = study.mirror.copies.pour
    steps = iter((50, 60))

    def prune(content: BinaryIO, file: BinaryIO) -> str:
        for step in steps:
            write_checkpoint(folder, step)
        return pour(content, file)

    monkeypatch.setattr(study.mirror.copies, "pour", prune)
    mirrored = drive_folder / folder.relative_to(training.folder)
    (training.folder / "artifacts").rename(training.folder / ".artifacts")  # the checkpoint is copied first
    plain_mirror(training, drive_folder).sync()
    assert [path.name for path in mirrored.iterdir()] == ["step-00000060"]
    damaged = write_checkpoint(folder, 70) / "state.safetensors"
    damaged.write_bytes(damaged.read_bytes().replace(b"7", b"8"))
    plain_mirror(training, drive_folder).sync()
    assert [path.name for path in mirrored.iterdir()] == ["step-00000060"]


@pytest.mark.needs("proc")
def test_the_record_reaches_a_checkpoint_that_comes_while_it_is_copied(
    training: Training, drive_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = training.folder / "trials" / f"{2:016x}"
    pour = study.mirror.copies.pour
    once = iter([True])

    def goes_on(content: BinaryIO, file: BinaryIO) -> str:
        digest = pour(content, file)
        copied = Path(f"/proc/self/fd/{file.fileno()}").readlink()
        if (copied.parent.name, copied.name) == (work.name, ".progress.jsonl.part") and next(once, False):
            with (work / "progress.jsonl").open("a") as progress:
                progress.write(json.dumps({"step": 80, "numbers": {}, "time_s": 0}) + "\n")
            write_checkpoint(work / "checkpoints", 80)
        return digest

    monkeypatch.setattr(study.mirror.copies, "pour", goes_on)
    plain_mirror(training, drive_folder).sync()
    restore(training.folder.with_name("restored"), drive_folder)
    assert list(drive_folder.glob("trials/*/checkpoints/step-*"))
    assert faults_of(training.folder.with_name("restored")) == []


def test_a_snapshot_of_databases_that_are_written_to_is_of_one_moment(tmp_path: Path) -> None:
    enough, stop = threading.Event(), threading.Event()
    with contextlib.closing(sqlite3.connect(tmp_path / "optuna.db")) as database, database:
        database.execute("CREATE TABLE a (n)")
        database.execute("CREATE TABLE b (n)")

    def work() -> None:
        with contextlib.closing(sqlite3.connect(tmp_path / "optuna.db")) as database:
            database.execute("PRAGMA synchronous = OFF")
            for n in itertools.count():
                with database:
                    database.execute("INSERT INTO a VALUES (?)", ("x" * 5000,))
                    database.execute("INSERT INTO b VALUES (?)", ("x" * 5000,))
                if n == 20:
                    enough.set()
                if stop.is_set():
                    return

    writer = threading.Thread(target=work)
    writer.start()
    sizes = set()
    (tmp_path / "beside").mkdir()
    while not enough.is_set() or len(sizes) < 3:
        snapshot = take_snapshots(tmp_path, tmp_path / "beside")["optuna.db"]
        with contextlib.closing(sqlite3.connect(snapshot)) as copy:
            assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            ((a, b),) = copy.execute("SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)")
        assert a == b
        sizes.add(a)
    stop.set()
    writer.join()
