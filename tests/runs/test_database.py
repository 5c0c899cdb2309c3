"""What a killed process leaves in a database is mended, a lock is called a lock, and no command makes it worse."""

import contextlib
import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import optuna
import pytest
import yaml
from typer.testing import CliRunner, Result

import study.runs.database
from bench.faults.rights import as_any_user
from study.cli.main import app
from study.engine.driver import StudyOutcome
from study.runs.database import check_database, opened
from study.runs.faults import Exit, NotPermittedError, fault_of
from study.runs.study_database import study_database
from study.tracking import relocate, tracking_uri

# MLflow's own, when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
DATABASES = ("optuna.db", "mlflow.db")
READING = {
    "run": ["run", "{profile}"],
    "status": ["status", "{profile}"],
    "status of all": ["status"],
    "list": ["list", "{profile}"],
    "show": ["show", "chosen", "{profile}"],
    "compare": ["compare", "baseline", "chosen", "{profile}"],
    "report": ["report", "{profile}"],
    "export": ["export", "{profile}", "--out", "{folder}/../exported"],
}
"""The commands that open a database and end by themselves."""
COMMANDS = {**READING, "ui": ["ui", "{profile}"], "clean": ["clean", "--yes"]}
WRITING = ("run", "export", "ui")
"""Those that write to MLflow's."""
KILLED = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size = 1")
database.execute("BEGIN")
database.execute("CREATE TABLE half_written (content)")
for _ in range(64):
    database.execute("INSERT INTO half_written VALUES (zeroblob(16384))")
