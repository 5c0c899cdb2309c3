"""The report: one self-contained HTML page about a study, and the same in Markdown."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from study.charts.canvas import palette, svg
from study.charts.study_charts import StudyCharts
from study.config import StudyConfig
from study.record import StudyRecord, read_record
from study.report.content import Content, content_of
from study.report.markdown import markdown
from study.report.runs import inspected
from study.storage import check_fingerprint, fingerprint_of, load_study
from wake2vec import write_atomic


def write_report(config: StudyConfig, folder: Path, profile: str = "tiny", overrides: Sequence[str] = ()) -> Path:
    """Write `<folder>/studies/<study>/report.html` with `report.md` beside it, and give the page's path.

    `profile` and `overrides` are what the configuration was loaded from: the commands to repeat it name them.

    Raises:
        ConfigError: no such study, no trial of it has a result, or it was made with other settings: its values would
            stand under wrong names.
    """
    record = read_record(config, folder)
    _check_settings(record)
    content = content_of(record, profile, overrides)
    path = folder / "studies" / config.study.name / "report.html"
    write_atomic(path, page(content).encode())
    write_atomic(path.with_suffix(".md"), markdown(content).encode())
    return path


def _check_settings(record: StudyRecord) -> None:
    inputs = record.result(record.choice.trial.digest).fingerprints
    stored = load_study(record.folder, record.config.study.name).user_attrs["fingerprint"]
    check_fingerprint(record.config.study.name, json.loads(stored), fingerprint_of(record.config, inputs))


@dataclass(frozen=True)
class Pictures:
    """The page's charts, as markup, and what its script reads."""

    front_legend: list[tuple[Markup, str]]
    legend: list[tuple[Markup, str]]
    intervals: list[Markup]
    parallel: Markup
    pairs: list[Markup]
    curves: Markup
    growth: list[Markup]
    costs: list[Markup]
    importances: list[Markup]
    inspected: list[dict[str, object]]


def page(content: Content) -> str:
    """The page; style and script are its own, and a policy that names their hashes forbids any other."""
    environment = Environment(loader=PackageLoader("study.report"), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"breakable": breakable, "stacked": stacked}
    style, script = (_source(environment, name) for name in ("report.css", "report.js"))
    style = f"\n{palette()}{style}"
    return environment.get_template("report.html").render(
        c=content,
        p=_pictures(content),
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        style_hash=policy_hash(style),
        script_hash=policy_hash(script),
    )


def breakable(words: str) -> Markup:
    """An address whose dots a narrow column may break after."""
    return Markup(".<wbr>").join(escape(words).split("."))


def stacked(words: str) -> Markup:
    """A value with its interval below it: `4.3 (4.2 to 4.4)` in two lines."""
    value, bracket, rest = words.partition(" (")
    if not bracket or not rest.endswith(")") or " to " not in rest:
        return escape(words)
    return Markup("{0}<small>{1}</small>").format(value, rest[:-1])


def policy_hash(source: str) -> str:
    """As a content security policy names an inline element: SHA-256 of its text, in base64."""
    return base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


def _pictures(content: Content) -> Pictures:
    charts = StudyCharts(content.record)
    front, trials = (
        [(svg(panel), words) for panel, words in charts.legend(section)] for section in ("Front", "All trials")
    )
    return Pictures(
        front,
        trials,
        list(map(svg, charts.intervals())),
        svg(charts.parallel()),
        list(map(svg, charts.front_pairs())),
        svg(charts.curves()),
        list(map(svg, charts.growth())),
        list(map(svg, charts.costs())),
        list(map(svg, charts.importances(content.found))),
        inspected(content.runs, content.record),
    )


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    source: Any = environment.loader.get_source(environment, name)[0]
    return f"\n{source}"
