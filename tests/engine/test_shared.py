"""A study that several drivers share: a real PostgreSQL, a real MLflow server, a results folder each."""

import contextlib
import importlib.util
import logging
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
from mlflow import MlflowClient
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from tools import need

import study.runs.postgres
from bench.servers import PASSWORD, Mlflow, Postgres, mlflow, pooler, postgres
from study.cli.clean import clean
from study.config import StudyConfig, check_config
from study.engine.drive import drive
from study.engine.driver import StudyOutcome
from study.runs.addresses import Addresses, addresses_of, keep
from study.runs.faults import (
    ConnectionLostError,
    DiskError,
    GoneError,
    InUseError,
    NotPermittedError,
    PoolerError,
    UnreachableError,
    fault_of,
)
from study.runs.postgres import Connection, PostgresDatabase, check_direct
from study.runs.reader import read_record
from study.runs.storage import load_study, study_run
from study.runs.study_database import study_database
from study.tracking import Tracker
from study.tracking.archive import Archive
from study.tracking.checkpoints import Checkpoints
from study.tracking.database import join
from wake2vec import ConfigError, Progress

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


def test_another_seed_makes_another_study(
    addresses: Addresses, tmp_path: Path, done: tuple[Path, StudyOutcome], study_config: StudyConfig
) -> None:
    """The control."""
    other = study_config.model_copy(update={"study": study_config.study.model_copy(update={"seed": 7})})
    folder = shared(tmp_path / "shared", addresses)
    drive(other, folder, Silent())
    assert results(folder, other)[1:] != results(done[0], study_config)[1:]


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
    looked = subprocess.run([*command(third, profile, "doctor")], capture_output=True, text=True, check=False)
    assert (looked.returncode, looked.stdout.count("damaged")) == (0, 0), looked.stdout
    for work in exported:
        rows = third / "trials" / work.name / "rows.safetensors"
        assert rows.read_bytes() == (work / "rows.safetensors").read_bytes()


def test_what_cant_be_reached_is_one_line_makes_nothing_and_its_remedy_works(
    server: Postgres, addresses: Addresses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, storage, tracking = tmp_path / "results", str(addresses.storage), str(addresses.tracking)

    def refusal(kind: type[ConfigError], storage: str | None, tracking: str | None = tracking) -> str:
        with pytest.raises(kind) as refused:
            join(folder, storage, tracking)
        assert not folder.exists() and "\n" not in str(refused.value) and PASSWORD not in str(refused.value)
        return str(refused.value)

    assert "must hold no password" in refusal(ConfigError, storage.replace("wake@", f"wake:{PASSWORD}@"))
    assert "must hold no password" in refusal(ConfigError, f"{storage}?password={PASSWORD}")
    assert "must be an address such as postgresql://" in refusal(ConfigError, "mysql://host/study")
    assert "must be an address such as https://" in refusal(ConfigError, storage, "host:5000")
    assert "must name a database" in refusal(ConfigError, server.address(""))
    assert "--storage needs --tracking too" in refusal(ConfigError, storage, None)
    assert "does not exist; see whether" in refusal(UnreachableError, server.address("nobody-made-it"))
    assert "see whether the address" in refusal(UnreachableError, server.address("study", port=1))
    assert "see whether the address" in refusal(UnreachableError, storage, "http://127.0.0.1:1")
    monkeypatch.setenv("PGPASSWORD", "another")
    assert "a password in ~/.pgpass" in refusal(NotPermittedError, storage)
    monkeypatch.delenv("PGPASSWORD")
    pgpass = tmp_path / "pgpass"
    pgpass.write_text(f"127.0.0.1:*:*:*:{PASSWORD}\n")
    pgpass.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(pgpass))
    join(folder, storage, tracking)
    assert addresses_of(folder) == addresses and PASSWORD not in (folder / "addresses.json").read_text()


