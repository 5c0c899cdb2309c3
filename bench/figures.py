"""Figures that README and docs quote: rows of name, value, unit, bar, holds, command, machine and commit."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "docs" / "figures"


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
    table = Table(box=None, header_style="bold")
    table.add_column("figure")
    for column in ("value", "unit", "bar", "holds"):
        table.add_column(column, justify="right" if column == "value" else "left")
    for figure in figures:
        value = f"{figure.value:.4g}" if isinstance(figure.value, float) else str(figure.value)
        table.add_row(figure.name, value, figure.unit, figure.bar, {True: "yes", False: "NO", None: ""}[figure.holds])
    Console(width=100).print(table)
    return all(figure.holds is not False for figure in figures)


def machine() -> str:
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return (
        f"{os.cpu_count()} cores {platform.machine()}, {memory_gb:.0f} GB, Python {platform.python_version()}, "
        f"torch {torch.__version__}"
    )


def commit() -> str:
    """The commit measured, with `+` where files differ from it."""
    head = _git("rev-parse", "--short", "HEAD") or "none"
    return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
