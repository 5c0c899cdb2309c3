"""Commands that read a study: `status`, `list`, `show`, `compare`. They change nothing that was trained."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from study.cli.as_json import as_json, compare_content, list_content, show_content, status_content
from study.cli.options import (
    AsJson,
    Folder,
    Overrides,
    Prefer,
    Profile,
    following,
    opened_study,
    say,
    say_commands,
    show,
)
from study.cli.status import bests_table, cost_in_words, line_of, lines_table, spent, stage, status_table
from study.config import DEFAULT_PROFILE, RESULTS
from study.runs.compare import Pair, evaluations, pair_of, shown_cautions
from study.runs.judge import BEATS, front_runs, kind_of, standing
from study.runs.reader import read_record
from study.runs.record import StudyRecord
from study.runs.run import Run
from study.runs.storage import study_names
from study.runs.study_database import study_database
from study.settings import Value
from study.show.sentences import kept_told
from study.show.table import WIDTH, Table, facts
from study.show.tables import (
    comparison_table,
    differences_table,
    issues_table,
    knobs_table,
    legend,
    objectives_table,
    references_table,
    repeats_table,
    run_bounds_table,
    runs_table,
)
from wake2vec import ConfigError

SAMPLES = 3
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
    driver = study_database(folder).driver_of(record.config.study.name)
    commands = following(record, driver, profile, overrides, folder, prefer)
    if as_json_:
        typer.echo(as_json({**status_content(record, driver), "next": commands}))
        return
    say(f"Study {record.config.study.name} in {folder}: {stage(record, driver)}")
    show(status_table(record, driver), *([bests_table(record)] if record.finished else []))
    say("\nNext:")
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
        typer.echo(as_json(list_content(record, runs)))
        return
    if not runs:
        say(f"The study {record.config.study.name} has no trials yet.")
        return
    show(runs_table(record, runs), *([references_table(record), repeats_table(record)] if record.finished else []))
    say()
    if record.finished:
        say("* on the front: no other trial is as good in all objectives and better in one.")
        say(f"`beats it`: {BEATS}.")
    for run in runs:
        if run.reason:
            say(f"Trial {run.number} {kind_of(run)}: {run.reason}.")
    if record.finished:
        say(f"Chosen: {record.choice.reason}.")


def show_(
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
    say(f"{run.title} of study {record.config.study.name}: {', '.join(standing(run, record).words)}")
    if run.reason:
        say(f"{run.reason[0].upper()}{run.reason[1:]}.")
    runs = (run,) if pair is None else (pair.before, pair.after)
    objectives = objectives_table(record, run) if pair is None else comparison_table(record, pair)
    if run.params:
        say()
        show(knobs_table(record, "Knobs", runs, list(runs[-1].params)), objectives)
    if pair is not None:
        say(legend(pair.differences, record.config.study.seeds))
    if kept := kept_told(record, *runs):
        say(kept)
    if pair is not None or run.values:
        say()
        numbers = [record.result(run.digest).numbers] if pair is None else pair.numbers
        show(run_bounds_table(record, run), issues_table(record, runs, numbers))
        for caution in shown_cautions(record) if record.finished else ():
            say(f"\n{caution}")
    if run.digest:
        say()
        show(_place(record, run))
    for sample in record.result(run.digest).samples[:SAMPLES] if run.values and run.digest else ():
        say(f"\n{_first_lines(sample)}")


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
    pair = pair_of(record, run_named(record, first), run_named(record, second))
    if as_json_:
        typer.echo(as_json(compare_content(record, pair)))
        return
    for run in (pair.before, pair.after):
        say(f"{run.title}: {', '.join(standing(run, record).words)}")
    say("" if pair.knobs else "\nNo knob differs.\n")
    knobs = knobs_table(record, "Knobs that differ", (pair.before, pair.after), list(pair.knobs))
    show(knobs, comparison_table(record, pair))
    say(legend(pair.differences, record.config.study.seeds))
    if pair.step is None and (kept := kept_told(record, pair.before, pair.after)):
        say(kept)
    say()
    show(differences_table(record, pair))


def run_named(record: StudyRecord, named: str) -> Run:
    """The run of a number, of an anchor's name, or that is the `baseline` or the `chosen` one.

    Raises:
        ConfigError: there is none.
    """
    if named == "chosen":
        return record.choice.trial
    if named == "baseline" and (baseline := _baseline(record)):
        return baseline
    for run in [*record.begun, *record.references]:
        if named in (run.name, run.label.removeprefix("trial ")):
            return run
    if not record.begun:
        raise ConfigError(f"the study {record.config.study.name} has no trial that has begun: run `make study`")
    known = [word for word, has in (("`baseline`", _baseline(record)), ("`chosen`", record.finished)) if has]
    words = f", {' or '.join(known)}" if known else ""
    names = ", ".join(reference.name for reference in record.references)
    raise ConfigError(
        f"the study {record.config.study.name} has no trial {named}: give one of {_ranges(record.begun)}{words}"
        f"{f', or a reference: {names}' if names else ''}"
    )


def sorted_runs(record: StudyRecord, runs: Sequence[Run], by: str) -> list[Run]:
    """Best first by an objective, smallest first by a knob, `time` or `trial`; those without the value last.

    `by` is an address or a part of one that no other has; `norm gap` is taken as `norm_gap`.

    Raises:
        ConfigError: nothing has that name, or several have.
    """
    objectives = {objective.result: objective.sign for objective in record.config.study.objectives}
    known = [*objectives, *record.config.study.space, "time", "trial"]
    part = by.replace(" ", "_")
    found = [name for name in known if name == part] or [name for name in known if part in name]
    if len(found) != 1:
        raise ConfigError(f"--sort takes a part of one of {', '.join(known)}: {by!r} is part of {len(found)}")
    name = found[0]

    def value(run: Run) -> Value | None:
        if name in objectives:
            return objectives[name] * run.values[list(objectives).index(name)] if run.values else None
        if name == "time":
            return record.cost(run.digest).seconds if run.digest else None
        return run.number if name == "trial" else run.params.get(name)

    def key(run: Run) -> tuple[bool, float, str]:
        own = value(run)
        return (own is None, 0.0, own or "") if own is None or isinstance(own, str) else (False, float(own), "")

    return sorted(runs, key=key)


def _ranges(trials: Sequence[Run]) -> str:
    """`0-4, 6`."""
    spans: list[list[int]] = []
    for number in (trial.number for trial in trials):
        if spans and spans[-1][-1] == number - 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    return ", ".join(f"{span[0]}-{span[-1]}" if len(span) > 1 else str(span[0]) for span in spans)


def _baseline(record: StudyRecord) -> Run | None:
    """What stands as the baseline: before the first result trial 0, however far it is; None: it hasn't begun."""
    return record.baseline if record.finished else next((run for run in record.begun if run.number == 0), None)


