"""A study that several drivers share: a real PostgreSQL, a real MLflow server, a results folder each."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import psycopg
import pytest
import yaml
from conftest import Silent
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from tools import need

from bench.servers import PASSWORD, Mlflow, Postgres, mlflow, postgres
from study.config import StudyConfig
from study.engine.driver import StudyOutcome, drive
from study.runs.addresses import Addresses, keep
from study.runs.faults import ConnectionLostError, fault_of
from study.runs.postgres import PostgresDatabase
from study.runs.reader import read_record
from study.runs.storage import load_study
from wake2vec import Progress

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
    for words in (["ui"], ["report"], ["export", "--out", str(tmp_path / "out")]):
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


def refused(words: list[str], folder: Path) -> str:
    """The one line with which a command ends, and nothing is made."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode in (2, 5, 9) and not folder.exists(), done
    line = done.stderr.strip()
    assert line.startswith("error: ") and "\n" not in line
    assert PASSWORD not in line + done.stdout
    return line


def test_what_cant_be_reached_is_one_line_and_makes_nothing(
    server: Postgres, addresses: Addresses, tmp_path: Path, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, tracking = tmp_path / "results", str(addresses.tracking)

    def asked(storage: str, tracking: str = tracking) -> str:
        words = ["--storage", storage, "--tracking", tracking]
        return refused([*command(folder, profile, "run"), *words], folder)

    storage = str(addresses.storage)
    assert "must hold no password" in asked(storage.replace("wake@", f"wake:{PASSWORD}@"))
    assert "must hold no password" in asked(f"{storage}?password={PASSWORD}")
    assert "must be an address such as postgresql://" in asked("mysql://host/study")
    assert "must name a database" in asked(server.address(""))
    assert "does not exist; see whether" in asked(server.address("nobody-made-it"))
    assert "Connection refused" in asked(server.address("study", port=1))
    assert "MLflow's server must answer: http://127.0.0.1:1 says" in asked(storage, "http://127.0.0.1:1")
    monkeypatch.setenv("PGPASSWORD", "another")
    assert "password authentication failed" in asked(storage)
    words = [*command(folder, profile, "run"), "--storage", storage]
    assert "--storage needs --tracking too" in refused(words, folder)


def test_a_mirror_of_a_shared_study_is_refused(addresses: Addresses, tmp_path: Path, profile: Path) -> None:
    words = [*command(tmp_path / "results", profile, "run"), *at(addresses), "--mirror", str(tmp_path)]
    assert "leave --mirror out" in refused(words, tmp_path / "results")


def test_four_first_drivers_at_once_make_one_study(
    addresses: Addresses, tmp_path: Path, study_config: StudyConfig
) -> None:
    """Optuna makes its tables in many transactions, of which two at once die."""
    program = (
        "import sys, yaml\nfrom pathlib import Path\nfrom study.config import check_config\n"
        "from study.runs.storage import open_study\nfrom study.runs.study_database import study_database\n"
        "config = check_config(yaml.safe_load(Path(sys.argv[2]).read_text()))\nprint(flush=True)\ninput()\n"
        "with study_database(Path(sys.argv[1])).hold('small') as lease:\n"
        "    open_study(Path(sys.argv[1]), config, {'a': 1}, lease)\n"
    )
    tree = tmp_path / "tree.yaml"
    tree.write_text(yaml.safe_dump(study_config.run.model_dump() | {"study": study_config.study.model_dump()}))
    folder = shared(tmp_path / "results", addresses)
    drivers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(folder), str(tree)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(4)
    ]
    for driver in drivers:
        assert driver.stdout is not None and driver.stdout.readline()  # it has loaded its libraries
    for driver in drivers:
        driver.communicate(b"\n", timeout=300)
    assert [driver.returncode for driver in drivers] == [0, 0, 0, 0]
    assert [trial.params for trial in load_study(folder, "small").get_trials()] == [{}]


def test_a_killed_drivers_trial_is_taken_over_at_once(server: Postgres) -> None:
    database = PostgresDatabase(server.create("claims"))
    with database.hold("small") as lease:
        program = (
            "import sys, time\nfrom study.runs.postgres import PostgresDatabase\n"
            f"with PostgresDatabase({database.address!r}).hold('small') as lease:\n"
            "    print(lease.claim('trial 0'), lease.claim('trial 0, seed 43'), flush=True)\n    time.sleep(600)\n"
        )
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None and other.stdout.readline() == "True True\n"
            assert not lease.claim("trial 0") and not lease.claim("trial 0, seed 43")
            assert lease.claim("trial 1")
            assert str(database.driver_of("small")).count("process") == 2
            other.kill()
        until = time.monotonic() + 30
        while not lease.claim("trial 0") and time.monotonic() < until:
            time.sleep(0.05)
        assert lease.claim("trial 0, seed 43")
    assert database.driver_of("small") is None


def test_who_has_lost_the_locks_cant_write(server: Postgres) -> None:
    """The server ends the connection, as it does to a machine that vanished, and another takes the trial."""
    database = PostgresDatabase(server.create("lost"))
    with database.hold("small") as lease:
        with lease.opening() as storage:
            study = optuna.create_study(study_name="small", storage=storage)
        study.enqueue_trial({})
        trial = study.ask()
        assert lease.claim("trial 0") and not lease.is_lost
        with psycopg.connect(database.address) as other:
            other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        with pytest.raises(StorageInternalError) as refused:
            study.tell(trial, 1.0)
        assert isinstance(fault_of(refused.value), ConnectionLostError)
        with pytest.raises(ConnectionLostError):
            study.tell(trial, 1.0)
        with database.hold("small") as next_one:
            assert next_one.claim("trial 0")
    assert [trial.state for trial in load(database).trials] == [TrialState.RUNNING]


def load(database: PostgresDatabase) -> optuna.Study:
    return optuna.load_study(study_name="small", storage=database.storage())


def test_a_study_outlives_a_restart_of_its_database(
    server: Postgres, addresses: Addresses, tmp_path: Path, done: tuple[Path, StudyOutcome], study_config: StudyConfig
) -> None:
    """Amid the second trial, which goes on from its checkpoint: the study is the one of a file."""
    records: list[Progress] = []

    def restart(record: Progress) -> None:
        records.append(record)
        if len(records) == 14:
            server.stop()
            server.start()

    watcher = Silent(restart)
    told: list[str] = []
    watcher.waiting = told.append  # type: ignore[method-assign]
    folder = shared(tmp_path / "shared", addresses)
    drive(study_config, folder, watcher)
    assert len(told) == 1 and "the study database was lost" in told[0]
    made, expected = results(folder, study_config), results(done[0], study_config)
    assert [run.params for run in made[0]] == [run.params for run in expected[0]]
    assert made[1:] == expected[1:]
