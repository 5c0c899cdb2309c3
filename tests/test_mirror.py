"""The mirror: whatever moment the machine vanishes, what stands on the drive is a study that goes on."""

import contextlib
import hashlib
import itertools
import json
import os
import resource
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import mlflow
import optuna
import pytest
from conftest import Silent
from test_study import metric_rows, results

import study.copies
from study.config import StudyConfig
from study.copier import Copier
from study.driver import StudyOutcome, drive
from study.mirror import Mirror, check_mirror
from study.restore import restore
from study.snapshots import take_snapshots
from study.storage import storage_url
from study.tracking import relocate, tracking_uri
from wake2vec import ConfigError, Progress


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
        patched.setattr(study.copies, "pour", self._pour)

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


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test can see it, and a thousand passes would take minutes."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def training(tmp_path: Path) -> Training:
    """Two trials are done, the third has a checkpoint."""
    training = Training(tmp_path / "mlruns")
    training.act_until(lambda: len(training.finished()) == 2)
    training.act(4)
    return training


@pytest.fixture
def drive_folder(tmp_path: Path) -> Path:
    (tmp_path / "drive").mkdir()
    return tmp_path / "drive" / "mirror"


def plain_mirror(training: Training, target: Path) -> Mirror:
    return Mirror(training.folder, target, pytest.fail)


