"""The report of a study: one self-contained HTML page, and the same tables and sentences in Markdown."""

import base64
import hashlib
import json
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from study.charts import run_charts
from study.charts.canvas import Panel, palette, svg
from study.charts.run_charts import Side
from study.charts.study_charts import MOST_ROWS, StudyCharts
from study.config import StudyConfig, make_command, profile_text
from study.format import UNDEFINED, duration, plain, shown, shown_name
from study.report.issues import KNOWN, KnownIssue, Reading, reading
from study.runs.compare import pair_of, shown_cautions, shown_figures, shown_values
from study.runs.judge import standing
from study.runs.reader import read_record
from study.runs.record import StudyRecord
from study.runs.run import Run
from study.runs.storage import INPUTS, check_fingerprint, fingerprint_of, load_study
from study.search.importance import Importances, importances
from study.show import sentences, tables
from study.show.table import Table, escaped, fenced, in_markdown, table_of
from wake2vec import RETENTION, DamagedError, Neighbours, RunResult, write_atomic

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Content:
    """What a report tells, as plain text: both templates show it."""

    record: StudyRecord
    found: Importances
    sides: list[Side]
    """The baseline and the chosen trial; one where they are the same."""
    told: dict[str, str]
    """Sentences."""
    tables: dict[str, Table]
    readings: list[list[Reading]]
    """Of each known issue, one for each side."""
    samples: list[str]
    """One for each side."""
    audits: list[tuple[str, list[str]]]
    """A title, empty where all sides have one audit, and its sentences."""
    to_repeat: list[tuple[str, str]]
    """A command, and what it does."""
    profile: str
    """The whole configuration as YAML."""


def write_report(config: StudyConfig, folder: Path, profile: str = "tiny", overrides: Sequence[str] = ()) -> Path:
    """Write `<folder>/studies/<study>/report.html` with `report.md` beside it, and give the page's path.

    `profile` and `overrides` are what the configuration was loaded from: the commands to repeat it name them.

    Raises:
        ConfigError: no such study, no trial of it has a result, or it was made with other settings: its values would
            stand under wrong names.
    """
    record = with_whole_arrays(read_record(config, folder))
    inputs = record.result(record.choice.trial.digest).fingerprints
    stored = load_study(folder, config.study.name).user_attrs["fingerprint"]
    check_fingerprint(config.study.name, json.loads(stored), fingerprint_of(config, inputs))
    content = content_of(record, profile, overrides)
    path = folder / "studies" / config.study.name / "report.html"
    write_atomic(path, page(content).encode())
    write_atomic(path.with_suffix(".md"), markdown(content).encode())
    return path


def with_whole_arrays(record: StudyRecord) -> StudyRecord:
    """The study without trials that its pictures would be drawn from and whose arrays are damaged, and it is told."""
    for trial in (record.baseline, record.choice.trial):
        try:
            record.arrays(trial, "geometry")
        except DamagedError as fault:
            logger.warning("%s is left out: %s", trial.label, fault)
            return with_whole_arrays(record.without(trial, fault))
    return record


def content_of(record: StudyRecord, profile: str, overrides: Sequence[str]) -> Content:
    """Gather it; `profile` and `overrides` are what the report was asked for with.

    Raises:
        ConfigError: no trial has a result, or a result is gone.
    """
    chosen, found = record.choice.trial, importances(record.finished, record.config)
    compared = list({trial.number: trial for trial in (record.baseline, chosen)}.values())
    results = [record.result(trial.digest) for trial in compared]
    sides = [_side(record, trial, result) for trial, result in zip(compared, results, strict=True)]
    readings = [[_read(issue, side) for side in sides] for issue in KNOWN]
    one_audit = len({result.audit.model_dump_json() for result in results}) == 1
    audited = [("", results[0])] if one_audit else [(side.title, own) for side, own in zip(sides, results, strict=True)]
    export = make_command("export", profile, overrides)
    return Content(
        record,
        found,
        sides,
        _told(record, found, export),
        {**_tables(record, found, compared, results), "issues": _issues_table(sides, readings)},
        readings,
        [sentences.first_sample(result) for result in results],
        [(title, sentences.audit_told(result.audit)) for title, result in audited],
        [
            (make_command("study", profile, overrides), "runs the study, or goes on with it"),
            (make_command("report", profile, overrides), "makes this page"),
            (make_command("ui", profile, overrides), "opens its trials in MLflow"),
            (f"{export} TRIAL={chosen.number}", f"writes trial {chosen.number} as a model folder"),
        ],
        profile_text(record.config),
    )


