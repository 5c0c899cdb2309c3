"""The command line, `python -m study`: `run`, `plan`, `clean`, and which functions the other commands are."""

import contextlib
import logging
import os
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Annotated

import optuna
import typer

from study.commands import DEFAULT_PROFILE, RESULTS, make_command
from study.config import StudyConfig, load_config
from study.database import check_not_in_use, fault_in_words
from study.measures import bring_up_to_date, stale_runs
from study.record import StudyRecord
from study.stop import Stop, seconds_of
from study.terminal import lexicon, outputs, reading
from study.terminal.following import MORE_TRIALS, following, say_commands
from study.terminal.invocation import Folder, Overrides, Prefer, Profile, asked, asked_to_read, console, continuing
from study.terminal.status import status_of
from study.terminal.trial_tables import closing_lines, comparison_tables, front_tables
from wake2vec import TrialStopped, Wake2VecError

app = typer.Typer(
    help="Study how words are best added to a frozen language model: sweep, compare, export.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
EXIT_UNUSABLE = 2
EXIT_INTERRUPTED = 130


def one_line_errors(command: Callable[..., None]) -> Callable[..., None]:
    """What a user can put right ends in one line on stderr, not in a traceback."""

    @wraps(command)
    def checked(*arguments: object, **options: object) -> None:
        _quiet_libraries()
        signal.signal(signal.SIGTERM, _terminated)
        try:
            command(*arguments, **options)
        except Wake2VecError as fault:
            typer.echo(f"error: {fault}", err=True)
            raise typer.Exit(EXIT_UNUSABLE) from None
        except KeyboardInterrupt:
            typer.echo("\nstopped", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except Exception as fault:
            if (said := fault_in_words(fault)) is None:
                raise
            typer.echo(f"error: {said}", err=True)
            raise typer.Exit(EXIT_UNUSABLE) from None

    return checked


@app.command()
@one_line_errors
def run(
    profile: Profile = DEFAULT_PROFILE,
    overrides: Overrides = None,
    folder: Folder = RESULTS,
    time_given: Annotated[
        str | None, typer.Option("--for", help="Stop with a checkpoint before this time is over: 2h30m, 45m.")
    ] = None,
    mirror: Annotated[
        Path | None, typer.Option(help="A mounted drive that keeps a copy, for machines whose disk vanishes.")
    ] = None,
    prefer: Prefer = None,
) -> None:
    """Run a study, or continue it.

    Trials that are done stay as they are: run it again with `study.trials=20` for more of them. Ctrl-C stops it with a
    checkpoint; the same command goes on from there, on this machine or, with `--mirror`, on another.
    """
    config = asked(profile, overrides, prefer)
    stop = Stop(seconds_of(time_given) if time_given else None)
    console.print(f"study {config.study.name}: loading", highlight=False)
    from study.driver import drive
    from study.terminal.bars import Bars

    started = time.monotonic()
    stop.listen(lambda: console.print("stopping with a checkpoint; once more stops at once"))
    try:
        with mirroring(folder, mirror), Bars(config, console) as bars:
            outcome = drive(config, folder, bars, stop)
    except TrialStopped:
        reason = "the time is over" if stop.signal is None else "you asked for it"
        console.print(f"Stopped: {reason}. This continues:", highlight=False)
        typer.echo(f"  {continuing(profile, overrides or [], folder, time_given, mirror, prefer)}")
        raise typer.Exit(0 if stop.signal is None else 128 + stop.signal) from None
    if not outcome.added:
        ask_for = make_command("study", profile, overrides, folder, {"TRIALS": config.study.trials + MORE_TRIALS})
        console.print(f"Nothing to do: {_why_done(config, outcome.record)}. `{ask_for}` adds some.", highlight=False)
    for table in (*front_tables(outcome.record), *comparison_tables(outcome.record)):
        console.print()
        console.print(table, highlight=False)
    console.print()
    for line in closing_lines(outcome.record):
        console.print(line, highlight=False)
    console.print(f"\nChosen: {outcome.choice.reason}.", highlight=False)
    minutes = (time.monotonic() - started) / 60
    console.print(f"\n{outcome.added} trials in {minutes:.1f} minutes. Next:", highlight=False)
    say_commands(following(status_of(outcome.record), profile, overrides, folder, prefer))


@app.command()
@one_line_errors
def plan(profile: Profile = DEFAULT_PROFILE, overrides: Overrides = None) -> None:
    """Say what a study will take on this machine, from a short probe; nothing is run or kept."""
    config = load_config(profile, overrides or [])
    console.print(f"study {config.study.name}: loading, then a few steps", highlight=False)
    from study.terminal.plan_tables import plan_tables

    for table in plan_tables(config):
        console.print(table)
        console.print()


@app.command()
@one_line_errors
def measure(
    profile: Profile = DEFAULT_PROFILE, overrides: Overrides = None, folder: Folder = RESULTS, prefer: Prefer = None
) -> None:
    """Measure what the results lack of today's figures, from the rows that are kept; nothing is trained.

    It happens by itself when a study is run, listed, shown, compared, reported or exported.
    """
    config = asked_to_read(profile, overrides, prefer)
    measured = bring_up_to_date(config, folder, lambda said: console.print(said, highlight=False))
    lacking = len(stale_runs(folder))
    rest = f"; {lacking} lack some" if lacking else ""
    console.print(f"{measured} runs measured again{rest}." if measured or lacking else "All runs have all figures.")


@app.command()
@one_line_errors
def clean(
    folder: Folder = RESULTS,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Delete all studies, results and tracking data, after asking. Exports and mirrors stay."""
    kept = {"README.md", ".gitignore"}
    doomed = sorted(path for path in folder.glob("*") if path.name not in kept) if folder.is_dir() else []
    if not doomed:
        console.print(f"{folder} holds no results.")
        return
    size = sum(file.stat().st_size for path in doomed for file in [path, *path.rglob("*")] if file.is_file())
    console.print(f"{folder} holds {size / 1e6:.0f} MB: {', '.join(path.name for path in doomed)}", highlight=False)
    if not yes and not (sys.stdin.isatty() and typer.confirm("Delete all of it?", default=False)):
        console.print("Nothing was deleted.")
        return
    for path in doomed:
        if path.suffix == ".db":
            check_not_in_use(path)
    for path in doomed:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)  # a journal went with the look
    console.print("Deleted.")


for name, command in (
    ("status", reading.status),
    ("list", reading.list_),
    ("show", reading.show),
    ("compare", reading.compare),
    ("ui", outputs.ui),
    ("dashboard", outputs.dashboard),
    ("report", outputs.report),
    ("export", outputs.export),
    ("analyse", outputs.analyse),
):
    app.command(name)(one_line_errors(command))

lexicon_app = typer.Typer(help="Make a lexicon from a text; see what a lexicon does to it.", no_args_is_help=True)
lexicon_app.command()(one_line_errors(lexicon.build))
lexicon_app.command()(one_line_errors(lexicon.audit))
app.add_typer(lexicon_app, name="lexicon")


@contextlib.contextmanager
def mirroring(folder: Path, target: Path | None) -> Iterator[None]:
    """Bring back what the mirror holds where the folder is empty, and keep the mirror up to date."""
    if target is None:
        yield
        return
    from study.mirror.mirror import Mirror, check_mirror
    from study.mirror.restore import restore

    check_mirror(folder, target)
    if restore(folder, target):
        console.print(f"Brought back from {target}.", highlight=False)
    with Mirror(folder, target, lambda fault: console.print(f"mirror: {fault}", highlight=False)):
        yield


def _why_done(config: StudyConfig, record: StudyRecord) -> str:
    if record.ended >= config.study.trials:
        return f"the study has its {config.study.trials} trials"
    return f"the last {config.study.patience} of {record.ended} trials brought no gain"


def _terminated(number: int, frame: object) -> None:
    """Leave as from an exception, so that servers are stopped and locks are freed."""
    raise SystemExit(128 + number)


def _quiet_libraries() -> None:
    """Keep the libraries' own chatter out of the terminal, and their calls off the network."""
    settings = {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=FutureWarning, module="mlflow")