def test_a_database_that_takes_nothing_more_is_told_and_goes_on_when_that_is_put_right(server: Postgres) -> None:
    database = PostgresDatabase(server.create("full"))
    others: list[Connection] = []
    with pytest.raises(InUseError, match="; stop some"):
        while len(others) < 100:
            others.append(Connection(database.address))
    for other in others:
        other.close()
    until = time.monotonic() + 30  # the server takes a moment to notice
    while time.monotonic() < until:
        with contextlib.suppress(InUseError):
            database.check()
            break
    with psycopg.connect(database.address, autocommit=True) as owner:
        owner.execute('ALTER DATABASE "full" SET default_transaction_read_only = on')
        with database.hold("small") as lease, pytest.raises(DiskError, match="put that right there"), lease.opening():
            pass
        owner.execute("SET default_transaction_read_only = off")
        owner.execute('ALTER DATABASE "full" RESET default_transaction_read_only')
    with database.hold("small") as lease, lease.opening() as storage:
        optuna.create_study(study_name="small", storage=storage)
    assert database.names() == ["small"]


def test_a_server_that_keeps_no_artifacts_is_refused(
    addresses: Addresses, tmp_path: Path, study_config: StudyConfig
) -> None:
    """Its clients would write them into a folder of their own, without a word."""
    database, root = f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "root")
    server = Mlflow(tmp_path / "server", database, words=("--no-serve-artifacts", "--default-artifact-root", root))
    folder = tmp_path / "results"
    try:
        server.start()
        MlflowClient(server.address).create_experiment("small")
        with pytest.raises(ConfigError, match="start it without --no-serve-artifacts"):
            join(folder, None, server.address)
        assert not folder.exists()
        server.stop()
        server.words = ()
        server.start()
        join(folder, None, server.address)
        with pytest.raises(ConfigError, match=r"give study\.name=<another>"):
            Tracker(folder, study_config)
        another = study_config.study.model_copy(update={"name": "another"})
        Tracker(folder, study_config.model_copy(update={"study": another}))
    finally:
        server.stop()


def test_mlflows_server_lets_in_who_has_its_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "default_permission": "READ",
        "database_uri": f"sqlite:///{tmp_path}/logins.db",
        "admin_username": "admin",
        "admin_password": PASSWORD,
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
    }
    lines = ["[mlflow]", *(f"{name} = {value}" for name, value in settings.items())]
    (tmp_path / "login.ini").write_text("\n".join(lines))
    environment = {"MLFLOW_AUTH_CONFIG_PATH": str(tmp_path / "login.ini"), "MLFLOW_FLASK_SERVER_SECRET_KEY": "any"}
    words = ("--app-name", "basic-auth", "--artifacts-destination", str(tmp_path / "artifacts"))
    with mlflow(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", words=words, environment=environment) as server:
        with pytest.raises(NotPermittedError, match="put the login into MLFLOW_TRACKING_USERNAME"):
            join(tmp_path / "results", None, server.address)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "another")
        with pytest.raises(NotPermittedError, match="says no"):
            join(tmp_path / "results", None, server.address)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
        join(tmp_path / "results", None, server.address)


def test_a_folder_belongs_to_one_place(addresses: Addresses, tmp_path: Path, done: tuple[Path, StudyOutcome]) -> None:
    storage, tracking = str(addresses.storage), str(addresses.tracking)
    with pytest.raises(ConfigError, match=r"belongs to one study database and one MLflow: .* give another --folder"):
        join(done[0], storage, tracking)
    join(tmp_path / "another", storage, tracking)
    with pytest.raises(ConfigError, match="give another --folder"):
        join(tmp_path / "another", storage.replace("127.0.0.1", "localhost"), tracking)
    (tmp_path / "another" / "addresses.json").write_text("{")
    with pytest.raises(ConfigError, match="delete it, and give --storage and --tracking again"):
        addresses_of(tmp_path / "another")
    (tmp_path / "another" / "addresses.json").unlink()
    join(tmp_path / "another", storage, tracking)


def test_a_folder_has_one_driver_of_a_shared_study_too(addresses: Addresses, tmp_path: Path) -> None:
    folder = shared(tmp_path / "results", addresses)
    with study_database(folder).hold("small"):
        with (
            pytest.raises(InUseError, match="or give this driver another --folder"),
            study_database(folder).hold("small"),
        ):
            pass
        with pytest.raises(InUseError, match="is in use"):
            clean(folder, yes=True)
        with study_database(shared(tmp_path / "another", addresses)).hold("small"):
            pass
    clean(folder, yes=True)
    assert not (folder / "addresses.json").exists()


