"""`python -m study`: `run`, `plan`, `measure`, which functions the other commands are, and how all of them fail."""

import contextlib
import inspect
import io
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import optuna
import typer
from typer.core import TyperGroup

from study.cli import lexicon, make, read
from study.cli.clean import clean
from study.cli.doctor import doctor
from study.cli.options import (
    MORE_TRIALS,
    Folder,
    Overrides,
    Prefer,
    Profile,
    asked,
    asked_to_read,
    console,
    continuing,
    following,
    named_path,
    say,
    say_commands,
    show,
)
from study.cli.status import cost_in_words, spent
from study.config import DEFAULT_PROFILE, RESULTS, load_config, make_command, read_profile
from study.engine.fork_server import load_ahead
from study.engine.measures import bring_up_to_date, stale_runs, sync_mlflow
from study.engine.stop import Stop, seconds_of
from study.format import duration, on_one_line
from study.runs.addresses import addresses_of
from study.runs.compare import pair_of, shown_cautions
from study.runs.database import check_folder
from study.runs.faults import Exit, exit_of, fault_of
from study.runs.judge import why_enough
from study.runs.record import StudyRecord
from study.runs.study_database import study_database
from study.show.tables import comparison_table, front_table, legend
from wake2vec import ConfigError, TrialStopped, Wake2VecError


class Commands(TyperGroup):
    """Commands of which a wrong use is told as all else that a user can put right: in one line."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Raises SystemExit: in any case, unless another program calls (not `standalone_mode`)."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # names of files may hold bytes that are no text
                stream.reconfigure(errors="backslashreplace")
        try:
            code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except typer.Abort:
            typer.echo("\nstopped", err=True)
            sys.exit(Exit.INTERRUPTED)
        except typer.TyperException as fault:
            _tell_wrong_use(fault)
            sys.exit(Exit.UNUSABLE)
        sys.exit(code if isinstance(code, int) else 0)


def _tell_wrong_use(fault: Any) -> None:
    """`fault` is typer's own; where nothing was asked for, it is the help."""
    if type(fault).__name__ == "NoArgsIsHelpError":
        fault.show()
        return
    context = getattr(fault, "ctx", None)
    asked = context.command_path if context is not None else "study"
    typer.echo(f"error: {on_one_line(fault.format_message()).rstrip('.')}; see `{asked} --help`", err=True)


app = typer.Typer(
    cls=Commands,
    help="Study how words are best added to a frozen language model: sweep, compare, export.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


Storage = Annotated[
    str | None,
    typer.Option(help="A PostgreSQL that several drivers share: postgresql://host/database. The folder remembers it."),
]
Tracking = Annotated[str | None, typer.Option(help="An MLflow server: https://host. The folder remembers it.")]
OF_THE_FOLDER = ("clean", "doctor")
"""Commands that look at a results folder alone, wherever its databases are."""


def one_line_errors(command: Callable[..., None]) -> Callable[..., None]:
    """What a user can put right ends in one line on stderr, not in a traceback.

    A command that has a results folder gets the options that say where its databases are.
    """

    @wraps(command)
    def checked(*arguments: object, **options: Any) -> None:
        _quiet_libraries()
        signal.signal(signal.SIGTERM, _terminated)
        given = options.get("folder")
        folder = given if isinstance(given, Path) else None
        try:
            if folder is not None:
                check_folder(folder)
                _join(folder, options)
            command(*arguments, **options)
        except KeyboardInterrupt:
            typer.echo("\nstopped", err=True)
            raise typer.Exit(Exit.INTERRUPTED) from None
        except Exception as fault:
            said = fault if isinstance(fault, Wake2VecError) else fault_of(fault, folder)
            if said is None:
                raise
            typer.echo(f"error: {on_one_line(str(said))}", err=True)
            raise typer.Exit(exit_of(said)) from None

    signature = inspect.signature(command)
    if "folder" in signature.parameters and command.__name__ not in OF_THE_FOLDER:
        more = {"storage": Storage, "tracking": Tracking}
        kinds = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
            for name, kind in more.items()
        ]
        checked.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *kinds])  # type: ignore[attr-defined]
        checked.__annotations__ = {**command.__annotations__, **more}
    return checked


