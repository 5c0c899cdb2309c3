"""What the commands have in common: what they take, how they print, and which of them make sense next."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from study.config import RESULTS, StudyConfig, check_config, load_config, make_command, read_profile
from study.engine.measures import opened
from study.format import printable
from study.runs.choose import preferring
from study.runs.judge import is_done
from study.runs.record import StudyRecord
from study.show.table import Table, in_terminal


class Terminal(Console):
    """Takes all text as it is: names of files and words of a lexicon are nobody's styles, emoji codes or commands."""

    def __init__(self) -> None:
        super().__init__(markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **settings: Any) -> Text:
        """Also of a table's cells and title."""
        return super().render_str(printable(text, kept="\n"), **{**settings, "markup": False, "emoji": False})


console = Terminal()
"""Colours and bold on a terminal alone; 80 columns wide where the output is none."""

Profile = Annotated[str, typer.Argument(help="A profile of study/profiles, or the path of a YAML file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Settings laid over it, such as study.trials=20 train.rows=new.")
]


def named_path(text: str) -> Path:
    """Raises BadParameter: it is empty, which a `Path` takes for the current folder."""
    if not str(text).strip():
        raise typer.BadParameter("a path must not be empty")
    return Path(text)


Folder = Annotated[Path, typer.Option("--folder", parser=named_path, metavar="PATH", help="Where all results lie.")]
Prefer = Annotated[
    str | None,
    typer.Option(help="Weights of the objectives for the choice: loss=2,collapse=1. The others have 1."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables: docs/terminal.md has its keys.")]

MORE_TRIALS = 8
SHORT = 40
LINE = 70


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


def _preferring(config: StudyConfig, prefer: str | None) -> StudyConfig:
    return preferring(config, prefer) if prefer else config


def say(text: str = "") -> None:
    console.print(text)


def show(*tables: Table) -> None:
    """With an empty line between two that have rows."""
    for place, table in enumerate(filter(None, tables)):
        if place:
            say()
        for part in in_terminal(table):
            console.print(part)


def continuing(
    profile: str,
    overrides: Sequence[str],
    folder: Path,
    time_given: str | None,
    mirror: Path | None,
    prefer: str | None = None,
    address: str | None = None,
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
    words += ["--address", address] if address else []
    return shlex.join(words)


def following(
    record: StudyRecord,
    driver: str | None,
    profile: str,
    overrides: Sequence[str] | None,
    folder: Path,
    prefer: str | None,
    given: Mapping[str, object] | None = None,
) -> dict[str, str]:
    """The commands that make sense where a study stands, and what each does.

    `driver` is who drives it now; `given` are the words of make that a run was given, which the next one is to keep.
    """

    def command(target: str, settings: Mapping[str, object] | None = None) -> str:
        return make_command(target, profile, overrides, folder, settings or {})

    found: dict[str, str] = {}
    if driver is None and not is_done(record):
        found[command("study", given)] = "goes on with it" if record.ended or record.running else "runs it"
    elif driver is None:
        trials = record.config.study.trials + MORE_TRIALS
        found[command("study", {"TRIALS": trials, **(given or {})})] = f"{MORE_TRIALS} more trials"
    if not record.finished:
        return found
    preferred: dict[str, object] = {} if prefer is None else {"PREFER": prefer}
    chosen = record.choice.trial.number
    return {
        command("list", preferred): "all trials in a table",
        command("show", {"TRIAL": chosen, **preferred}): f"all about trial {chosen}",
        command("ui"): "compare the trials in MLflow",
        command("report", preferred): "one page about the study",
        command("export", preferred): f"trial {chosen} as a model folder",
        **found,
    }


def say_commands(commands: Mapping[str, str]) -> None:
    """A line each; more where a command is long, as a shell takes them."""
    short = max((len(command) for command in commands if len(command) <= SHORT), default=0)
    for command, what in commands.items():
        if len(command) <= short:
            say(f"  {command:<{short}}  {what}")
        else:
            console.print(f"  {_broken(command)}\n      {what}", soft_wrap=True)


def _broken(command: str) -> str:
    """Over lines of 76 letters, each but the last with a backslash at its end."""
    lines = [""]
    for word in map(shlex.quote, shlex.split(command)):
        if lines[-1] and len(lines[-1]) + len(word) > LINE:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return " \\\n      ".join(lines)