def test_the_profile_may_hold_the_addresses(addresses: Addresses, tmp_path: Path, profile: Path) -> None:
    words = [f"machine.storage={addresses.storage}", f"machine.tracking={addresses.tracking}"]
    asked = subprocess.run(
        command(tmp_path / "results", profile, "list", *words), capture_output=True, text=True, check=False
    )
    assert "no study small in postgresql://" in asked.stderr
    assert addresses_of(tmp_path / "results") == addresses


def test_rows_that_the_archive_has_lost_are_told_and_brought_when_they_are_put_back(
    addresses: Addresses, tmp_path: Path
) -> None:
    """The server answers, and would again: nobody waits for it."""
    folder, reader = shared(tmp_path / "results", addresses), shared(tmp_path / "reader", addresses)
    work = folder / "trials" / "0"
    work.mkdir(parents=True)
    (work / "result.json").write_text("{}")
    client = MlflowClient(addresses.tracking)
    run_id = client.create_run(client.create_experiment("lost")).info.run_id
    Archive(folder, run_id).put("0")
    archive = Archive(reader, run_id)
    assert archive.bring(["0"]) == 1
    with pytest.raises(GoneError, match="put it back there"):
        archive.bring_rows("0")
    (work / "rows.safetensors").write_bytes(b"rows")
    client.log_artifact(run_id, str(work / "rows.safetensors"), "work/0")
    archive.bring_rows("0")
    assert (reader / "trials" / "0" / "rows.safetensors").read_bytes() == b"rows"


def test_a_suspended_driver_holds_up_nobody_for_ever(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study.runs.postgres, "LONGEST_WAIT_S", 0.2)
    database = PostgresDatabase(server.create("suspended"))
    with database.hold("small") as suspended, database.hold("small") as other:
        with suspended.alone(lambda: False) as is_alone, other.alone(lambda: False) as too:
            assert (is_alone, too) == (True, False)
        with other.alone(lambda: False) as is_alone:
            assert is_alone
        with (
            suspended.fence().alone(),
            pytest.raises(InUseError, match="brings much or is suspended"),
            other.fence().alone(),
        ):
            pass
        with other.fence().alone():
            pass


def test_without_psycopg_a_database_is_refused_with_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "psycopg" else find(name))
    with pytest.raises(ConfigError, match=r"run `make \.venv/postgres`"):
        join(tmp_path / "results", "postgresql://host/study", "https://host")
    makefile = (Path(__file__).parents[2] / "Makefile").read_text(encoding="utf-8")
    assert "\n.venv/postgres: " in makefile


def test_a_mirror_of_a_shared_study_is_refused(addresses: Addresses, tmp_path: Path, profile: Path) -> None:
    words = [*command(tmp_path / "results", profile, "run", "study.trials=1"), *at(addresses)]
    mirrored = subprocess.run([*words, "--mirror", str(tmp_path)], capture_output=True, text=True, check=False)
    assert mirrored.returncode == 2 and not (tmp_path / "results").exists()
    assert mirrored.stderr.startswith("error: --mirror keeps") and mirrored.stderr.endswith("leave --mirror out\n")
    left_out = subprocess.run(words, capture_output=True, text=True, check=False)
    assert left_out.returncode == 0, left_out.stderr
    assert PASSWORD not in left_out.stdout + left_out.stderr


@pytest.mark.needs("pgbouncer")
def test_a_pooler_is_refused_and_the_direct_address_taken(server: Postgres, addresses: Addresses) -> None:
    """In transaction mode it gives one session to several clients, so that two would hold one lock."""
    address = str(addresses.storage)
    with pooler(server, "transaction") as port, pytest.raises(PoolerError, match="give the direct connection"):
        check_direct(address.replace(str(server.port), str(port)))
    with pooler(server, "session") as port:  # the control
        check_direct(address.replace(str(server.port), str(port)))
    check_direct(address)


