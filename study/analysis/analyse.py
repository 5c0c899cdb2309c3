"""The geometry report of any checkpoint, without training: tables, a picture, a page and JSON."""

import base64
import hashlib
import json
import math
import re
import textwrap
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from study.analysis.tables import (
    COLUMNS,
    FIRST,
    against_table,
    facts_table,
    headline,
    printed,
    sections,
    undefined_table,
)
from study.charts.canvas import save_png
from study.charts.run_charts import Side, embedding_figure
from study.format import shown
from wake2vec import (
    PHASE1_PRINTED,
    ConfigError,
    Measured,
    Source,
    StoredSubject,
    flatten,
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
PHASE1 = "phase1"
"""Names the values that Phase 1's report prints, as an earlier report."""


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
    others = (wanted.with_name(f"{wanted.name}-{place}") for place in count(2))
    return next(folder for folder in chain([wanted], others) if not _holds_another(folder, inputs))


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
        "matrix": {"tensor": matrix.tensor, "file": matrix.file.name, "dtype": matrix.dtype, "rows": len(matrix.rows)},
        "dim": matrix.rows.shape[1],
        "base_rows": subject.base_size,
        "new_rows": len(subject.matrix) - subject.base_size,
        "base_rule": stored.base_rule,
        "before": source.before and before and {"model": source.before.resolve().name, "rows": len(before.rows)},
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
    save_png(embedding_figure(Side(title, measured.numbers, measured.arrays)), folder / PICTURE)
    environment = Environment(loader=PackageLoader("study.analysis"), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("analysis.html").render(
        report=report,
        facts=facts_table(report),
        sections={FIRST: headline(measured.numbers), **sections(measured.numbers)},
        columns=COLUMNS,
        shown=shown,
        printed=printed,
        undefined=undefined_table(report),
        picture=f"data:image/png;base64,{base64.b64encode((folder / PICTURE).read_bytes()).decode()}",
        against=against_table(shared or [], against),
    )
    write_atomic(folder / PAGE, page.encode())


def read_earlier(source: str) -> dict[str, float]:
    """The numbers of an earlier report: Phase 1's summaries, this command's own JSON, or a trial's result.

    They stand under our addresses, or under Phase 1's keys.

    Raises:
        ConfigError: no such file, or none of its keys is known.
    """
    if source == PHASE1:
        return _numbers(PHASE1_PRINTED)
    rule = f"--against must be a summary in JSON, or {PHASE1}"
    if not Path(source).is_file():
        raise ConfigError(f"{rule}: no file {source}")
    try:
        content: Any = json.loads(Path(source).read_text(encoding="utf-8"))
    except (ValueError, OSError):
        raise ConfigError(f"{rule}: {source} can't be read as JSON") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{rule}: {source} holds a {type(content).__name__}")
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


def parse_ids(text: str) -> tuple[int, ...]:
    """`3-5, 9` as 3, 4, 5, 9.

    Raises:
        ConfigError: the text isn't a list of ids and ranges.
    """
    ids: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,7})(?:\s*-\s*(\d{1,7}))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not match or last < first:
            told = textwrap.shorten(text, 60, placeholder=" ...")
            raise ConfigError(
                f"ids are given like 3-258,700: {told!r} isn't such a list of numbers up to 7 digits; correct it"
            )
        ids += range(first, last + 1)
    return tuple(ids)
