"""Commands that make something of results: `python -m study ui`, `export`, `report`, `analyse`."""

import time
from pathlib import Path
from typing import Annotated

import typer

from study.cli import as_json as in_json
from study.cli.options import (
    Folder,
    Overrides,
    Prefer,
    Profile,
    asked,
    asked_to_read,
    console,
    named_path,
    opened_study,
    say,
)
from study.config import DEFAULT_PROFILE, RESULTS
from study.engine.measures import opened
from study.runs.addresses import addresses_of

Port = Annotated[int, typer.Option(min=0, max=65535, help="On loopback; 0: any that is free.")]


def ui(
    profile: Profile = DEFAULT_PROFILE,
    overrides: Overrides = None,
    folder: Folder = RESULTS,
    port: Port = 5000,
) -> None:
    """Serve the MLflow UI on loopback and print links that open on the trials.

    Where the results folder belongs to an MLflow server, nothing is served: the links lead there.
    """
    from study.runs.storage import load_study
    from study.server.process import mlflow_server
    from study.tracking import Tracker

    config = asked_to_read(profile, overrides, None)
    load_study(folder, config.study.name)

    def tell(first_page: str) -> None:
        links = Tracker(folder, config).links(first_page)
        for what, link in (
            ("all trials, sorted", links.sorted_list),
            ("charts", links.charts),
            ("comparison", links.comparison),
            ("the study: note, pictures", links.study),
        ):
            say(f"\n{what}:")
            typer.echo(link)  # whole, on one line, so that a terminal can open it

    if (server := addresses_of(folder).tracking) is not None:
        tell(f"{server}/")
        return
    say("MLflow is starting: this can take half a minute")
    with mlflow_server(folder, port) as first_page:
        tell(first_page)
        _until_stopped()


def dashboard(folder: Folder = RESULTS, port: Port = 8080) -> None:
    """Serve Optuna's own dashboard on loopback, to be looked at, and print the link that opens it."""
    from study.server.process import dashboard_server

    with dashboard_server(folder, port) as first_page:
        typer.echo(first_page)
        _until_stopped()


def _until_stopped() -> None:
    say("\nWho has a link gets in, nobody else; nothing can be changed there. Ctrl-C stops the server.")
    while True:
        time.sleep(3600)


def export(
    profile: Profile = DEFAULT_PROFILE,
    overrides: Overrides = None,
    folder: Folder = RESULTS,
    trial: Annotated[int | None, typer.Option(help="Which trial; without it, the one that the study chose.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=named_path, metavar="PATH", help="Target folder; exports/<study>-trial-<number> without it."
        ),
    ] = None,
    vectors: Annotated[
        str | None,
        typer.Option(
            help="Text formats of the new rows: word2vec, projector, both, or none; those up to 200 MB without."
        ),
    ] = None,
    rights: Annotated[str | None, typer.Option(help="A sentence for the model card on the rights in the data.")] = None,
    register: Annotated[bool, typer.Option(help="Register the export in MLflow: a second copy of the model.")] = True,
    prefer: Prefer = None,
) -> None:
    """Write a trial as a Hugging Face folder: model, tokenizer, vectors, model card; checked by loading it again.

    It is registered in MLflow too, under the study's name: `best` is the one that the study chose, `trial-7` any.
    """
    from study.export.export import export_trial, parse_formats, picked_trial

    formats = None if vectors is None else parse_formats(vectors)
    config = asked(profile, overrides, prefer)
    if register:
        from study.tracking.database import check_tracking

        check_tracking(folder)  # before the minutes that an export takes
    opened(config, folder, say)
    if register:
        from study.export.registry import check_run

        check_run(folder, config.study.name, picked_trial(config, folder, trial))
    done = export_trial(config, folder, trial, out, formats, rights)
    say(f"Exported to {done.folder}: {done.reason}.")
    if done.kept:
        say(done.kept)
    say(f"Trial {done.trial}: {done.checked}.")
    say(
        f"Loaded again with plain transformers: validation loss {done.reloaded_loss:.5f} "
        f"(logged {done.logged_loss:.5f})."
    )
    written = ", ".join(("safetensors", *done.text_formats))
    left_out = (
        " Text formats would be large: VECTORS=both writes them." if formats is None and not done.text_formats else ""
    )
    say(f"The new rows alone: {done.folder / 'vectors'} ({written}).{left_out}")
    if register:
        from study.export.registry import register_export

        aliases = (f"trial-{done.trial}", *(("best",) if trial is None else ()))
        registered = register_export(folder, config.study.name, done.trial, done.digest, done.folder, aliases)
        say(f"Registered in MLflow: {registered.uri}, version {registered.version}.")


def report(
    profile: Profile = DEFAULT_PROFILE,
    overrides: Overrides = None,
    folder: Folder = RESULTS,
    prefer: Prefer = None,
) -> None:
    """Write one self-contained HTML page about a study, and the same in Markdown."""
    from study.report.page import write_report

    page = write_report(opened_study(profile, overrides, prefer, folder), folder, profile, overrides or [])
    say(f"Report: {page}")
    say(f"in Markdown: {page.with_suffix('.md')}")


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
    out: Annotated[
        Path | None,
        typer.Option(parser=named_path, metavar="PATH", help="Target folder; analysis/<name of the model> without it."),
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="An earlier summary in JSON, or `phase1`: a table of old and new.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON instead of tables.")] = False,
) -> None:
    """Report the geometry of any checkpoint's embedding, without training: tables, a picture, a page, JSON."""
    from study.analysis.analyse import PAGE, parse_ids, write_analysis
    from study.analysis.tables import analysis_tables
    from wake2vec import Source

    ids = parse_ids(references) if references else None
    source = Source(model, base_size, before, corpus, block_tokens, validation_share, ids, tensor)
    done = write_analysis(source, out, against)
    if as_json:
        typer.echo(in_json.as_json(done.report))
        return
    for table in analysis_tables(done.report, done.shared, against):
        console.print(table)
        say()
    say("In brackets: the null, what noise reads (docs/metrics.md). Page, picture, JSON:")
    typer.echo(f"  {done.folder / PAGE}")
