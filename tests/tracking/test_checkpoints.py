"""Checkpoints on their way to the archive: what is amiss there is said in a line, and stops nobody."""

import errno
import os
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

import study.tracking.checkpoints
from bench.servers import mlflow
from study.tracking.checkpoints import Checkpoints, SendingCheckpoints, link
from wake2vec import MANIFEST

pytestmark = pytest.mark.xdist_group("servers")
NOBODY = "http://127.0.0.1:1"


def test_an_archive_that_is_gone_is_told_once_and_what_it_lacks_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study.tracking.checkpoints, "LEAST_S", 0.01)
    tried, said = [0], []

    (tmp_path / "trials/digest/checkpoints/step-1").mkdir(parents=True)
    (tmp_path / "trials/digest/checkpoints/step-1" / MANIFEST).write_text("{}")

    class Counted(Checkpoints):
        def send_new(self) -> None:
            tried[0] += 1
            super().send_new()

    with SendingCheckpoints(Counted(tmp_path, "run", NOBODY), 0.0, said.append):
        until = time.monotonic() + 60
        while tried[0] < 3 and time.monotonic() < until:
            time.sleep(0.01)
    assert tried[0] >= 3
    first, last = said
    assert first.startswith(
        "checkpoints don't reach the archive for now, the study goes on: MLflow's server must answer"
    )
    assert last == "the archive lacks the last checkpoints: they lie in this results folder"


def test_a_run_that_ends_while_its_checkpoint_is_sent_leaves_nothing_in_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "results/trials/digest/checkpoints/step-00000002"
    checkpoint.mkdir(parents=True)
    for name in ("state.pt", MANIFEST):
        (checkpoint / name).write_text("{}")
    with mlflow(tmp_path / "server", f"sqlite:///{tmp_path}/server/mlflow.db") as server:
        client = MlflowClient(server.address)
        run_id = client.create_run(client.create_experiment("small")).info.run_id
        sent = Checkpoints(tmp_path / "results", run_id, server.address)
        sent.send_new()
        place = "open/digest/step-00000002"
        assert sorted(info.path for info in client.list_artifacts(run_id, place)) == [
            f"{place}/{MANIFEST}",
            f"{place}/state.pt",
        ]
        sent = Checkpoints(tmp_path / "results", run_id, server.address)

        def end_and_link(file: Path, target: Path) -> None:
            sent.drop("digest")
            link(file, target)

        monkeypatch.setattr(study.tracking.checkpoints, "link", end_and_link)
        sent.send_new()
        assert client.list_artifacts(run_id, "open") == []


def test_where_the_file_system_has_no_links_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no links here") if source.exists() else FileNotFoundError(source)

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "state.json").write_text("{}")
    link(tmp_path / "state.json", tmp_path / "held")
    assert (tmp_path / "held").read_text() == "{}"
    with pytest.raises(FileNotFoundError):  # another checkpoint has taken its place
        link(tmp_path / "gone", tmp_path / "other")
