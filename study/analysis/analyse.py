"""The geometry report of any checkpoint, without training: tables, a picture, a page and JSON."""

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from study.analysis.against import compared, comparison, read_earlier
from study.analysis.geometry_table import COLUMNS, FIRST, HEADS, headline, printed, sections, written
from study.analysis.text import facts, undefined_lines
from study.pictures.canvas import save_png
from study.pictures.embedding_plot import embedding_figure
from wake2vec import (
    ConfigError,
    Measured,
    Source,
    StoredSubject,
    measure_fully,
    nearest_tokens,
    phase1_summary,
    read_subject,
    undefined_reasons,
    write_atomic,
    write_json,
)

REPORT, PICTURE, PAGE = "analysis.json", "embedding.png", "analysis.html"
FORMAT = 1
DEFAULT = Path("analysis")


@dataclass(frozen=True, eq=False)
class Analysis:
    """What was written, and what the terminal shows of it."""

    folder: Path
    report: dict[str, Any]
    """As in `analysis.json`."""
    shared: list[tuple[str, float, float]] | None
    """Numbers of the earlier report and of this one: key, old, new."""


def write_analysis(source: Source, out: Path | None, against: str | None) -> Analysis:
    """Measure a checkpoint and write `analysis.json`, `embedding.png` and `analysis.html`.

    They go to `out`, or to the first of `analysis/<name>`, `analysis/<name>-2`, ... that holds no other analysis.

    Raises:
        Wake2VecError: something can't be read or doesn't fit together, or `out` holds another analysis.
    """
    earlier = read_earlier(against) if against else None
    stored = read_subject(source)
    inputs = _inputs(source, stored)
    name = source.model.resolve().name.removesuffix(".safetensors")
    folder = _free_folder(DEFAULT / name, inputs) if out is None else out
    if _holds_another(folder, inputs):
        raise ConfigError(f"{folder} holds something else than this analysis: remove it, or give another --out")
    measured = measure_fully(stored.subject)
    report = _report(source, stored, measured, name, inputs)
    shared = compared(earlier, report) if earlier else None
    _write(folder, report, measured, shared, against or "")
    return Analysis(folder, report, shared)


def _inputs(source: Source, stored: StoredSubject) -> dict[str, Any]:
    """What the report depends on, by content: two reports with the same inputs are the same."""
    subject, ids = stored.subject, stored.ids.numpy()
    counted = subject.new_counts, subject.occurring_ids
    return {
        "matrix": stored.matrix.digest,
        "ids": _hash(ids.tobytes()),
        "base_size": subject.base_size,
        "before": stored.before.digest if stored.before else None,
        "counts": _hash(*(part.cpu().numpy().tobytes() for part in counted if part is not None)),
        "references": _hash(json.dumps(list(subject.reference_ids)).encode()),
        "corpus": source.corpus is not None,
    }


def _hash(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def _free_folder(wanted: Path, inputs: dict[str, Any]) -> Path:
    folder, count = wanted, 1
    while _holds_another(folder, inputs):
        count += 1
        folder = wanted.with_name(f"{wanted.name}-{count}")
    return folder


def _holds_another(folder: Path, inputs: dict[str, Any]) -> bool:
    """Whether files would be lost; `analysis.json` is written first, so it tells whose the others are."""
    if not folder.is_dir():
        return folder.exists()
    if not any((folder / name).exists() for name in (REPORT, PICTURE, PAGE)):
        return False
    try:
        return bool(json.loads((folder / REPORT).read_bytes())["inputs"] != inputs)
    except (OSError, ValueError, KeyError, TypeError):
        return True


def _report(
    source: Source, stored: StoredSubject, measured: Measured, name: str, inputs: dict[str, Any]
) -> dict[str, Any]:
    matrix, subject, before = stored.matrix, stored.subject, stored.before
    neighbours = nearest_tokens(measured.arrays, stored.row_names, subject.new_counts)
    return {
        "format": FORMAT,
        "model": name,
        "matrix": {
            "tensor": matrix.tensor,
            "file": matrix.file.name,
            "dtype": matrix.dtype,
            "rows": len(matrix.rows),
        },
        "dim": matrix.rows.shape[1],
        "base_rows": subject.base_size,
        "new_rows": len(subject.matrix) - subject.base_size,
        "base_rule": stored.base_rule,
        "before": {"model": source.before.resolve().name, "rows": len(before.rows)}
        if before and source.before
        else None,
        "corpus": source.corpus.name if source.corpus else None,
        "reference_rows": len(subject.reference_ids),
        "notes": list(stored.notes),
        "inputs": inputs,
        "numbers": measured.numbers,
        "undefined": undefined_reasons(measured.numbers, stored.unknown),
        "phase1": {"model": name, "checkpoint": str(source.model), **phase1_summary(subject, measured)},
        "neighbours": [near.model_dump() for near in neighbours],
    }


def _write(
    folder: Path,
    report: dict[str, Any],
    measured: Measured,
    shared: list[tuple[str, float, float]] | None,
    against: str,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / REPORT, report)
    title = f"{report['model']}: {report['base_rows']:,} base and {report['new_rows']:,} new rows"
    save_png(embedding_figure(measured.arrays, measured.numbers, title), folder / PICTURE)
    environment = Environment(loader=PackageLoader("study.analysis"), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("analysis.html").render(
        report=report,
        facts=facts(report),
        sections={FIRST: headline(measured.numbers), **sections(measured.numbers)},
        columns=COLUMNS,
        heads=HEADS,
        written=written,
        printed=printed,
        undefined=undefined_lines(report),
        picture=f"data:image/png;base64,{base64.b64encode((folder / PICTURE).read_bytes()).decode()}",
        against=against,
        comparison=comparison(shared) if shared else [],
    )
    write_atomic(folder / PAGE, page.encode())
