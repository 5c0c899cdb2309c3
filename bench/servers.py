"""Real servers on loopback for tests and benchmarks: PostgreSQL in a folder of its own, MLflow on it or on a file."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

USER, PASSWORD = "wake", "s3cret-of-the-wake"
ACCOUNT = "postgres"
"""Of the machine, which the server runs as where the caller is root: it refuses that."""
SECONDS_TO_START = 120.0


def find_postgres() -> Path | None:
    """The folder of the newest PostgreSQL's programs; None: there is none of 15 or newer."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb") if int(path.parts[-3]) >= 15]
    return max(found, key=lambda path: int(path.parent.name), default=None)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


@dataclass
class Postgres:
    """A server that asks for a password, with one user and any databases."""

    folder: Path
    programs: Path
    also: str | None = None
    """Another address of this machine, at which it listens too."""
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    def address(self, database: str, host: str = "127.0.0.1", port: int | None = None) -> str:
        return f"postgresql://{USER}@{host}:{port or self.port}/{database}"

    def make(self) -> None:
        secret = self.folder / "password"
        secret.write_text(PASSWORD, encoding="utf-8")
        self.give(self.folder)
        self.give(secret)
        data = str(self.folder / "data")
        words = ["-D", data, "-U", USER, "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8", "--no-sync"]
        self._run("initdb", *words, "--locale=C")
        if self.also is not None:
            with (self.folder / "data" / "pg_hba.conf").open("a", encoding="utf-8") as rules:
                rules.write("host all all 10.0.0.0/8 scram-sha-256\n")

    def start(self) -> None:
        words = ["-D", str(self.folder / "data"), "-p", str(self.port), "-h", self._hosts, "-k", ""]
        more = ["-c", "fsync=off", "-c", "max_connections=60"]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [str(self.programs / "postgres"), *words, *more], stdout=log, stderr=log, user=self.user, cwd="/"
            )
        until = time.monotonic() + SECONDS_TO_START
        while self._run("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port), check=False):
            assert time.monotonic() < until, (self.folder / "log").read_text(encoding="utf-8")
            time.sleep(0.1)

    def stop(self, with_signal: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends all connections at once; SIGQUIT doesn't tell them, as a machine that loses its power."""
        assert self.process is not None
        self.process.send_signal(with_signal)
        self.process.wait(60)

    def create(self, database: str) -> str:
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, database)
        return self.address(database)

    @property
    def _hosts(self) -> str:
        return "127.0.0.1" if self.also is None else f"127.0.0.1,{self.also}"

    @property
    def user(self) -> str | None:
        return ACCOUNT if os.geteuid() == 0 else None

    def give(self, path: Path) -> None:
        if self.user is not None:
            shutil.chown(path, self.user)

    def _run(self, program: str, *words: str, check: bool = True) -> int:
        return subprocess.run(
            [str(self.programs / program), *words],
            stdout=subprocess.DEVNULL,
            user=self.user,
            cwd="/",
            check=check,
            env={**os.environ, "PGPASSWORD": PASSWORD},
        ).returncode


@contextlib.contextmanager
def postgres(also: str | None = None) -> Iterator[Postgres]:
    """In a folder that the server's account reaches, which a test's own needn't be."""
    programs = find_postgres()
    assert programs is not None, "PostgreSQL 15 or newer must be there"
    folder = Path(tempfile.mkdtemp(prefix="wake2vec-postgres-"))
    server = Postgres(folder, programs, also)
    try:
        server.make()
        server.start()
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


PGBOUNCER = Path("/usr/sbin/pgbouncer")


@contextlib.contextmanager
def pooler(server: Postgres, mode: str) -> Iterator[int]:
    """The port of a PgBouncer before all databases of the server."""
    port, folder = free_port(), server.folder / f"pooler-{mode}"
    folder.mkdir()
    (folder / "users").write_text(f'"{USER}" "{PASSWORD}"\n', encoding="utf-8")
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "auth_type": "scram-sha-256",
        "auth_file": folder / "users",
        "pool_mode": mode,
        "unix_socket_dir": "",
        "logfile": folder / "log",
    }
    lines = [f"{name} = {value}" for name, value in settings.items()]
    text = "\n".join(["[databases]", f"* = host=127.0.0.1 port={server.port}", "[pgbouncer]", *lines])
    (folder / "ini").write_text(text, encoding="utf-8")
    for path in (folder, *folder.iterdir()):
        server.give(path)
    process = subprocess.Popen([str(PGBOUNCER), "-q", str(folder / "ini")], user=server.user)
    try:
        until = time.monotonic() + SECONDS_TO_START
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert time.monotonic() < until
            time.sleep(0.1)
        yield port
    finally:
        process.kill()
        process.wait()


@dataclass
class Mlflow:
    """MLflow's own server, which keeps artifacts for its clients."""

    folder: Path
    database: str
    """Its address, as SQLAlchemy writes it."""
    environment: Mapping[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def address(self) -> str:
        return f"http://{self.host}:{self.port}"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        words = ["--backend-store-uri", self.database]
        words += self.words or ["--artifacts-destination", str(self.folder / "artifacts")]
        place = ["--host", self.host, "--port", str(self.port), "--workers", "1"]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *words, *place],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", **self.environment},
                start_new_session=True,
            )
        until = time.monotonic() + SECONDS_TO_START
        while not self._answers():
            assert time.monotonic() < until and self.process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.2)

    def stop(self, with_signal: signal.Signals = signal.SIGKILL) -> None:
        """All its processes."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, with_signal)
        self.process.wait(30)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/health", timeout=2) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except OSError:
            return False


@contextlib.contextmanager
def mlflow(folder: Path, database: str, **settings: object) -> Iterator[Mlflow]:
    server = Mlflow(folder, database, **settings)  # type: ignore[arg-type]
    try:
        server.start()
        yield server
    finally:
        if server.process is not None:
            server.stop()
