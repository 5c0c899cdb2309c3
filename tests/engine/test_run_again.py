"""A study whose results were damaged is run again: these alone are trained again, it is told, and all is as it was."""

import logging
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Silent, unpack
from stored import results
from typer.testing import CliRunner

from study.cli.main import app
from study.config import StudyConfig, load_config
from study.engine.drive import drive
from study.engine.driver import StudyOutcome
from study.runs.reader import read_record
from wake2vec import DAMAGED, Progress

GOLDEN = Path(__file__).parents[1] / "golden"
SMALL = ("study.trials=2",)


class Told(Silent):
    """What was trained, and what was said."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: dict[str, int] = {}
        self.said: list[str] = []

    def progressed(self, name: str, record: Progress) -> None:
        self.steps[name] = record.step

    def remeasuring(self, what: str) -> None:
        self.said.append(what)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study with a reference and repeats, and its inputs."""
    home = tmp_path_factory.mktemp("kept")
    with tarfile.open(GOLDEN / "study-format-4.tar.xz") as archive:
        archive.extractall(home, [entry for entry in archive if entry.name.startswith("inputs")])  # noqa: S202
    unpack(GOLDEN / "study-format-6.tar.xz", home)
    return home


@pytest.fixture
def home(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = shutil.copytree(kept, tmp_path / "home")
    monkeypatch.chdir(home)
    return home


def config() -> StudyConfig:
    return load_config("kept.yaml", SMALL)


def driven(watcher: Told) -> StudyOutcome:
    return drive(config(), Path("mlruns"), watcher)


@pytest.mark.parametrize("name", ["rows", "geometry"])
def test_a_flipped_sign_is_not_exported(name: str, home: Path) -> None:
    path = home / "mlruns" / "trials" / "7f032b9824bb5f87" / f"{name}.safetensors"
    asked = ["export", "kept.yaml", "--out", "out", "--no-register"]
    data = bytearray(path.read_bytes())
    data[-1] ^= 0x80
    path.write_bytes(data)
    told = CliRunner().invoke(app, asked)
    assert told.exit_code == 2
    assert re.search(
        rf"error: mlruns/trials/\w+/{name}\.safetensors isn't what the result was written with", told.stderr
    )
    assert not Path("out").exists()
    data[-1] ^= 0x80
    path.write_bytes(data)
    if name == "rows":
        told = CliRunner().invoke(app, asked)
        assert "Trial 1: arrays are as they were written, by their SHA-256." in told.stdout, "the control"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def gone(path: Path) -> None:
    path.unlink()


DAMAGES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "trial 0": ("a48004bcfb7df211", flip),
    "trial 1": ("7f032b9824bb5f87", gone),
    "sphere": ("296df963650bf943", flip),
}


def test_what_is_damaged_is_trained_again_alone_and_gives_what_it_gave(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path("mlruns")
    before = results(folder, driven(control := Told()))
    assert "trial 0" not in control.steps, "the control: a whole study trains nothing of it again"
    for digest, damage in DAMAGES.values():
        damage(folder / "trials" / digest / "result.json")
    left_out = read_record(config(), folder)
    assert [run.number for run in left_out.damaged] == [0, 1]
    with caplog.at_level(logging.WARNING):
        outcome = driven(watcher := Told())
    assert watcher.steps == dict.fromkeys(DAMAGES, 4)
    assert [said.split(" is run again: ")[0] for said in watcher.said] == ["trial 0", "trial 1"]
    assert results(folder, outcome) == before
    aside = sorted(path.parent.name for path in folder.glob(f"trials/*/result.json.*{DAMAGED}"))
    assert aside == sorted(digest for digest, damage in DAMAGES.values() if damage is flip), "nothing is deleted"
    assert caplog.text.count("It lies aside as result.json.") == 2
    driven(again := Told())
    assert again.steps == {}
