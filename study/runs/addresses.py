"""Where a results folder's databases are: in it, or on servers that several drivers share.

A folder that belongs to a shared study knows its addresses, as a clone knows its remote: a command names them once.
"""

import importlib.util
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, urlsplit

from wake2vec import UNREADABLE, ConfigError, private_folder, write_json

FILE = "addresses.json"
POSTGRES_REMEDY = "make .venv/postgres"
SCHEMES = ("postgresql", "postgres")
PGPASS = "~/.pgpass (host:port:database:user:password, chmod 600) or PGPASSWORD"
MLFLOW_LOGIN = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"


@dataclass(frozen=True)
class Addresses:
    """Of what isn't in the folder; neither holds a password."""

    storage: str | None = None
    """Of the study database: `postgresql://host/database`."""
    tracking: str | None = None
    """Of MLflow's server: `https://host`."""

    @property
    def is_shared(self) -> bool:
        """Whether other drivers may be at the study, with folders of their own."""
        return self.storage is not None

    @property
    def tracking_server(self) -> str:
        """Of a shared study, which always has one."""
        assert self.tracking is not None
        return self.tracking


def addresses_of(folder: Path) -> Addresses:
    """What the results folder knows. Raises ConfigError: its note of them can't be read."""
    path = folder / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return checked(content["storage"], content["tracking"])
    except (FileNotFoundError, NotADirectoryError):
        return Addresses()
    except UNREADABLE as fault:
        raise ConfigError(
            f"{path} must name the study database and MLflow's server: {fault}; delete it, and give --storage and "
            "--tracking again"
        ) from None


def checked(storage: str | None, tracking: str | None) -> Addresses:
    """Raises ConfigError: one of them can't be used; it isn't shown, as it may hold a password."""
    if storage is not None:
        _check(storage, "--storage", SCHEMES, "postgresql://host/database", PGPASS)
        if not urlsplit(storage).path.strip("/"):
            raise ConfigError("--storage must name a database of the server: give postgresql://host/database")
        if tracking is None:
            raise ConfigError(
                "--storage needs --tracking too, the address of an MLflow server: the results of one driver reach the "
                "others through it"
            )
    if tracking is not None:
        _check(tracking, "--tracking", ("http", "https"), "https://host", MLFLOW_LOGIN)
    return Addresses(storage, None if tracking is None else tracking.rstrip("/"))


def _check(address: str, option: str, schemes: tuple[str, ...], example: str, login: str) -> None:
    try:
        parts = urlsplit(address)
        has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is none, brackets that don't close
        parts, has_host = SplitResult("", "", "", "", ""), False
    if parts.password is not None or any("password" in key.lower() for key, _ in parse_qsl(parts.query)):
        raise ConfigError(
            f"{option} must hold no password, which lists of processes and logs would show: leave it out of the "
            f"address, and put it into {login}"
        )
    if parts.scheme not in schemes or not has_host:
        raise ConfigError(f"{option} must be an address such as {example}: this one isn't")


def belong(folder: Path, storage: str | None, tracking: str | None) -> Addresses:
    """Let the results folder belong to what lies at these addresses; without them, what it belongs to.

    Raises:
        ConfigError: an address can't be used, or the folder belongs elsewhere.
    """
    known = addresses_of(folder)
    if storage is None and tracking is None:
        return known
    asked = checked(storage or known.storage, tracking or known.tracking)
    if asked.storage is not None and importlib.util.find_spec("psycopg") is None:
        raise ConfigError(f"--storage needs psycopg, which isn't installed: run `{POSTGRES_REMEDY}`")
    if asked == known:
        return known
    if known != Addresses() or any((folder / name).exists() for name in ("optuna.db", "mlflow.db")):
        where = known.storage or known.tracking or f"databases in {folder}"
        raise ConfigError(
            f"a results folder belongs to one study database and one MLflow: {folder} to {where}; give another "
            "--folder (RESULTS=... with make)"
        )
    return asked


def keep(folder: Path, addresses: Addresses) -> None:
    """For the commands to come."""
    if addresses != addresses_of(folder):
        private_folder(folder)
        write_json(folder / FILE, asdict(addresses))
