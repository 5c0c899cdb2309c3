"""Checkpoints on their way to the archive: what is amiss there is said in a line, and stops nobody."""

import errno
import os
import time
from pathlib import Path

import pytest

import study.tracking.checkpoints
from study.tracking.checkpoints import Checkpoints, SendingCheckpoints, link

NOBODY = "http://127.0.0.1:1"


def test_an_archive_that_is_gone_is_told_once_and_what_it_lacks_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study.tracking.checkpoints, "LEAST_S", 0.01)
    tried, said = [0], []

    def made() -> Checkpoints:
        tried[0] += 1
        return Checkpoints(tmp_path, "run", NOBODY)

    with SendingCheckpoints(made, 0.0, said.append):
        until = time.monotonic() + 60
        while tried[0] < 3 and time.monotonic() < until:
            time.sleep(0.01)
    assert tried[0] >= 3
    first, last = said
    assert first.startswith(
        "checkpoints don't reach the archive for now, the study goes on: MLflow's server must answer"
    )
    assert last == "the archive lacks the last checkpoints: they lie in this results folder"


def test_where_the_file_system_has_no_links_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no links here") if source.exists() else FileNotFoundError(source)

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "state.json").write_text("{}")
    link(tmp_path / "state.json", tmp_path / "held")
    assert (tmp_path / "held").read_text() == "{}"
    with pytest.raises(FileNotFoundError):  # another checkpoint has taken its place
        link(tmp_path / "gone", tmp_path / "other")
