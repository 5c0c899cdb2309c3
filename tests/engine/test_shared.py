"""A study that several drivers share: a real PostgreSQL, a real MLflow server, a results folder each."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Silent
from tools import need

from bench.servers import PASSWORD, Mlflow, Postgres, mlflow, postgres
from study.config import StudyConfig
from study.engine.driver import StudyOutcome, drive
from study.runs.addresses import Addresses, keep
from study.runs.reader import read_record

pytestmark = [pytest.mark.needs("postgres"), pytest.mark.xdist_group("servers")]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    need("postgres")
    with postgres() as server:
        yield server


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mlflow]:
    folder = tmp_path_factory.mktemp("mlflow")
    with mlflow(folder, f"sqlite:///{folder}/mlflow.db") as server:
        yield server


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)


@pytest.fixture
def addresses(server: Postgres, tracking: Mlflow, request: pytest.FixtureRequest) -> Addresses:
    """A database of the test's own."""
    return Addresses(server.create(f"db{abs(hash(request.node.name))}"), tracking.address)


def shared(folder: Path, addresses: Addresses) -> Path:
    keep(folder, addresses)
    return folder


def results(folder: Path, config: StudyConfig) -> list[Any]:
    """What must be equal: all of each trial but when it was done."""
    record = read_record(config, folder)
    return [
        [replace(run) for run in record.trials],
        [record.numbers(run) for run in record.finished],
        record.choice.trial.number,
        record.choice.reason,
    ]


def test_one_driver_makes_the_study_that_it_makes_in_a_file(
    addresses: Addresses, tmp_path: Path, done: tuple[Path, StudyOutcome], study_config: StudyConfig
) -> None:
    folder = shared(tmp_path / "shared", addresses)
    outcome = drive(study_config, folder, Silent())
    made, expected = results(folder, study_config), results(done[0], study_config)
    for one, other in zip(made[0], expected[0], strict=True):
        assert replace(one, unseen=None) == replace(other, unseen=None)
    assert made[1:] == expected[1:]
    assert outcome.choice.trial.number == done[1].choice.trial.number
    assert not (folder / "optuna.db").exists() and not (folder / "mlflow.db").exists()


def command(folder: Path, profile: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "study", words[0], str(profile), *words[1:], "--folder", str(folder)]


def at(addresses: Addresses) -> list[str]:
    return ["--storage", str(addresses.storage), "--tracking", str(addresses.tracking)]


@pytest.fixture(scope="module")
def profile(tree: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("profile") / "small.yaml"
    path.write_text(yaml.safe_dump(tree | {"study": tree["study"] | {"trials": 6, "sampler": "random"}}))
    return path


def test_two_drivers_share_a_study_and_a_third_folder_reads_it(
    addresses: Addresses, tmp_path: Path, profile: Path
) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    drivers = [
        subprocess.Popen([*command(folder, profile, "run"), *at(addresses)], stdout=subprocess.PIPE, text=True)
        for folder in folders
    ]
    said = [driver.communicate(timeout=300)[0] for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], said
    counts = [len(list((folder / "trials").glob("*/rows.safetensors"))) for folder in folders]
    assert sum(counts) == 6 and min(counts) >= 1, said
    third = tmp_path / "three"
    for words in (["list"], ["ui"], ["report"], ["export", "--out", str(tmp_path / "out")]):
        done = subprocess.run(
            [*command(third, profile, *words), *at(addresses)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done
        assert PASSWORD not in done.stdout + done.stderr
    made = [path.parent for folder in folders for path in (folder / "trials").glob("*/rows.safetensors")]
    for work in made:
        assert (third / "trials" / work.name / "result.json").read_bytes() == (work / "result.json").read_bytes()
    exported = [work for work in made if (third / "trials" / work.name / "rows.safetensors").exists()]
    assert len(exported) == 1
    for work in exported:
        rows = third / "trials" / work.name / "rows.safetensors"
        assert rows.read_bytes() == (work / "rows.safetensors").read_bytes()
