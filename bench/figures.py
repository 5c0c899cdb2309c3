"""Figures that README and docs quote: rows of name, value, unit, bar, holds, command, machine and commit."""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "docs" / "figures"
BENCHMARKS = ROOT / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Figure:
    """`bar` is what is asked of the value, in words; `holds` whether it is met, None where nothing is asked."""

    name: str
    value: float | str
    unit: str
    bar: str = ""
    holds: bool | None = None


def publish(name: str, command: str, figures: Sequence[Figure]) -> bool:
    """Print the figures and write them; gives whether all bars hold."""
    rows = [{**asdict(figure), "command": command, "machine": machine(), "commit": commit()} for figure in figures]
    FIGURES.mkdir(parents=True, exist_ok=True)
    (FIGURES / f"{name}.json").write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    BENCHMARKS.write_text(benchmarks(), encoding="utf-8")
    table = Table(box=None, header_style="bold")
    table.add_column("figure")
    for column in ("value", "unit", "bar", "holds"):
        table.add_column(column, justify="right" if column == "value" else "left")
    for row in rows:
        table.add_row(*_cells(row))
    Console(width=100).print(table)
    return all(figure.holds is not False for figure in figures)


def publish_parts(bench: str, parts: Mapping[str, Callable[[Path], Iterable[Figure]]]) -> None:
    """The parts named on the command line, or all, each in a folder of its own that goes when it is done."""
    for part in sys.argv[1:] or parts:
        with tempfile.TemporaryDirectory(prefix=f"{bench}-") as folder:
            publish(f"{bench}-{part}", f"python -m bench.{bench} {part}", list(parts[part](Path(folder))))


def benchmarks() -> str:
    """All figures that stand in `docs/figures`, as one page of Markdown."""
    parts = ["# Benchmarks\n\nWritten by the commands named; both sides of a ratio are measured in one run.\n"]
    for path in sorted(FIGURES.glob("*.json")):
        rows = json.loads(path.read_text(encoding="utf-8"))
        parts.append(
            f"\n## {path.stem}\n\n`{rows[0]['command']}`, {rows[0]['machine']}, commit {rows[0]['commit']}\n\n"
        )
        parts.append("| figure | value | unit | bar | holds |\n| --- | ---: | --- | --- | --- |\n")
        parts += ["| " + " | ".join(cell.replace("|", "\\|") for cell in _cells(row)) + " |\n" for row in rows]
    return "".join(parts)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    value = f"{row['value']:.4g}" if isinstance(row["value"], float) else str(row["value"])
    return row["name"], value, row["unit"], row["bar"], {True: "yes", False: "NO", None: ""}[row["holds"]]


def machine() -> str:
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    processor = f"{os.cpu_count()} cores {platform.machine()}{', AMX' if torch.cpu._is_amx_tile_supported() else ''}"
    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    return f"{gpu}{processor}, {memory_gb:.0f} GB, Python {platform.python_version()}, torch {torch.__version__}"


def commit() -> str:
    """The commit measured, with `+` where files differ from it."""
    head = _git("rev-parse", "--short", "HEAD") or "none"
    return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str:
    """Empty where there is no git, or nothing that it knows."""
    if shutil.which("git") is None:
        return ""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
