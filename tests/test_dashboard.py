"""`make dashboard`: Optuna's own dashboard shows the study, on loopback alone."""

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from study.driver import StudyOutcome

ROOT = Path(__file__).parents[1]
PORT = 8123


def recipe(folder: Path) -> str:
    """What make would run, with the interpreter of this test."""
    make = ["make", "-n", "-o", ".venv/dashboard", "dashboard", f"RESULTS={folder}", f"PORT={PORT}", "BIN=."]
    told = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    call = "from optuna_dashboard._cli import main; main()"
    return told.replace("./optuna-dashboard", f"exec {sys.executable} -c '{call}'")


def studies(address: str) -> list[str]:
    with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(f"{address}/api/studies") as answer:  # noqa: S310
        return [study["study_name"] for study in json.load(answer)["study_summaries"]]
    return []


def test_the_dashboard_shows_the_study_on_loopback_alone(done: tuple[Path, StudyOutcome], tmp_path: Path) -> None:
    folder = shutil.copytree(done[0], tmp_path / "my results")
    with subprocess.Popen(["sh", "-c", recipe(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            until = time.monotonic() + 120
            while not (found := studies(f"http://127.0.0.1:{PORT}")) and server.poll() is None:
                assert time.monotonic() < until
                time.sleep(0.2)
            assert found == ["small"]
            with pytest.raises(OSError, match="refused"):
                socket.create_connection(("127.0.0.2", PORT), timeout=5)  # one that listens everywhere takes this too
        finally:
            server.terminate()


def test_without_a_study_it_says_what_to_do_and_makes_nothing(tmp_path: Path) -> None:
    done = subprocess.run(["sh", "-c", recipe(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "has no optuna.db; run `make study` first" in done.stderr
    assert not list(tmp_path.iterdir())
