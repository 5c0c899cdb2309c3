"""One kind of table for all that is shown, and its renderers: a terminal of 80 columns, Markdown; HTML is a template's.

A table knows its cells, a renderer knows the room: in a terminal, columns that don't fit go into a table below.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rich.cells import cell_len
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
        return min(max(map(cell_len, [*words, *lines])) or 1, self.widest)


@dataclass(frozen=True)
class Table:
    """Rows that begin with the cells of `lead`; the columns of a group stay together where they fit."""

    title: str
    lead: Column
    groups: Sequence[Sequence[Column]]
    keys: Sequence[str] = ()
    """Of the run that each row is about, as charts know it; empty where rows are about none."""
    strong: Container[int] = ()
    """Places of rows that stand out in a terminal: totals, heads of groups."""

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


def fenced(words: str, kind: str = "text") -> str:
    """A code block of Markdown whose fence is longer than any in it."""
    fence = "```"
    while fence in words:
        fence += "`"
    return f"{fence}{kind}\n{words.rstrip()}\n{fence}"


def facts(title: str, pairs: Sequence[tuple[str, str]], heads: tuple[str, str] = ("", "")) -> Table:
    """A table of names and texts."""
    names, texts = ([pair[place] for pair in pairs] for place in (0, 1))
    return Table(title, Column(heads[0], names, "left"), [[Column(heads[1], texts, "left", WIDTH)]])


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

    An interval stands beside its mean, or below it where that makes fewer tables or keeps a group together; gaps are
    narrow where that does so. What is still too wide is folded.
    """
    if not table:
        return []
    beside = [[column for column in group if column.only != "page"] for group in table.groups]
    below = [[*map(_stacked, group)] for group in beside]
    ways = ((beside, GAP), (below, GAP), (below, 1))
    found = [(_packed(table.lead, groups, gap), groups, gap) for groups, gap in ways]
    packed, _, gap = min(found, key=lambda way: (len(way[0]), _parted(way[0], way[1])))
    return [_drawn(table, columns, gap, table.title if place == 0 else "") for place, columns in enumerate(packed)]


def _stacked(column: Column) -> Column:
    return replace(column, cells=[cell.replace(" ±", "\n±") for cell in column.cells])


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


def _drawn(table: Table, columns: Sequence[Column], gap: int, title: str) -> RichTable:
    """Some of its columns; the widest gives way where they don't fit."""
    has_heads = any(column.head for column in columns)
    drawn = RichTable(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=None,
        header_style="dim",
        padding=(0, gap, 0, 0),
        pad_edge=False,
        show_header=has_heads,
    )
    widest = max(columns, key=lambda column: column.width)
    too_much = max(_width(columns, gap) - WIDTH, 0)
    for column in columns:
        drawn.add_column(
            column.head.replace(HARD_SPACE, " "),
            width=column.width - (too_much if column is widest else 0),
            justify=column.justify,
            overflow="fold",
            vertical="top",
            style="dim" if column is table.lead and not has_heads else None,
        )
    for place, row in enumerate(zip(*(column.cells for column in columns), strict=True)):
        drawn.add_row(*row, style="bold" if place in table.strong else None)
    return drawn


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
