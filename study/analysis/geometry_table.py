"""The numbers of a geometry report, side by side: by group, by pair of groups, by occurrences, and single ones.

They are laid out by their families (`wake2vec.METRICS`), so that a number that is added has its place here already.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.table import Table

from study.names import figure_name
from wake2vec import COUNT_CLASSES, HEADLINE, METRICS, PHASE1_CAP, PHASE1_PRINTED, Metric, Part

Numbers = Mapping[str, float | None]
PREFIX = "geometry."
SINGLE = "value"
FIRST = "What to read first"
BY_CLASS = "New rows by occurrences of their token"
ALONE = "Single numbers"
COLUMNS: dict[str, tuple[str, ...]] = {
    FIRST: (SINGLE,),
    "Groups of rows": ("base", "new", "all"),
    "Pairs of rows": ("base_base", "new_new", "base_new"),
    BY_CLASS: (SINGLE, *COUNT_CLASSES),
    ALONE: (SINGLE,),
}
HEADS = {
    "base_base": "base-base",
    "new_new": "new-new",
    "base_new": "base-new",
    "unseen": "never",
    "seen_1": "once",
    "seen_2_4": "2-4",
    "seen_5_up": "5 and more",
}
"""What a column is called, where not by its name."""
DETAILS = ("isotropy_excess", "partition_isotropy", "participation_ratio", "welch_t", "mann_whitney_u")
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
    found: dict[str, dict[str, Line]] = {title: {} for title in COLUMNS}
    by_class = {metric.family for metric in metrics if _place(metric)[0] == BY_CLASS}
    for metric in metrics:
        if metric.part is not Part.VALUE:
            continue
        title, column = _place(metric)
        stem = metric.address if title == ALONE else metric.family
        if title == ALONE and stem in by_class:
            title = BY_CLASS
        meaning = metric.meaning if title == ALONE else metric.family_meaning
        line = found[title].setdefault(stem, Line(stem.removeprefix(PREFIX).replace("_", " "), meaning))
        line.cells[column] = _cell(metric, numbers)
    return {title: list(lines.values()) for title, lines in found.items() if lines}


def headline(numbers: Numbers) -> list[Line]:
    """The numbers that a study aims at, under the names that it gives them."""
    metrics = [METRICS[address] for address in HEADLINE if address in numbers and address.startswith(PREFIX)]
    return [Line(figure_name(metric.address), metric.meaning, {SINGLE: _cell(metric, numbers)}) for metric in metrics]


def geometry_tables(numbers: Numbers) -> list[Table]:
    """The headline numbers in 80 columns; what noise reads stands in brackets behind a number."""
    return [
        table
        for title, lines in {FIRST: headline(numbers), **sections(numbers)}.items()
        if (table := _table(title, [line for line in lines if line.name.replace(" ", "_") not in DETAILS]))
    ]


def written(value: float | None) -> str:
    """`0.7300`, `76,500`, `–` where undefined."""
    if value is None:
        return "–"
    if float(value).is_integer() and abs(value) < 1e7:
        return f"{value:,.0f}"
    return f"{value:.4f}" if 1e-3 <= abs(value) < 10 else f"{value:.4g}"


def printed(value: float) -> str:
    """A value of Phase 1's report; 101 components mean that its cap was hit."""
    return f"≥{value:g}" if value == PHASE1_CAP else written(value)


def _table(title: str, lines: Sequence[Line]) -> Table | None:
    columns = COLUMNS[title]
    if not lines:
        return None
    table = Table(title=title, box=None, header_style="bold", width=80, padding=(0, 1, 0, 0), title_justify="left")
    table.add_column("", no_wrap=True)
    for column in columns:
        table.add_column(HEADS.get(column, "all" if len(columns) > 1 and column == SINGLE else column), justify="right")
    phase1 = any(cell.phase1 is not None for line in lines for cell in line.cells.values())
    if phase1:
        table.add_column("Phase 1", justify="right")
    for line in lines:
        cells = [line.cells.get(column) for column in columns]
        texts = ["" if cell is None else _with_null(cell) for cell in cells]
        if phase1:
            texts.append(" ".join(_short(cell.phase1) for cell in cells if cell and cell.phase1 is not None))
        table.add_row(line.name, *texts)
    return table


def _with_null(cell: Cell) -> str:
    return written(cell.value) + ("" if cell.null is None else f" ({_short(cell.null)})")


def _short(value: float) -> str:
    """Three digits at most, without the zero before the point: three of them share a column."""
    if value == PHASE1_CAP:
        return printed(value)
    return f"{value:.3g}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3g}"


def _place(metric: Metric) -> tuple[str, str]:
    """Section and column of a number: `isotropy_new` -> groups, `new`."""
    places = ((title, metric.member) for title, columns in COLUMNS.items() if metric.member in columns)
    return next(places, (ALONE, SINGLE))


def _cell(metric: Metric, numbers: Numbers) -> Cell:
    beside = {METRICS[other].part: value for other, value in numbers.items() if METRICS[other].of == metric.address}
    null, low, high = (beside.get(part) for part in (Part.NULL, Part.LOW, Part.HIGH))
    return Cell(metric.address, numbers[metric.address], null, low, high, PHASE1_PRINTED.get(metric.phase1))
