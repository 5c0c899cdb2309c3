"""The mirror: a copy of a results folder on a drive that outlives the machine, kept while a study runs; the way back.

The databases tell of work folders, so a mirror's must never be newer than its work folders: a pass takes snapshots of
the databases first, copies work folders then, and publishes the snapshots last, under a ledger that names them.
"""

import errno
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from threading import Event, Thread
from types import TracebackType

from study.mirror.copies import (
    DATABASES,
    RESULT,
    Copier,
    DatabaseName,
    has_size,
    has_study,
    place,
    settle,
    sha256_of,
    stage,
    stamp_of,
    take_snapshots,
    visible,
    work_folders,
)
from study.mirror.ledger import (
    KEPT,
    LEDGER,
    Database,
    Generation,
    Ledger,
    check_is_past,
    is_database_copy,
    note_seen,
    only_pass,
    read_ledger,
    read_record,
    write_ledger,
)
from study.tracking import relocate
from wake2vec import ConfigError

logger = logging.getLogger(__name__)


def check_mirror(source: Path, target: Path) -> None:
    """Refuse a mirror that can't serve the results folder `source`; nothing is left behind.

    Raises:
        ConfigError: the folders overlap, `target` holds something else, can't be written, or is ahead of `source`.
    """
    inner, outer = source.resolve(), target.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise ConfigError(
            f"--mirror must lie outside the results folder, and not around it: {target} and {source} overlap; "
            "give another folder"
        )
    if not outer.parent.is_dir():
        raise ConfigError(f"the folder that holds the mirror must exist: {outer.parent} doesn't; mount or make it")
    try:
        ledger = read_ledger(outer)
        _try_to_write(outer)
    except OSError as fault:
        raise ConfigError(
            f"--mirror must be a folder that can be read and written: {target}: {fault.strerror}; give another folder"
        ) from None
    if has_study(source):
        check_is_past(source, target, ledger)


class Mirror:
    """Keeps a mirror in a thread while a study runs; no fault of the drive stops or slows the study.

    `on_fault` is called with one line for each kind of fault, once until a pass succeeds. Between two passes lie
    `every_s` seconds. Leaving waits up to `patience_s` seconds for a last pass.
    """

    def __init__(
        self,
        source: Path,
        target: Path,
        on_fault: Callable[[str], None],
        every_s: float = 60.0,
        patience_s: float = 60.0,
    ) -> None:
        self._source = source.resolve()
        self._target = target.resolve()
        self._on_fault = on_fault
        self._every_s = every_s
        self._patience_s = patience_s
        self._copier = Copier(self._source, self._target)
        self._reported: set[tuple[type, int | None]] = set()
        self._suspected: set[str] = set()
        self._told: set[str] = set()
        self._closing = Event()
        self._thread = Thread(target=self._keep, name="mirror", daemon=True)
        self._is_whole = False
        self._is_claimed = False
        self.last_sync_s: float | None = None
        """Seconds since 1970 when the last whole pass began: the mirror holds all that was there then."""

    def __enter__(self) -> "Mirror":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._closing.set()
        self._thread.join(self._patience_s)
        hangs = self._thread.is_alive()
        if hangs:
            self._copier.cancelled.set()
        if hangs or not self._is_whole:
            why = f"didn't take it within {self._patience_s:g} s" if hangs else "didn't take it"
            self._on_fault(self._not_there(why))

    def sync(self) -> None:
        """One pass, in the calling thread; what is there already isn't copied again.

        Raises:
            OSError: the mirror doesn't take it; nothing that stood there is lost.
            ConfigError: somebody else writes there.
        """
        began_s = time.time()
        self._target.mkdir(mode=0o700, exist_ok=True)
        with only_pass(self._source, self._patience_s), stage(self._source) as beside:
            ledger = self._claim()
            snapshots = take_snapshots(self._source, beside)
            self._copier.copy_all()
            self._publish(ledger, snapshots)
        self._tell_damaged()
        self.last_sync_s = began_s

    def _tell_damaged(self) -> None:
        """Once of each work folder, and only of what a second pass finds too: the first may have met a change."""
        for folder, fault in self._copier.damaged.items():
            if folder in self._suspected and folder not in self._told:
                self._told.add(folder)
                self._on_fault(f"a damaged run isn't copied to the mirror: {fault}; `make doctor` says more")
        self._suspected = {*self._copier.damaged}

    def _claim(self) -> Ledger:
        """The ledger; an empty one is published first, so that a folder that is half filled is known as a mirror."""
        ledger = read_ledger(self._target)
        check_is_past(self._source, self._target, ledger)
        if ledger is None:
            if self._is_claimed:  # a drive that was unmounted leaves an empty folder on the machine's own disk
                raise FileNotFoundError(errno.ENOENT, "the mirror vanished", str(self._target / LEDGER))
            ledger = Ledger()
            write_ledger(self._target, ledger)
        self._is_claimed = True
        return ledger

    def _publish(self, ledger: Ledger, snapshots: dict[DatabaseName, Path]) -> None:
        before = ledger.generations[0] if ledger.generations else None
        stood = before.databases if before else {}
        hashes = {name: sha256_of(path) for name, path in snapshots.items()}
        results = self._copier.results()
        if before and before.results == results and hashes == {name: stood[name].sha256 for name in stood}:
            return
        record = read_record(self._source)
        number = 1 + max([*record.seen.values(), *(generation.number for generation in ledger.generations)], default=0)
        # Noted first: a folder that dies in between must not take its own generation for somebody else's.
        note_seen(self._source, record, record.writer, number)
        databases = {
            name: stood[name] if name in stood and stood[name].sha256 == hashes[name] else self._send(path, number)
            for name, path in snapshots.items()
        }
        newest = Generation(
            number=number, writer=record.writer, folder=str(self._source), databases=databases, results=results
        )
        kept = [newest, *ledger.generations][:KEPT]
        write_ledger(self._target, Ledger(generations=kept))
        named = {database.file for generation in kept for database in generation.databases.values()}
        for entry in visible(self._target):
            if is_database_copy(entry.name) and entry.name not in named:
                (self._target / entry.name).unlink()

    def _send(self, snapshot: Path, number: int) -> Database:
        file = f"{snapshot.stem}-{number:08d}.db"
        with snapshot.open("rb") as content:
            return Database(file=file, sha256=place(content, self._target / file, stamp_of(snapshot.stat())))

    def _keep(self) -> None:
        while True:
            is_last = self._closing.is_set()
            succeeded = self._try()
            if is_last:
                self._is_whole = succeeded
                return
            self._closing.wait(self._every_s)

    def _try(self) -> bool:
        """Whether the pass succeeded."""
        try:
            self.sync()
        except (OSError, ConfigError) as fault:
            kind = (type(fault), getattr(fault, "errno", None))
            if kind not in self._reported and not self._copier.cancelled.is_set():
                self._reported.add(kind)
                self._on_fault(self._not_taken(fault) if isinstance(fault, OSError) else str(fault))
            return False
        self._reported.clear()
        return True

    def _not_taken(self, fault: OSError) -> str:
        return (
            f"the mirror {self._target} must take what is copied to it: {fault}; "
            "free some space there or make it reachable: training goes on, and the next pass tries again"
        )

    def _not_there(self, why: str) -> str:
        missing = list(self._copier.missing())
        names = ", ".join([*(name for name, _ in missing[:3]), *(["..."] if missing[3:] else [])])
        files = f"{len(missing)} files of {sum(size for _, size in missing):,} bytes ({names}) and " if missing else ""
        return (
            f"the mirror {self._target} must be whole before the machine goes, and {why}: "
            f"{files}the databases' last changes aren't there; they are in {self._source}, the same command copies them"
        )


