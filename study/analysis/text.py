"""A geometry report in words: what was read, what is undefined and why, and all of it for the terminal."""

import re
from typing import Any

from rich.table import Table

from study.analysis.against import against_table
from study.analysis.geometry_table import geometry_tables
from wake2vec import ConfigError


def facts(report: dict[str, Any]) -> list[tuple[str, str]]:
    """What was read, in words: name and text of each fact, notes last."""
    matrix, before = report["matrix"], report["before"]
    known = [
        ("matrix", f"{matrix['tensor']} in {matrix['file']}, {matrix['dtype']}"),
        ("base rows", f"{report['base_rows']:,}, {report['base_rule']}"),
        ("new rows", f"{report['new_rows']:,}; {report['dim']:,} dimensions"),
        ("before", f"{before['model']}, {before['rows']:,} rows" if before else "not given"),
        ("training text", report["corpus"] or "not given"),
        (
            "reference rows",
            f"{report['reference_rows']:,} that no text reaches" if report["reference_rows"] else "none",
        ),
    ]
    return [*known, *(("note", note) for note in report["notes"])]


def undefined_lines(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Each reason, and the names of the numbers that it leaves undefined."""
    reasons: dict[str, list[str]] = {}
    for address, reason in report["undefined"].items():
        reasons.setdefault(reason, []).append(address.removeprefix("geometry."))
    return [(reason, ", ".join(names)) for reason, names in reasons.items()]


def analysis_tables(
    report: dict[str, Any], shared: list[tuple[str, float, float]] | None, against: str | None
) -> list[Table]:
    """The report in 80 columns."""
    tables = [_pairs(f"Geometry of {report['model']}", facts(report)), *geometry_tables(report["numbers"])]
    if report["undefined"]:
        tables.append(_pairs("Not known, so undefined", undefined_lines(report)))
    if shared:
        tables.append(against_table(shared, against or ""))
    return tables


def parse_ids(text: str) -> tuple[int, ...]:
    """`3-5, 9` as 3, 4, 5, 9.

    Raises:
        ConfigError: the text isn't a list of ids and ranges.
    """
    ids: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not match or last < first:
            raise ConfigError(f"ids are given like 3-258,700: {text!r} isn't such a list")
        ids += range(first, last + 1)
    return tuple(ids)


def _pairs(title: str, lines: list[tuple[str, str]]) -> Table:
    table = Table(title=title, box=None, show_header=False, width=80, padding=(0, 1, 0, 0), title_justify="left")
    table.add_column(max_width=38)
    table.add_column(ratio=1, overflow="fold")
    for name, text in lines:
        table.add_row(name, text)
    return table