def _join(folder: Path, options: dict[str, Any]) -> None:
    """Of the options, and of the profile's `machine.storage` and `machine.tracking`, which they go before."""
    storage, tracking = options.pop("storage", None), options.pop("tracking", None)
    if options.get("profile") is not None:
        machine = read_profile(options["profile"], options.get("overrides") or []).get("machine") or {}
        named = (
            {key: value for key, value in machine.items() if isinstance(value, str)}
            if isinstance(machine, dict)
            else {}
        )
        storage, tracking = storage or named.get("storage"), tracking or named.get("tracking")
    if options.get("mirror") is not None and (storage or addresses_of(folder).storage) is not None:
        raise ConfigError(
            "--mirror keeps a copy of the databases in a results folder, and this study's are on servers, which keep "
            "its results too: leave --mirror out"
        )
    if storage is not None or tracking is not None:
        from study.tracking.database import join

        join(folder, storage, tracking)


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
        Path | None,
        typer.Option(
            parser=named_path,
            metavar="PATH",
            help="A mounted drive that keeps a copy, for machines whose disk vanishes.",
        ),
    ] = None,
    prefer: Prefer = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Run on Ray: `local` on this machine, `auto` or `host:port` on a cluster; study.workers at once."
        ),
    ] = None,
) -> None:
    """Run a study, or continue it.

    Trials that are done stay as they are: run it again with `study.trials=20` for more of them. Ctrl-C stops it with a
    checkpoint; the same command goes on from there, on this machine or, with `--mirror`, on another.
    """
    config = asked(profile, overrides, prefer)
    stop = Stop(None if time_given is None else seconds_of(time_given))
    say(f"study {config.study.name}: loading")
    trains = config.study.workers > 1 or address is not None
    if trains or addresses_of(folder).tracking is not None:
        load_ahead(trains)  # while this process loads the same libraries
    from study.cli.progress import Bars
    from study.engine.drive import drive

    started = time.monotonic()
    stop.listen(lambda: say("stopping with a checkpoint; once more stops at once"))
    try:
        bars = Bars(config, console)
        with mirroring(folder, mirror), bars.drawn:
            outcome = drive(config, folder, bars, stop, address)
    except TrialStopped:
        say(f"Stopped: {'the time is over' if stop.signal is None else 'you asked for it'}. This continues:")
        typer.echo(f"  {continuing(profile, overrides or [], folder, time_given, mirror, prefer, address)}")
        raise typer.Exit(0 if stop.signal is None else 128 + stop.signal) from None
    record = outcome.record
    words = {"FOR": time_given, "MIRROR": mirror, "PREFER": prefer, "ADDRESS": address}
    given = {word: value for word, value in words.items() if value is not None}
    if not outcome.added:
        trials_asked = config.study.trials + MORE_TRIALS
        ask_for = make_command("study", profile, overrides, folder, {"TRIALS": trials_asked, **given})
        say(f"Nothing to do: {why_enough(record)}. `{ask_for}` adds some.")
    _say_outcome(record)
    trials = "1 trial" if outcome.added == 1 else f"{outcome.added} trials"
    say(f"\n{trials} in {duration(time.monotonic() - started)}. Next:")
    driver = study_database(folder).driver_of(config.study.name)
    say_commands(following(record, driver, profile, overrides, folder, prefer, given))


def _say_outcome(record: StudyRecord) -> None:
    """The front, the chosen trial against the baseline, the noise floor, trials without a result, cost and choice."""
    chosen, baseline = record.choice.trial, record.baseline
    say()
    show(front_table(record))
    if chosen != baseline:
        pair = pair_of(record, baseline, chosen)
        say()
        show(comparison_table(record, pair))
        say(legend(pair.differences, record.config.study.seeds))
    say()
    for caution in shown_cautions(record):
        say(caution)
    for trials, what in ((record.stopped, "stopped early"), (record.failed, "failed"), (record.damaged, "damaged")):
        if trials:
            say(f"{len(trials)} {what}: `study list` says why.")
    say(f"Spent: {cost_in_words(spent(record), record, ' of training and evaluation')}.")
    say(f"\nChosen: {record.choice.reason}.")


@app.command()
@one_line_errors
def plan(profile: Profile = DEFAULT_PROFILE, overrides: Overrides = None) -> None:
    """Say what a study will take on this machine, from a short probe; nothing is run or kept."""
    config = load_config(profile, overrides or [])
    say(f"study {config.study.name}: about a minute after loading")
    from study.cli.plan import SURE, plan_tables
    from study.cli.progress import telling

    with telling(console) as tell:
        tables = plan_tables(config, tell)
    say()
    show(*tables)
    say(SURE)


@app.command()
@one_line_errors
def measure(
    profile: Profile = DEFAULT_PROFILE, overrides: Overrides = None, folder: Folder = RESULTS, prefer: Prefer = None
) -> None:
    """Measure what the results lack of today's figures, from the rows that are kept; nothing is trained.

    It happens by itself when a study is run, listed, shown, compared, reported or exported.
    """
    config = asked_to_read(profile, overrides, prefer)
    measured = bring_up_to_date(config, folder, say, again=True)
    lacking = len(stale_runs(folder, config.run))
    rest = f"; {lacking} lack some" if lacking else ""
    say(f"{measured} runs measured again{rest}." if measured or lacking else "All runs have all figures.")


@app.command()
@one_line_errors
def sync(profile: Profile = DEFAULT_PROFILE, overrides: Overrides = None, folder: Folder = RESULTS) -> None:
    """Bring MLflow what it lacks of a study, from the work folders; nothing is trained.

    A run does that by itself. It may be lacking where MLflow's database was locked, deleted, damaged, or changed by
    hand.
    """
    sync_mlflow(asked_to_read(profile, overrides, None), folder)
    say("MLflow has all that the study has.")


for name, command in (
    ("clean", clean),
    ("status", read.status),
    ("list", read.list_),
    ("show", read.show_),
    ("compare", read.compare),
    ("ui", make.ui),
    ("dashboard", make.dashboard),
    ("report", make.report),
    ("export", make.export),
    ("analyse", make.analyse),
    ("doctor", doctor),
):
    app.command(name)(one_line_errors(command))

lexicon_app = typer.Typer(help="Make a lexicon from a text; see what a lexicon does to it.", no_args_is_help=True)
lexicon_app.command()(one_line_errors(lexicon.build))
lexicon_app.command()(one_line_errors(lexicon.audit))
lexicon_app.command()(one_line_errors(lexicon.mend))
app.add_typer(lexicon_app, name="lexicon")


@contextlib.contextmanager
def mirroring(folder: Path, target: Path | None) -> Iterator[None]:
    """Bring back what the mirror holds where the folder is empty, and keep the mirror up to date."""
    if target is None:
        yield
        return
    from study.mirror.mirror import Mirror, check_mirror, restore

    check_mirror(folder, target)
    if restore(folder, target):
        say(f"Brought back from {target}.")
    with Mirror(folder, target, lambda fault: say(f"mirror: {fault}")):
        yield


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
