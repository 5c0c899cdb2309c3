"""Starts and stops the servers, on loopback; and what the process of one does, with the socket that it is given."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import uvicorn

from study.runs.database import check_database
from study.server.gate import Application, cookie_name
from wake2vec import ConfigError


def serve(build: Callable[[Path, str, int], Application]) -> None:
    """Serve what `build` makes of folder, token and port until a signal comes.

    Arguments of the process: the folder, and the number of the socket that it inherits. The token is the first line of
    its input: arguments are shown to every user of the machine, and the environment is handed on. Where the input ends,
    who started the server is gone, and so it goes too.
    """
    folder, descriptor = Path(sys.argv[1]), int(sys.argv[2])
    token = sys.stdin.readline().strip()
    with socket.socket(fileno=descriptor) as listening:
        app = build(folder, token, listening.getsockname()[1])
        # No log of requests: the first one's address holds the token.
        server = uvicorn.Server(uvicorn.Config(app, access_log=False, proxy_headers=False, server_header=False))
        threading.Thread(target=_end_with_input, args=[server], daemon=True).start()
        server.run(sockets=[listening])


def _end_with_input(server: uvicorn.Server) -> None:
    sys.stdin.read()
    server.should_exit = True


SECONDS_TO_START = 180
HOST = "127.0.0.1"


@contextlib.contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[str]:
    """Serve MLflow's pages until the context ends; gives the address of the first page, which holds the token.

    `port` 0 takes any that is free.

    Raises:
        ConfigError: nothing was tracked yet, the port is in use, or the server doesn't start.
    """
    with _server("mlflow", "study.server.mlflow_ui", folder, port) as address:
        yield address


@contextlib.contextmanager
def dashboard_server(folder: Path, port: int) -> Iterator[str]:
    """The same of Optuna's dashboard."""
    with _server("optuna", "study.server.optuna_ui", folder, port) as address:
        yield address


@contextlib.contextmanager
def _server(name: str, module: str, folder: Path, port: int) -> Iterator[str]:
    database = folder / f"{name}.db"
    if not database.exists():
        raise ConfigError(f"nothing to show: {folder} has no {database.name}; run `make study` first")
    check_database(database, to_write=True)
    token, log = secrets.token_urlsafe(32), folder / f"{name}-server.log"
    with _listening(port) as listening, open(log, "wb", opener=_private) as output:
        port = listening.getsockname()[1]
        server = subprocess.Popen(  # noqa: S603 - our own arguments
            [sys.executable, "-m", module, str(folder.resolve()), str(listening.fileno())],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(port),
            pass_fds=[listening.fileno()],
        )
    try:
        with contextlib.suppress(BrokenPipeError):  # it died: that is told below
            _input(server).write(f"{token}\n".encode())
            _input(server).flush()
        _wait(server, port, token, log)
        yield f"http://{HOST}:{port}/?token={token}"
    finally:
        with contextlib.suppress(BrokenPipeError):
            _input(server).close()
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@contextlib.contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    """A socket that listens before the server is there: nobody else can take the port, and be sent the token."""
    try:
        listening = socket.create_server((HOST, port))
    except OSError as fault:
        why = os.strerror(fault.errno or 0)
        raise ConfigError(f"port {port} must be free and permitted: {why}; give PORT=<another>") from None
    with listening:
        yield listening


def _private(path: str, flags: int) -> int:
    """For its owner alone, also where it was there before."""
    descriptor = os.open(path, flags, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor


def _input(server: subprocess.Popen[bytes]) -> IO[bytes]:
    assert server.stdin is not None
    return server.stdin


def _environment(port: int) -> dict[str, str]:
    """MLflow's defaults would run jobs, unpickle what they find, and count clicks for its makers."""
    own = f"{HOST}:{port},localhost:{port}"
    safe = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ALLOWED_HOSTS": own,
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(f"http://{host}" for host in own.split(",")),
    }
    return {**os.environ, **safe}


def _wait(server: subprocess.Popen[bytes], port: int, token: str, log: Path) -> None:
    cookie = f"{cookie_name(port)}={token}"
    asked = urllib.request.Request(f"http://{HOST}:{port}/health", headers={"Cookie": cookie})
    deadline = time.monotonic() + SECONDS_TO_START
    while not _answers(asked):
        if server.poll() is not None or time.monotonic() > deadline:
            raise ConfigError(f"the server doesn't start: see {log}")
        time.sleep(0.3)


def _answers(asked: urllib.request.Request) -> bool:
    try:
        with urllib.request.urlopen(asked, timeout=2) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
