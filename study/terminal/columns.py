"""Tables that fit 80 columns, whatever there is to show: columns that don't fit go into a table below."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.table import Table

WIDTH = 80
GAP = 2
HARD_SPACE = "\u00a0"
WIDEST = 44
"""A longer text is folded."""


@dataclass(frozen=True)
class Column:
    """A head and its cells; a cell may have several lines."""

    head: str
    cells: Sequence[str]
    justify: Literal["left", "right"] = "right"

    @property
    def width(self) -> int:
        """Its longest line; the head may be broken at its spaces, but not at those that are hard."""
        words = self.head.split(" ")
        lines = [line for cell in self.cells for line in cell.split("\n")]
        return min(max(map(len, [*words, *lines]), default=1) or 1, WIDEST)


def fitted(title: str, lead: Column, columns: Sequence[Column]) -> list[Table]:
    """As few tables as the columns need, with narrow gaps where that makes it one; each begins with `lead`."""
    gap = GAP if _width([lead, *columns], GAP) <= WIDTH or _width([lead, *columns], 1) > WIDTH else 1
    groups: list[list[Column]] = [[lead]]
    for column in columns:
        if _width([*groups[-1], column], gap) > WIDTH and len(groups[-1]) > 1:
            groups.append([lead])
        groups[-1].append(column)
    return [_table(title if place == 0 else "", group, gap) for place, group in enumerate(groups)]


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