def hashes(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def test_a_study_is_brought_back_on_an_empty_machine_at_another_path(
    done: tuple[Path, StudyOutcome], study_config: StudyConfig, drive_folder: Path, tmp_path: Path
) -> None:
    first = shutil.copytree(done[0], tmp_path / "mlruns")
    assert not restore(first, drive_folder)
    Mirror(first, drive_folder, pytest.fail).sync()
    second = tmp_path / "élan 100% #2" / "mlruns"
    second.parent.mkdir()
    check_mirror(second, drive_folder)
    assert restore(second, drive_folder)

    def files(folder: Path) -> dict[str, bytes]:
        others = ("optuna.db", "mlflow.db", "mirror.json", "cache/", "mlflow-server.log")
        return {name: content for name, content in hashes(folder).items() if not name.startswith(others)}

    assert files(second) == files(first)

    def trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
        return optuna.load_study(study_name="small", storage=storage_url(folder)).get_trials()

    assert trials(second) == trials(first)
    client = mlflow.MlflowClient(tracking_uri(second))
    shutil.rmtree(first / "artifacts")  # the first machine is gone
    for run in client.search_runs([client.get_experiment_by_name("small").experiment_id]):
        for artifact in client.list_artifacts(run.info.run_id):
            local = client.download_artifacts(run.info.run_id, artifact.path, str(tmp_path))
            assert Path(local).stat().st_size == artifact.file_size
    assert drive(study_config, second, Silent()).added == 0
    assert not restore(second, drive_folder)


def test_a_study_whose_machines_vanish_one_after_another_has_the_same_results(
    done: tuple[Path, StudyOutcome], study_config: StudyConfig, drive_folder: Path, tmp_path: Path
) -> None:
    machine = {"checkpoint_every_s": 0.0}
    run = study_config.run.model_copy(update={"machine": study_config.run.machine.model_copy(update=machine)})
    config = study_config.model_copy(update={"run": run})
    resumed_at = []
    for number, (vanishes_after, synced_every) in enumerate([(7, 2), (11, 5), (5, 3), (9, 4)]):
        folder = tmp_path / f"machine-{number}"
        restore(folder, drive_folder)
        mirror = Mirror(folder, drive_folder, pytest.fail)
        seen: list[Progress] = []

        def vanish(record: Progress) -> None:
            seen.append(record)  # noqa: B023
            if len(seen) % synced_every == 0:  # noqa: B023
                mirror.sync()  # noqa: B023
            if len(seen) == vanishes_after:  # noqa: B023
                raise KeyboardInterrupt

        with contextlib.suppress(KeyboardInterrupt):
            drive(config, folder, Silent(vanish))
        resumed_at.append(seen[0].step)
        shutil.rmtree(folder)
    assert max(resumed_at) > 1, "no trial went on from a mirrored checkpoint"
    assert restore(tmp_path / "last", drive_folder)
    outcome = drive(study_config, tmp_path / "last", Silent())
    assert results(tmp_path / "last", outcome) == results(*done)
    rows = [row[:3] for row in metric_rows(tmp_path / "last")]
    assert len(rows) == len(set(rows)), "a figure of one step stands twice"


def test_what_is_there_is_not_copied_again_and_another_process_knows_it(
    training: Training, drive_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_mirror(training, drive_folder).sync()
    before = hashes(drive_folder)

    def no_copy(content: BinaryIO, file: BinaryIO) -> str:
        return pytest.fail(f"copied again: {file.name}")

    with monkeypatch.context() as patched:
        patched.setattr(study.copies, "pour", no_copy)
        plain_mirror(training, drive_folder).sync()
    assert hashes(drive_folder) == before
    training.act_until(lambda: len(training.finished()) == 3)
    plain_mirror(training, drive_folder).sync()
    digest = f"{2:016x}"
    assert (drive_folder / "trials" / digest / "result.json").exists()
    assert not (drive_folder / "trials" / digest / "checkpoints").exists()
    for path in drive_folder.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)


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


def test_a_checkpoint_that_goes_while_it_is_copied_gives_way_to_the_next(
    training: Training, drive_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = training.folder / "trials" / f"{2:016x}" / "checkpoints"
    pour = study.copies.pour
    steps = iter((50, 60))

    def prune(content: BinaryIO, file: BinaryIO) -> str:
        for step in steps:
            write_checkpoint(folder, step)
        return pour(content, file)

    monkeypatch.setattr(study.copies, "pour", prune)
    mirrored = drive_folder / folder.relative_to(training.folder)
    (training.folder / "artifacts").rename(training.folder / ".artifacts")  # the checkpoint is copied first
    plain_mirror(training, drive_folder).sync()
    assert [path.name for path in mirrored.iterdir()] == ["step-00000060"]
    damaged = write_checkpoint(folder, 70) / "state.safetensors"
    damaged.write_bytes(damaged.read_bytes().replace(b"7", b"8"))
    plain_mirror(training, drive_folder).sync()
    assert [path.name for path in mirrored.iterdir()] == ["step-00000060"]


def test_the_record_reaches_a_checkpoint_that_comes_while_it_is_copied(
    training: Training, drive_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = training.folder / "trials" / f"{2:016x}"
    pour = study.copies.pour
    once = iter([True])

    def goes_on(content: BinaryIO, file: BinaryIO) -> str:
        digest = pour(content, file)
        copied = Path(f"/proc/self/fd/{file.fileno()}").readlink()
        if (copied.parent.name, copied.name) == (work.name, ".progress.jsonl.part") and next(once, False):
            with (work / "progress.jsonl").open("a") as progress:
                progress.write(json.dumps({"step": 80, "numbers": {}, "time_s": 0}) + "\n")
            write_checkpoint(work / "checkpoints", 80)
        return digest

    monkeypatch.setattr(study.copies, "pour", goes_on)
    plain_mirror(training, drive_folder).sync()
    restore(training.folder.with_name("restored"), drive_folder)
    assert list(drive_folder.glob("trials/*/checkpoints/step-*"))
    assert faults_of(training.folder.with_name("restored")) == []


def test_a_full_drive_is_told_once_and_stops_nothing(training: Training, drive_folder: Path) -> None:
    (training.folder / "trials" / f"{0:016x}" / "rows.safetensors").write_bytes(b"x" * 1_000_000)
    told: list[str] = []
    faulty = threading.Event()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def on_fault(fault: str) -> None:
        told.append(fault)
        faulty.set()

    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))
    try:
        with Mirror(training.folder, drive_folder, on_fault, every_s=0.0) as mirror:
            assert faulty.wait(60)
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(told) == 1
    assert "must take what is copied to it: [Errno 27] File too large, 1,000,000 bytes needed, " in told[0]
    assert "\n" not in told[0] and told[0].endswith("the next pass tries again")
    assert mirror.last_sync_s is not None
    assert restore(training.folder.with_name("restored"), drive_folder)


def test_a_drive_that_vanished_is_not_replaced_by_an_empty_folder(training: Training, drive_folder: Path) -> None:
    mirror = plain_mirror(training, drive_folder)
    mirror.sync()
    drive_folder.rename(drive_folder.with_name("elsewhere"))
    with pytest.raises(OSError, match="the mirror vanished"):
        mirror.sync()
    told: list[str] = []
    shutil.rmtree(drive_folder.parent)
    with Mirror(training.folder, drive_folder, told.append):
        pass
    assert len(told) == 2
    assert "No such file or directory" in told[0]
    assert "and didn't take it: " in told[1] and "the databases' last changes aren't there" in told[1]


def test_a_hanging_drive_holds_the_study_up_for_no_longer_than_it_was_given(
    training: Training, drive_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging, answer = threading.Event(), threading.Event()
    pour = study.copies.pour

    def hang(content: BinaryIO, file: BinaryIO) -> str:
        if "rows.safetensors" in str(Path(f"/proc/self/fd/{file.fileno()}").readlink()):
            hanging.set()
            answer.wait()
        return pour(content, file)

    monkeypatch.setattr(study.copies, "pour", hang)
    told: list[str] = []
    with Mirror(training.folder, drive_folder, told.append, patience_s=0.1) as mirror:
        assert hanging.wait(60)
    (fault,) = told
    assert "didn't take it within 0.1 s: " in fault and f"trials/{0:016x}/" in fault
    answer.set()
    mirror._thread.join(60)
    assert not mirror._thread.is_alive()
    assert len(told) == 1
    assert not restore(training.folder.with_name("restored"), drive_folder), "nothing was published"


def test_passes_keep_their_distance_and_the_last_comes_at_the_end(training: Training, drive_folder: Path) -> None:
    passed = threading.Semaphore(0)

    class Counted(Mirror):
        passes = 0

        def sync(self) -> None:
            super().sync()
            self.passes += 1
            passed.release()

    with Counted(training.folder, drive_folder, pytest.fail, every_s=1e6) as mirror:
        assert passed.acquire(timeout=60)
        training.act_until(lambda: len(training.finished()) == 3)
    assert mirror.passes == 2
    restore(training.folder.with_name("restored"), drive_folder)
    assert complete(training.folder.with_name("restored")) == training.finished()


def test_a_mirror_that_somebody_else_has_carried_on_is_neither_used_nor_overwritten(
    training: Training, drive_folder: Path, tmp_path: Path
) -> None:
    first = plain_mirror(training, drive_folder)
    first.sync()
    second = Training(tmp_path / "other")
    second.act(30)
    for name in ("optuna.db", "mlflow.db"):
        (second.folder / name).rename(tmp_path / name)
    restore(second.folder, drive_folder)
    with contextlib.closing(sqlite3.connect(second.folder / "optuna.db")) as database, database:
        database.execute("INSERT INTO trials VALUES ('more', 'RUNNING')")
    check_mirror(training.folder, drive_folder)
    plain_mirror(second, drive_folder).sync()
    before = hashes(drive_folder)
    ahead = r"a mirror must not be ahead of .* holds generation 2, written from .*other, .* move .*optuna\.db .* aside"
    with pytest.raises(ConfigError, match=ahead):
        check_mirror(training.folder, drive_folder)
    with pytest.raises(ConfigError, match=ahead):
        first.sync()
    told: list[str] = []
    with Mirror(training.folder, drive_folder, told.append):
        pass
    assert "must not be ahead" in told[0]
    assert hashes(drive_folder) == before
    check_mirror(second.folder, drive_folder)


def test_a_folder_may_change_between_two_mirrors(training: Training, drive_folder: Path) -> None:
    other = drive_folder.with_name("other")
    for target in (drive_folder, other, drive_folder, other):
        training.act(20)
        check_mirror(training.folder, target)
        plain_mirror(training, target).sync()


def test_a_drive_that_lacks_what_it_was_given_last_gives_the_generation_before(
    training: Training, drive_folder: Path, tmp_path: Path
) -> None:
    plain_mirror(training, drive_folder).sync()
    training.act_until(lambda: len(training.finished()) == 3)
    plain_mirror(training, drive_folder).sync()
    (drive_folder / "trials" / f"{2:016x}" / "rows.safetensors").unlink()
    assert restore(tmp_path / "a", drive_folder)
    assert complete(tmp_path / "a") == {f"{0:016x}", f"{1:016x}"}
    assert not (tmp_path / "a" / "trials" / f"{2:016x}").exists()
    check_mirror(tmp_path / "a", drive_folder)
    os.truncate(drive_folder / "optuna-00000001.db", 5000)
    with pytest.raises(ConfigError, match=r"lacks files of the generations 2, 1; wait until the drive has all of them"):
        restore(tmp_path / "b", drive_folder)
    assert not (tmp_path / "b" / "optuna.db").exists()


def make_other(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    return tmp_path / "photos"


def make_ledger(tmp_path: Path, **changes: object) -> Path:
    """A mirror whose ledger was written by somebody hostile."""
    entry = {"number": 1, "writer": "x", "folder": "/x", "databases": {}, "results": {}, **changes}
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "mirror.json").write_text(json.dumps({"format": 1, "generations": [entry]}))
    return tmp_path / "bad"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path / "mlruns" / "mirror", "must lie outside the results folder, and not around it: .* overlap"),
        (lambda path: path, "must lie outside the results folder, and not around it: .* overlap"),
        (lambda path: path / "drive" / "mirror", "the folder that holds the mirror must exist: .*drive doesn't; mount"),
        (make_other, r"must name an empty folder or a mirror: .*photos holds 'cat\.jpg'; give another folder"),
        (lambda path: Path("/proc/mirror"), "must be a folder that can be read and written: /proc/mirror: "),
        (lambda path: path / "mlruns.txt", "must be a folder that can be read and written: .*: File exists"),
        (
            lambda path: make_ledger(path, databases={"optuna.db": {"file": "../mlruns.txt", "sha256": ""}}),
            r"bad/mirror\.json must be a mirror's ledger, format 1: String should match",
        ),
        (lambda path: make_ledger(path, results={"trials/../../x": 1}), "must be a mirror's ledger"),
        (lambda path: make_ledger(path, folder="relative"), "must be a mirror's ledger"),
    ],
)
def test_a_folder_that_cannot_be_a_mirror_is_refused_and_nothing_is_made(
    tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    (tmp_path / "mlruns.txt").touch()
    target = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=message):
        check_mirror(tmp_path / "mlruns", target)
    assert sorted(tmp_path.rglob("*")) == before