def test_a_trial_goes_on_from_the_checkpoint_that_another_driver_left_in_the_archive(
    addresses: Addresses, tmp_path: Path, tree: dict[str, Any]
) -> None:
    steps = {"train.steps": {"low": 4, "high": 300}}
    study = {"trials": 1, "space": tree["study"]["space"] | steps}
    study["baseline"] = tree["study"]["baseline"] | {"train.steps": 300}
    machine = {"checkpoint_every_s": 0, "archive_checkpoints": True, "threads": 1}
    long = tree | {"study": tree["study"] | study, "machine": machine}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(long))
    two, client = shared(tmp_path / "two", addresses), MlflowClient(addresses.tracking)

    def names(place: str) -> list[str]:
        run_id = study_run(two, "small")
        return [] if run_id is None else [info.path for info in client.list_artifacts(run_id, place)]

    def whole() -> list[str]:
        """The checkpoints that the archive has."""
        steps = [step for digest in names("open") for step in names(digest)]
        return [step for step in steps if f"{step}/manifest.json" in names(step)]

    with subprocess.Popen([*command(tmp_path / "one", tmp_path / "small.yaml", "run"), *at(addresses)]) as first:
        until = time.monotonic() + 200
        while not whole() and time.monotonic() < until and first.poll() is None:
            time.sleep(0.05)
        first.kill()
    assert whole(), "it has left no checkpoint"
    records: list[Progress] = []
    drive(check_config(long), two, Silent(records.append))
    began = next(record.step for record in records if "training.loss" in record.numbers)
    assert began > 1
    assert names("open") == [], "a run that has ended needs no checkpoints"
    run_id = study_run(two, "small")
    assert run_id is not None
    Checkpoints(tmp_path / "one", run_id, addresses.tracking).send_new()  # as of a driver that slept meanwhile
    assert len(names("open")) == 1
    drive(check_config(long), two, Silent())
    assert names("open") == []
    undisturbed: list[Progress] = []
    drive(check_config(long), tmp_path / "three", Silent(undisturbed.append))
    numbers = [record.numbers for record in undisturbed]
    assert [record.numbers for record in records] == numbers[len(numbers) - len(records) :]
    assert results(two, check_config(long)) == results(tmp_path / "three", check_config(long))


def test_what_ends_elsewhere_while_results_are_brought_isnt_run_again(
    addresses: Addresses, tmp_path: Path, study_config: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files aren't here, though the study database says that it ended: as if they were damaged."""
    one, two = (shared(tmp_path / name, addresses) for name in ("one", "two"))
    of = [
        study_config.model_copy(update={"study": study_config.study.model_copy(update={"trials": n})}) for n in (1, 2)
    ]
    drive(of[0], one, Silent())
    bring, brought = Archive.bring, [0]

    def slowly(archive: Archive, digests: list[str]) -> int:
        brought[0] += 1
        found = bring(archive, digests)
        if brought[0] == 1:
            drive(of[1], one, Silent())
        return found

    monkeypatch.setattr(Archive, "bring", slowly)
    watcher = Silent()
    monkeypatch.setattr(watcher, "remeasuring", pytest.fail)
    assert drive(of[1], two, watcher).added == 0 and brought[0] > 1


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


def test_of_a_lost_connection_optunas_sql_isnt_shown(server: Postgres, caplog: pytest.LogCaptureFixture) -> None:
    """Amid its reading of trials; the fault itself is told in a line."""
    with PostgresDatabase(server.create("sql")).hold("small") as lease, lease.opening():
        optunas = logging.getLogger("optuna.storages._rdb.storage")
        optunas.warning("Caught an error from sqlalchemy: ... [SQL: SELECT ...]. Falling back to a slower alternative.")
        optunas.warning("another")
    assert "SQL" not in caplog.text and "another" in caplog.text


def test_who_has_lost_the_locks_cant_write(server: Postgres) -> None:
    """The server ends the connection, as it does to a machine that vanished, and another takes the trial."""
    database = PostgresDatabase(server.create("lost"))
    with database.hold("small") as lease:
        with lease.opening() as storage:
            own = optuna.create_study(study_name="small", storage=storage)
        own.enqueue_trial({})
        trial = own.ask()
        assert lease.claim("trial 0") and not lease.is_lost
        with psycopg.connect(database.address) as other:
            other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        with pytest.raises(StorageInternalError) as refused:
            own.tell(trial, 1.0)
        assert isinstance(fault_of(refused.value), ConnectionLostError)
        with pytest.raises(ConnectionLostError):
            own.tell(trial, 1.0)
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
    watcher.mlflow_lacks = lambda what: None  # type: ignore[method-assign] (its lock is in that database)
    folder = shared(tmp_path / "shared", addresses)
    drive(study_config, folder, watcher)
    assert len(told) == 1 and "the study database was lost" in told[0]
    made, expected = results(folder, study_config), results(done[0], study_config)
    assert [run.params for run in made[0]] == [run.params for run in expected[0]]
    assert made[1:] == expected[1:]
