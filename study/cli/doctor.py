"""`study doctor`: what is whole in a results folder and what isn't, and with `--fix` the latter moved aside."""

from pathlib import Path
from typing import Annotated, Any

import typer

from study.cli.as_json import as_json
from study.cli.clean import undriven
from study.cli.options import AsJson, Folder, Overrides, asked_to_read, say
from study.config import DEFAULT_PROFILE, RESULTS, StudyConfig
from study.engine.doctor import Finding, Health, look_through, mend
from study.format import printable
from study.runs.lease import driver_of
from wake2vec import ConfigError

Fix = Annotated[bool, typer.Option("--fix", help="Move aside what is damaged or left over. Nothing is deleted.")]
AnyStudy = Annotated[str, typer.Argument(help="A profile, whose study's open trials and repeats are known by name.")]
FOUND = 1


def doctor(
    profile: AnyStudy = DEFAULT_PROFILE,
    overrides: Overrides = None,
    folder: Folder = RESULTS,
    fix: Fix = False,
    as_json_: AsJson = False,
) -> None:
    """Look through a whole results folder: a line for each thing that is damaged, half-made or left over.

    It ends with 0 where all is whole, with 1 where something was found and not put right.
    """
    if not folder.is_dir():
        raise ConfigError(f"a results folder must be there: {folder} isn't; give its --folder (RESULTS=... with make)")
    config = asked_to_read(profile, overrides, None)
    if fix:
        with undriven(folder):
            health = mend(look_through(folder, config))
    else:
        health = look_through(folder, config, is_driven=not _is_undriven(folder))
    if as_json_:
        typer.echo(as_json(content_of(health)))
    else:
        for finding in health.findings:
            typer.echo(printable(_line(finding, folder)))
        _say_rest(health, config)
    if any(not finding.moved for finding in health.findings):
        raise typer.Exit(FOUND)


def content_of(health: Health) -> dict[str, Any]:
    """As JSON has it."""
    return {
        "folder": str(health.folder),
        "runs": health.runs,
        "whole": health.whole,
        "findings": [
            {
                "kind": finding.kind,
                "path": str(finding.path),
                "run": finding.run or None,
                "what": finding.what,
                "fix": finding.fix or None,
                "moved": [str(path) for path in finding.moved],
            }
            for finding in health.findings
        ],
        "aside": [str(path) for path in health.aside],
    }


def _line(finding: Finding, folder: Path) -> str:
    whose = f" ({finding.run})" if finding.run else ""
    if finding.moved:
        names = ", ".join(path.name for path in finding.moved)
        then = f"It lies aside as {names}: {finding.fix}."
    else:
        then = f"--fix moves it aside: {finding.fix}." if finding.fix else ""
    return f"{finding.kind}: {finding.path.relative_to(folder)}{whose}: {finding.what}. {then}".rstrip()


def _say_rest(health: Health, config: StudyConfig) -> None:
    say(f"{health.whole} of {health.runs} work folders are whole.")
    if health.aside:
        say(f"{len(health.aside)} things lie aside from before, and may be deleted: {health.aside[0]}")
    if any(finding.fix and not finding.moved for finding in health.findings):
        say("`make doctor FIX=yes` moves aside what is named here; nothing is deleted.")


def _is_undriven(folder: Path) -> bool:
    """By the drivers' notes: a look takes no lock, which a driver that starts would fail at."""
    names = [path.name.removeprefix(".").removesuffix(".driver") for path in folder.glob(".*.driver")]
    return not any(driver_of(folder, name) for name in names)
