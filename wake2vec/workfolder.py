"""The work folder: where one trial keeps its record of progress, its arrays and its result."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save

PROGRESS = "progress.jsonl"

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
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return ProgressLog(self.path / name)

    def progress(self, name: str = PROGRESS) -> list[Progress]:
        """The records so far, in order of writing; a line that a crash cut off isn't one."""
        return read_progress(self.path / name)

    def first_record(self, name: str = PROGRESS) -> Progress | None:
        """The first record, without reading the others; None where there is none."""
        try:
            with (self.path / name).open(encoding="utf-8") as lines:
                line = lines.readline()
        except FileNotFoundError:
            return None
        return Progress(**json.loads(line)) if line.endswith("\n") else None

    def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        data = save({key: np.asarray(value, order="C") for key, value in arrays.items()})
        write_atomic(self.path / f"{name}.safetensors", data)

    def read_arrays(self, name: str) -> dict[str, np.ndarray]:
        arrays: dict[str, np.ndarray] = load_file(self.path / f"{name}.safetensors")
        return arrays

    def write_text(self, name: str, text: str) -> None:
        write_atomic(self.path / name, text.encode())


class ProgressLog:
    """Appends records; a trial that runs again after a crash doesn't double those that stand there already."""

    def __init__(self, path: Path) -> None:
        self._known = {_key(record.step, record.numbers): record for record in read_progress(path)}
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


def read_progress(path: Path) -> list[Progress]:
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    # Every whole record ends in a line feed: what follows the last one was cut off by a crash.
    return [Progress(**json.loads(line)) for line in lines[:-1]]


def _line(record: Progress) -> str:
    return json.dumps({"step": record.step, "numbers": record.numbers, "time_s": record.time_s}) + "\n"


def write_json(path: Path, content: Any) -> None:
    write_atomic(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def write_atomic(path: Path, data: bytes) -> None:
    """Write a whole file or nothing, readable by its owner alone: beside it first, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
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
