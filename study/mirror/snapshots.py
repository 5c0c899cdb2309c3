"""Snapshots: consistent copies of live databases, as plain files."""

import contextlib
import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from study.database import opened
from wake2vec import ConfigError

DatabaseName = Literal["mlflow.db", "optuna.db"]
DATABASES: tuple[DatabaseName, ...] = ("mlflow.db", "optuna.db")
"""In the order of taking and restoring: where the study stands, its tracking does, and is no newer."""
STAGE = ".mirror"


def has_study(folder: Path) -> bool:
    return os.path.lexists(folder / "optuna.db")


@contextlib.contextmanager
def stage(folder: Path) -> Iterator[Path]:
    """An empty place in the results folder for databases on their way; what a crash left there goes."""
    path = folder / STAGE
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def take_snapshots(folder: Path, beside: Path) -> dict[DatabaseName, Path]:
    """A copy in `beside` of each database that is there, each as of one moment; writers wait for milliseconds.

    Raises:
        OSError: the disk doesn't take them, or a database can't be read.
    """
    for name in DATABASES:
        if (folder / name).is_file():
            try:
                with opened(folder / name) as live, contextlib.closing(sqlite3.connect(beside / name)) as copy:
                    copy.execute("PRAGMA synchronous = OFF")  # a crash discards it
                    live.backup(copy, sleep=0.01)
            except ConfigError as fault:
                raise OSError(errno.EIO, f"no snapshot of the database: {fault}", str(folder / name)) from None
    return {name: beside / name for name in DATABASES if (beside / name).is_file()}
