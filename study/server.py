"""The MLflow server: on loopback, with what it needs for this project and nothing else switched on."""

import contextlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from study.database import check_database
from study.tracking import tracking_uri
from wake2vec import ConfigError

SECONDS_TO_START = 180
HOST = "127.0.0.1"


@contextlib.contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[str]:
    """Run the server until the context ends; gives its address once it answers.

    Raises:
        ConfigError: nothing was tracked yet, or the server doesn't start.
    """
    if not (folder / "mlflow.db").exists():
        raise ConfigError(f"nothing to show: {folder} has no mlflow.db; run `make study` first")
    check_database(folder / "mlflow.db", to_write=True)
    address = f"http://{HOST}:{port}"
    if _answers(address):
        raise ConfigError(f"port {port} is in use: give PORT=<another>")
    log = folder / "mlflow-server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(  # noqa: S603 - our own arguments
            _command(folder, port), stdout=output, stderr=subprocess.STDOUT, env=_environment()
        )
        try:
            _wait(server, address, log)
            yield address
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _command(folder: Path, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", tracking_uri(folder)),
        *("--host", HOST, "--port", str(port), "--workers", "1"),
        *("--allowed-hosts", f"{HOST}:{port},localhost:{port}"),
        *("--cors-allowed-origins", f"http://{HOST}:{port},http://localhost:{port}"),
    ]


def _environment() -> dict[str, str]:
    """MLflow's defaults would run jobs and unpickle what they find."""
    safe = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    return {**os.environ, **safe}


def _wait(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while not _answers(address):
        if server.poll() is not None or time.monotonic() > deadline:
            raise ConfigError(f"the MLflow server doesn't start: see {log}")
        time.sleep(0.3)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=2) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
