"""`study clean`: deletes what this project made in a results folder, and nothing else."""

import contextlib
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import filelock
import typer

from study.cli.options import Folder, say
from study.config import RESULTS
from study.runs.database import check_not_in_use
from study.runs.faults import InUseError
from study.runs.lease import driver_of
from wake2vec import ConfigError

DATABASE = r"(optuna|mlflow)\.db"
BESIDE = "(-journal|-wal|-shm)?"
ASIDE = r"\.\d+\.(damaged|half-made)"
NAME = "[A-Za-z0-9_-][A-Za-z0-9._-]*"
MADE = re.compile(
    "|".join(
        (
            "trials|studies|artifacts|cache",
            rf"{DATABASE}{BESIDE}",
            rf"{DATABASE}{ASIDE}{BESIDE}",
            rf"\.{DATABASE}\.(making|part){BESIDE}",
            r"(optuna|mlflow)-server\.log",
            rf"\.{NAME}\.(lock|driver|told|mlflow)|\.measured|addresses\.json",
            r"mirror\.json|\.mirror|\.mirror\.lock",
            rf"(\.{NAME}|mirror\.json){ASIDE}",
        )
    )
)
"""Names in a results folder that this project gives."""


def clean(
    folder: Folder = RESULTS,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Delete all studies, results and tracking data, after asking. Exports, mirrors and files of yours stay."""
    doomed, others = _made_and_others(folder)
    if not doomed:
        say(f"{folder} holds no results.")
        return
    with undriven(folder):
        size = sum(file.lstat().st_size for path in doomed for file in (path, *path.rglob("*")))
        say(f"{folder} holds {size / 1e6:.0f} MB: {', '.join(path.name for path in doomed)}")
        if others:
            say(f"What isn't of this project stays: {', '.join(path.name for path in others)}")
        if not yes and not (sys.stdin.isatty() and typer.confirm("Delete all of it?", default=False)):
            say("Nothing was deleted.")
            return
        for path in doomed:
            if re.fullmatch(DATABASE, path.name):
                check_not_in_use(path)
        for path in doomed:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)  # a journal went with the look
    say("Deleted.")


def _made_and_others(folder: Path) -> tuple[list[Path], list[Path]]:
    """What this project made in a results folder, and what else lies there; nothing where no study was.

    Raises:
        ConfigError: the folder, or what is to be deleted in it, is a link.
    """
    if folder.is_symlink():
        raise ConfigError(f"nothing is deleted through a link: {folder} is one; give --folder {folder.resolve()}")
    if not folder.is_dir() or not any((folder / name).exists() for name in ("optuna.db", "trials", "addresses.json")):
        return [], []
    entries = sorted(folder.iterdir())
    made = [path for path in entries if MADE.fullmatch(path.name)]
    links = [path for path in made if path.is_symlink()]
    if links:
        raise ConfigError(
            f"nothing is deleted through a link: {links[0]} is one, to {links[0].resolve()}; move it out of {folder}"
        )
    return made, [path for path in entries if path not in made and path.name not in ("README.md", ".gitignore")]


@contextlib.contextmanager
def undriven(folder: Path) -> Iterator[None]:
    """Hold the locks of all studies in the folder.

    Raises:
        InUseError: one is being driven.
    """
    with contextlib.ExitStack() as stack:
        for path in sorted(folder.glob(".*.lock")):
            try:
                stack.enter_context(filelock.FileLock(path, timeout=0))
            except filelock.Timeout:
                name = path.name.removeprefix(".").removesuffix(".lock")
                who = driver_of(folder, name) or "another process"
                raise InUseError(f"{folder} is in use: {name} is held by {who}; stop it, or wait for it") from None
        for note in sorted(folder.glob(".*.driver")):  # a living driver whose lock somebody deleted
            name = note.name.removeprefix(".").removesuffix(".driver")
            if living := driver_of(folder, name):
                raise InUseError(f"{folder} is in use: {name} is held by {living}; stop it, or wait for it")
        yield
