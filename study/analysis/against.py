"""A report against an earlier one: Phase 1's summaries, this command's own JSON, or a trial's result."""

import json
import math
from pathlib import Path
from typing import Any

from rich.table import Table

from study.analysis.geometry_table import printed, written
from wake2vec import PHASE1_CAP, PHASE1_PRINTED, ConfigError, flatten

PHASE1 = "phase1"
"""Names the values that Phase 1's report prints."""


def read_earlier(source: str) -> dict[str, float]:
    """The numbers of an earlier report, under our addresses or under Phase 1's keys.

    Raises:
        ConfigError: no such file, or none of its keys is known.
    """
    if source == PHASE1:
        return PHASE1_PRINTED
    path = Path(source)
    if not path.is_file():
        raise ConfigError(f"--against must be a summary in JSON, or {PHASE1}: no file {path}")
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        raise ConfigError(f"--against must be a summary in JSON, or {PHASE1}: {path} can't be read as JSON") from None
    if not isinstance(content, dict):
        raise ConfigError(f"--against must be a summary in JSON: {path} holds a {type(content).__name__}")
    numbers = content.get("numbers")
    return _numbers(numbers if isinstance(numbers, dict) else content)


def compared(earlier: dict[str, float], report: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Key, old and new value of each number that both have, in the order of the new report.

    Raises:
        ConfigError: they share none.
    """
    now = _numbers(report["numbers"]) | _numbers(report["phase1"])
    shared = [(key, earlier[key], value) for key, value in now.items() if key in earlier]
    if not shared:
        raise ConfigError("--against shares no number with this report: give a geometry summary in JSON")
    return shared


def _numbers(tree: dict[str, Any]) -> dict[str, float]:
    """The numbers of a nested summary, under dotted keys; texts, truth values and what is undefined are left out."""
    return {
        key: float(value)
        for key, value in flatten(tree).items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def comparison(shared: list[tuple[str, float, float]]) -> list[tuple[str, str, str, str]]:
    """Key, old, new and difference as texts; a count of components that Phase 1 cut off has no difference."""
    return [
        (key, printed(before), written(after), "")
        if key.endswith("pct") and before == PHASE1_CAP
        else (key, written(before), written(after), _signed(after - before))
        for key, before, after in shared
    ]


def _signed(difference: float) -> str:
    return written(difference) if difference <= 0 else f"+{written(difference)}"


def against_table(shared: list[tuple[str, float, float]], source: str) -> Table:
    table = Table(title=f"Against {source}", box=None, header_style="bold", width=80, title_justify="left")
    for header in ("", "old", "new", "difference"):
        table.add_column(header, justify="left" if not header else "right", no_wrap=not header)
    for row in comparison(shared):
        table.add_row(*row)
    return table
