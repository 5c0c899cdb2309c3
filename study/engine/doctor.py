"""What is whole in a results folder, what is damaged, half-made or left over, and what putting it right would move.

Nothing is changed by looking, and nothing deleted by mending: what is damaged is renamed, as
`result.json.<time>.damaged`.
"""

import json
import math
import os
import re
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from optuna.trial import TrialState

from study.config import StudyConfig
from study.mirror.copies import DATABASES, entries, hashes_of, sha256_of
from study.runs.addresses import addresses_of
from study.runs.archived import arrays_of
from study.runs.database import HALF_MADE, opened
from study.runs.reader import record_of
from study.runs.storage import load_study, study_names
from study.runs.system import SYSTEM
from study.show.sentences import sample_text
from wake2vec import (
    DAMAGED,
    MANIFEST,
    PROGRESS,
    UNREADABLE,
    ConfigError,
    DamagedError,
    RunResult,
    WorkFolder,
    array_fault,
    checked_arrays,
    is_end,
    mend_log,
    read_log,
    read_result,
    set_aside,
)

Kind = Literal["damaged", "half-made", "orphaned"]
AGAIN = "`make study` then trains the run again"
SHOWN_AGAIN = "`make study` then makes it again"
PARTS = re.compile(r"\..*\.(part|gone)|\.mirror|\..*\.png\..*")
"""Names of what is on its way to its place, or out of it."""
CHECKPOINT_FILES = ("state.safetensors", "state.json")
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Finding:
    """One thing that isn't as it should be."""

    kind: Kind
    path: Path
    what: str
    fix: str = ""
    """What putting it right brings; empty: it can't be put right here."""
    run: str = ""
    """Whose it is: `trial 3 of small`."""
    mend: tuple[Path, ...] = ()
    """What is moved aside."""
    mended_by: Callable[[Path], Path] = set_aside
    moved: tuple[Path, ...] = ()
    """Where it lies now, once it was put right."""


@dataclass(frozen=True)
class Health:
    """Of a results folder."""

    folder: Path
    findings: list[Finding]
    runs: int
    """Work folders."""
    whole: int
    """Those of them without a finding."""
    aside: list[Path]
    """What was moved aside before: it may be deleted by hand."""


def look_through(folder: Path, config: StudyConfig | None = None, is_driven: bool = False) -> Health:
    """All of a results folder. `config` names the runs that the study database doesn't: companions and open trials.

    What is on its way belongs to somebody while a study `is_driven`.
    """
    names, finished, is_all_known = _named_runs(folder, config)
    findings = [*_of_databases(folder), *_of_marks(folder), *_of_cache(folder)]
    works = [WorkFolder(Path(entry.path)) for entry in entries(folder / "trials") if not _is_aside(entry.name)]
    whole = 0
    for work in works:
        name = names.get(work.path.name, "")
        own = [replace(finding, run=name) for finding in _of_work_folder(work, is_driven)]
        if not name and is_all_known and not is_driven and not work.has_ended:
            own.append(_orphan(work.path))
        whole += not own
        findings += own
    results = {digest: WorkFolder(folder / "trials" / digest).result_path for digest in sorted(finished)}
    gone = "it is gone: `make study` trains the run again"
    findings += [
        Finding("damaged", path, gone, run=names[digest])
        for digest, path in results.items()
        if not os.path.lexists(path) and not addresses_of(folder).is_shared  # else the archive has it
    ]
    if not is_driven:
        findings += [_left(path) for place in (folder, folder / "cache") for path in _parts(place)]
    aside = [path for path in sorted(folder.rglob("*")) if _is_aside(path.name)]
    return Health(folder, findings, len(works), whole, aside)


def mend(health: Health) -> Health:
    """Put right what can be; to be called by who holds the studies' locks. The findings tell where things lie now."""
    return replace(health, findings=[_mended(finding) for finding in health.findings])


def _mended(finding: Finding) -> Finding:
    there = [path for path in finding.mend if os.path.lexists(path)]
    try:
        return replace(finding, moved=tuple(finding.mended_by(path) for path in there))
    except OSError as fault:
        return replace(finding, what=f"{finding.what}; it can't be moved: {fault.strerror}")