def page(content: Content) -> str:
    """The page; style and script are its own, and a policy that names their hashes forbids any other."""
    environment = Environment(loader=PackageLoader("study.report"), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"breakable": breakable, "stacked": stacked}
    style, script = (_source(environment, name) for name in ("report.css", "report.js"))
    style = f"\n{palette()}{style}"
    rendered = environment.get_template("report.html").render(
        vars(content),
        known=KNOWN,
        pictures=_pictures(content),
        runs=[_inspected(run, content.record) for run in _drawn(content.record)],
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        style_hash=policy_hash(style),
        script_hash=policy_hash(script),
    )
    return plain(rendered)


def markdown(content: Content) -> str:
    """The same without pictures; ends with a line feed."""
    environment = Environment(  # noqa: S701 (Markdown, not HTML)
        loader=PackageLoader("study.report"), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"table": in_markdown, "escaped": escaped, "fenced": fenced}
    return plain(environment.get_template("report.md").render(vars(content)))


def breakable(words: str) -> Markup:
    """An address whose dots a narrow column may break after."""
    return Markup(".<wbr>").join(escape(words).split("."))


def stacked(words: str) -> Markup:
    """A value with half its interval below it: `4.312 ±0.021` in two lines."""
    parts = re.fullmatch(r"(\S+) (±\S+)", words)
    return Markup("{0} <small>{1}</small>").format(*parts.groups()) if parts else escape(words)


def policy_hash(source: str) -> str:
    """As a content security policy names an inline element: SHA-256 of its text, in base64."""
    return base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    source: Any = environment.loader.get_source(environment, name)[0]
    return f"\n{source}"


DRAW: dict[str, Callable[[Sequence[Side]], list[Panel]]] = {
    "geometry.norm_gap_d": run_charts.norms,
    "geometry.isotropy_new": run_charts.cosines,
    "geometry.collapse_share": run_charts.collapse,
    "geometry.top1_share_new": run_charts.spectra,
    "sample.spacing_rate": run_charts.spacing,
    "geometry.neighbour_cosine_mean": run_charts.neighbours,
    "teaching.hidden_gap": run_charts.untaught,
}
"""The picture of each known issue, on the same axes for all sides."""


def _pictures(content: Content) -> dict[str, Any]:
    """The page's charts, as markup."""
    charts = StudyCharts(content.record)
    front, trials = ([(svg(key), words) for key, words in charts.legend(part)] for part in ("Front", "All trials"))
    return {
        "issues": [list(map(svg, DRAW[issue.address](content.sides))) for issue in KNOWN],
        "front_legend": front,
        "legend": trials,
        "intervals": list(map(svg, charts.intervals())),
        "parallel": svg(charts.parallel()),
        "pairs": list(map(svg, charts.front_pairs())),
        "curves": svg(charts.curves()),
        "growth": list(map(svg, charts.growth())),
        "costs": list(map(svg, charts.costs())),
        "importances": list(map(svg, charts.importances(content.found))),
    }


def _drawn(record: StudyRecord) -> list[Run]:
    """The runs that charts show, in the order in which the page steps through them."""
    return [*(trial for trial in record.trials if trial in record.trained), *record.references]


def _inspected(run: Run, record: StudyRecord) -> dict[str, object]:
    """What the page shows of a run that is pointed at."""
    cost = record.cost(run.digest)
    return {
        "key": tables.key_of(run),
        "title": f"{run.title}: {', '.join(standing(run, record).words)}",
        "note": run.reason,
        "values": [
            *zip(map(shown_name, shown_figures(record)), map(shown, shown_values(record, run)), strict=False),
            *((address, shown(value)) for address, value in run.params.items()),
            ("trained", f"{cost.steps:,} steps, {duration(cost.seconds)}"),
        ],
    }


