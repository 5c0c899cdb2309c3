"""The work folder: where one trial keeps its record of progress, its arrays and its result."""

import hashlib
import json
import logging
import math
import os
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from wake2vec.errors import DamagedError, in_one_line

PROGRESS = "progress.jsonl"
MANIFEST = "manifest.json"
"""Of a checkpoint: the SHA-256 of its files, by name."""
DAMAGED = ".damaged"
"""Of what lies aside, as `result.json.<time>.damaged`: it is renamed, never deleted."""
LONGEST_LINE = 1 << 16
"""Of a record of progress, in bytes, more than ten times what one takes."""
UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What reading a file raises whose content is anything: text that isn't UTF-8 and JSON that isn't are ValueErrors."""
REMEDY = "`make study` moves it aside and trains the run again; `make doctor` looks through the whole folder"
ARRAYS_REMEDY = "`make doctor FIX=yes` moves the run's result aside, and `make study` trains it again"
"""Beside arrays that are damaged a result may stand that is whole: `make study` alone takes the run for finished."""

logger = logging.getLogger(__name__)

Numbers = dict[str, float | None]
"""Figures under their dotted addresses; None where a figure is undefined."""


@dataclass(frozen=True)
class Progress:
    """Figures of one moment of training."""

    step: int
    """Updates done."""
    numbers: Numbers
    time_s: float
    """Seconds since 1970 when it was first measured: a trial that runs again keeps it."""


class WorkFolder:
    """A folder named after the digest of the configuration; made when first written to."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def result_path(self) -> Path:
        """Written last: where it stands, the trial is finished."""
        return self.path / "result.json"

    @property
    def fault_path(self) -> Path:
        """Of a run that failed and isn't tried again: why. Whoever runs it decides that."""
        return self.path / "fault.json"

    @property
    def unmeasured_path(self) -> Path:
        """Of a finished run: which figures of a newer version can't be had any more, and why."""
        return self.path / "unmeasured.json"

    @property
    def has_ended(self) -> bool:
        return self.result_path.exists() or self.fault_path.exists()

    @property
    def checkpoints_path(self) -> Path:
        return self.path / "checkpoints"

    def start_progress(self, name: str = PROGRESS) -> "ProgressLog":
        private_folder(self.path)
        return ProgressLog(self.path / name)

    def progress(self, name: str = PROGRESS, whose: str = "") -> list[Progress]:
        """The records so far, in order of writing; a line that a crash cut off isn't one.

        A damaged line is left out, and told once: the record is then of `whose`, such as `trial 7`.
        """
        log = read_log(self.path / name)
        for fault in log.faults:
            _tell_once(f"{whose or 'a run'} has a damaged record of progress: {self.path / name}: {fault}")
        return log.records

    def first_record(self, name: str = PROGRESS) -> Progress | None:
        """The first record, without reading the others; None where there is none that can be read."""
        try:
            with (self.path / name).open("rb") as lines:
                return _record_of(lines.readline())
        except UNREADABLE:
            return None

    def last_record(self, name: str = PROGRESS) -> Progress | None:
        """The last record, without reading the others; None where the last line isn't one."""
        try:
            with (self.path / name).open("rb") as lines:
                lines.seek(-min(LONGEST_LINE, lines.seek(0, os.SEEK_END)), os.SEEK_END)
                return _record_of(lines.read().rpartition(b"\n")[0].rpartition(b"\n")[2] + b"\n")
        except UNREADABLE:
            return None

    def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> str:
        """Gives the SHA-256 of the file."""
        data = arrays_in_bytes(arrays)
        write_atomic(self.path / f"{name}.safetensors", data)
        return hashlib.sha256(data).hexdigest()

    def read_arrays(self, name: str) -> dict[str, np.ndarray]:
        """Raises DamagedError: there are none that can be read."""
        path = self.path / f"{name}.safetensors"
        try:
            arrays: dict[str, np.ndarray] = load_file(path)
        except (*UNREADABLE, SafetensorError) as fault:
            raise DamagedError(f"{path} can't be read: {in_one_line(fault)}; {ARRAYS_REMEDY}") from None
        return arrays

    def write_text(self, name: str, text: str) -> None:
        write_atomic(self.path / name, text.encode())


