"""The study database on PostgreSQL, which any number of drivers share.

A driver holds what it holds by session advisory locks, and it holds them on the one connection that it writes through.
So who has lost the locks can't write: the connection is lost too, and isn't made again. The server frees the locks of
a process that died at once, those of a machine that vanished after half a minute.
"""

import contextlib
import logging
import os
import socket
import time
import weakref
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from study.runs.faults import ConnectionLostError, InUseError, PoolerError, fault_of, of_postgres
from study.runs.lease import only_driver
from study.runs.sqlite import of_version

SECONDS_TO_CONNECT = 10
KEEPALIVES = {"idle": 10, "interval": 5, "count": 3}
"""Seconds of silence, seconds between questions, questions without an answer: then the other end is gone."""
USER_TIMEOUT_MS = 25_000
SECONDS_BETWEEN_TRIES = 0.05
SECONDS_BETWEEN_LOOKS = 2.0
LONGEST_WAIT_S = 30.0
"""For others' proposals, of some seconds each, and their calls to MLflow: who waits longer is told why."""
ALONE, MLFLOW, DRIVES = -1, -2, -3
"""Second keys of a study's locks; trials have their numbers, other runs what is below `FIRST_LABEL`."""
FIRST_LABEL = -16
OPENING = 0x77616B65
"""Of the lock on making tables, which is no study's."""


def _connect(address: str) -> Any:
    """Raises StorageFault: it can't be reached, or doesn't let this user in; one line without a password."""
    import psycopg

    keepalives: dict[str, Any] = {f"keepalives_{name}": value for name, value in KEEPALIVES.items()}
    try:
        connection = psycopg.connect(
            address,
            connect_timeout=SECONDS_TO_CONNECT,
            application_name=f"wake2vec {os.getpid()} {socket.gethostname()}"[:63],
            keepalives=1,
            tcp_user_timeout=USER_TIMEOUT_MS,
            **keepalives,
        )
        for name, value in KEEPALIVES.items():  # the server's side: else it keeps a vanished machine's locks for hours
            connection.execute(f"SET tcp_keepalives_{name} = {value}")
        connection.execute(f"SET tcp_user_timeout = {USER_TIMEOUT_MS}")
        connection.commit()
    except psycopg.Error as fault:
        raise of_postgres(fault) from None
    return connection


class Connection:
    """One connection to the database, which isn't made again when it is lost; for one thread.

    Raises:
        StorageFault: the database can't be reached, or doesn't let this user in.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._psycopg = _connect(address)
        self._is_given = False
        self.close = weakref.finalize(self, self._psycopg.close)

    def execute(self, statement: str, *values: Any) -> list[Any]:
        """The rows of a statement in a transaction of its own. Raises ConnectionLostError, StorageFault."""
        import psycopg

        try:
            rows = self._psycopg.execute(statement, values).fetchall()
            self._psycopg.commit()
        except psycopg.Error as fault:
            raise of_postgres(fault, is_lost=self._psycopg.closed) from None
        return list(rows)

    def locks(self, key: int, part: int | None = None) -> bool:
        """Whether the lock is this connection's from now on; one that is so already is taken once more."""
        keys = (key,) if part is None else (key, part)
        return bool(self.execute(f"SELECT pg_try_advisory_lock({', '.join('%s' for _ in keys)})", *keys)[0][0])

    def unlock(self, key: int, part: int | None = None) -> None:
        keys = (key,) if part is None else (key, part)
        self.execute(f"SELECT pg_advisory_unlock({', '.join('%s' for _ in keys)})", *keys)

    def storage(self, make_tables: bool) -> RDBStorage:
        """Optuna's, on this connection. Raises StorageFault: its tables can't be used."""
        engine = {"creator": self._give, "poolclass": sqlalchemy.StaticPool}
        self._is_given = False
        logging.getLogger("optuna.storages._rdb.storage").addFilter(_is_no_lost_connection)
        try:
            return RDBStorage(url_of(self._address), engine, skip_table_creation=not make_tables)
        except RuntimeError as fault:
            raise of_version(fault, self._address, url_of(self._address)) from None
        except (StorageInternalError, SQLAlchemyError) as fault:
            raise fault_of(fault) or fault from None

    def _give(self) -> Any:
        if self._is_given or self._psycopg.closed:
            raise ConnectionLostError
        self._is_given = True
        return self._psycopg


def _is_no_lost_connection(record: logging.LogRecord) -> bool:
    """Optuna prints ten lines of SQL for one, and tries another query, whose fault is told in one line."""
    return "Caught an error from sqlalchemy" not in record.getMessage()


def check_direct(address: str) -> None:
    """Look whether connections reach the server itself: a pooler hands one session to many clients, and its locks too.

    Raises:
        PoolerError: one is between.
        StorageFault: the database can't be reached, or doesn't let this user in.
    """
    first, second = Connection(address), Connection(address)
    try:
        session = first.execute("SELECT pg_backend_pid()")
        held = second._psycopg.execute("SELECT pg_backend_pid()").fetchall()  # its transaction stays open
        if held == session or first.execute("SELECT pg_backend_pid()") != session:
            raise PoolerError
    finally:
        first.close()
        second.close()


def url_of(address: str) -> str:
    """As SQLAlchemy writes it."""
    return f"postgresql+psycopg://{address.partition('://')[2]}"


def study_key(name: str) -> int:
    """The first key of a study's locks, of 32 bits: known before the study is."""
    unsigned = zlib.crc32(name.encode())
    return unsigned - (1 << 32) if unsigned >= 1 << 31 else unsigned


def part_of(label: str) -> int:
    """The second key of a run's lock: `trial 7` has 7."""
    kind, _, number = label.partition(" ")
    if kind == "trial" and number.isdecimal():
        return int(number)
    return FIRST_LABEL - (zlib.crc32(label.encode()) & 0x3FFFFFFF)


