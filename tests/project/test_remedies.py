"""What whole commands advise is done, as a person would: then they work, and what was there is there still."""

import contextlib
import os
import re
import resource
import shutil
import socket
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Silent
from filelock import FileLock
from stored import rewrite
from typer.testing import CliRunner, Result

import study.runs.database
import study.tracking.sync
from study.cli.main import app
from study.config import StudyConfig, check_config
from study.engine.drive import drive
from study.engine.driver import StudyOutcome
from study.runs.faults import DatabaseInUseError, Exit
from study.runs.reader import read_record
from study.runs.run import State
from study.runs.storage import study_names
from study.server.process import dashboard_server
from study.tracking import relocate
from wake2vec import ConfigError, Progress, TrialStopped, Wake2VecError, WorkFolder

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")  # MLflow's own, at import
Done = tuple[Path, StudyOutcome]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures aren't drawn, of which other tests speak."""
    monkeypatch.setattr(study.tracking.sync, "draw_study", lambda record: [])
    monkeypatch.setattr(study.tracking.sync, "embedding_figure", lambda side: None)
    monkeypatch.setattr(study.tracking.sync, "save_png", lambda figure, path: path.write_bytes(b""))


@pytest.fixture
def home(done: Done, tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `small.yaml` lies, and the finished study in `mlruns`."""
    shutil.copytree(done[0], tmp_path / "mlruns")
    relocate(tmp_path / "mlruns" / "mlflow.db", done[0], tmp_path / "mlruns")
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(tree))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def typed(*words: str) -> Result:
    """`study <words> small.yaml <settings>`."""
    settings = [word for word in words if "=" in word]
    return CliRunner().invoke(app, [*(word for word in words if word not in settings), "small.yaml", *settings])


def refused(said: str, *words: str) -> str:
    told = typed(*words)
    assert told.exit_code != 0 and said in told.stderr and told.stderr.count("\n") == 1, (
        f"{told.output}{told.exception}"
    )
    return told.stderr


def works(*words: str) -> Result:
    told = typed(*words)
    assert told.exit_code == 0, f"{words}: {told.output} {told.exception!r}"
    return told


def trained(folder: Path) -> dict[str, bytes]:
    """What training wrote of every run."""
    names = ("result.json", "rows.safetensors", "progress.jsonl")
    files = [path for name in names for path in folder.glob(f"trials/*/{name}")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def with_study(tree: dict[str, Any], **settings: Any) -> StudyConfig:
    return check_config({**tree, "study": {**tree["study"], **settings}})


def test_a_name_of_those_that_are_offered_is_taken(home: Path) -> None:
    offered = refused("has no trial 99: give one of 0-3, `baseline` or `chosen`", "show", "99")
    for named in (*"0123", *re.findall(r"`(\w+)`", offered)):
        works("show", named)
    offered = refused("has no trial 99 with a result: give one of", "export", "--trial", "99")
    assert re.findall(r"\d", offered.partition("give one of")[2]) == [*"0123"]
    works("export", "--trial", "0", "--no-register")
    refused("a results folder must be there: gone isn't; give its --folder", "doctor", "--folder", "gone")
    works("doctor", "--folder", "mlruns")


def test_make_study_brings_what_isnt_there_yet(home: Path, study_config: StudyConfig) -> None:
    """In a folder without a study, and where none of its trials has begun."""
    shutil.rmtree("mlruns")
    refused("no study small in mlruns: run `make study` first", "status")
    assert "mlruns holds no study: run `make study` first" in CliRunner().invoke(app, ["status"]).stderr
    shown = CliRunner().invoke(app, ["dashboard"])
    assert "nothing to show: mlruns has no optuna.db; run `make study` first" in shown.stderr
    assert not Path("mlruns").exists()
    with pytest.raises(TrialStopped):
        drive(study_config, Path("mlruns"), Silent(), stop=lambda: True)
    for named in ("0", "baseline"):
        refused("has no trial that has begun: run `make study`", "show", named)
    for words in (("show", "chosen"), ("export", "--no-register"), ("report",)):
        refused("has no trial with a result yet: `make status` says how far it is", *words)
    assert "make study PROFILE=small.yaml  runs it" in works("status").stdout
    works("run", "study.trials=1")
    for words in (("status",), ("show", "0"), ("show", "chosen"), ("show", "baseline"), ("export", "--no-register")):
        works(*words)
    assert CliRunner().invoke(app, ["status"]).exit_code == 0
    with dashboard_server(Path("mlruns"), 0) as page:
        assert page.startswith("http://127.0.0.1:")


def test_another_port_is_taken_and_where_a_server_doesnt_start_its_log_says_why(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(done[0], tmp_path / "mlruns")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = f"port {port} must be free and permitted: Address already in use; give PORT=<another>"
        with pytest.raises(ConfigError, match=said):
            dashboard_server(folder, port).__enter__()
        with dashboard_server(folder, 0) as page:
            assert f":{port}/" not in page
    (tmp_path / "optuna_dashboard.py").write_text("raise ModuleNotFoundError('as if it were not installed')")
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
        with pytest.raises(ConfigError, match=r"the server doesn't start: see .*optuna-server\.log") as fault:
            dashboard_server(folder, 0).__enter__()
    assert "as if it were not installed" in Path(str(fault.value).partition("see ")[2]).read_text()
    with dashboard_server(folder, 0):
        pass


def test_a_result_of_another_version_leaves_its_folder_alone_and_the_study_begins_in_another(home: Path) -> None:
    """With another name in the same folder it would meet the same results again."""
    before = trained(Path("mlruns"))
    for format_, said in ((99, "begin anew in another --folder"), (3, "use that one, or begin anew in another")):
        for work in Path("mlruns/trials").iterdir():
            rewrite(WorkFolder(work), {"format": format_})
        other = trained(Path("mlruns"))
        refused(said, "run")
        refused(said, "run", "study.name=another")
        works("run", "study.trials=1", "--folder", f"results-{format_}")
        works("show", "chosen", "--folder", f"results-{format_}")
        assert trained(Path("mlruns")) == other
        for name, content in before.items():  # as the version that made them sees them
            Path("mlruns", name).write_bytes(content)
        assert "Nothing to do" in works("run").stdout
    assert trained(Path("mlruns")) == before


def test_arrays_that_cant_be_read_are_trained_again_as_it_says(done: Done, home: Path) -> None:
    """Of a version that named no hashes: the first who reads them notices."""
    work = WorkFolder(Path("mlruns/trials") / done[1].choice.trial.digest)
    rewrite(work, {"hashes": {}})
    rows = work.path / "rows.safetensors"
    whole, cut = rows.read_bytes(), rows.read_bytes()[:100]
    rows.write_bytes(cut)
    said = refused("can't be read: ", "export", "--no-register")
    assert "`make doctor FIX=yes` moves the run's result aside, and `make study` trains it again" in said
    works("run")
    refused("can't be read: ", "export", "--no-register")  # the control: `make study` alone takes it for finished
    works("doctor", "--fix")
    works("run")
    works("export", "--no-register")
    assert rows.read_bytes() == whole
    assert [path.read_bytes() for path in work.path.glob("rows.safetensors.*.damaged")] == [cut]


def test_a_study_of_another_configuration_goes_on_by_its_old_values_and_another_begins_by_another_name(
    home: Path, study_config: StudyConfig
) -> None:
    before = trained(Path("mlruns"))
    refused("made with another configuration (seed: 42 -> 7)", "run", "seed=7")
    assert "Nothing to do" in works("run").stdout
    works("run", "seed=7", "study.name=seven", "study.trials=1")
    assert before.items() <= trained(Path("mlruns")).items()
    assert study_names(Path("mlruns")) == ["seven", "small"]
    assert len(read_record(study_config, Path("mlruns")).finished) == 4


def test_an_input_that_changed_in_mid_study_is_put_back_or_the_study_gets_another_name(
    tree: dict[str, Any], inputs: Path, tmp_path: Path
) -> None:
    lexicon = Path(shutil.copy(inputs / "lexicon.txt", tmp_path))
    own = {**tree, "vocabulary": {**tree["vocabulary"], "lexicon": str(lexicon)}}
    config, folder, old = with_study(own, trials=2), tmp_path / "mlruns", lexicon.read_bytes()

    def change(record: Progress) -> None:
        lexicon.write_bytes(old.replace(b"haue\n", b""))

    said = r"inputs of a study must not change: vocabulary\.lexicon has another .*put the old file back, or give study"
    with pytest.raises(ConfigError, match=said):
        drive(config, folder, Silent(change))
    before = trained(folder)
    drive(with_study(own, trials=1, name="another"), folder, Silent())
    lexicon.write_bytes(old)
    assert [trial.number for trial in drive(config, folder, Silent()).trials] == [0, 1]
    assert before and before.items() <= trained(folder).items()


def test_a_warm_start_that_gives_nothing_is_left_out_or_what_differs_is_fixed(
    done: Done, tree: dict[str, Any], tmp_path: Path
) -> None:
    folder = shutil.copytree(done[0], tmp_path / "mlruns")
    before = trained(folder)
    warm = {"name": "warm", "trials": 1, "warm_start": ["small"]}
    for name, fixed in (("left-out", {**warm, "warm_start": []}), ("fixed", warm)):
        refused_ = check_config({**tree, "seed": 7, "study": {**tree["study"], **warm, "name": name}})
        with pytest.raises(ConfigError, match="small has none; leave it out, or fix what differs"):
            drive(refused_, folder, Silent())
        assert name not in study_names(folder), "nothing was made"
        seed = tree["seed"] if fixed["warm_start"] else 7
        fixed_ = check_config({**tree, "seed": seed, "study": {**tree["study"], **fixed, "name": name}})
        trials = drive(fixed_, folder, Silent()).trials
        assert len([trial for trial in trials if trial.source]) == (4 if fixed["warm_start"] else 0)
    assert before.items() <= trained(folder).items()


def test_where_all_trials_fail_their_reasons_stand_in_mlflow(tree: dict[str, Any], tmp_path: Path) -> None:
    import mlflow

    from study.tracking import tracking_uri

    space = {**tree["study"]["space"], "train.lr": {"low": 1e29, "high": 1e30, "log": True}}
    baseline = {**tree["study"]["baseline"], "train.lr": 1e30}
    watcher, folder = Silent(), tmp_path / "mlruns"
    with pytest.raises(Wake2VecError, match="all failed; see their reasons in MLflow"):
        drive(with_study(tree, trials=2, space=space, baseline=baseline), folder, watcher)
    client = mlflow.MlflowClient(tracking_uri(folder))
    runs = client.search_runs([client.get_experiment_by_name("small").experiment_id], "tags.`wake2vec.role` = 'trial'")
    assert sorted(run.data.tags["wake2vec.fault"] for run in runs) == sorted(run.reason for run in watcher.ended)
    assert all("must be finite" in run.reason for run in watcher.ended) and len(watcher.ended) == 2


def test_a_note_of_a_fault_that_is_damaged_is_found_out_again(tree: dict[str, Any], tmp_path: Path) -> None:
    space = {"train.steps": {"low": 4, "high": 8}}
    settings = {"space": space, "baseline": {"train.steps": 4}, "trials": 1, "anchors": {"fast": {"train.lr": 1e30}}}
    config, folder = with_study(tree, **settings), tmp_path / "mlruns"
    drive(config, folder, Silent())
    (note,) = folder.glob("trials/*/fault.json")
    whole, before = note.read_bytes(), trained(folder)
    note.write_bytes(whole[:9])
    (reference,) = read_record(config, folder).companions
    assert reference.state is State.DAMAGED and "fault.json is damaged: " in reference.reason
    assert reference.reason.endswith("`make study` runs it again")
    drive(config, folder, Silent())
    assert note.read_bytes() == whole and trained(folder) == before


def test_a_database_that_another_process_makes_is_there_when_that_is_done(
    study_config: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from study.runs.storage import open_study

    monkeypatch.setattr(study.runs.database, "WAIT_S", 0.01)
    with FileLock(tmp_path / ".optuna.db.making"):
        with pytest.raises(DatabaseInUseError, match=r"is being made by another process: try again when it is done"):
            open_study(tmp_path, study_config, {"a": 1})
        assert not (tmp_path / "optuna.db").exists()
    assert len(open_study(tmp_path, study_config, {"a": 1}).trials) == 1


def test_a_database_of_other_tables_is_for_what_made_it_and_another_folder_for_this(home: Path) -> None:
    path = Path("mlruns/optuna.db")
    own = path.read_bytes()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE trial_params")
    other = path.read_bytes()
    for words in (["list"], ["run", "study.trials=5"]):
        refused("must have the tables of this version: no such table", *words)
    works("run", "study.trials=1", "--folder", "results")
    assert path.read_bytes() == other
    path.write_bytes(own)  # as what made it sees it
    assert "Nothing to do" in works("run").stdout


def test_an_export_without_a_run_in_mlflow_is_registered_when_the_study_was_run_again(home: Path) -> None:
    before = trained(Path("mlruns"))
    Path("mlruns/mlflow.db").rename("mlflow.db")
    said = "has none of trial 3 of small; run `make study` again, or export with REGISTER=no"
    refused(said, "export", "--out", "a")
    works("export", "--out", "b", "--no-register")
    works("run")
    works("export", "--out", "a")
    assert files(Path("a")) == files(Path("b"))
    assert trained(Path("mlruns")) == before


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("words", "limit", "said"),
    [
        (("export", "--out", "a", "--no-register"), 60_000, "the disk must take what is written"),
        (("run", "study.trials=5"), 4_000, "the disk must give and take"),
    ],
)
def test_what_the_disk_didnt_take_the_same_command_brings_when_there_is_room(
    words: tuple[str, ...], limit: int, said: str, home: Path
) -> None:
    before, limits = trained(Path("mlruns")), resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        told = typed(*words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert told.exit_code == Exit.DISK, f"{told.output} {told.exception!r}"
    assert said in told.stderr and re.search("free some space.*, and the same command continues", told.stderr)
    assert not list(Path().glob("*a*part")) and not Path("a").exists()
    works(*words)
    assert before.items() <= trained(Path("mlruns")).items()


def test_results_that_were_moved_are_exported_where_they_were_made_or_unregistered(home: Path) -> None:
    Path("mlruns").rename("moved")
    refused("was copied or moved: its tracking database keeps artifacts in", "export", "--folder", "moved")
    works("export", "--folder", "moved", "--no-register", "--out", "b")
    Path("moved").rename("mlruns")
    assert "Registered in MLflow: models:/small@best" in works("export", "--out", "a").stdout
    assert files(Path("a")) == files(Path("b"))
