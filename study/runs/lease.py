"""One driver a study: a lock that the system frees with the process, and a note beside it that says whose it is.

Locks lie in files, and files get deleted; a driver may sleep for hours and wake when another has taken over. So the
note is the fence (Kleppmann 2016): a driver reads it before each commit to the study database, and ends where it names
another. Who takes over writes the note first and waits for the database then: a commit that had read the old note is
done by that time. A note stays when its driver has ended, with nobody's name: one that sleeps for longer than its
successor works must find that it was taken over from.
"""

import contextlib
import os
import socket
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import filelock
import psutil
from optuna.storages import RDBStorage

from study.runs.database import check_database, identity
from study.runs.faults import InUseError, gone_folder
from study.runs.sqlite import storage_to_write


@dataclass(frozen=True)
class OneDriver:
    """A `Lease` where there can't be another driver."""

    folder: Path
    claims: set[str] = field(default_factory=set, init=False)
    """Labels of runs."""
    is_shared = False
    is_lost = False

    def check(self) -> None:
        return

    @contextlib.contextmanager
    def opening(self) -> Iterator[RDBStorage]:
        yield storage_to_write(self.folder, self.check)

    @contextlib.contextmanager
    def alone(self, stop: Callable[[], bool] = lambda: False) -> Iterator[bool]:
        yield True

    def claim(self, label: str) -> bool:
        if label in self.claims:
            return False
        self.claims.add(label)
        return True

    def free(self, label: str) -> None:
        self.claims.discard(label)

    def fence(self) -> "OneDriver":
        return self


@dataclass(frozen=True)
class FileLease(OneDriver):
    """A driver's hold on a study, while it has the lock."""

    name: str
    text: str
    """Of the note."""
    place: tuple[int, int] | None
    """Device and number of the results folder: another one of its name isn't it."""

    def check(self) -> None:
        """Raises GoneError: the results folder vanished; InUseError: another driver has taken over."""
        try:
            if identity(self.folder) != self.place:
                raise gone_folder(self.folder)
            written = _note(self.folder, self.name).read_text(encoding="utf-8")
        except FileNotFoundError:
            _write(self.folder, self.name, self.text)  # somebody deleted it, and took nothing over
            return
        if written != self.text:
            who = driver_of(self.folder, self.name) or "another process"
            raise InUseError(
                f"the study {self.name} was taken over by {who} while this process slept or its lock was deleted: "
                "nothing is lost, and this process ends"
            )


@contextlib.contextmanager
def only_driver(folder: Path, name: str) -> Iterator[FileLease]:
    """Hold the study's lock, which the system frees when the process ends, however it ends.

    Raises:
        InUseError: another process drives the study, even where its lock was deleted; the message names it.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(filelock.FileLock(folder / f".{name}.lock", timeout=0))
        except filelock.Timeout:
            raise _driven(name, _driver_in_words(folder, name) or "another process") from None
        other = _living(folder, name)  # a note of this process itself is of a folder that was away
        if other is not None and other.pid != os.getpid() and (who := _driver_in_words(folder, name)):
            raise _driven(name, f"{who}, whose lock was deleted")
        lease = FileLease(folder, name, _text(f"process {os.getpid()}"), identity(folder))
        try:
            _write(folder, name, lease.text)
            check_database(folder / "optuna.db", to_write=True)  # no commit of another is under way any more
            yield lease
        finally:
            with contextlib.suppress(OSError):
                if _note(folder, name).read_text(encoding="utf-8") == lease.text:
                    _write(folder, name, _text("nobody"))


def driver_of(folder: Path, name: str) -> str | None:
    """Who drives the study now, such as `process 4711`; None: nobody on this machine.

    The lock isn't touched, so that a driver which starts at this moment gets it: it is the note beside the lock that is
    read. A driver that was killed leaves its note; then no process of that number lives, or one that is younger.
    """
    found = _living(folder, name)
    return None if found is None else f"process {found.pid}"


def _driver_in_words(folder: Path, name: str) -> str | None:
    found = _living(folder, name)
    if found is None:
        return None
    is_stopped = found.status() == psutil.STATUS_STOPPED
    return f"process {found.pid}" + (f" (suspended: `kill -CONT {found.pid}` wakes it)" if is_stopped else "")


def _living(folder: Path, name: str) -> psutil.Process | None:
    note = _note(folder, name)
    try:
        (owner, *host), written_s = note.read_text(encoding="utf-8").splitlines()[:2], note.stat().st_mtime
        if host and host[0] != socket.gethostname():
            return None
        process = psutil.Process(int(owner.rpartition(" ")[2]))
        lives = process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= written_s + 1
    except (OSError, ValueError, psutil.NoSuchProcess):
        return None
    return process if lives else None


def _driven(name: str, who: str) -> InUseError:
    return InUseError(f"the study {name} is being driven by {who}: wait for it, or stop it")


def _text(owner: str) -> str:
    """Of a note; no two are the same."""
    return f"{owner}\n{socket.gethostname()}\n{uuid.uuid4().hex}"


def _note(folder: Path, name: str) -> Path:
    return folder / f".{name}.driver"


def _write(folder: Path, name: str, text: str) -> None:
    """Whole or not at all: a reader in between must not take half a note for another's."""
    beside = _note(folder, name).with_name(f".{name}.{os.getpid()}.driver")
    beside.touch(mode=0o600)
    beside.write_text(text, encoding="utf-8")
    beside.replace(_note(folder, name))
