"""Where the studies of a results folder are kept: in its SQLite file, or on a PostgreSQL that many drivers share."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from optuna.storages import RDBStorage

from study.runs.addresses import addresses_of
from study.runs.database import check_database, database_url, readable
from study.runs.lease import driver_of, only_driver
from study.runs.postgres import PostgresDatabase
from study.runs.sqlite import names_in, open_storage


class Fence(Protocol):
    """Of a driver, for the process that tells MLflow in its name."""

    def check(self) -> None:
        """Raises InUseError: another driver may have taken over what that one had."""

    def alone(self) -> AbstractContextManager[object]:
        """Amid it nobody else makes runs in the study's MLflow."""


class Lease(Protocol):
    """A driver's hold on a study."""

    @property
    def is_shared(self) -> bool:
        """Whether other drivers may have the study too."""

    @property
    def is_lost(self) -> bool:
        """Whether what was claimed may be another driver's by now."""

    def check(self) -> None:
        """Called before each commit. Raises StorageFault: it must not be done."""

    def opening(self) -> AbstractContextManager[RDBStorage]:
        """The storage to write through. Amid it nobody else makes tables or studies."""

    def alone(self, stop: Callable[[], bool]) -> AbstractContextManager[bool]:
        """Amid it no other driver proposes a trial or takes a run over; False: `stop` said so, or others take long."""

    def claim(self, label: str) -> bool:
        """Whether the run of that label is this driver's from now on, and was nobody's before."""

    def free(self, label: str) -> None: ...

    def fence(self) -> Fence: ...


class StudyDatabase(Protocol):
    @property
    def where(self) -> str:
        """In words."""

    @property
    def url(self) -> str:
        """For Optuna's own tools."""

    def check(self) -> None:
        """Raises StorageFault: it can't be written."""

    def names(self) -> list[str]:
        """The studies in it; none where there is no database."""

    def storage(self) -> RDBStorage:
        """For reading. Raises StorageFault: it can't be used."""

    def hold(self, name: str) -> AbstractContextManager[Lease]:
        """Be a driver of the study. Raises InUseError: it or the results folder has one, and can't have two."""

    def driver_of(self, name: str) -> str | None:
        """Who drives it now, in words; None: nobody, as far as this machine can tell."""


def study_database(folder: Path) -> StudyDatabase:
    """That of the results folder."""
    storage = addresses_of(folder).storage
    return SqliteDatabase(folder) if storage is None else PostgresDatabase(storage, folder)


class SqliteDatabase:
    """In the results folder, with one driver a study."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / "optuna.db"
        self.where = str(folder)

    @property
    def url(self) -> str:
        return database_url(self._path)

    def check(self) -> None:
        check_database(self._path, to_write=True)

    def names(self) -> list[str]:
        return names_in(self._path)

    def storage(self) -> RDBStorage:
        return open_storage(readable(self._path))

    def hold(self, name: str) -> AbstractContextManager[Lease]:
        return only_driver(self._folder, name)

    def driver_of(self, name: str) -> str | None:
        return driver_of(self._folder, name)
