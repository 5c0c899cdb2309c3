"""The archive of a shared study: work folders on MLflow's server, as artifacts `work/<digest>/` of the study's run.

A folder's result goes up last, and only then the study database is told. So what it tells of can be brought.
"""

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from study.runs.addresses import addresses_of
from study.runs.archived import ARCHIVED, ROWS, has_rows_elsewhere, is_archived
from study.runs.storage import RUN, ended_digests, load_study
from study.tracking.checkpoints import Checkpoints, SendingCheckpoints
from study.tracking.database import client_of, faults_told
from wake2vec import WorkFolder, private_folder

LAST = ("result.json", "fault.json")
"""Where one stands, the folder is whole."""


def bring_results(folder: Path, name: str) -> int:
    """What a shared study's archive has and the results folder hasn't, without rows; how many work folders that were.

    Raises:
        ConfigError: there is no such study.
        StorageFault: a server doesn't answer, or doesn't let this user in.
    """
    study = load_study(folder, name)
    run_id, brought = study.user_attrs.get(RUN), 0
    if run_id is not None:
        archive = Archive(folder, run_id)
        while more := archive.bring(ended_digests(study, study.get_trials(deepcopy=False))):  # others end meanwhile
            brought += more
    return brought


def bring_rows(folder: Path, name: str, digest: str) -> None:
    """The rows of a run of a shared study, where they aren't here. Raises StorageFault: as `bring_results`."""
    run_id = load_study(folder, name).user_attrs.get(RUN)
    if run_id is not None and has_rows_elsewhere(folder / "trials" / digest):
        Archive(folder, run_id).bring_rows(digest)


class Archive:
    """Of the study whose run on MLflow's server has that id; `folder` is this driver's results folder.

    Raises:
        StorageFault: the server doesn't answer, or doesn't let this user in.
    """

    def __init__(self, folder: Path, run_id: str) -> None:
        self._folder, self._run = folder, run_id
        self._server = addresses_of(folder).tracking_server
        self._client = client_of(self._server)
        self.checkpoints = Checkpoints(folder, run_id, self._server)
        self._here: set[str] = set()
        """Digests of work folders that are known to be whole here."""

    def put(self, digest: str) -> None:
        """What the run left, its result last, unless the archive has it; checkpoints stay here."""
        work = self._work(digest)
        if (work.path / f"{ARCHIVED}{self._run}").exists():
            return
        files = [path for path in work.path.iterdir() if path.is_file() and not path.name.startswith(".")]
        with faults_told(self._server):
            for path in sorted(files, key=lambda path: (path.name in LAST, path.suffix == ".safetensors", path.name)):
                self._client.log_artifact(self._run, str(path), self._place(digest))
        self._mark(digest)

    def sending_checkpoints(self, every_s: float, say: Callable[[str], None]) -> SendingCheckpoints:
        """A context in which the archive gets the checkpoints of open runs."""
        return SendingCheckpoints(self.checkpoints, every_s, say)

    def forget(self, digest: str) -> None:
        """The folder becomes another than the archive's."""
        self._here.discard(digest)
        for mark in self._work(digest).path.glob(f"{ARCHIVED}*"):
            mark.unlink()

    def bring(self, digests: Iterable[str]) -> int:
        """What isn't here yet, without the rows, which only an export reads; how many folders that were."""
        brought = 0
        for digest in digests:
            if digest in self._here or is_archived(self._work(digest).path):
                self._here.add(digest)
            elif names := [name for name in self._files(digest) if name != ROWS]:
                self._bring(digest, names)
                self._mark(digest)
                brought += 1
        return brought

    def bring_rows(self, digest: str) -> None:
        self._bring(digest, [ROWS])

    def _bring(self, digest: str, names: list[str]) -> None:
        work = self._work(digest)
        private_folder(self._folder / "cache")
        private_folder(work.path)
        with tempfile.TemporaryDirectory(dir=self._folder / "cache") as beside, faults_told(self._server):
            paths = [
                Path(self._client.download_artifacts(self._run, f"{self._place(digest)}/{name}", beside))
                for name in names
            ]
            for path in sorted(paths, key=lambda path: path.name in LAST):
                path.chmod(0o600)
                path.replace(work.path / path.name)

    def _files(self, digest: str) -> list[str]:
        with faults_told(self._server):
            return [Path(info.path).name for info in self._client.list_artifacts(self._run, self._place(digest))]

    def _mark(self, digest: str) -> None:
        (self._work(digest).path / f"{ARCHIVED}{self._run}").touch(mode=0o600)

    @staticmethod
    def _place(digest: str) -> str:
        return f"work/{digest}"

    def _work(self, digest: str) -> WorkFolder:
        return WorkFolder(self._folder / "trials" / digest)