def _try_to_write(target: Path) -> None:
    """Raises OSError: the folder, or one where it would be made, doesn't take a file."""
    is_new = not target.exists()
    target.mkdir(mode=0o700, exist_ok=True)
    try:
        probe = target / ".probe.part"
        probe.touch(mode=0o600)
        probe.unlink()
    finally:
        if is_new:
            target.rmdir()


def restore(source: Path, target: Path) -> bool:
    """Where the results folder `source` has no study database, bring back what the mirror holds; whether that was done.

    Databases come last: what was killed half-way is done again.

    Raises:
        ConfigError: the mirror can't be read or isn't whole, or the results folder doesn't take it.
    """
    try:
        ledger = read_ledger(target)
        if has_study(source) or ledger is None or not ledger.generations:
            return False
        source.mkdir(parents=True, exist_ok=True, mode=0o700)
        with only_pass(source, 0):
            generation = _newest_whole(ledger, target)
            _restore_work(source.resolve(), target, ledger)
            _restore_databases(source.resolve(), target, generation, ledger.generations[0])
    except (OSError, sqlite3.Error) as fault:
        raise ConfigError(
            f"the mirror {target} must be readable, and {source} must take it: {fault}; "
            "nothing is lost: the same command tries again"
        ) from None
    return True


def _newest_whole(ledger: Ledger, target: Path) -> Generation:
    """Raises ConfigError: there is none, as the drive hasn't got all that was written to it."""
    for generation in ledger.generations:
        if generation.is_whole(target):
            return generation
    raise ConfigError(
        f"a mirror must hold what its ledger names: {target} lacks files of the generations "
        f"{', '.join(str(generation.number) for generation in ledger.generations)}; wait until the drive has all of "
        "them, or give another --mirror to begin anew"
    )


def _restore_work(source: Path, target: Path, ledger: Ledger) -> None:
    """Bring back pictures, artifacts and work folders; a result that stands in `source` already stays.

    Raises:
        OSError: something can't be read, or isn't taken.
    """
    copier = Copier(target, source)
    copier.shared()
    lacking = {
        PurePosixPath(name).parent
        for generation in ledger.generations
        for name, size in generation.results.items()
        if not has_size(target / name, size)
    }
    for work in work_folders(target):
        if work not in lacking and not (source / work / RESULT).is_file():
            copier.work_folder(work)
    for folder, fault in copier.damaged.items():
        logger.warning("%s of the mirror is damaged, and its result left out: %s", folder, fault)
    if copier.gone:
        raise FileNotFoundError(errno.ENOENT, "vanished while it was copied", copier.gone[0])


def _restore_databases(source: Path, target: Path, generation: Generation, newest: Generation) -> None:
    """Bring back one generation's; all that the mirror holds is then part of this folder's past."""
    with stage(source) as beside:
        for name, database in generation.databases.items():
            with (target / database.file).open("rb") as content:
                if place(content, beside / name, stamp_of((target / database.file).stat())) != database.sha256:
                    raise OSError(errno.EIO, "changed while it was copied", str(target / database.file))
        if "mlflow.db" in generation.databases and generation.folder != str(source):
            relocate(beside / "mlflow.db", Path(generation.folder), source)
        note_seen(source, read_record(source), newest.writer, newest.number)
        for name in DATABASES:
            if name in generation.databases:
                for ending in ("-journal", "-wal", "-shm"):  # left of a deleted one, it would be rolled into this one
                    (source / f"{name}{ending}").unlink(missing_ok=True)
                os.replace(beside / name, source / name)
                settle(source)
