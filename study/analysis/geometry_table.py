"""The numbers of a geometry report, side by side: by group, by pair of groups, by occurrences, and single ones.

They are laid out by their names, so that a number that is added to the report has its place here already.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.table import Table

from study.format import figure_name
from wake2vec import COUNT_CLASSES, HEADLINE, NUMBERS, PHASE1_ADDRESSES, PHASE1_CAP, PHASE1_PRINTED

Numbers = Mapping[str, float | None]
PREFIX = "geometry."
SINGLE = "value"
FIRST = "What to read first"
COLUMNS: dict[str, tuple[str, ...]] = {
    FIRST: (SINGLE,),
    "Groups of rows": ("base", "new", "all"),
    "Pairs of rows": ("base_base", "new_new", "base_new"),
    "New rows by occurrences of their token": (SINGLE, *COUNT_CLASSES),
    "Single numbers": (SINGLE,),
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
SUFFIXES = ("_null", "_low", "_high")
"""What a name adds to that of the number it belongs to."""
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
    names = [address.removeprefix(PREFIX) for address in numbers if address.startswith(PREFIX)]
    found: dict[str, dict[str, Line]] = {title: {} for title in COLUMNS}
    split = {_place(name)[1] for name in names if _place(name)[0] == "New rows by occurrences of their token"}
    for name in names:
        if _owner(name, numbers) is not None:
            continue
        title, stem, column = _place(name)
        if title == "Single numbers" and stem in split:
            title = "New rows by occurrences of their token"
        line = found[title].setdefault(stem, Line(stem.replace("_", " "), _meaning(name, title)))
        line.cells[column] = _cell(name, numbers)
    return {title: list(lines.values()) for title, lines in found.items() if lines}


def headline(numbers: Numbers) -> list[Line]:
    """The numbers that a study aims at, under the names that it gives them."""
    addresses = [address for address in HEADLINE if address in numbers and address.startswith(PREFIX)]
    return [
        Line(figure_name(address), NUMBERS[address], {SINGLE: _cell(address.removeprefix(PREFIX), numbers)})
        for address in addresses
    ]


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


def _place(name: str) -> tuple[str, str, str]:
    """Section, stem and column of a number: `isotropy_new` -> groups, `isotropy`, `new`."""
    title = "New rows by occurrences of their token"
    for column in COLUMNS[title][1:]:
        if name.endswith(f"_{column}"):
            return title, name.removesuffix(f"_{column}"), column
    for title in ("Pairs of rows", "Groups of rows"):
        match = re.search(rf"_({'|'.join(COLUMNS[title])})(?=_|$)", name)
        if match:
            return title, name[: match.start()] + name[match.end() :], match[1]
    return "Single numbers", name, SINGLE


def _owner(name: str, numbers: Numbers) -> str | None:
    """The number that a null or an end of an interval belongs to."""
    for suffix in SUFFIXES:
        stem = name.removesuffix(suffix)
        if stem != name:
            return next((owner for owner in (stem, f"{stem}_share") if PREFIX + owner in numbers), None)
    return None


def _cell(name: str, numbers: Numbers) -> Cell:
    address = PREFIX + name
    stems = (name, name.removesuffix("_share"))
    null, low, high = (
        next((numbers[PREFIX + stem + suffix] for stem in stems if PREFIX + stem + suffix in numbers), None)
        for suffix in SUFFIXES
    )
    key = next((key for key, known in PHASE1_ADDRESSES.items() if known == address), None)
    return Cell(address, numbers[address], null, low, high, PHASE1_PRINTED.get(key or ""))


def _meaning(name: str, title: str) -> str:
    """The meaning of a number without its group: "mean of the norms"."""
    meaning = NUMBERS.get(PREFIX + name, name.replace("_", " "))
    if title == "Groups of rows":
        return re.sub(r",? (of )?(base|new|all) rows", "", meaning)
    return re.sub(r",? (base-base|new-new|base-new)$", "", meaning) if title == "Pairs of rows" else meaning
