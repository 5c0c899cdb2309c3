"""`python scripts/metrics_table.py`, a part of `make format`: the table of all figures in docs/metrics.md."""

import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from wake2vec.metrics.registry import METRICS, Metric, Part, When  # noqa: E402

DOCUMENT = ROOT / "docs" / "metrics.md"
BEGIN, END = "<!-- made by scripts/metrics_table.py: change the declarations, not this -->", "<!-- end -->"
WHEN = {When.TRAINING: "in training", When.EVALUATION: "at evaluations", When.END: "at the end"}


def table(metrics: Iterable[Metric]) -> str:
    """A row for each family; nulls and interval ends stand beside the figure that they belong to."""
    families: dict[tuple[str, bool], list[Metric]] = {}
    for metric in metrics:
        if metric.part is Part.VALUE:
            families.setdefault((metric.family, bool(metric.member)), []).append(metric)
    return "\n".join(
        [
            "| figure | meaning | unit | better | null | interval | measured |",
            "| --- " * 7 + "|",
            *map(_row, families.values()),
        ]
    )


def updated(document: str) -> str:
    """The document with the table between the marks as it is to be."""
    before, rest = document.split(BEGIN)
    return f"{before}{BEGIN}\n{table(METRICS.values())}\n{END}{rest.split(END)[1]}"


def _row(members: list[Metric]) -> str:
    first = members[0]
    has_interval = any(metric.of == first.address and metric.part is Part.LOW for metric in METRICS.values())
    cells = (
        f"`{_spelled(first.address, members)}`",
        first.family_meaning,
        first.unit or "–",
        f"nearer to {first.better:g}" if isinstance(first.better, float) else first.better or "–",
        f"`{_spelled(first.null.split('.')[1], members)}`" if isinstance(first.null, str) else _number(first.null),
        "`_low`, `_high`" if has_interval else "–",
        WHEN[first.when],
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _number(null: float | None) -> str:
    return "–" if null is None else f"{null:g}"


def _spelled(address: str, members: list[Metric]) -> str:
    """`geometry.norm_{all,base,new}_mean`."""
    if len(members) == 1:
        return address
    left, right = f"{address}_".split(f"_{members[0].member}_", 1)
    choices = ",".join(metric.member for metric in members)
    return f"{left}_{{{choices}}}_{right}".removesuffix("_")


if __name__ == "__main__":
    DOCUMENT.write_text(updated(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
