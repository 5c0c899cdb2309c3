"""How the commands are called: what all of them take, and the commands to type next."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import typer
from rich.console import Console

from study.choose import preferring
from study.config import MAKE_NAMES, StudyConfig, check_config, load_config, missing_settings, read_profile

console = Console()
"""Colours and bold on a terminal alone; 80 columns wide where the output is none."""

RESULTS = Path("mlruns")
DEFAULT_PROFILE = "tiny"
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


def make_command(
    target: str,
    profile: str,
    overrides: Sequence[str] | None,
    folder: Path,
    settings: Mapping[str, object] = MappingProxyType({}),
) -> str:
    """`make study PROFILE=t4 TRIALS=38`: a target of the Makefile, for the study that was asked for.

    What the profile leaves to the user and was not given here is shown as `CORPUS=...`.
    """
    given = dict(override.split("=", 1) for override in overrides or [])
    words = {} if profile == DEFAULT_PROFILE else {"PROFILE": profile}
    words |= {MAKE_NAMES[key]: given.pop(key) for key in list(given) if key in MAKE_NAMES}
    words |= {MAKE_NAMES.get(key, key): "..." for key in missing_settings(read_profile(profile, overrides or []))}
    words |= {name: str(value) for name, value in settings.items()}
    if "TRIALS" in words:
        given.pop("study.trials", None)
    words |= {"SET": " ".join(f"{key}={value}" for key, value in given.items())} if given else {}
    words |= {"RESULTS": str(folder)} if folder != RESULTS else {}
    return " ".join(["make", target, *(f"{name}={shlex.quote(value)}" for name, value in words.items())])


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
