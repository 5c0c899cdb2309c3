"""What to type next: the commands that make sense where a study stands."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from study.commands import make_command
from study.terminal.invocation import console
from study.terminal.status import Status

MORE_TRIALS = 8
SHORT = 40
LINE = 70


def following(
    status: Status, profile: str, overrides: Sequence[str] | None, folder: Path, prefer: str | None
) -> dict[str, str]:
    """Commands, and what each does."""

    def command(target: str, settings: Mapping[str, object] | None = None) -> str:
        return make_command(target, profile, overrides, folder, settings or {})

    if status.driver is None and not status.is_done:
        what = "goes on with it" if status.ended or status.open else "runs it"
        found = {command("study"): what}
    elif status.driver is None:
        found = {command("study", {"TRIALS": status.asked + MORE_TRIALS}): f"{MORE_TRIALS} more trials"}
    else:
        found = {}
    if status.chosen is None:
        return found
    preferred: dict[str, object] = {} if prefer is None else {"PREFER": prefer}
    return {
        command("list", preferred): "all trials in a table",
        command("show", {"TRIAL": status.chosen, **preferred}): f"all about trial {status.chosen}",
        command("ui"): "compare the trials in MLflow",
        command("report", preferred): "one page about the study",
        command("export", preferred): f"trial {status.chosen} as a model folder",
        **found,
    }


def say_commands(commands: Mapping[str, str]) -> None:
    """A line each; more where a command is long, as a shell takes them."""
    short = max((len(command) for command in commands if len(command) <= SHORT), default=0)
    for command, what in commands.items():
        if len(command) <= short:
            console.print(f"  {command:<{short}}  {what}", highlight=False, markup=False)
        else:
            console.print(f"  {_broken(command)}\n      {what}", highlight=False, markup=False, soft_wrap=True)


def _broken(command: str) -> str:
    """Over lines of 76 letters, each but the last with a backslash at its end."""
    lines = [""]
    for word in map(shlex.quote, shlex.split(command)):
        if lines[-1] and len(lines[-1]) + len(word) > LINE:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return " \\\n      ".join(lines)
