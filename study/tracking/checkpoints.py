"""Checkpoints of open runs in the archive, `open/<digest>/step-<step>/`: who takes a run over goes on from there.

Each stands there with the record of progress that reaches it. Its manifest goes up last: without one it isn't whole.
"""

import contextlib
import functools
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from types import TracebackType
from typing import Self

from mlflow import MlflowClient
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from study.runs.archived import is_archived
from study.runs.faults import StorageFault
from study.runs.system import RECORDS
from study.tracking.database import client_of, faults_told
from wake2vec import MANIFEST, WorkFolder, private_folder

LEAST_S = 1.0
"""Between two looks for new checkpoints."""
PATIENCE_S = 60.0
"""For the last checkpoint, when the driver ends."""


class Checkpoints:
    """Of the study whose run on the server has that id; `folder` is this driver's results folder.

    One thread sends, another brings and drops. All raise StorageFault: the server doesn't answer, or doesn't let this
    user in.
    """

    def __init__(self, folder: Path, run_id: str, server: str) -> None:
        self._folder, self._run, self._server = folder, run_id, server
        self._sent: dict[str, str] = {}
        """The newest of each run that the archive has from here, by digest."""
        self._dropped: set[str] = set()
        """Digests of runs that have ended: a file sent after that would stand in the archive for good."""
        self._writing = threading.Lock()
        """Held for each change of the archive, and to look at `_dropped` before it."""

    def send_new(self) -> None:
        """The newest checkpoint of each open run of this folder, unless the archive has it."""
        for checkpoints in sorted((self._folder / "trials").glob("*/checkpoints")):
            work = WorkFolder(checkpoints.parent)
            newest = next(iter(_newest_first(checkpoints)), None)
            is_open = not (work.has_ended or is_archived(work.path))
            if newest is not None and is_open and self._sent.get(work.path.name) != newest.name:
                with contextlib.suppress(FileNotFoundError):  # a newer one has taken its place, or the run has ended
                    self._send(work, newest)

    def bring(self, digest: str) -> None:
        """The newest checkpoint that another driver left of a run that begins, if it is ahead of what is here."""
        self._dropped.discard(digest)
        work, place = WorkFolder(self._folder / "trials" / digest), f"open/{digest}"
        here = max((path.name for path in _newest_first(work.checkpoints_path)), default="")
        for name in sorted(self._names(place), reverse=True):
            if name <= here:
                return
            files = self._names(f"{place}/{name}")
            if MANIFEST in files:
                self._bring(work, f"{place}/{name}", files)
                return

    def drop(self, digest: str) -> None:
        """The run has ended. Waits for the one file that is on its way."""
        with self._writing:
            self._dropped.add(digest)
            if self._names(f"open/{digest}"):
                self._delete(f"open/{digest}")

    def sweep(self, ended: Collection[str]) -> None:
        """What still stands of runs that have ended: who slept while another ended them may have sent it since."""
        for digest in set(self._names("open")).intersection(ended):
            self.drop(digest)

    def _send(self, work: WorkFolder, checkpoint: Path) -> None:
        place = f"open/{work.path.name}"
        private_folder(self._folder / "cache")
        with tempfile.TemporaryDirectory(dir=self._folder / "cache") as beside:
            held = Path(beside)
            for file in checkpoint.iterdir():  # so that it stays when a newer one takes its place
                link(file, held / file.name)
            for name in RECORDS:
                if (work.path / name).exists():
                    shutil.copyfile(work.path / name, held / name)
            for file in sorted(held.iterdir(), key=lambda file: file.name == MANIFEST):
                with self._writing, faults_told(self._server):
                    if work.path.name in self._dropped:
                        return
                    self._client.log_artifact(self._run, str(file), f"{place}/{checkpoint.name}")
        self._sent[work.path.name] = checkpoint.name
        with self._writing:
            for name in self._names(place):
                if name < checkpoint.name:
                    self._delete(f"{place}/{name}")

    def _bring(self, work: WorkFolder, place: str, files: list[str]) -> None:
        private_folder(self._folder / "cache")
        private_folder(work.path)
        private_folder(work.checkpoints_path)
        with tempfile.TemporaryDirectory(dir=self._folder / "cache") as beside:
            with faults_told(self._server):
                paths = [Path(self._client.download_artifacts(self._run, f"{place}/{name}", beside)) for name in files]
            whole = Path(beside) / "whole"
            whole.mkdir(mode=0o700)
            for path in paths:
                path.chmod(0o600)
                path.replace((work.path if path.name in RECORDS else whole) / path.name)  # the record stands first
            shutil.rmtree(work.checkpoints_path / Path(place).name, ignore_errors=True)
            whole.rename(work.checkpoints_path / Path(place).name)

    @functools.cached_property
    def _client(self) -> MlflowClient:
        return client_of(self._server)

    def _names(self, place: str) -> list[str]:
        with faults_told(self._server):
            return [Path(info.path).name for info in self._client.list_artifacts(self._run, place)]

    def _delete(self, place: str) -> None:
        with faults_told(self._server):
            uri = self._client.get_run(self._run).info.artifact_uri
            get_artifact_repository(uri, tracking_uri=self._server).delete_artifacts(place)


class SendingCheckpoints:
    """A context in which a thread sends the checkpoints of this folder's open runs; no fault of it stops a run.

    It takes at most half of the time, so that a slow line isn't always full. `say` is given a line where the archive
    takes none, once until it does again. Leaving waits for the last ones for `PATIENCE_S`.
    """

    def __init__(self, checkpoints: Checkpoints, every_s: float, say: Callable[[str], None]) -> None:
        self._checkpoints, self._every_s, self._say = checkpoints, max(every_s, LEAST_S), say
        self._closing = threading.Event()
        self._is_whole = False
        self._thread = threading.Thread(target=self._keep, name="checkpoints", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._thread.join(PATIENCE_S if kind is None or issubclass(kind, Exception) else 0.0)
        if self._thread.is_alive() or not self._is_whole:
            self._say("the archive lacks the last checkpoints: they lie in this results folder")

    def _keep(self) -> None:
        said, wait_s = "", self._every_s
        while True:
            is_last = self._closing.wait(wait_s)
            began = time.monotonic()
            try:
                self._checkpoints.send_new()
                self._is_whole, said = True, ""
            except (StorageFault, OSError) as fault:
                self._is_whole = False
                if str(fault) != said:
                    said = str(fault)
                    self._say(f"checkpoints don't reach the archive for now, the study goes on: {said}")
            if is_last:
                return
            wait_s = max(self._every_s, time.monotonic() - began)


def link(file: Path, target: Path) -> None:
    """Or copy, where the file system has no links."""
    try:
        os.link(file, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(file, target)


def _newest_first(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("step-*") if re.fullmatch(r"step-\d+", path.name)), reverse=True)