def with_checksum(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays that carry their own SHA-256, as `sha256`: a flipped bit would load in silence."""
    return {**arrays, "sha256": np.frombuffer(_checksum_of(arrays), dtype=np.uint8)}


def checked_arrays(path: Path) -> dict[str, np.ndarray]:
    """What `with_checksum` made. Raises DamagedError: it isn't what was written, or can't be read."""
    try:
        arrays: dict[str, np.ndarray] = load_file(path)
        if arrays.pop("sha256").tobytes() != _checksum_of(arrays):
            raise ValueError("its checksum isn't that of its content")
    except (*UNREADABLE, SafetensorError) as fault:
        raise DamagedError(f"{path} is damaged: {in_one_line(fault)}") from None
    return arrays


def _checksum_of(arrays: Mapping[str, np.ndarray]) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.digest()


def arrays_in_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A safetensors file: the same bytes for the same arrays."""
    return save({key: np.asarray(value, order="C") for key, value in arrays.items()})


class ProgressLog:
    """Appends records; a trial that runs again after a crash doesn't double those that stand there already."""

    def __init__(self, path: Path) -> None:
        log = read_log(path)
        if log.faults:
            aside = set_aside(path)
            logger.warning("%s: %s; it lies aside as %s, and what follows is recorded anew", path, log.faults[0], aside)
        # Up to the first fault: training goes on from a checkpoint that isn't newer.
        self._known = {_key(record.step, record.numbers): record for record in log.records[: log.whole]}
        # What a crash left of a last line goes, so that the next record starts on a line of its own.
        write_atomic(path, "".join(map(_line, self._known.values())).encode())
        self._file = path.open("a", encoding="utf-8")

    def add(self, step: int, numbers: Numbers) -> Progress:
        """The record under the time at which the step was first measured."""
        key = _key(step, numbers)
        if key not in self._known:
            self._known[key] = Progress(step, numbers, time.time())
            self._file.write(_line(self._known[key]))
            self._file.flush()
        return self._known[key]

    def steps_trained(self) -> int:
        """Updates that the record tells of without a gap, from the first."""
        told = {record.step for record in self._known.values() if "training.loss" in record.numbers}
        return next(step for step in range(len(told) + 1) if step + 1 not in told)

    def sync(self) -> None:
        """Wait until all records are on disk: a checkpoint may only be newer than its record if this was done."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def _key(step: int, numbers: Numbers) -> tuple[int, str]:
    """What a record is of. Not by all its figures: a version that measures one more goes on with the record."""
    return step, next(iter(numbers), "").split(".")[0]


@dataclass(frozen=True)
class Log:
    """What can be read of a record of progress."""

    records: list[Progress]
    faults: tuple[str, ...] = ()
    """What is damaged; none where the file is whole, or its last line was cut off by a crash."""
    whole: int = 0
    """How many records stand before the first fault."""


def read_log(path: Path) -> Log:
    """The records of a file, or of none, without the lines that can't be read."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return Log([])
    except OSError as fault:
        return Log([], (f"it can't be read: {in_one_line(fault)}",))
    records: list[Progress] = []
    bad: list[int] = []
    whole: int | None = None
    for number, line in enumerate(lines, start=1):
        record = _record_of(line + b"\n") if number < len(lines) else None
        if record is not None:
            records.append(record)
        elif number < len(lines) or not _is_cut_off(line):
            bad.append(number)
            whole = len(records) if whole is None else whole
    many = f" and {len(bad) - FEW} more" if len(bad) > FEW else ""
    told = f"line {', '.join(map(str, bad[:FEW]))}{many} isn't what was written, and is left out"
    return Log(records, (told,) if bad else (), len(records) if whole is None else whole)


def mend_log(path: Path) -> Path:
    """Move a damaged record aside, and write its whole lines again. Gives where the damaged one lies."""
    records = read_log(path).records
    aside = set_aside(path)
    write_atomic(path, "".join(map(_line, records)).encode())
    return aside


FEW = 5
BEGINNING = b'{"step": '
CHECKSUM_KEY = ', "crc32": "'


def _is_cut_off(line: bytes) -> bool:
    """Whether this is what a crash leaves of a last line: every whole one ends in a line feed."""
    return line[: len(BEGINNING)] == BEGINNING[: len(line)]


def _record_of(line: bytes) -> Progress | None:
    """None: it isn't what `_line` wrote. Versions before wrote no checksum."""
    try:
        text = line.decode()
        content = json.loads(text)
        checksum = content.pop("crc32", None)
        record = Progress(**content)
        figures = [record.time_s, *(value for value in record.numbers.values() if value is not None)]
        is_typed = type(record.step) is int and all(isinstance(value, int | float) for value in figures)
        body = f"{text.rpartition(CHECKSUM_KEY)[0]}}}"
        is_sealed = math.isfinite(record.time_s) if checksum is None else checksum == _checksum(body)
    except UNREADABLE:
        return None
    return record if is_typed and is_sealed and text.endswith("\n") else None


def _line(record: Progress) -> str:
    """With a checksum: a digit that was changed reads as well as the right one."""
    body = json.dumps({"step": record.step, "numbers": record.numbers, "time_s": record.time_s})
    return f'{body[:-1]}{CHECKSUM_KEY}{_checksum(body)}"}}\n'


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"


def _tell_once(what: str) -> None:
    if what not in _told:
        _told.add(what)
        logger.warning("%s; `make doctor` says more", what)


_told: set[str] = set()


def set_aside(path: Path) -> Path:
    """Rename what is damaged: it stays beside, under a name that says so. Raises OSError: it can't be."""
    aside = path.with_name(f"{path.name}.{time.time_ns()}{DAMAGED}")
    path.rename(aside)
    sync(path.parent)
    return aside


def private_folder(path: Path) -> None:
    """Make a folder, and those above it, for their owner alone; what is there stays as it is."""
    missing = [place for place in (path, *path.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(mode=0o700, exist_ok=True)


def write_json(path: Path, content: Any) -> None:
    write_atomic(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def write_atomic(path: Path, data: bytes) -> None:
    """Write a whole file or nothing, readable by its owner alone: beside it first, then renamed.

    A folder in its place is moved aside.
    """
    private_folder(path.parent)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.is_dir() and not path.is_symlink():
            logger.warning("%s must be a file and is a folder: it lies aside as %s", path, set_aside(path).name)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