def test_links_lead_nowhere(training: Training, drive_folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "step-00000099").mkdir(parents=True)
    (outside / "secret").write_text("secret")
    work = training.folder / "trials" / f"{1:016x}"
    (work / "link.txt").symlink_to(outside / "secret")
    (training.folder / "artifacts" / "link").symlink_to(outside)
    (training.folder / "trials" / "link").symlink_to(outside)
    unfinished = training.folder / "trials" / "unfinished"
    unfinished.mkdir()
    (unfinished / "checkpoints").symlink_to(outside)
    plain_mirror(training, drive_folder).sync()
    assert not [path for path in drive_folder.rglob("*") if path.is_symlink() or path.name in {"secret", "link"}]
    shutil.rmtree(drive_folder / "trials" / work.name)
    (drive_folder / "trials" / work.name).symlink_to(outside)
    with pytest.raises(NotADirectoryError, match="must be a folder, not a link or a file"):
        plain_mirror(training, drive_folder).sync()
    assert sorted(path.name for path in outside.iterdir()) == ["secret", "step-00000099"]


def test_only_locations_below_the_old_folder_move(tmp_path: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    locations = ["file:///a_b/mlruns/artifacts/x", "/a_b/mlruns", "file:///aXb/mlruns/x", "file:///a_b/mlruns2/x"]
    for number, location in enumerate(locations):
        client.create_experiment(str(number), artifact_location=location)
    run = client.create_run(client.get_experiment_by_name("0").experiment_id)
    relocate(tmp_path / "mlflow.db", Path("/a_b/mlruns"), Path("/new folder"))
    moved = [client.get_experiment_by_name(str(number)).artifact_location for number in range(len(locations))]
    assert moved == ["file:///new%20folder/artifacts/x", "/new folder", *locations[2:]]
    uri = client.get_run(run.info.run_id).info.artifact_uri
    assert uri == f"file:///new%20folder/artifacts/x/{run.info.run_id}/artifacts"