os.kill(os.getpid(), 9)
"""
HOLDER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute(sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def profile(tree: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("profile") / "small.yaml"
    path.write_text(yaml.safe_dump(tree))
    return str(path)


@pytest.fixture
def folder(done: tuple[Path, StudyOutcome], tmp_path: Path) -> Path:
    """A copy of the finished study, at home where it is."""
    copy = shutil.copytree(done[0], tmp_path / "mlruns")
    relocate(copy / "mlflow.db", done[0].resolve(), copy.resolve())
    return copy


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study.runs.database, "WAIT_S", 0.2)


def command(name: str, profile: str, folder: Path) -> Result:
    words = [word.format(profile=profile, folder=folder) for word in COMMANDS[name]]
    return CliRunner().invoke(app, [*words, "--folder", str(folder)])


def kill_in_a_transaction(path: Path) -> None:
    """Leave a hot journal; the control is that a look that may not write finds the database unreadable."""
    before = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert before.returncode == -9
    with (
        contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database,
        pytest.raises(sqlite3.OperationalError, match="attempt to write a readonly database"),
    ):
        database.execute("SELECT count(*) FROM sqlite_master")


@contextlib.contextmanager
def held(path: Path, how: str = "BEGIN EXCLUSIVE") -> Iterator[subprocess.Popen[str]]:
    """Another program has a lock on the database until the context ends."""
    words = [sys.executable, "-c", HOLDER, str(path), how]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder
        assert holder.stdin is not None
        holder.stdin.close()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", READING)
def test_every_command_works_after_a_kill_in_a_transaction(name: str, profile: str, folder: Path) -> None:
    undisturbed = command(name, profile, folder) if name in ("list", "show", "compare") else None
    for database in DATABASES:
        kill_in_a_transaction(folder / database)
    shown = command(name, profile, folder)
    assert shown.exit_code == 0, shown.stderr
    assert undisturbed is None or shown.output == undisturbed.output
    for database in DATABASES if name in WRITING else DATABASES[:1]:
        assert is_whole(folder / database)


@pytest.mark.parametrize("name", ["status", "status of all", "list", "show", "compare"])
def test_reading_works_after_a_kill_where_nothing_can_be_written(name: str, profile: str, folder: Path) -> None:
    undisturbed = command(name, profile, folder)
    for database in DATABASES:
        kill_in_a_transaction(folder / database)
    before = contents(folder).keys()
    folder.chmod(0o500)
    try:
        with as_any_user():
            shown = command(name, profile, folder)
            refused = command("run", profile, folder)
    finally:
        folder.chmod(0o700)
    assert shown.exit_code == 0, shown.stderr
    assert shown.output == undisturbed.output or name.startswith("status")  # which say how long ago
    assert (refused.exit_code, refused.stderr.count("\n")) == (Exit.NOT_PERMITTED, 1)
    assert contents(folder).keys() == before


def test_the_ui_works_after_a_kill_in_a_transaction(profile: str, folder: Path) -> None:
    for database in DATABASES:
        kill_in_a_transaction(folder / database)
    words = [sys.executable, "-u", "-m", "study", "ui", profile, "--folder", str(folder), "--port", "5717"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert any("Ctrl-C" in line for line in server.stdout or [])
        finally:
            server.terminate()
    assert all(is_whole(folder / database) for database in DATABASES)


def test_plan_and_clean_do_without_the_databases(profile: str, folder: Path) -> None:
    for database in DATABASES:
        kill_in_a_transaction(folder / database)
    assert CliRunner().invoke(app, ["plan", profile]).exit_code == 0
    assert CliRunner().invoke(app, ["clean", "--yes", "--folder", str(folder)]).exit_code == 0
    assert not list(folder.iterdir())


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("name", [*READING, "ui", "clean"])
def test_a_lock_is_called_a_lock_nothing_changes_and_afterwards_it_works(name: str, profile: str, folder: Path) -> None:
    database = folder / ("mlflow.db" if name in ("export", "ui") else "optuna.db")
    before = contents(folder.parent)
    with held(database):
        shown = command(name, profile, folder)
    assert shown.exit_code == Exit.IN_USE
    assert shown.stderr == (
        f"error: {database} is in use by another program: it was locked for 0.2 s; try again when it is done\n"
    )
    assert contents(folder.parent) == before
    assert name in ("ui", "clean") or command(name, profile, folder).exit_code == 0


@pytest.mark.usefixtures("_impatient")
def test_a_writer_beside_them_stops_only_those_that_write(profile: str, folder: Path) -> None:
    with held(folder / "optuna.db", "BEGIN IMMEDIATE"):
        assert command("list", profile, folder).exit_code == 0
        assert "optuna.db is in use by another program" in command("run", profile, folder).stderr


def test_a_lock_that_is_freed_meanwhile_is_waited_for(profile: str, folder: Path) -> None:
    with held(folder / "optuna.db") as holder:
        assert holder.stdin is not None
        threading.Timer(0.5, holder.stdin.close).start()
        assert command("list", profile, folder).exit_code == 0


@pytest.mark.parametrize("name", [*READING, "ui"])
def test_what_is_no_database_is_to_be_moved_aside(name: str, profile: str, folder: Path) -> None:
    database = folder / ("mlflow.db" if name in ("export", "ui") else "optuna.db")
    database.write_bytes(b"not a database, but somebody's file" * 100)
    before = contents(folder.parent)
    shown = command(name, profile, folder)
    assert (shown.exit_code, shown.stderr) == (
        Exit.DAMAGED,
        f"error: {database} must be an SQLite database: file is not a database; it is damaged: move it aside, and the "
        "same command makes it anew from the work folders, without training again\n",
    )
    assert contents(folder.parent) == before


def test_a_fault_that_comes_later_is_one_line_too(folder: Path) -> None:
    """What befalls a database after the first look reaches the commands through Optuna and MLflow."""

    def said(work: Callable[[], object]) -> str:
        with pytest.raises(Exception) as fault:
            work()
        return str(fault_of(fault.value, folder))

    client = mlflow.MlflowClient(tracking_uri(folder))
    client.search_experiments()
    (folder / "mlflow.db").write_bytes(b"not a database any more" * 200)
    with held(folder / "optuna.db"):
        address = study_database(folder).url + "?timeout=0.1"
        in_use = said(lambda: optuna.load_study(study_name="small", storage=address))
    assert in_use.startswith(f"{folder / 'optuna.db'} is in use by another program")
    assert "mlflow.db must be an SQLite database: file is not" in said(client.search_experiments)
    full = OSError(errno.ENOSPC, "No space left on device", "rows.safetensors")
    assert "free some space" in str(fault_of(full))
    assert fault_of(KeyError("a fault of our own")) is None
    assert fault_of(FileNotFoundError(errno.ENOENT, "No such file", "elsewhere.txt"), folder) is None


@pytest.mark.parametrize("file", [0o400, 0o600])
def test_what_cannot_be_mended_here_is_read_and_says_so_to_who_writes(file: int) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to another user
        folder, path = Path(name), Path(name) / "optuna.db"
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE whole (n)")
        kill_in_a_transaction(path)
        path.chmod(file)
        with as_nobody(folder, path):
            with opened(path) as database:
                assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("whole",)]
            with pytest.raises(NotPermittedError) as fault:
                check_database(path, to_write=True)
        assert "a program that was killed left optuna.db-journal, and the folder" in str(fault.value)
        with opened(path) as database:
            assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("whole",)]


@contextlib.contextmanager
def as_nobody(folder: Path, path: Path) -> Iterator[None]:
    """The folder can't be written; root, who can write anywhere, becomes another user."""
    user = os.geteuid()
    if user == 0:
        for owned in (folder, path, Path(f"{path}-journal")):
            os.chown(owned, 65534, -1)
        os.seteuid(65534)
    folder.chmod(0o500)
    try:
        yield
    finally:
        folder.chmod(0o700)
        os.seteuid(user)


def is_whole(path: Path) -> bool:
    """Nothing of the killed transaction is left."""
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        checked = database.execute("PRAGMA integrity_check").fetchall()
        left = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'half_written'").fetchall()
    return checked == [("ok",)] and not left and not Path(f"{path}-journal").exists()