class PostgresDatabase:
    """A `StudyDatabase`."""

    def __init__(self, address: str, folder: Path | None = None) -> None:
        """With `folder` its drivers have that results folder for themselves."""
        self.address = self.where = address
        self._folder = folder

    @property
    def url(self) -> str:
        """For Optuna's own tools."""
        return url_of(self.address)

    def check(self) -> None:
        check_direct(self.address)

    def names(self) -> list[str]:
        with contextlib.closing(Connection(self.address)) as connection:
            if not connection.execute("SELECT to_regclass('studies') IS NOT NULL")[0][0]:
                return []
            return sorted(name for (name,) in connection.execute("SELECT study_name FROM studies"))

    def storage(self) -> RDBStorage:
        return Connection(self.address).storage(make_tables=False)

    def driver_of(self, name: str) -> str | None:
        with contextlib.closing(Connection(self.address)) as connection:
            found = connection.execute(
                "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
                "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 "
                "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
                "AND l.classid::bigint = %s AND l.objid::bigint = %s ORDER BY a.backend_start",
                study_key(name) % (1 << 32),
                DRIVES % (1 << 32),
            )
        drivers = [words.split(" ", 2) for (words,) in found]
        return ", ".join(f"process {pid} on {host}" for _, pid, host in drivers) or None

    @contextlib.contextmanager
    def hold(self, name: str) -> Iterator["PostgresLease"]:
        with _own_folder(self._folder, name) as check, contextlib.closing(Connection(self.address)) as connection:
            connection.execute("SELECT pg_advisory_lock_shared(%s, %s)", study_key(name), DRIVES)
            yield PostgresLease(self.address, name, connection, check)


@contextlib.contextmanager
def _own_folder(folder: Path | None, name: str) -> Iterator[Callable[[], None]]:
    """What looks whether the results folder is still this driver's. Raises InUseError: another driver has it."""
    if folder is None:
        yield lambda: None
        return
    with contextlib.ExitStack() as stack:
        try:
            lease = stack.enter_context(only_driver(folder, name))
        except InUseError as fault:
            raise InUseError(f"{fault}; or give this driver another --folder: each has its own") from None
        yield lease.check


class PostgresLease:
    """A `Lease`, beside those of other drivers."""

    is_shared = True

    def __init__(self, address: str, name: str, connection: Connection, check: Callable[[], None]) -> None:
        self._address, self._name, self._key = address, name, study_key(name)
        self.check = check
        """Of the results folder. Who has lost the locks has lost the connection, and can't commit."""
        self._connection = connection
        self._claims: set[str] = set()
        self._looked_at = time.monotonic()
        self._is_lost = False

    @property
    def is_lost(self) -> bool:
        if not self._is_lost and time.monotonic() - self._looked_at > SECONDS_BETWEEN_LOOKS:
            try:
                self._connection.execute("SELECT 1")
            except ConnectionLostError:
                self._is_lost = True
            self._looked_at = time.monotonic()
        return self._is_lost

    @contextlib.contextmanager
    def opening(self) -> Iterator[RDBStorage]:
        """Amid it nobody else makes tables or studies."""
        while not self._connection.locks(OPENING):
            time.sleep(SECONDS_BETWEEN_TRIES)
        try:
            yield self._connection.storage(make_tables=True)
        finally:
            with contextlib.suppress(ConnectionLostError):
                self._connection.unlock(OPENING)

    @contextlib.contextmanager
    def alone(self, stop: Callable[[], bool] = lambda: False) -> Iterator[bool]:
        until = time.monotonic() + LONGEST_WAIT_S
        while not self._connection.locks(self._key, ALONE):
            if stop() or time.monotonic() > until:
                yield False
                return
            time.sleep(SECONDS_BETWEEN_TRIES)
        try:
            yield True
        finally:
            with contextlib.suppress(ConnectionLostError):
                self._connection.unlock(self._key, ALONE)

    def claim(self, label: str) -> bool:
        if label in self._claims or not self._connection.locks(self._key, part_of(label)):
            return False
        self._claims.add(label)
        return True

    def free(self, label: str) -> None:
        if label in self._claims:
            self._claims.remove(label)
            self._connection.unlock(self._key, part_of(label))

    def fence(self) -> "PostgresFence":
        return PostgresFence(self._address, self._name, os.getpid(), psutil.Process().create_time())


@dataclass
class PostgresFence:
    """A `Fence`: its process has a connection of its own, since a lock belongs to one."""

    address: str
    name: str
    driver: int
    born_s: float
    _connection: Connection | None = None

    def check(self) -> None:
        """Raises InUseError: the driver is dead, and others may have taken over what it had."""
        try:
            lives = psutil.Process(self.driver).create_time() == self.born_s
        except psutil.NoSuchProcess:
            lives = False
        if not lives:
            raise InUseError(f"the driver of the study {self.name} is gone: MLflow is told by those that follow it")

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        try:
            if self._connection is None:
                self._connection = Connection(self.address)
            until = time.monotonic() + LONGEST_WAIT_S
            while not self._connection.locks(study_key(self.name), MLFLOW):
                if time.monotonic() > until:
                    raise InUseError(
                        f"MLflow is told by another driver's process for {LONGEST_WAIT_S:g} s, which brings much or is "
                        "suspended; what is lacking is brought later"
                    )
                time.sleep(SECONDS_BETWEEN_TRIES)
        except ConnectionLostError:
            self._connection = None
            raise
        try:
            self.check()
            yield
        finally:
            try:
                self._connection.unlock(study_key(self.name), MLFLOW)
            except ConnectionLostError:
                self._connection = None