def _named_runs(folder: Path, config: StudyConfig | None) -> tuple[dict[str, str], set[str], bool]:
    """By the names of their work folders, whose they are; which of them had a result; and whether these are all that
    any study here names."""
    names: dict[str, str] = {}
    finished: set[str] = set()
    known = True
    try:
        for study in study_names(folder):
            stored = load_study(folder, study)
            done = stored.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            finished |= {digest for trial in done if (digest := trial.user_attrs.get("digest"))}
            if config is not None and study == config.study.name:
                record = record_of(stored, config, folder)
                runs = [*record.trials, *record.companions]
                names = {run.digest: f"{run.label} of {study}" for run in reversed(runs) if run.digest} | names
                continue
            known = False  # its open trials and companions follow from a configuration that isn't here
            trials = stored.get_trials(deepcopy=False)
            own = {trial.user_attrs.get("digest", ""): f"trial {trial.number} of {study}" for trial in trials}
            names = own | names
    except ConfigError:
        return names, finished & {*names}, False
    return names, finished & {*names}, known and bool(names)


def _of_work_folder(work: WorkFolder, is_driven: bool) -> Iterator[Finding]:
    path = work.path
    if not path.is_dir():
        yield _damaged(path, "must be a folder")
        return
    result = None
    if os.path.lexists(work.result_path):
        try:
            result = read_result(work)
        except DamagedError as fault:
            yield _damaged(work.result_path, str(fault).split(": ", 1)[-1].split("; ")[0], AGAIN)
        except ConfigError as fault:
            yield Finding("damaged", work.result_path, str(fault))
    yield from _of_records(work, result)
    if result is not None:
        yield from _of_arrays(work, result)
        yield from _of_shown(work, result)
    for mark, key in ((work.fault_path, "fault"), (work.unmeasured_path, "figures")):
        if os.path.lexists(mark) and (why := _fault_of_json(mark, key)):
            yield _damaged(mark, why, "it is found out again")
    yield from _of_checkpoints(work, result)
    if not is_driven:
        yield from map(_left, [*_parts(path), *_parts(work.checkpoints_path)])


def _of_records(work: WorkFolder, result: RunResult | None) -> Iterator[Finding]:
    path, system = work.path / PROGRESS, work.path / SYSTEM
    log = read_log(path)
    faults = list(log.faults)
    if result is not None and not faults and not _reaches_end(work, result):
        faults = ["it ends before the training did" if log.records else "it is gone, or empty"]
    if faults and log.records:
        yield _damaged(path, faults[0], "its whole lines are kept", mend=mend_log)
    elif faults and result is not None:
        yield _damaged(path, faults[0], AGAIN, also=work.result_path)
    elif faults:
        yield _damaged(path, faults[0], AGAIN)
    for fault in read_log(system).faults:
        yield _damaged(system, fault, "its whole lines are kept", mend=mend_log)


def _reaches_end(work: WorkFolder, result: RunResult) -> bool:
    """Or what didn't lies aside: then its whole lines are all that is left."""
    last = work.last_record()
    return (last is not None and is_end(last, result)) or any(work.path.glob(f"{PROGRESS}.*{DAMAGED}"))


def _of_arrays(work: WorkFolder, result: RunResult) -> Iterator[Finding]:
    for file in arrays_of(work.path):
        fault = array_fault(work, result, file)
        if fault is None and file not in result.hashes:
            try:
                work.read_arrays(file.removesuffix(".safetensors"))
            except DamagedError as unread:
                fault = str(unread).split(" can't be read: ", 1)[-1].split("; ")[0]
        if fault:
            yield _damaged(work.path / file, fault, AGAIN, also=work.result_path)


def _of_shown(work: WorkFolder, result: RunResult) -> Iterator[Finding]:
    """What a person looks at, made of the result."""
    wanted: Mapping[str, Callable[[bytes], bool]] = {
        "audit.json": lambda data: json.loads(data) == result.audit.model_dump(mode="json"),
        "sample.txt": lambda data: data.decode() == sample_text(result),
        "embedding.png": _is_picture,
    }
    for name, is_whole in wanted.items():
        path = work.path / name
        try:
            fault = "" if not os.path.lexists(path) or is_whole(path.read_bytes()) else "it isn't what was written"
        except UNREADABLE as fault_:
            fault = f"it can't be read: {fault_}"
        if fault:
            yield _damaged(path, fault, SHOWN_AGAIN)


