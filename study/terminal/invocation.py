"""How the commands are called: what all of them take."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from study.choose import preferring
from study.commands import RESULTS
from study.config import StudyConfig, check_config, load_config, read_profile
from study.measures import opened

console = Console()
"""Colours and bold on a terminal alone; 80 columns wide where the output is none."""

Profile = Annotated[str, typer.Argument(help="A profile of study/profiles, or the path of a YAML file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Settings laid over it, such as study.trials=20 train.rows=new.")
]
Folder = Annotated[Path, typer.Option("--folder", help="Where all results lie.")]
Prefer = Annotated[
    str | None,
    typer.Option(help="Weights of the objectives for the choice: loss=2,collapse=1. The others have 1."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables: docs/terminal.md has its keys.")]


def asked(profile: str, overrides: Sequence[str] | None, prefer: str | None) -> StudyConfig:
    """The configuration of a command that needs the study's inputs. Raises ConfigError: as `load_config`."""
    return _preferring(load_config(profile, overrides or []), prefer)


def asked_to_read(profile: str, overrides: Sequence[str] | None, prefer: str | None) -> StudyConfig:
    """The configuration of a command that only reads results: it needs no paths of inputs.

    Raises:
        ConfigError: one line with all that is wrong.
    """
    return _preferring(check_config(read_profile(profile, overrides or [])), prefer)


def opened_study(profile: str, overrides: Sequence[str] | None, prefer: str | None, folder: Path) -> StudyConfig:
    """The same, once the runs in the folder have all figures of today; what that takes is said on stderr.

    Raises:
        ConfigError: one line with all that is wrong.
    """
    return opened(asked_to_read(profile, overrides, prefer), folder, lambda said: typer.echo(said, err=True))


def continuing(
    profile: str,
    overrides: Sequence[str],
    folder: Path,
    time_given: str | None,
    mirror: Path | None,
    prefer: str | None = None,
) -> str:
    """The command that goes on with a study, as a shell takes it."""
    interpreter = Path(sys.executable)
    if interpreter.is_relative_to(Path.cwd()):
        interpreter = interpreter.relative_to(Path.cwd())
    words = [str(interpreter), "-m", "study", "run", profile, *overrides]
    words += ["--folder", str(folder)] if folder != RESULTS else []
    words += ["--for", time_given] if time_given else []
    words += ["--mirror", str(mirror)] if mirror is not None else []
    words += ["--prefer", prefer] if prefer else []
    return shlex.join(words)


def _preferring(config: StudyConfig, prefer: str | None) -> StudyConfig:
    return preferring(config, prefer) if prefer else config