def _against_baseline(record: StudyRecord, run: Run) -> Pair | None:
    """None for the baseline itself, and where one of them has no evaluation."""
    baseline = _baseline(record)
    if baseline is None or baseline == run or not evaluations(record, baseline) or not evaluations(record, run):
        return None
    return pair_of(record, baseline, run)


def _all_studies(folder: Path, as_json_: bool) -> None:
    lines = [line_of(folder, name) for name in study_names(folder)]
    if as_json_:
        typer.echo(as_json({"studies": lines}))
    elif not lines:
        raise ConfigError(f"{folder} holds no study: run `make study` first")
    else:
        show(lines_table(lines, folder))
        say("\n`study status PROFILE` says more of one.")


def _place(record: StudyRecord, run: Run) -> Table:
    """Its cost, and where it lies."""
    cost, all_steps = record.cost(run.digest), spent(record).steps
    share = f", {cost.steps / all_steps:.0%} of the study's steps" if all_steps else ""
    place = str(record.work_folder(run.digest).path)
    told = [("cost", cost_in_words(cost, record) + share), ("digest", run.digest), ("work folder", place)]
    return facts("", [*told, *([("files", record.checked(run).words)] if run.values else [])])


def _first_lines(sample: str) -> str:
    """Of a sample, which may hold anything: what a terminal would take as a command is a dot."""
    lines = " / ".join(sample.splitlines())
    printable = "".join(letter if letter.isprintable() else "·" for letter in lines)
    return textwrap.shorten(printable, 2 * WIDTH - 8, placeholder=" ...")
