"""What to type next: the commands that make sense where a study stands."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from study.invocation import console, make_command
from study.status import Status

MORE_TRIALS = 8


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
    """A line each; two where the command is long."""
    short = max((len(command) for command in commands if len(command) <= 40), default=0)
    for command, what in commands.items():
        gap = " " * (short - len(command) + 2) if len(command) <= short else "\n      "
        console.print(f"  {command}{gap}{what}", highlight=False, markup=False, soft_wrap=True)
