"""The numbers of a geometry report, side by side: by group, by pair of groups, by occurrences, and single ones.

They are laid out by their families (`wake2vec.METRICS`), so that a metric that is added has its place here already.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table as RichTable

from study.format import figure_name, shown
from study.show.table import HARD_SPACE, Column, Table, facts, in_terminal
from wake2vec import COUNT_CLASSES, HEADLINE, METRICS, PHASE1_CAP, PHASE1_PRINTED, Metric, Numbers, Part

PREFIX = "geometry."
SINGLE = "value"
FIRST, GROUPS, PAIRS = "What to read first", "Groups of rows", "Pairs of rows"
OCCURRENCES, SINGLES = "New rows by occurrences of their token", "Single numbers"
COLUMNS: dict[str, dict[str, str]] = {
    FIRST: {SINGLE: SINGLE},
    GROUPS: {name: name for name in ("base", "new", "all")},
    PAIRS: {name: name.replace("_", "-") for name in ("base_base", "new_new", "base_new")},
    OCCURRENCES: {SINGLE: "all", **dict(zip(COUNT_CLASSES, ("never", "once", "2-4", "5 and more"), strict=True))},
    SINGLES: {SINGLE: SINGLE},
}
"""Of each section, the columns and their heads."""
DETAILS = ("isotropy excess", "partition isotropy", "participation ratio", "welch t", "mann whitney u")
"""Left to the page and the JSON, with the intervals: the terminal has 80 columns."""


@dataclass(frozen=True)
class Cell:
    """One number with what belongs to it."""

    address: str
    value: float | None
    null: float | None = None
    low: float | None = None
    high: float | None = None
    phase1: float | None = None
    """What Phase 1's report prints."""


@dataclass(frozen=True)
class Line:
    name: str
    """As in the addresses, without group: `norm mean`."""
    meaning: str
    cells: dict[str, Cell] = field(default_factory=dict)
    """By column; a column that the number doesn't have is missing."""


def sections(numbers: Numbers) -> dict[str, list[Line]]:
    """All numbers under `geometry.`, each once: the lines of each section of `COLUMNS`."""
    metrics = [METRICS[address] for address in numbers if address.startswith(PREFIX)]
    metrics = [metric for metric in metrics if metric.part is Part.VALUE]
    split = {metric.family for metric in metrics if metric.member in COUNT_CLASSES}
    found: dict[str, dict[str, Line]] = {title: {} for title in COLUMNS}
    for metric in metrics:
        title, column = next(
            ((title, metric.member) for title, heads in COLUMNS.items() if metric.member in heads), (SINGLES, SINGLE)
        )
        stem, meaning = (metric.address, metric.meaning) if title == SINGLES else (metric.family, metric.family_meaning)
        lines = found[OCCURRENCES if title == SINGLES and stem in split else title]
        line = lines.setdefault(stem, Line(stem.removeprefix(PREFIX).replace("_", " "), meaning))
        line.cells[column] = _cell(metric, numbers)
    return {title: list(lines.values()) for title, lines in found.items() if lines}


def headline(numbers: Numbers) -> list[Line]:
    """The numbers that a study aims at, under the names that it gives them."""
    metrics = [METRICS[address] for address in HEADLINE if address in numbers and address.startswith(PREFIX)]
    return [Line(figure_name(metric.address), metric.meaning, {SINGLE: _cell(metric, numbers)}) for metric in metrics]


def facts_table(report: Mapping[str, Any]) -> Table:
    """What was read; notes last."""
    matrix, before, references = report["matrix"], report["before"], report["reference_rows"]
    pairs = {
        "matrix": f"{matrix['tensor']} in {matrix['file']}, {matrix['dtype']}",
        "base rows": f"{report['base_rows']:,}, {report['base_rule']}",
        "new rows": f"{report['new_rows']:,}; {report['dim']:,} dimensions",
        "before": f"{before['model']}, {before['rows']:,} rows" if before else "not given",
        "training text": report["corpus"] or "not given",
        "reference rows": f"{references:,} that no text reaches" if references else "none",
    }
    return facts(f"Geometry of {report['model']}", [*pairs.items(), *(("note", note) for note in report["notes"])])


def undefined_table(report: Mapping[str, Any]) -> Table:
    """Each reason, and the names of the numbers that it leaves undefined."""
    reasons: dict[str, list[str]] = {}
    for address, reason in report["undefined"].items():
        reasons.setdefault(reason, []).append(address.removeprefix(PREFIX))
    return facts("Not known, so undefined", [(reason, ", ".join(names)) for reason, names in reasons.items()])


def against_table(shared: Sequence[tuple[str, float, float]], source: str) -> Table:
    """Numbers of an earlier report and of this one; a count of components that Phase 1 cut off has no difference."""
    is_cut = [key.endswith("pct") and before == PHASE1_CAP for key, before, _ in shared]
    differences = [("+" if now > before else "") + shown(now - before) for _, before, now in shared]
    columns = [
        Column("old", [printed(one[1]) if cut else shown(one[1]) for one, cut in zip(shared, is_cut, strict=True)]),
        Column("new", [shown(now) for _, _, now in shared]),
        Column("difference", ["" if cut else less for less, cut in zip(differences, is_cut, strict=True)]),
    ]
    return Table(f"Against {source}", Column("", [key for key, _, _ in shared], "left"), [columns])


def analysis_tables(
    report: Mapping[str, Any], shared: Sequence[tuple[str, float, float]] | None, against: str | None
) -> list[RichTable]:
    """The report in 80 columns; what noise reads stands in brackets behind a number."""
    numbers = report["numbers"]
    tables = [
        facts_table(report),
        *(_section_table(title, lines) for title, lines in {FIRST: headline(numbers), **sections(numbers)}.items()),
        undefined_table(report),
    ]
    tables.append(against_table(shared or [], against or ""))
    return [drawn for table in tables for drawn in in_terminal(table)]


def printed(value: float) -> str:
    """A value of Phase 1's report; 101 components mean that its cap was hit."""
    return f"≥{value:g}" if value == PHASE1_CAP else shown(value)


def _section_table(title: str, lines: Sequence[Line]) -> Table:
    lines = [line for line in lines if line.name not in DETAILS]
    heads = COLUMNS[title]
    columns = [Column(head, [_text(line.cells.get(column)) for line in lines]) for column, head in heads.items()]
    cells = [[line.cells[column] for column in heads if column in line.cells] for line in lines]
    known = [" ".join(_brief(cell.phase1) for cell in own if cell.phase1 is not None) for own in cells]
    if any(known):
        columns.append(Column(f"Phase{HARD_SPACE}1", known))
    return Table(title, Column("", [line.name for line in lines], "left"), [columns])


def _text(cell: Cell | None) -> str:
    if cell is None:
        return ""
    return shown(cell.value) + ("" if cell.null is None else f" ({_brief(cell.null)})")


def _brief(value: float) -> str:
    """Three digits, without the zero before the point: three of them share a column."""
    return re.sub(r"^(-?)0\.", r"\1.", printed(value) if value == PHASE1_CAP else shown(value, 3))


def _cell(metric: Metric, numbers: Numbers) -> Cell:
    beside = {METRICS[other].part: value for other, value in numbers.items() if METRICS[other].of == metric.address}
    null, low, high = (beside.get(part) for part in (Part.NULL, Part.LOW, Part.HIGH))
    return Cell(metric.address, numbers[metric.address], null, low, high, PHASE1_PRINTED.get(metric.phase1))
