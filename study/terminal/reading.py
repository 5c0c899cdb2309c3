"""Commands that read a study: `python -m study status`, `list`, `show`, `compare`. They write nothing."""

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from study.commands import DEFAULT_PROFILE, RESULTS
from study.record import StudyRecord, read_record
from study.runs import Role, Run
from study.shown import shown_cautions
from study.table import duration
from study.terminal.contents import (
    as_json,
    compare_content,
    list_content,
    show_content,
    status_content,
    studies_content,
)
from study.terminal.differences import legend
from study.terminal.following import following, say_commands
from study.terminal.invocation import AsJson, Folder, Overrides, Prefer, Profile, console, opened_study
from study.terminal.lookup import kind_of, run_named, sorted_runs, state_of
from study.terminal.pair import Pair, evaluations, pair_of
from study.terminal.pair_tables import (
    bound_tables,
    figure_tables,
    issue_tables,
    knob_tables,
    objective_tables,
    own_objective_tables,
)
from study.terminal.spent import spent
from study.terminal.status import Status, facts_table, lines_of, lines_tables, reached_tables, status_of
from study.terminal.trial_tables import front_runs, reference_tables, repeat_tables, trials_tables
from wake2vec import ConfigError

SAMPLES = 3
WIDTH = 80
AnyStudy = Annotated[
    str | None, typer.Argument(help="A profile, or the path of a YAML file; without it, all studies in a line each.")
]
Named = Annotated[str, typer.Argument(help="A trial's number, `chosen`, `baseline`, or the name of an anchor.")]


def status(
    profile: AnyStudy = None,
    overrides: Overrides = None,
    folder: Folder = RESULTS,
    prefer: Prefer = None,
    as_json_: AsJson = False,
) -> None:
    """Say where a study stands: how far it is, what it has cost and reached, what to type next."""
    if profile is None:
        _all_studies(folder, as_json_)
        return
    record = read_record(opened_study(profile, overrides, prefer, folder), folder)
    found = status_of(record)
    commands = following(found, profile, overrides, folder, prefer)
    if as_json_:
        typer.echo(as_json({**status_content(found), "next": commands}))
        return
    _say(f"Study {found.study} in {folder}: {_stage(found)}")
    _show([facts_table(found)])
    for table in reached_tables(record, found):
        _say("")
        _show([table])
    _say("\nNext:")
    say_commands(commands)


def list_(
    profile: Profile = DEFAULT_PROFILE,
    overrides: Overrides = None,
    folder: Folder = RESULTS,
    prefer: Prefer = None,
    sort: Annotated[str, typer.Option(help="An objective (best first), a knob, `time` or `trial`.")] = "trial",
    front: Annotated[bool, typer.Option("--front", help="Only the baseline and the front.")] = False,
    as_json_: AsJson = False,
) -> None:
    """List all trials: state, knobs, objectives, time; references and repeats below."""
    record = read_record(opened_study(profile, overrides, prefer, folder), folder)
    runs = sorted_runs(record, front_runs(record) if front else record.begun, sort)
    if as_json_:
        typer.echo(as_json(list_content(record, runs, record.references)))
        return
    if not runs:
        _say(f"The study {record.config.study.name} has no trials yet.")
        return
    sections = [trials_tables(record, runs)]
    if record.finished:
        sections += [reference_tables(record), repeat_tables(record)]
    for tables in filter(None, sections):
        _show(tables)
        _say("")
    if record.finished:
        _say("* on the front: no other trial is as good in all objectives and better in one.")
        _say("`beats it`: as good as the baseline in all, better in one.")
    for run in runs:
        if run.reason:
            _say(f"Trial {run.number} {kind_of(run)}: {run.reason}.")
    if record.finished:
        _say(f"Chosen: {record.choice.reason}.")


def show(
    trial: Named,
    profile: Profile = DEFAULT_PROFILE,
    overrides: Overrides = None,
    folder: Folder = RESULTS,
    prefer: Prefer = None,
    as_json_: AsJson = False,
) -> None:
    """Show one trial: knobs, objectives against the baseline, bounds, the issues' figures, cost, samples."""
    record = read_record(opened_study(profile, overrides, prefer, folder), folder)
    run = run_named(record, trial)
    pair = _against_baseline(record, run)
    if as_json_:
        typer.echo(as_json(show_content(record, run, pair)))
        return
    _say(f"{run.title} of study {record.config.study.name}: {_states(run, record)}")
    if run.reason:
        _say(f"{run.reason[0].upper()}{run.reason[1:]}.")
    for tables in _sections(record, run, pair):
        _say("")
        _show(tables)
    if pair is not None:
        _say(legend(pair.differences, record.config.study.seeds))
    for caution in shown_cautions(record) if record.finished else ():
        _say(caution)
    _say("")
    _show([_place_table(record, run)])
    for sample in record.result(run.digest).samples[:SAMPLES] if run.values and run.digest else ():
        _say(f"\n{_first_lines(sample)}")


