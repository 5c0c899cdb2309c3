"""The mirror beside a study: what it copies and when, what it tells of a bad drive, how a study is brought back."""

import contextlib
import resource
import shutil
import threading
from pathlib import Path
from typing import BinaryIO

import mlflow
import optuna
import pytest
from conftest import Silent
from stored import metric_rows, results
from training_folder import Training, complete, hashes, plain_mirror

import study.mirror.copies
from bench.faults.rights import as_any_user
from study.config import StudyConfig
from study.engine.drive import drive
from study.engine.driver import StudyOutcome
from study.mirror.mirror import Mirror, check_mirror, restore
from study.runs.study_database import study_database
from study.tracking import tracking_uri
from wake2vec import ConfigError, Progress

pytestmark = pytest.mark.usefixtures("no_fsync")


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
        return optuna.load_study(study_name="small", storage=study_database(folder).url).get_trials()

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
        patched.setattr(study.mirror.copies, "pour", no_copy)
        plain_mirror(training, drive_folder).sync()
    assert hashes(drive_folder) == before
    training.act_until(lambda: len(training.finished()) == 3)
    plain_mirror(training, drive_folder).sync()
    digest = f"{2:016x}"
    assert (drive_folder / "trials" / digest / "result.json").exists()
    assert not (drive_folder / "trials" / digest / "checkpoints").exists()
    for path in drive_folder.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)


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


def test_a_mirror_that_cant_be_read_is_brought_back_by_the_same_command_later(
    training: Training, drive_folder: Path, tmp_path: Path
) -> None:
    plain_mirror(training, drive_folder).sync()
    restored = tmp_path / "restored"
    restored.mkdir()
    with as_any_user():
        for closed, mode in ((drive_folder / "trials" / f"{0:016x}", 0), (restored, 0o500)):
            before = closed.stat().st_mode
            closed.chmod(mode)
            with pytest.raises(
                ConfigError, match=r"must be readable, and .* must take it: .*the same command tries again"
            ):
                restore(restored, drive_folder)
            closed.chmod(before)
        assert restore(restored, drive_folder)
    assert complete(restored) == training.finished()


@pytest.mark.needs("proc")
def test_a_hanging_drive_holds_the_study_up_for_no_longer_than_it_was_given(
    training: Training, drive_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging, answer = threading.Event(), threading.Event()
    pour = study.mirror.copies.pour

    def hang(content: BinaryIO, file: BinaryIO) -> str:
        if "rows.safetensors" in str(Path(f"/proc/self/fd/{file.fileno()}").readlink()):
            hanging.set()
            answer.wait()
        return pour(content, file)

    monkeypatch.setattr(study.mirror.copies, "pour", hang)
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
