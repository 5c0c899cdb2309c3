"""Which generation of a mirror stands, who may carry it on, and which folders can't be one."""

import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from training_folder import Training, complete, hashes, plain_mirror

from study.mirror.mirror import Mirror, check_mirror, restore
from study.tracking import relocate
from wake2vec import ConfigError

pytestmark = pytest.mark.usefixtures("no_fsync")


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
    here, elsewhere = hashes(training.folder), drive_folder.with_name("elsewhere")
    check_mirror(training.folder, elsewhere)  # to keep what is here
    plain_mirror(training, elsewhere).sync()
    assert hashes(drive_folder) == before
    for name in ("optuna.db", "mlflow.db"):  # to continue from the mirror
        (training.folder / name).rename(training.folder / f"{name}.aside")
    assert restore(training.folder, drive_folder)
    check_mirror(training.folder, drive_folder)
    assert complete(training.folder) == complete(second.folder)
    ended = tuple(f"trials/{digest}/" for digest in training.finished())
    kept = {name: data for name, data in here.items() if name.startswith(ended)}
    kept |= {f"{name}.aside": here[name] for name in ("optuna.db", "mlflow.db")}
    assert kept.items() <= hashes(training.folder).items()


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
    old = (drive_folder / "optuna-00000001.db").read_bytes()
    os.truncate(drive_folder / "optuna-00000001.db", 5000)
    with pytest.raises(ConfigError, match=r"lacks files of the generations 2, 1; wait until the drive has all of them"):
        restore(tmp_path / "b", drive_folder)
    assert not (tmp_path / "b" / "optuna.db").exists()
    assert not restore(tmp_path / "b", drive_folder.with_name("another"))  # to begin anew
    check_mirror(tmp_path / "b", drive_folder.with_name("another"))
    (drive_folder / "optuna-00000001.db").write_bytes(old)  # the drive has all of them
    assert restore(tmp_path / "b", drive_folder)
    assert complete(tmp_path / "b") == {f"{0:016x}", f"{1:016x}"}


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
        pytest.param(
            lambda path: Path("/proc/mirror"),
            "must be a folder that can be read and written: /proc/mirror: ",
            marks=pytest.mark.needs("proc"),
        ),
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
    (tmp_path / "drive").mkdir()  # mounted
    check_mirror(tmp_path / "mlruns", tmp_path / "drive" / "mirror")
    assert {*before, tmp_path / "drive"} == {*tmp_path.rglob("*")}


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