def compare(
    first: Named,
    second: Named,
    profile: Profile = DEFAULT_PROFILE,
    overrides: Overrides = None,
    folder: Folder = RESULTS,
    prefer: Prefer = None,
    as_json_: AsJson = False,
) -> None:
    """Compare two trials: knobs that differ, objectives with what is noise, the figures that differ most."""
    record = read_record(opened_study(profile, overrides, prefer, folder), folder)
    before, after = run_named(record, first), run_named(record, second)
    pair = pair_of(record, before, after)
    if as_json_:
        typer.echo(as_json(compare_content(record, pair)))
        return
    for run in (pair.before, pair.after):
        _say(f"{run.title}: {_states(run, record)}")
    title = f"{pair.after.title} against {pair.before.label}"
    knobs = knob_tables(record, "Knobs that differ", (pair.before, pair.after), list(pair.knobs))
    for tables in (knobs, objective_tables(record, pair, title)):
        _say("")
        _show(tables) if tables else _say("No knob differs.")
    _say(legend(pair.differences, record.config.study.seeds))
    _say("")
    _show(figure_tables(record, pair))


def _all_studies(folder: Path, as_json_: bool) -> None:
    lines = lines_of(folder)
    if as_json_:
        typer.echo(as_json(studies_content(lines)))
    elif not lines:
        raise ConfigError(f"{folder} holds no study: run `make study` first")
    else:
        _show(lines_tables(lines, folder))
        _say("\n`study status PROFILE` says more of one.")


def _stage(found: Status) -> str:
    if found.driver is not None:
        return "running"
    if found.is_done:
        return "done"
    return "not running, not done"


def _against_baseline(record: StudyRecord, run: Run) -> Pair | None:
    """None for the baseline itself, and where one of them has no evaluation."""
    baseline = next((one for one in record.begun if one.number == 0), run)
    if baseline == run or not evaluations(record, baseline) or not evaluations(record, run):
        return None
    return pair_of(record, baseline, run)


def _sections(record: StudyRecord, run: Run, pair: Pair | None) -> Iterable[list[Table]]:
    if pair is not None:
        yield knob_tables(record, "Knobs", (pair.before, pair.after), list(pair.after.params))
        yield objective_tables(record, pair, f"{run.title} against the baseline")
        yield from filter(None, [bound_tables(record, run)])
        yield issue_tables(record, (pair.before, pair.after), pair.numbers)
        return
    yield knob_tables(record, "Knobs", (run,), list(run.params))
    if run.values:
        yield own_objective_tables(record, run)
        yield issue_tables(record, (run,), [record.result(run.digest).numbers])


def _states(run: Run, record: StudyRecord) -> str:
    """All that is to say of its state: `chosen, on the front`."""
    state = "reference" if run.role is Role.REFERENCE else state_of(run, record)
    known = [state] if state else []
    if run.is_finished_trial and run.number in record.front:
        known.append("on the front")
    if run.name and run.role is not Role.REFERENCE:
        known.append(f"anchor {run.name}")
    if run.source:
        known.append(f"from {run.source}")
    return ", ".join(known) or "not on the front"


def _place_table(record: StudyRecord, run: Run) -> Table:
    """Cost and place."""
    table = Table(box=None, show_header=False, width=WIDTH, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(width=11, style="dim")
    table.add_column(ratio=1, overflow="fold")
    if run.digest:
        cost, total = record.cost(run.digest), spent(record)
        share = f", {cost.steps / total.steps:.0%} of the study's steps" if total.steps else ""
        table.add_row("cost", f"{cost.steps:,} steps, {duration(cost.seconds)} on {total.device}{share}")
        table.add_row("digest", run.digest)
        table.add_row("work folder", str(record.work_folder(run.digest).path))
    return table


def _first_lines(sample: str) -> str:
    """Of a sample, which may hold anything: what a terminal would take as a command is a dot."""
    lines = " / ".join(sample.splitlines())
    printable = "".join(letter if letter.isprintable() else "·" for letter in lines)
    return textwrap.shorten(printable, 2 * WIDTH - 8, placeholder=" ...")


def _say(text: str) -> None:
    console.print(text, highlight=False, markup=False)


def _show(tables: Iterable[Table]) -> None:
    for table in tables:
        console.print(table, highlight=False, markup=False)
