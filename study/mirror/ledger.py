"""The mirror's ledger, `mirror.json`: what stands in a mirror, and in a results folder what that folder has written.

A generation is one state that was published whole. Its number and the results folder that wrote it tell whether
somebody else has continued a study since.
"""

import contextlib
import io
import json
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import filelock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from study.mirror.copies import (
    RESULT_FILE,
    DatabaseName,
    SourceGoneError,
    has_size,
    open_source,
    place,
    sha256_of,
    visible,
)
from wake2vec import ConfigError, write_json

LEDGER = "mirror.json"
DATABASE_COPY = r"^(mlflow|optuna)-\d{8,}\.db$"
KEPT = 3  # generations: a drive that uploads out of order may lack files of the newest


class Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Database(Entry):
    """The copy of one database."""

    file: str = Field(pattern=DATABASE_COPY)
    """Its name in the mirror: no generation overwrites another's."""
    sha256: str


class Generation(Entry):
    """One state of a results folder."""

    number: int = Field(ge=1)
    writer: str
    """The results folder that wrote it, by an identity drawn at random."""
    folder: str = Field(pattern=r"^/[^\x00-\x1f]*$")
    """Where that lay: MLflow's database holds absolute addresses."""
    databases: dict[DatabaseName, Database]
    results: dict[Annotated[str, Field(pattern=RESULT_FILE)], int]
    """Bytes of the files that finished trials can't be without: the databases tell of these trials."""

    def is_whole(self, target: Path) -> bool:
        """Raises OSError: the mirror can't be read."""
        return all(has_size(target / name, size) for name, size in self.results.items()) and all(
            sha256_of(target / database.file) == database.sha256 for database in self.databases.values()
        )


class Ledger(Entry):
    """What stands in a mirror."""

    format: Literal[1] = 1
    generations: list[Generation] = []
    """Newest first; none before the first was published."""


class Record(Entry):
    """What a results folder knows of mirrors."""

    format: Literal[1] = 1
    writer: str
    seen: dict[str, int]
    """By writer, the newest generation that is part of this folder's past."""


def read_ledger(target: Path) -> Ledger | None:
    """The mirror's; None where nothing stands there at all.

    Raises:
        ConfigError: the folder holds something else, or a ledger that can't be followed.
        OSError: it can't be read.
    """
    try:
        with open_source(target / LEDGER) as content:
            return Ledger.model_validate_json(content.read())
    except ValidationError as fault:
        raise ConfigError(
            f"{target / LEDGER} must be a mirror's ledger, format 1: {fault.errors()[0]['msg']}; give another folder"
        ) from None
    except SourceGoneError:
        others = [entry.name for entry in visible(target)]
        if others:
            raise ConfigError(
                f"--mirror must name an empty folder or a mirror: {target} holds {others[0]!r}"
                f"{f' and {len(others) - 1} more' if others[1:] else ''}; give another folder"
            ) from None
        return None


def write_ledger(target: Path, ledger: Ledger) -> None:
    """Raises OSError: the mirror doesn't take it."""
    text = (json.dumps(ledger.model_dump(), indent=1) + "\n").encode()
    place(io.BytesIO(text), target / LEDGER, (len(text), time.time_ns()))


def read_record(source: Path) -> Record:
    """The results folder's; one with a new identity where there is none, or none that can be followed."""
    try:
        return Record.model_validate_json((source / LEDGER).read_bytes())
    except (FileNotFoundError, ValidationError):
        return Record(writer=uuid.uuid4().hex, seen={})


def note_seen(source: Path, record: Record, writer: str, number: int) -> None:
    """Add a generation to the results folder's past. Raises OSError: its disk doesn't take it."""
    write_json(source / LEDGER, {**record.model_dump(), "seen": {**record.seen, writer: number}})


def check_is_past(source: Path, target: Path, ledger: Ledger | None) -> None:
    """Raises ConfigError: the mirror holds a generation that isn't part of this results folder's past."""
    if ledger is None or not ledger.generations:
        return
    newest = ledger.generations[0]
    if read_record(source).seen.get(newest.writer, 0) < newest.number:
        raise ConfigError(
            f"a mirror must not be ahead of its results folder: {target} holds generation {newest.number}, written "
            f"from {newest.folder}, which isn't part of what {source} has; to continue from the mirror, move "
            f"{source / 'optuna.db'} and {source / 'mlflow.db'} aside; to keep what is here, give another --mirror"
        )


def is_database_copy(name: str) -> bool:
    return re.fullmatch(DATABASE_COPY, name) is not None


@contextlib.contextmanager
def only_pass(source: Path, patience_s: float) -> Iterator[None]:
    """One process at a time copies a results folder: studies that share it take turns.

    Raises:
        TimeoutError: another one is at it.
    """
    with filelock.FileLock(source / ".mirror.lock", timeout=patience_s):
        yield
