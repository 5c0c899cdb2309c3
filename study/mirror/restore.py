"""The restore: what a mirror holds is brought back to a machine whose disk is empty."""

import errno
import os
import sqlite3
from pathlib import Path, PurePosixPath

from study.mirror.copies import (
    DATABASES,
    RESULT,
    Copier,
    has_size,
    has_study,
    place,
    settle,
    stage,
    stamp_of,
    work_folders,
)
from study.mirror.ledger import Generation, Ledger, note_seen, only_pass, read_ledger, read_record
from study.tracking import relocate
from wake2vec import ConfigError


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
