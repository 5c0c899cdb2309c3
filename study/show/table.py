"""One kind of table for all that is shown, and its renderers: a terminal of 80 columns, Markdown; HTML is a template's.

A table knows its cells, a renderer knows the room: in a terminal, columns that don't fit go into a table below.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rich.table import Table as RichTable

WIDTH = 80
GAP = 2
HARD_SPACE = "\u00a0"
WIDEST = 44
NAME = 19
"""Room for the name of a reference beside its figures: `norm-matched sphere`."""


@dataclass(frozen=True)
class Column:
    """A head and its cells; a cell may have several lines."""

    head: str
    """Short: a terminal's column is narrow."""
    cells: Sequence[str]
    justify: Literal["left", "right"] = "right"
    widest: int = WIDEST
    """A longer text is folded."""
    name: str = ""
    """The whole name, where there is room for it."""
    only: Literal["terminal", "page", ""] = ""
    """Where alone it is shown; pages are HTML and Markdown."""
    on_page: Sequence[str] = ()
    """Its cells on pages, where they differ."""

    @property
    def width(self) -> int:
        """Its longest line; the head may be broken at its spaces, but not at those that are hard."""
        words = self.head.split(" ")
        lines = [line for cell in self.cells for line in cell.split("\n")]
        return min(max(map(len, [*words, *lines]), default=1) or 1, self.widest)


@dataclass(frozen=True)
class Table:
    """Rows that begin with the cells of `lead`; the columns of a group stay together where they fit."""

    title: str
    lead: Column
    groups: Sequence[Sequence[Column]]
    keys: Sequence[str] = ()
    """Of the run that each row is about, as charts know it; empty where rows are about none."""

    def __bool__(self) -> bool:
        """Whether it has a row."""
        return bool(self.lead.cells)

    @property
    def columns(self) -> list[Column]:
        """Those of pages, the lead first."""
        return [column for group in ([self.lead], *self.groups) for column in group if column.only != "terminal"]

    @property
    def header(self) -> list[str]:
        return [(column.name or column.head).replace(HARD_SPACE, " ") for column in self.columns]

    @property
    def rows(self) -> list[tuple[str, ...]]:
        return list(zip(*(column.on_page or column.cells for column in self.columns), strict=True))


def facts(title: str, pairs: Sequence[tuple[str, str]], heads: tuple[str, str] = ("", "")) -> Table:
    """A table of names and texts."""
    names, texts = ([pair[place] for pair in pairs] for place in (0, 1))
    return Table(title, Column(heads[0], names, "left", WIDTH), [[Column(heads[1], texts, "left", WIDTH)]])


def in_markdown(table: Table, gap: str = "") -> str:
    """With `gap` after each cell; bars inside cells are escaped, and nothing is taken for HTML."""
    lines = [table.header, ["---"] * len(table.header), *table.rows]
    cells = [[escaped(cell) + gap if place != 1 else cell for cell in line] for place, line in enumerate(lines)]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def escaped(text: str) -> str:
    """Text that no renderer of Markdown takes for HTML or the end of a cell, and that stays on its line."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def in_terminal(table: Table) -> list[RichTable]:
    """As few tables as the columns need, each begins with the lead.

    A value stands beside its interval where all columns fit like that, and above it otherwise. Gaps are narrow where
    that makes fewer tables, or keeps a group together.
    """
    if not table:
        return []
    groups = [[column for column in group if column.only != "page"] for group in table.groups]
    beside = _fitted(table.title, table.lead, groups)
    if len(beside) == 1:
        return beside
    return _fitted(table.title, table.lead, [list(map(_stacked, group)) for group in groups])


def _stacked(column: Column) -> Column:
    return replace(column, cells=[cell.replace(" ±", "\n±") for cell in column.cells])


def _fitted(title: str, lead: Column, groups: Sequence[Sequence[Column]]) -> list[RichTable]:
    packed = {gap: _packed(lead, groups, gap) for gap in (GAP, 1)}
    gap = min(packed, key=lambda gap: (len(packed[gap]), _parted(packed[gap], groups)))
    return [_drawn(title if place == 0 else "", columns, gap) for place, columns in enumerate(packed[gap])]


def _packed(lead: Column, groups: Sequence[Sequence[Column]], gap: int) -> list[list[Column]]:
    """The columns of each table."""
    tables: list[list[Column]] = [[lead]]
    for group in groups:
        if len(tables[-1]) > 1 and _width([*tables[-1], *group], gap) > WIDTH:
            tables.append([lead])
        for column in group:
            if len(tables[-1]) > 1 and _width([*tables[-1], column], gap) > WIDTH:
                tables.append([lead])
            tables[-1].append(column)
    return tables


def _parted(tables: Sequence[Sequence[Column]], groups: Sequence[Sequence[Column]]) -> int:
    """How many groups lie in more than one table."""
    return sum(sum(any(own is column for own in table for column in group) for table in tables) > 1 for group in groups)


def _width(columns: Sequence[Column], gap: int) -> int:
    return sum(column.width for column in columns) + gap * (len(columns) - 1)


def _drawn(title: str, columns: Sequence[Column], gap: int) -> RichTable:
    table = RichTable(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=None,
        header_style="dim",
        padding=(0, gap, 0, 0),
        pad_edge=False,
        show_header=any(column.head for column in columns),
    )
    for column in columns:
        table.add_column(
            column.head.replace(HARD_SPACE, " "),
            width=column.width,
            justify=column.justify,
            overflow="fold",
            vertical="top",
        )
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*row)
    return table


def table_of(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table of texts for a page, without a title."""
    columns = [Column(head, [row[place] for row in rows], "left", WIDTH) for place, head in enumerate(header)]
    return Table("", columns[0], [columns[1:]])


def first_rows(table: Table, count: int) -> Table:
    """The table with as many rows at most."""

    def cut(column: Column) -> Column:
        return replace(column, cells=column.cells[:count], on_page=column.on_page[:count])

    groups = [[*map(cut, group)] for group in table.groups]
    return replace(table, lead=cut(table.lead), groups=groups, keys=table.keys[:count])