def _told(record: StudyRecord, found: Importances, export: str) -> dict[str, str]:
    reason = record.choice.reason
    return {
        "name": record.config.study.name,
        "title": sentences.title(record),
        "question": sentences.question(record),
        "reason": f"{reason[0].upper()}{reason[1:]}.",
        "certainty": sentences.certainty(record),
        "kept": sentences.kept_told(record, record.baseline, record.choice.trial),
        "caution": " ".join(shown_cautions(record)),
        "export": export,
        "front": sentences.front_told(record, MOST_ROWS),
        "trials": f"{sentences.counted(record)}. {sentences.saved(record)}".strip(),
        "rough": sentences.rough(found),
        "computed": sentences.computed(record),
    }


def _tables(
    record: StudyRecord, found: Importances, compared: Sequence[Run], results: Sequence[RunResult]
) -> dict[str, Table]:
    chosen = record.choice.trial
    versions = {name: ", ".join(dict.fromkeys(own.versions[name] for own in results)) for name in results[0].versions}
    versions |= {"optuna (of this page)": version("optuna"), "result format": str(results[0].format)}
    return {
        "comparison": tables.comparison_table(record, pair_of(record, record.baseline, chosen)),
        "recipe": tables.knobs_table(record, "", compared, list(chosen.params)),
        "front": tables.front_table(record),
        "references": tables.references_table(record),
        "bounds": tables.bounds_table(record),
        "runs": tables.runs_table(record, [*record.begun, *record.references]),
        "stopped": tables.reasons_table("", record.stopped),
        "failed": tables.reasons_table("", record.failed),
        "importances": tables.importance_table(found, record),
        "setting": sentences.setting(record),
        "space": tables.space_table(record),
        "cost": tables.cost_table(record),
        "neighbours": _neighbours_table([tables.head_of(run, record) for run in compared], results),
        "hashes": table_of(
            ["input", "SHA-256, first digits"],
            [(key, given) for key, given in results[-1].fingerprints.items() if key in (*INPUTS, RETENTION)],
        ),
        "versions": table_of(["what", "version"], list(versions.items())),
        "digests": tables.digests_table(record),
    }


def _neighbours_table(heads: Sequence[str], results: Sequence[RunResult]) -> Table:
    """A row a word: how often it was seen, and its nearest base tokens on each side."""
    sides = [{near.word: near for near in result.neighbours} for result in results]
    known = {word: near for side in sides for word, near in side.items()}
    rows = [[word, str(near.seen), *(_nearest(side.get(word)) for side in sides)] for word, near in known.items()]
    return table_of(["word", "seen", *heads], rows)


def _nearest(near: Neighbours | None) -> str:
    if near is None:
        return UNDEFINED
    return ", ".join(f"{token} {cosine:.2f}" for token, cosine in zip(near.tokens, near.cosines, strict=True))


def _issues_table(sides: Sequence[Side], readings: Sequence[Sequence[Reading]]) -> Table:
    """A row a known issue and a side: what the page's pictures say."""
    rows = [
        [issue.title, issue.what, side.title, *astuple(own)]
        for issue, of_sides in zip(KNOWN, readings, strict=True)
        for side, own in zip(sides, of_sides, strict=True)
    ]
    return table_of(["issue", "number", "trial", "value", "null", "base rows", "more", "Phase 1 printed"], rows)


def _side(record: StudyRecord, trial: Run, result: RunResult) -> Side:
    part = "baseline" if trial.number == record.baseline.number else "chosen"
    return Side(f"{trial.title}, {part}", result.numbers, record.arrays(trial, "geometry"))


def _read(issue: KnownIssue, side: Side) -> Reading:
    base, new = side.norms
    return reading(issue, side.numbers, len(base), len(new))
