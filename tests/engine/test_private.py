"""What a study leaves is its owner's alone, and holds no secret of the machine, also after a crash.

The real command, in processes of its own, under the usual umask, in a results folder that everybody may look into.
"""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import unpack

from study.runs.database import make_private

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parents[1] / "golden"
CANARY = b"canary-90b1c2"
SECRETS = {
    name: value.format(CANARY.decode())
    for name, value in {
        "AWS_SECRET_ACCESS_KEY": "{}",
        "HF_TOKEN": "{}",
        "MLFLOW_TRACKING_PASSWORD": "{}",
        "MLFLOW_TRACKING_URI": "http://user:{}@127.0.0.1:9",
        "HTTPS_PROXY": "http://user:{}@127.0.0.1:9",
        "DATABASE_URL": "postgresql://user:{}@127.0.0.1/db",
        "HF_ENDPOINT": "https://user:{}@127.0.0.1:9",
        "GIT_ASKPASS": "/bin/echo {}",
    }.items()
}
USUAL = 0o022


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """After a driver that was killed in a new trial, another that came to the end, and a report."""
    home = tmp_path_factory.mktemp("private")
    with tarfile.open(GOLDEN / "study-format-4.tar.xz") as archive:
        archive.extractall(home, [entry for entry in archive if entry.name.startswith("inputs")])  # noqa: S202
    unpack(GOLDEN / "study-format-6.tar.xz", home)
    shutil.rmtree(home / "mlruns" / "cache", ignore_errors=True)
    (home / "mlruns" / "mlflow.db").unlink()  # made anew
    for path in (home, home / "mlruns", home / "mlruns" / "trials", home / "mlruns" / "optuna.db"):
        path.chmod(0o755)
    before = {*(home / "mlruns" / "trials").iterdir()}
    killed = typed(home, "run", "study.trials=4")
    until = time.monotonic() + 300
    while killed.poll() is None and time.monotonic() < until:
        if any((path / "progress.jsonl").exists() for path in {*(home / "mlruns" / "trials").iterdir()} - before):
            killed.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    assert CANARY not in killed.communicate()[0]
    assert killed.returncode == -signal.SIGKILL
    for words in (("run", "study.trials=4"), ("report", "study.trials=4")):
        asked = typed(home, *words)
        told = asked.communicate()[0]
        assert asked.returncode == 0, told
        assert CANARY not in told
    return home


def typed(home: Path, command: str, *more: str) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-m", "study", command, "kept.yaml", *more]
    settings = {**os.environ, **SECRETS, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        words, cwd=home, env=settings, umask=USUAL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def seen_by_others(folder: Path) -> Iterator[Path]:
    """What another user can read, who may look into this folder."""
    for path in folder.iterdir():
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            if mode & 0o055:
                yield path
                yield from seen_by_others(path)
        elif mode & 0o044:
            yield path


def test_others_see_the_names_of_locks_and_nothing_else(home: Path) -> None:
    """Databases too, which were open to all before."""
    seen = [path.name for path in seen_by_others(home / "mlruns")]
    assert [name for name in seen if not name.endswith((".lock", ".making", ".driver"))] == []
    databases = list((home / "mlruns").glob("*.db*"))
    assert {path.name for path in databases} >= {"optuna.db", "mlflow.db"}
    assert {oct(stat.S_IMODE(path.stat().st_mode)) for path in databases} == {"0o600"}
    folders = {
        path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in (home / "mlruns").iterdir() if path.is_dir()
    }
    assert folders == dict.fromkeys(("artifacts", "cache", "studies", "trials"), "0o700")
    assert stat.S_IMODE((home / "mlruns").stat().st_mode) == 0o755, "a folder of the user's stays as it was"
    (home / "mlruns" / "readable.txt").write_text("the control")
    (home / "mlruns" / "readable.txt").chmod(0o644)
    assert "readable.txt" in [path.name for path in seen_by_others(home / "mlruns")]


def test_no_secret_of_the_environment_stands_anywhere(home: Path) -> None:
    files = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    assert [path for path, data in files.items() if CANARY in data] == []
    assert any(b"noise_scale" in data for path, data in files.items() if path.name == "mlflow.db"), "the control"


def test_a_journal_is_as_private_as_its_database(tmp_path: Path) -> None:
    """SQLite gives it the database's permissions; what an earlier version left open is shut."""
    for name in ("optuna.db", "optuna.db-journal", "mlflow.db-wal"):
        (tmp_path / name).write_bytes(b"")
        (tmp_path / name).chmod(0o644)
    make_private(tmp_path)
    assert {oct(stat.S_IMODE(path.stat().st_mode)) for path in tmp_path.iterdir()} == {"0o600"}
