"""Tables that fit 80 columns, whatever there is to show: columns that don't fit go into a table below."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.table import Table

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
    cells: Sequence[str]
    justify: Literal["left", "right"] = "right"
    widest: int = WIDEST
    """A longer text is folded."""

    @property
    def width(self) -> int:
        """Its longest line; the head may be broken at its spaces, but not at those that are hard."""
        words = self.head.split(" ")
        lines = [line for cell in self.cells for line in cell.split("\n")]
        return min(max(map(len, [*words, *lines]), default=1) or 1, self.widest)


def fitted(title: str, lead: Column, *groups: Sequence[Column]) -> list[Table]:
    """As few tables as the columns need, each begins with `lead`; the columns of a group stay together where they fit.

    Gaps are narrow where that makes fewer tables, or keeps a group together.
    """
    packed = {gap: _packed(lead, groups, gap) for gap in (GAP, 1)}
    gap = min(packed, key=lambda gap: (len(packed[gap]), _parted(packed[gap], groups)))
    tables = packed[gap]
    return [_table(title if place == 0 else "", columns, gap) for place, columns in enumerate(tables)]


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


def _table(title: str, columns: Sequence[Column], gap: int) -> Table:
    table = Table(
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