def _is_picture(data: bytes) -> bool:
    """Whether these are the bytes of a whole PNG file, by the checksums of its chunks."""
    place = len(PNG)
    while data.startswith(PNG) and place + 12 <= len(data):
        size = int.from_bytes(data[place : place + 4])
        kind, end = data[place + 4 : place + 8], place + 8 + size
        if zlib.crc32(data[place + 4 : end]) != int.from_bytes(data[end : end + 4]):
            return False
        place = end + 4
        if kind == b"IEND":
            return place == len(data)
    return False


def _of_checkpoints(work: WorkFolder, result: RunResult | None) -> Iterator[Finding]:
    root = work.checkpoints_path
    if os.path.lexists(root) and not root.is_dir():
        yield _damaged(root, "must be a folder", "training begins anew")
        return
    if result is not None and root.is_dir():
        yield Finding("orphaned", root, "the run has its result", "nobody reads it", mend=(root,))
        return
    for entry in entries(root):
        if re.fullmatch(r"step-\d+", entry.name):
            path = root / entry.name
            try:
                hashes = hashes_of((path / MANIFEST).read_bytes())
                bad = [name for name, digest in hashes.items() if sha256_of(path / name) != digest]
                bad += [name for name in CHECKPOINT_FILES if name not in hashes]
                fault = "" if not bad else f"{bad[0]} isn't what was written"
            except UNREADABLE as fault_:
                fault = f"it can't be read: {fault_}"
            if fault:
                yield _damaged(path, fault, "training goes on from the one before")


def _of_databases(folder: Path) -> Iterator[Finding]:
    for name in DATABASES:
        path = folder / name
        if not path.exists():
            continue
        try:
            with opened(path) as database:
                told = [row[0] for row in database.execute("PRAGMA quick_check(1)")]
        except (ConfigError, sqlite3.Error) as fault:
            told = [str(fault)]
        if told != ["ok"]:
            yield Finding("damaged", path, told[0])


def _of_marks(folder: Path) -> Iterator[Finding]:
    for entry in entries(folder):
        if re.fullmatch(r"\.measured|\..*\.told", entry.name) and (fault := _fault_of_json(folder / entry.name)):
            yield _damaged(folder / entry.name, fault, "MLflow is brought up to date again")
        if re.fullmatch(r"\..*\.mlflow", entry.name) and (fault := _fault_of_json(folder / entry.name, is_ids=True)):
            yield _damaged(folder / entry.name, fault, "runs are found in MLflow by their tags")


def _of_cache(folder: Path) -> Iterator[Finding]:
    for entry in entries(folder / "cache"):
        if entry.name.endswith(".safetensors") and not entry.name.startswith("."):
            path = folder / "cache" / entry.name
            try:
                checked_arrays(path)
            except DamagedError as fault:
                yield _damaged(path, str(fault).split(": ", 1)[-1], "the text is encoded again")


def _fault_of_json(path: Path, key: str = "", is_ids: bool = False) -> str:
    """Why a mark can't be read; empty: it can. It holds words under its key, or it is a number, or names and ids."""
    try:
        content = json.loads(path.read_bytes())
        if is_ids:
            is_whole = all(isinstance(run_id, str) for run_id in content.values())
        else:
            is_whole = "".join(content[key]) is not None if key else math.isfinite(content)
    except UNREADABLE as fault:
        return f"it can't be read: {' '.join(str(fault).split())}"
    return "" if is_whole else "it isn't what was written"


def _damaged(
    path: Path, what: str, fix: str = "", also: Path | None = None, mend: Callable[[Path], Path] = set_aside
) -> Finding:
    return Finding("damaged", path, what, fix, mend=(path,) if also is None else (path, also), mended_by=mend)


def _parts(folder: Path) -> list[Path]:
    return [folder / entry.name for entry in entries(folder) if PARTS.fullmatch(entry.name)]


def _left(path: Path) -> Finding:
    return Finding("half-made", path, "a kill left it", "nobody reads it", mend=(path,), mended_by=_half_made)


def _orphan(path: Path) -> Finding:
    return Finding("orphaned", path, "no trial names it, and it has no result", "nobody reads it", mend=(path,))


def _half_made(path: Path) -> Path:
    aside = path.with_name(f"{path.name.lstrip('.')}.{time.time_ns()}{HALF_MADE}")
    path.rename(aside)
    return aside


def _is_aside(name: str) -> bool:
    return name.endswith((DAMAGED, HALF_MADE)) or name.startswith("bad-step-")
