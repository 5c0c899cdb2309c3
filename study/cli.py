"""The command line: `python -m study run tiny`, `ui`, `export`, `report`, `clean`."""

import contextlib
import json
import logging
import os
import shlex
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated

import optuna
import typer
from rich.console import Console
from transformers.utils import logging as transformers_logging

from study import lexicon
from study.config import load_config
from study.stop import Stop, seconds_of
from wake2vec import TrialStopped, Wake2VecError

app = typer.Typer(
    help="Study how words are best added to a frozen language model: sweep, compare, export.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
console = Console()

Profile = Annotated[str, typer.Argument(help="A profile of study/profiles, or the path of a YAML file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Settings laid over it, such as study.trials=20 train.rows=new.")
]
Folder = Annotated[Path, typer.Option("--folder", help="Where all results lie.")]
RESULTS = Path("mlruns")

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

    return checked


@app.command()
@one_line_errors
def run(
    profile: Profile = "tiny",
    overrides: Overrides = None,
    folder: Folder = RESULTS,
    time_given: Annotated[
        str | None, typer.Option("--for", help="Stop with a checkpoint before this time is over: 2h30m, 45m.")
    ] = None,
    mirror: Annotated[
        Path | None, typer.Option(help="A mounted drive that keeps a copy, for machines whose disk vanishes.")
    ] = None,
) -> None:
    """Run a study, or continue it.

    Trials that are done stay as they are: run it again with `study.trials=20` for more of them. Ctrl-C stops it with a
    checkpoint; the same command goes on from there, on this machine or, with `--mirror`, on another.
    """
    config = load_config(profile, overrides or [])
    stop = Stop(seconds_of(time_given) if time_given else None)
    console.print(f"study {config.study.name}: loading", highlight=False)
    from study.driver import drive
    from study.table import comparison_table, front_table
    from study.terminal import Bars

    started = time.monotonic()
    stop.listen(lambda: console.print("stopping with a checkpoint; once more stops at once"))
    try:
        with mirroring(folder, mirror), Bars(config, console) as bars:
            outcome = drive(config, folder, bars, stop)
    except TrialStopped:
        reason = "the time is over" if stop.signal is None else "you asked for it"
        console.print(f"Stopped: {reason}. This continues:", highlight=False)
        typer.echo(f"  {continuing(profile, overrides or [], folder, time_given, mirror)}")
        raise typer.Exit(0 if stop.signal is None else 128 + stop.signal) from None
    suffix = "" if profile == "tiny" else f" PROFILE={profile}"
    if not outcome.added:
        console.print(
            f"Nothing to do: the study has its {config.study.trials} trials. "
            f"`make study{suffix} TRIALS={config.study.trials + 8}` adds some."
        )
    console.print()
    console.print(front_table(outcome.trials, outcome.choice, config))
    console.print()
    console.print(comparison_table(outcome.trials, outcome.choice, config))
    console.print(f"\nChosen: {outcome.choice.reason}.", highlight=False)
    if outcome.failed:
        console.print(f"{outcome.failed} trials failed; their runs in MLflow say why.")
    minutes = (time.monotonic() - started) / 60
    console.print(f"\n{outcome.added} trials in {minutes:.1f} minutes. Next:", highlight=False)
    commands = {
        f"make ui{suffix}": "compare the trials in MLflow",
        f"make report{suffix}": "one page about the study",
        f"make export{suffix}": f"trial {outcome.choice.trial.number} as a model folder",
    }
    for command, what in commands.items():
        console.print(f"  {command:<{max(map(len, commands))}}  {what}", highlight=False)


@app.command()
@one_line_errors
def plan(profile: Profile = "tiny", overrides: Overrides = None) -> None:
    """Say what a study will take on this machine, from a short probe; nothing is run or kept."""
    config = load_config(profile, overrides or [])
    console.print(f"study {config.study.name}: loading, then a few steps", highlight=False)
    from study.plan import plan_tables

    for table in plan_tables(config):
        console.print(table)
        console.print()


@app.command()
@one_line_errors
def ui(
    profile: Profile = "tiny",
    overrides: Overrides = None,
    folder: Folder = RESULTS,
    port: Annotated[int, typer.Option(help="On loopback.")] = 5000,
) -> None:
    """Serve the MLflow UI on loopback and print links that open on the trials."""
    from study.server import mlflow_server
    from study.storage import load_study
    from study.tracking import Tracker

    config = load_config(profile, overrides or [])
    load_study(folder, config.study.name)
    console.print("MLflow is starting: this can take half a minute")
    with mlflow_server(folder, port) as address:
        links = Tracker(folder, config).links(address)
        for what, link in (
            ("all trials, sorted", links.sorted_list),
            ("charts", links.charts),
            ("comparison", links.comparison),
            ("the study: note, pictures", links.study),
        ):
            console.print(f"\n{what}:")
            typer.echo(link)  # whole, on one line, so that a terminal can open it
        console.print("\nCtrl-C stops the server.")
        while True:
            time.sleep(3600)


@app.command()
@one_line_errors
def export(
    profile: Profile = "tiny",
    overrides: Overrides = None,
    folder: Folder = RESULTS,
    trial: Annotated[int | None, typer.Option(help="Which trial; without it, the one that the study chose.")] = None,
    out: Annotated[Path | None, typer.Option(help="Target folder; exports/<study>-trial-<number> without it.")] = None,
    vectors: Annotated[
        str | None,
        typer.Option(
            help="Text formats of the new rows: word2vec, projector, both, or none; those up to 200 MB without."
        ),
    ] = None,
    rights: Annotated[str | None, typer.Option(help="A sentence for the model card on the rights in the data.")] = None,
    register: Annotated[bool, typer.Option(help="Register the export in MLflow: a second copy of the model.")] = True,
) -> None:
    """Write a trial as a Hugging Face folder: model, tokenizer, vectors, model card; checked by loading it again.

    It is registered in MLflow too, under the study's name: `best` is the one that the study chose, `trial-7` any.
    """
    from study.export import export_trial, parse_formats

    formats = None if vectors is None else parse_formats(vectors)
    config = load_config(profile, overrides or [])
    done = export_trial(config, folder, trial, out, formats, rights)
    console.print(f"Exported to {done.folder}: {done.reason}.", highlight=False)
    console.print(
        f"Loaded again with plain transformers: validation loss {done.reloaded_loss:.5f} "
        f"(logged {done.logged_loss:.5f}).",
        highlight=False,
    )
    written = ", ".join(("safetensors", *done.text_formats))
    left_out = (
        " Text formats would be large: VECTORS=both writes them." if formats is None and not done.text_formats else ""
    )
    console.print(f"The new rows alone: {done.folder / 'vectors'} ({written}).{left_out}", highlight=False)
    if register:
        from study.registry import register_export

        aliases = (f"trial-{done.trial}", *(("best",) if trial is None else ()))
        registered = register_export(folder, config.study.name, done.trial, done.digest, done.folder, aliases)
        console.print(f"Registered in MLflow: {registered.uri}, version {registered.version}.", highlight=False)


@app.command()
@one_line_errors
def report(profile: Profile = "tiny", overrides: Overrides = None, folder: Folder = RESULTS) -> None:
    """Write one self-contained HTML page about a study."""
    from study.report import write_report

    console.print(f"Report: {write_report(load_config(profile, overrides or []), folder)}", highlight=False)


@app.command()
@one_line_errors
def analyse(
    model: Annotated[Path, typer.Argument(help="A Hugging Face folder, or a .safetensors file that holds a matrix.")],
    base_size: Annotated[int | None, typer.Option(help="Rows of the base model; often the folder tells.")] = None,
    before: Annotated[
        Path | None, typer.Option(help="The base model, or the checkpoint before training: drift from it.")
    ] = None,
    corpus: Annotated[Path | None, typer.Option(help="The training text: the new tokens in it are counted.")] = None,
    block_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens of a training block; 256 without it.")] = None,
    validation_share: Annotated[
        float | None, typer.Option(min=0, max=0.9, help="Held out at the text's end; 0.1 without it.")
    ] = None,
    references: Annotated[
        str | None, typer.Option(help="Base rows that no text reaches: 3-258, 700. The tokenizer tells without it.")
    ] = None,
    tensor: Annotated[str | None, typer.Option(help="Which tensor, where there are several.")] = None,
    out: Annotated[Path | None, typer.Option(help="Target folder; analysis/<name of the model> without it.")] = None,
    against: Annotated[
        str | None, typer.Option(help="An earlier summary in JSON, or `phase1`: a table of old and new.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON instead of tables.")] = False,
) -> None:
    """Report the geometry of any checkpoint's embedding, without training: tables, a picture, a page, JSON."""
    from study.analyse import PAGE, write_analysis
    from study.analysis_text import analysis_tables, parse_ids
    from wake2vec import Source

    ids = parse_ids(references) if references else None
    source = Source(model, base_size, before, corpus, block_tokens, validation_share, ids, tensor)
    done = write_analysis(source, out, against)
    if as_json:
        typer.echo(json.dumps(done.report, indent=2, ensure_ascii=False))
        return
    for table in analysis_tables(done.report, done.shared, against):
        console.print(table, highlight=False)
        console.print()
    console.print("In brackets: the null, what noise reads (docs/metrics.md). Page, picture, JSON:", highlight=False)
    typer.echo(f"  {done.folder / PAGE}")


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
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    console.print("Deleted.")


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
    from study.mirror import Mirror, check_mirror
    from study.restore import restore

    check_mirror(folder, target)
    if restore(folder, target):
        console.print(f"Brought back from {target}.", highlight=False)
    with Mirror(folder, target, lambda fault: console.print(f"mirror: {fault}", highlight=False)):
        yield


def continuing(
    profile: str, overrides: Sequence[str], folder: Path, time_given: str | None, mirror: Path | None
) -> str:
    """The command that goes on with a study, as a shell takes it."""
    interpreter = Path(sys.executable)
    if interpreter.is_relative_to(Path.cwd()):
        interpreter = interpreter.relative_to(Path.cwd())
    words = [str(interpreter), "-m", "study", "run", profile, *overrides]
    words += ["--folder", str(folder)] if folder != RESULTS else []
    words += ["--for", time_given] if time_given else []
    words += ["--mirror", str(mirror)] if mirror is not None else []
    return shlex.join(words)


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
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning, module="mlflow")
